// Many processes of a container that each wait in one system call: plain `cat`, as a hundred of them have to start quickly.

import type { ChildProcess } from 'node:child_process';
import { startProgram } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';

export interface Crowd {
  /** Kills all that are left (SIGKILL), and resolves when they are gone. */
  kill(): Promise<void>;
  /** Waits for all; how many ended well. */
  finish(): Promise<number>;
}

const SCRIPT = `
pids=
well=0
killed=
trap 'killed=1; kill -KILL $pids 2>/dev/null' TERM
for file in "$@"; do cat -- "$file" >/dev/null & pids="$pids $!"; done
# Those that were started after the signal had come.
[ -z "$killed" ] || kill -KILL $pids 2>/dev/null
for pid in $pids; do
  while :; do
    wait "$pid"
    status=$?
    # 143: the trap interrupted the wait, not the child.
    [ "$status" = 143 ] || break
  done
  [ "$status" = 0 ] && well=$((well + 1))
done
echo "$well"
`;

/** Starts a reader of each file, in one user namespace. */
export async function startCrowd(paths: readonly string[]): Promise<Crowd> {
  const shell: ChildProcess = await startProgram(['sh', '-c', SCRIPT, 'crowd', ...paths], {
    uid: 0,
    userns: [CONTAINER_MAP],
  });
  let output = '';
  shell.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const ended = new Promise<void>((resolve) => shell.once('close', () => resolve()));
  return {
    kill: async () => {
      shell.kill('SIGTERM');
      await ended;
    },
    finish: async () => {
      await ended;
      return Number(output);
    },
  };
}
