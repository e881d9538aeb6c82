// Writes the files of packaging/ that are made from the command table: `node dist/documentation/main.js packaging`.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { generatedFiles } from './files.js';

const directory = process.argv[2];
if (directory === undefined) throw new Error('usage: node dist/documentation/main.js DIRECTORY');
for (const [name, text] of Object.entries(await generatedFiles())) {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
