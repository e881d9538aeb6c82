// `fuse-shiftfs doctor`: what this machine can do for a view of a directory, for people or for programs.

import { examine } from '../doctor/examine.js';
import type { Examination, Finding } from '../doctor/finding.js';
import { EXIT } from '../exit-codes.js';

/** Returns the exit status: ok when a view of the source can be mounted here. Throws what `examine` throws. */
export async function doctor(source: string, json: boolean): Promise<number> {
  const examination = await examine(source);
  process.stdout.write(json ? `${JSON.stringify(examination, null, 2)}\n` : format(examination));
  return examination.mountable ? EXIT.ok : EXIT.failed;
}

function format({ source, fileSystem, mountable, findings, advice }: Examination): string {
  return [
    `${source}, on ${fileSystem}: a view of it ${mountable ? 'can' : 'cannot'} be mounted here`,
    '',
    ...findings.map(formatFinding),
    '',
    advice.text,
    ...advice.commands.map(({ for: whom, command }) => `\n  ${whom}:\n    ${command}`),
    '',
  ].join('\n');
}

function formatFinding({ title, state, value, meaning, change }: Finding): string {
  const lines = [`  ${state.padEnd(8)} ${title}: ${value}`, `           ${meaning}`];
  if (change !== null) lines.push(`           -> ${change}`);
  return lines.join('\n');
}
