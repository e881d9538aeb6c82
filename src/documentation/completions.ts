// Completions of commands, options and their values for bash, zsh and fish.

import type { ValueShape } from '../config/schema.js';
import { brief, type Documentation, type DocumentedCommand, type DocumentedOption } from './model.js';

const HEADER = '# Made from the command table of fuse-shiftfs: npm run packaging.';

/** Mount points of the views, without asking any daemon. */
const VIEWS = `awk '$3 == "fuse.fuse-shiftfs" { print $2 }' /proc/self/mounts`;

/** What stands where no option does. */
function operandOf({ name, arguments: operands }: DocumentedCommand): 'view' | 'directory' | 'none' {
  if (name === 'umount' || name === 'status') return 'view';
  return operands.length > 0 ? 'directory' : 'none';
}

const takesValue = (option: DocumentedOption): boolean => option.argument !== undefined;
const names = ({ short, long }: DocumentedOption): string[] => [short, long].filter((name) => name !== undefined);

export function bashCompletion({ commands }: Documentation): string {
  const lines = [
    HEADER,
    '_fuse_shiftfs() {',
    '  local word=$2 before=$3 command= at',
    '  for ((at = 1; at < COMP_CWORD; at++)); do',
    `    case \${COMP_WORDS[at]} in`,
    '      -*) ;;',
    `      *) command=\${COMP_WORDS[at]}; break ;;`,
    '    esac',
    '  done',
    '  compopt -o filenames 2>/dev/null',
    '  case $command in',
    ...commands.flatMap((command) => bashCommand(command)),
    '    *)',
    `      COMPREPLY=($(compgen -W ${bashQuote([...commands.map(({ name }) => name), '--help', '--version'].join(' '))} -- "$word"))`,
    '      [[ $word == -* ]] || COMPREPLY+=($(compgen -d -- "$word"))',
    '      ;;',
    '  esac',
    '}',
    'complete -F _fuse_shiftfs fuse-shiftfs',
    '',
  ];
  return lines.join('\n');
}

function bashCommand(command: DocumentedCommand): string[] {
  const words = [...command.options.flatMap(names), '--help'].join(' ');
  const operands = {
    view: `COMPREPLY=($(compgen -W "$(${VIEWS})" -- "$word"))`,
    directory: 'COMPREPLY=($(compgen -d -- "$word"))',
    none: 'COMPREPLY=()',
  };
  return [
    `    ${command.name})`,
    '      case $before in',
    ...command.options
      .filter(takesValue)
      .map((option) => `        ${names(option).join(' | ')}) ${bashValue(option.shape)}; return ;;`),
    '      esac',
    '      case $word in',
    `        -*) COMPREPLY=($(compgen -W ${bashQuote(words)} -- "$word")) ;;`,
    `        *) ${operands[operandOf(command)]} ;;`,
    '      esac',
    '      ;;',
  ];
}

function bashValue(shape: ValueShape): string {
  switch (shape.kind) {
    case 'choice':
      return `COMPREPLY=($(compgen -W ${bashQuote(shape.words.join(' '))} -- "$word"))`;
    case 'path':
      return 'COMPREPLY=($(compgen -f -- "$word"))';
    default:
      return 'COMPREPLY=()';
  }
}

function bashQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function zshCompletion({ commands }: Documentation): string {
  const lines = [
    '#compdef fuse-shiftfs',
    HEADER,
    '',
    '_fuse_shiftfs_views() {',
    '  local -a views',
    `  views=(\${(f)"$(${VIEWS})"})`,
    "  _describe 'view' views",
    '}',
    '',
    '_fuse_shiftfs() {',
    '  local curcontext=$curcontext state line',
    '  local -a commands',
    '  commands=(',
    ...commands.map(({ name, summary }) => `    ${zshQuote(`${name}:${summary}`)}`),
    '  )',
    "  _arguments -C '(- *)'{-h,--help}'[print help]' '(- *)'{-V,--version}'[print the version]' \\",
    "    '1: :->command' '*:: :->argument'",
    '  case $state in',
    "    command) _describe 'command' commands; _files -/ ;;",
    '    argument)',
    '      case $line[1] in',
    ...commands.flatMap((command) => [
      `        ${command.name})`,
      '          _arguments \\',
      ...command.options.map((option) => `            ${zshOption(option)} \\`),
      `            '(- *)'{-h,--help}'[print help]' \\`,
      `            ${{ view: "'*:view:_fuse_shiftfs_views'", directory: "'*:directory:_files -/'", none: "'*: :'" }[operandOf(command)]}`,
      '          ;;',
    ]),
    '      esac',
    '      ;;',
    '  esac',
    '}',
    '',
    '_fuse_shiftfs "$@"',
    '',
  ];
  return lines.join('\n');
}

function zshOption(option: DocumentedOption): string {
  const { long, short, argument, description, shape } = option;
  const text = `[${brief(description).replace(/[[\]:]/g, '\\$&')}]`;
  const values = {
    choice: `(${shape.kind === 'choice' ? shape.words.join(' ') : ''})`,
    path: '_files',
    number: ' ',
    text: ' ',
    flag: '',
  };
  const value = argument === undefined ? '' : `:${argument.replace(/[[\]:]/g, '\\$&')}:${values[shape.kind]}`;
  // Only options that may be repeated are offered again.
  const repeat = argument === 'MAP' ? '*' : '';
  if (short === undefined) return zshQuote(`${repeat}${long}${text}${value}`);
  return `${zshQuote(`(${short} ${long})`)}{${short},${long}}${zshQuote(`${text}${value}`)}`;
}

function zshQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function fishCompletion({ commands }: Documentation): string {
  const all = commands.map(({ name }) => name).join(' ');
  const none = `'not __fish_seen_subcommand_from ${all}'`;
  const lines = [
    HEADER,
    'complete -c fuse-shiftfs -f',
    `complete -c fuse-shiftfs -n ${none} -s h -l help -d 'print help'`,
    `complete -c fuse-shiftfs -n ${none} -s V -l version -d 'print the version'`,
    `complete -c fuse-shiftfs -n ${none} -a '(__fish_complete_directories)'`,
    ...commands.map(({ name, summary }) => `complete -c fuse-shiftfs -n ${none} -a ${name} -d ${fishQuote(summary)}`),
    ...commands.flatMap((command) => {
      const start = `complete -c fuse-shiftfs -n '__fish_seen_subcommand_from ${command.name}'`;
      const operands = {
        view: [`${start} -a ${fishQuote(`(${VIEWS})`)}`],
        directory: [`${start} -a '(__fish_complete_directories)'`],
        none: [],
      };
      return [...command.options.map((option) => `${start} ${fishOption(option)}`), ...operands[operandOf(command)]];
    }),
    '',
  ];
  return lines.join('\n');
}

function fishOption({ short, long, shape, description }: DocumentedOption): string {
  const parts = [...(short === undefined ? [] : [`-s ${short.slice(1)}`]), `-l ${long.slice(2)}`];
  if (shape.kind === 'choice') parts.push('-x', `-a ${fishQuote(shape.words.join(' '))}`);
  else if (shape.kind === 'path') parts.push('-r', '-F');
  else if (shape.kind !== 'flag') parts.push('-x');
  return [...parts, `-d ${fishQuote(brief(description))}`].join(' ');
}

function fishQuote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
