// The config file of one view, /etc/fuse-shiftfs/NAME.json: source, mount point and the long options of `mount` under their
// own names, with JSON's types. The schema is made from that of the options and published as JSON Schema
// (packaging/config.schema.json). A mistake is told with the file and the key.

import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { ShiftfsError } from '../errors.js';
import { nearest } from './nearest.js';
import { checkOptions, describeOptions, type OptionDescription, type WrittenOptions } from './schema.js';

export const CONFIG_DIRECTORY = '/etc/fuse-shiftfs';

export interface ConfigFile {
  readonly source: string;
  readonly mountpoint: string;
  /** As if they had been written on the command line. */
  readonly written: WrittenOptions;
}

const absolutePath = () => z.string({ error: 'must be a text' }).regex(/^\//, { error: 'must be an absolute path' });

function valueSchemaOf({ shape, repeatable }: OptionDescription): z.ZodType {
  if (repeatable) {
    return z.array(z.string({ error: 'must be a text' }), { error: 'must be a list of texts: ["..."]' });
  }
  switch (shape.kind) {
    case 'flag':
      return z.boolean({ error: 'must be true or false' });
    case 'number': {
      const error = `must be a whole number from ${shape.minimum} to ${shape.maximum}`;
      return z.int({ error }).min(shape.minimum, { error }).max(shape.maximum, { error });
    }
    case 'choice':
      return z.enum(shape.words, { error: `must be one of ${shape.words.join(', ')}` });
    case 'path':
      return absolutePath();
    case 'text':
      return z.string({ error: 'must be a text' });
  }
}

export const configFileSchema = z
  .strictObject(
    {
      $schema: z.string().optional().describe('Where this schema is; for editors.'),
      source: absolutePath().describe('The directory to serve.'),
      mountpoint: absolutePath().describe('The directory on which the view is mounted.'),
      ...Object.fromEntries(
        describeOptions().map((option) => [
          option.name,
          valueSchemaOf(option)
            .optional()
            .describe(option.defaultIs ? `${option.description} Default: ${option.defaultIs}.` : option.description),
        ]),
      ),
    },
    { error: (issue) => (issue.code === 'invalid_type' ? 'must be an object: {...}' : undefined) },
  )
  .describe('One view of fuse-shiftfs. The keys are the long options of "fuse-shiftfs mount".');

/** What editors and validators of other programs read. */
export function configJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configFileSchema, { io: 'input' });
}

/** Throws ShiftfsError BAD_CONFIG; the message begins with the path of the file. */
export function readConfigFile(path: string): ConfigFile {
  const bad = (message: string, hint?: string, cause?: unknown): ShiftfsError =>
    new ShiftfsError('BAD_CONFIG', `${path}: ${message}`, hint, { cause });
  let text: string;
  try {
    const fd = openSync(path, 'r');
    try {
      const { uid, gid, mode } = fstatSync(fd);
      // Whoever can change the file has root mount what he likes, where he likes.
      const others = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && gid !== 0);
      if (others) throw bad('others than its owner may change it', `Take that away: chmod go-w ${path}`);
      if (uid !== 0 && uid !== process.getuid?.()) {
        throw bad(`it belongs to user ${uid}`, `Only root's word counts: chown root ${path}`);
      }
      text = readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof ShiftfsError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw bad(
      code === 'ENOENT' ? 'no such file' : message,
      `A view NAME is configured in ${CONFIG_DIRECTORY}/NAME.json.`,
      error,
    );
  }
  const result = configFileSchema.safeParse(parseJson(text, bad), { reportInput: true });
  if (!result.success) {
    const unknown = result.error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : []));
    const guess = unknown[0] === undefined ? undefined : nearest(unknown[0], Object.keys(configFileSchema.shape));
    const wrong = result.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys' ? [] : [`${issue.path.join('.') || 'the file'}: ${describeIssue(issue)}`],
    );
    throw bad(
      [...unknown.map((key) => `${key}: unknown key`), ...wrong].join('; '),
      guess === undefined
        ? '"fuse-shiftfs mount --help" has every option; their names are the keys.'
        : `Did you mean "${guess}"?`,
    );
  }
  const { $schema: _, source, mountpoint, ...values } = result.data;
  const written = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typeof value === 'number' ? String(value) : value]),
  ) as WrittenOptions;
  try {
    checkOptions(written);
  } catch (error) {
    if (!(error instanceof ShiftfsError)) throw error;
    throw bad(error.message, error.hint, error);
  }
  return { source, mountpoint, written };
}

function parseJson(text: string, bad: (message: string, hint: string, cause: unknown) => ShiftfsError): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const { message } = error as SyntaxError;
    const position = Number(/position ([0-9]+)/.exec(message)?.[1] ?? text.length);
    const before = text.slice(0, position).split('\n');
    throw bad(
      `line ${before.length}, column ${before.at(-1)!.length + 1}: not JSON`,
      'JSON wants double quotes around keys and texts, a comma between entries and none after the last, and no comments.',
      error,
    );
  }
}

function describeIssue(issue: z.core.$ZodIssue): string {
  return issue.input === undefined && issue.code === 'invalid_type' && issue.path.length === 1
    ? 'missing'
    : issue.message;
}
