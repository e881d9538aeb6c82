// The order of a run. Every round of a group of rows visits every target once, so that a machine that gets slower or
// faster meanwhile does it to all of them; each round starts with another target, so that none is always first.

export interface Visit<Group> {
  readonly group: Group;
  /** From 0. */
  readonly round: number;
  readonly targets: readonly string[];
}

/** One visit a group and round, with the targets in the order of that round. */
export function schedule<Group>(groups: readonly Group[], targets: readonly string[], rounds: number): Visit<Group>[] {
  const visits: Visit<Group>[] = [];
  for (const group of groups) {
    for (let round = 0; round < rounds; round++) {
      const first = round % targets.length;
      visits.push({ group, round, targets: [...targets.slice(first), ...targets.slice(0, first)] });
    }
  }
  return visits;
}
