// What man page and completions say about commands and options, taken from the command table itself, so that they cannot
// say anything else than --help does.

import type { Command } from 'commander';
import { createProgram, version } from '../cli/program.js';
import { describeOptions, type ValueShape } from '../config/schema.js';

export interface DocumentedOption {
  /** `-f`; undefined for most. */
  readonly short: string | undefined;
  /** `--foreground` */
  readonly long: string;
  /** `FILE`; undefined for flags. */
  readonly argument: string | undefined;
  readonly description: string;
  readonly group: string | undefined;
  readonly shape: ValueShape;
  readonly default: string | undefined;
}

export interface DocumentedCommand {
  readonly name: string;
  /** What follows the program's name: `mount [options] SOURCE MOUNTPOINT`. A command may have several forms. */
  readonly usage: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly arguments: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly DocumentedOption[];
}

export interface Documentation {
  readonly version: string;
  readonly description: string;
  readonly commands: readonly DocumentedCommand[];
}

export async function documentation(): Promise<Documentation> {
  const program = await createProgram(undefined, () => {});
  return {
    version: version(),
    description: program.description(),
    commands: program.commands.map(documentCommand),
  };
}

function documentCommand(command: Command): DocumentedCommand {
  const prefix = /^fuse-shiftfs /;
  const mountOptions = new Map(describeOptions().map((option) => [`--${option.name}`, option]));
  return {
    name: command.name(),
    usage: `${command.name()} ${command.usage()}`.split('\n').map((line) => line.trim().replace(prefix, '')),
    summary: command.summary(),
    description: command.description(),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      description: argument.description,
    })),
    options: command.options.map((option): DocumentedOption => {
      const argument = /<(.*)>/.exec(option.flags)?.[1];
      const own = command.name() === 'mount' ? mountOptions.get(option.long ?? '') : undefined;
      const choices = option.argChoices;
      return {
        short: option.short,
        long: option.long!,
        argument,
        description: own?.description ?? option.description,
        group: option.helpGroupHeading?.replace(/:$/, ''),
        shape: own?.shape ?? (choices ? { kind: 'choice', words: choices } : shapeOf(argument)),
        default: own ? own.defaultIs : typeof option.defaultValue === 'string' ? option.defaultValue : undefined,
      };
    }),
  };
}

function shapeOf(argument: string | undefined): ValueShape {
  if (argument === undefined) return { kind: 'flag' };
  return { kind: argument === 'FILE' || argument === 'DIR' ? 'path' : 'text' };
}

/** The first sentence, short enough for one line of a list; without the full stop. */
export function brief(description: string): string {
  const sentence = description.split(/\. (?=[A-Z])|; |\.$/)[0]!;
  if (sentence.length <= 72) return sentence;
  return `${sentence.slice(0, 70).replace(/ [^ ]*$/, '')} ...`;
}
