// The id map that the options ask for: --map, --userns, X-mount.idmap, squashing and the overflow ids in one IdMapSpec.

import { readFileSync } from 'node:fs';
import { ShiftfsError } from '../errors.js';
import { formatMaps, type IdRanges, parseMaps, parseProcIdMap, parseXMountIdmap } from '../idmap/parse.js';
import type { IdKindSpec, IdMapSpec } from '../idmap/spec.js';
import { checkSpec, type IdKind } from '../idmap/validate.js';
import type { RequestedOptions } from './schema.js';

/** Reads /proc for a user namespace, nothing else. Throws ShiftfsError BAD_MAP or NO_USERNS. */
export function buildIdMap(options: RequestedOptions): IdMapSpec {
  const parts: IdRanges[] = [];
  if (options.userns !== undefined) parts.push(readUserNamespace(options.userns));
  if (options.idmap !== undefined) parts.push(parseIdmapOption(options.idmap));
  // Everything once more as --map texts: overlaps between the sources are then found and told in one way.
  const ranges = parseMaps([...parts.flatMap(formatMaps), ...options.map]);
  const kind = (name: IdKind): IdKindSpec => ({
    ranges: ranges[name],
    overflow: options[`overflow-${name}`],
    squash: options[`squash-${name}`] ?? null,
  });
  const spec = { uid: kind('uid'), gid: kind('gid') };
  checkSpec(spec);
  return spec;
}

/** One line for people: the ranges, or `identity`, and what is squashed. */
export function describeIdMap(spec: IdMapSpec): string {
  const parts = formatMaps({ uid: spec.uid.ranges, gid: spec.gid.ranges });
  for (const kind of ['uid', 'gid'] as const) {
    const { squash, ranges } = spec[kind];
    if (squash) parts.push(`${kind} squashed to ${squash.underlay}:${squash.view}`);
    else if (ranges.length === 0) parts.push(`${kind} unchanged`);
  }
  return parts.join(' ').replace('uid unchanged gid unchanged', 'identity');
}

/** mount(8) takes ranges there, or the file of a user namespace. */
function parseIdmapOption(text: string): IdRanges {
  const pid = /^\/proc\/([1-9][0-9]*)\/ns\/user$/.exec(text)?.[1];
  return pid === undefined ? parseXMountIdmap(text) : readUserNamespace(Number(pid));
}

function readUserNamespace(pid: number): IdRanges {
  const read = (kind: IdKind): string => {
    try {
      return readFileSync(`/proc/${pid}/${kind}_map`, 'latin1');
    } catch (error) {
      const gone = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new ShiftfsError(
        'NO_USERNS',
        gone ? `there is no process ${pid}` : `cannot read /proc/${pid}/${kind}_map: ${(error as Error).message}`,
        'Give the pid, as the host sees it, of a process inside the container (lxc info, podman inspect, machinectl show).',
        { cause: error },
      );
    }
  };
  return { uid: parseProcIdMap('uid', read('uid')), gid: parseProcIdMap('gid', read('gid')) };
}
