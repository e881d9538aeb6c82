// The files of packaging/ that are made from the command table and the schema of the options.

import { configJsonSchema } from '../config/config-file.js';
import { bashCompletion, fishCompletion, zshCompletion } from './completions.js';
import { manPage } from './man.js';
import { documentation } from './model.js';

/** By their paths below packaging/. */
export async function generatedFiles(): Promise<Record<string, string>> {
  const documented = await documentation();
  return {
    'man/fuse-shiftfs.8': manPage(documented),
    'completions/fuse-shiftfs.bash': bashCompletion(documented),
    'completions/_fuse-shiftfs': zshCompletion(documented),
    'completions/fuse-shiftfs.fish': fishCompletion(documented),
    'config.schema.json': `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
  };
}
