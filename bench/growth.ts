// `npm run bench:growth`: what a node costs when there are many of them. From 10 thousand nodes to a million it measures
// one more lookup, one more create, and a FORGET, and how much memory the daemon holds. Needs root; takes the kernel's
// cached names away (drop_caches), because that is what makes it send FORGET.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { makeDirectory } from './dataset.js';
import {
  GROWTH_HEADING,
  type GrowthPoint,
  type GrowthReport,
  growthChart,
  growthRow,
  growthSteps,
  growthSummary,
} from './growth-report.js';
import { machineText } from './machine.js';
import type { Mounted } from './mounting.js';
import { choice, count } from './options.js';
import { Estimate } from './progress.js';
import { inSession, type Session } from './session.js';
import { median } from './stats.js';
import { mountPaths, TARGETS, type Target, targetById, UNDERLAY_ID } from './targets.js';

/** Names a directory. */
const FILES_PER_DIRECTORY = 1000;
/** Operations of one sample. */
const SAMPLE = 2000;
/** Samples of lookup and create a step; their median counts. */
const BATCHES = 3;

interface GrowthOptions {
  readonly targets: string[];
  readonly nodes: number;
  readonly base: string;
  readonly json?: string;
  readonly svg?: string;
  readonly enableUring?: true;
  readonly mountArguments?: string;
}

const daemons = TARGETS.filter((target) => target.kind === 'ours' || target.kind === 'peer').map(({ id }) => id);

const options = new Command('npm run bench:growth --')
  .description('Measure what nodes cost when there are many.')
  .option('--targets <targets>', `targets to run: ${daemons.join(', ')}`, choice(daemons), ['ours', 'bindfs'])
  .option('--nodes <n>', 'the largest number of nodes', count, 1_000_000)
  .option('--base <dir>', 'directory on the file system to measure', '/var/tmp')
  .option('--enable-uring', 'switch /sys/module/fuse/parameters/enable_uring on for the run, then back')
  .option('--mount-arguments <words>', 'more words for our own mount command')
  .option('--json <file>', 'write everything that was measured')
  .option('--svg <file>', 'write a chart')
  .allowExcessArguments(false)
  .parse()
  .opts<GrowthOptions>();

/** Resident set of the daemon and its children, bytes (VmRSS, proc_pid_status(5)). */
function residentBytes(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) {
    try {
      sum += 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It ended meanwhile.
    }
  }
  return sum;
}

/** Inodes that all FUSE mounts hold (slabinfo(5); the cache has a constructor, so that it is never merged). */
function fuseInodes(): number {
  return Number(/^fuse_inode\s+(\d+)/m.exec(readFileSync('/proc/slabinfo', 'utf8'))?.[1] ?? 0);
}

/** Waits until the daemon has used no CPU time for half a second; returns what it used in all. */
async function calm(mounted: Mounted, signal: AbortSignal): Promise<number> {
  let before = -1;
  for (;;) {
    const now = mounted.cpuSeconds() ?? 0;
    if (now === before) return now;
    before = now;
    await delay(500, undefined, { signal });
  }
}

/** Makes the kernel forget all names that nobody uses, and waits until the daemon knows. */
async function forgetAll(mounted: Mounted, signal: AbortSignal): Promise<{ nodes: number; cpuSeconds: number }> {
  const cpuBefore = await calm(mounted, signal);
  const held = fuseInodes();
  let left = held;
  for (;;) {
    // A name that was used lately survives the first time.
    writeFileSync('/proc/sys/vm/drop_caches', '2');
    const now = fuseInodes();
    if (now >= left) break;
    left = now;
  }
  return { nodes: held - left, cpuSeconds: (await calm(mounted, signal)) - cpuBefore };
}

class Growth {
  readonly #session: Session;
  readonly #source: string;
  readonly #names: readonly string[];
  readonly #lists: string;
  #scratch = 0;

  private constructor(session: Session, source: string, names: readonly string[], lists: string) {
    this.#session = session;
    this.#source = source;
    this.#names = names;
    this.#lists = lists;
  }

  /** Makes empty files: the nodes to be held, and SAMPLE more for each batch of lookups. */
  static async seed(session: Session, largest: number): Promise<Growth> {
    const { base, loadgen, signal, progress } = session;
    const source = join(base, 'source');
    const lists = join(base, 'lists');
    for (const directory of [source, lists, join(source, 'tree')]) makeDirectory(directory);
    const directories = Math.ceil((largest + BATCHES * SAMPLE) / FILES_PER_DIRECTORY);
    const estimate = new Estimate(new Map([['seed', directories]]));
    const names: string[] = [];
    for (let index = 0; index < directories; index++) {
      const started = performance.now();
      const directory = `tree/d${index}`;
      makeDirectory(join(source, directory));
      const words = ['seed-files', '--root', join(source, directory), '--n', `${FILES_PER_DIRECTORY}`];
      await loadgen.run(words, { user: UNDERLAY_ID, signal });
      for (let file = 0; file < FILES_PER_DIRECTORY; file++) names.push(`${directory}/f${file}`);
      estimate.finished('seed', (performance.now() - started) / 1000);
      progress.at('making files', estimate);
    }
    return new Growth(session, source, names, lists);
  }

  async measure(target: Target, nodes: number): Promise<GrowthPoint> {
    const { base, mounter, main, signal } = this.#session;
    const fresh = this.#names.slice(nodes, nodes + BATCHES * SAMPLE);
    // The underlay's own caches are warm in every step.
    await this.#lookUp(this.#source, UNDERLAY_ID, this.#names.slice(0, nodes + fresh.length));
    const scratches = Array.from({ length: BATCHES }, () => `scratch${this.#scratch++}`);
    for (const scratch of scratches) makeDirectory(join(this.#source, scratch));
    const words = options.mountArguments?.split(' ') ?? [];
    const mounted = await mounter.mount(target, mountPaths(base, this.#source, target, main, words), signal);
    try {
      const pids = (): number[] => mounted.pids();
      const rssStart = residentBytes(pids());
      await this.#lookUp(mounted.root, target.caller, this.#names.slice(0, nodes));
      const rss = residentBytes(pids());
      const lookups: number[] = [];
      const creates: number[] = [];
      for (const [batch, scratch] of scratches.entries()) {
        const names = fresh.slice(batch * SAMPLE, (batch + 1) * SAMPLE);
        lookups.push(await this.#lookUp(mounted.root, target.caller, names));
        creates.push(await this.#create(mounted.root, target, scratch));
      }
      const forgotten = await forgetAll(mounted, signal);
      return {
        nodes,
        lookup: median(lookups),
        create: median(creates),
        forget: (forgotten.cpuSeconds / forgotten.nodes) * 1e9,
        rssStart,
        rss,
        rssForgotten: residentBytes(pids()),
      };
    } finally {
      await mounted.unmount();
    }
  }

  /** Nanoseconds a name. */
  async #lookUp(root: string, user: number, names: readonly string[]): Promise<number> {
    const list = join(this.#lists, 'names');
    writeFileSync(list, names.map((name) => `${name}\n`).join(''));
    const words = ['lookup', '--root', root, '--list', list, '--owner', `${user}`, '--expect-sum', '0'];
    const { ns, operations } = await this.#session.loadgen.run(words, { user, signal: this.#session.signal });
    return ns / operations;
  }

  async #create(root: string, target: Target, scratch: string): Promise<number> {
    const words = [
      ...['create', '--root', join(root, scratch), '--under', join(this.#source, scratch), '--n', `${SAMPLE}`],
      ...['--owner', `${target.caller}`, '--under-owner', `${UNDERLAY_ID}`],
    ];
    const load = { user: target.caller, signal: this.#session.signal };
    const { ns, operations } = await this.#session.loadgen.run(words, load);
    return ns / operations;
  }
}

const wanted = {
  base: options.base,
  targets: options.targets.map(targetById),
  enableUring: options.enableUring === true,
};

process.exitCode = await inSession(wanted, async (session) => {
  const { machine, progress, targets } = session;
  const steps = growthSteps(options.nodes);
  process.stdout.write(`${machineText(machine)}\n`);
  const growth = await Growth.seed(session, options.nodes);
  const work = steps.flatMap((step) => targets.map((target): [string, number] => [`${step} ${target.id}`, 1]));
  const estimate = new Estimate(new Map(work));
  const points = new Map<Target, GrowthPoint[]>(targets.map((target) => [target, []]));
  for (const step of steps) {
    for (const target of targets) {
      progress.at(`${step} nodes  ${target.id}`, estimate);
      const started = performance.now();
      points.get(target)?.push(await growth.measure(target, step));
      estimate.finished(`${step} ${target.id}`, (performance.now() - started) / 1000);
    }
  }
  progress.end();
  const report: GrowthReport = {
    machine,
    targets: targets.map((target) => ({ id: target.id, points: points.get(target) ?? [] })),
  };
  for (const { id, points: measured } of report.targets) {
    process.stdout.write(`\n${id}\n${GROWTH_HEADING}\n`);
    for (const point of measured) process.stdout.write(`${growthRow(point)}\n`);
    process.stdout.write(`${growthSummary(measured)}\n`);
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
  if (options.svg !== undefined) writeFileSync(options.svg, growthChart(report));
  return 0;
});
