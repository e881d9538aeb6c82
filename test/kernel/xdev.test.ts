// --xdev: what is mounted below the source stays out of the view, and nothing else does.

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runOk } from '../support/programs.js';
import { withTempTree } from '../support/temp.js';
import { withView } from '../support/view.js';

/** Looks at the view from another process: it is never entered by the one that runs the tests. */
const find = async (directory: string): Promise<string[]> =>
  (await runOk(['find', directory, '-mindepth', '1', '-printf', '%P %s\n'])).trim().split('\n').sort();

test('a file system mounted below the source is left out, with --xdev only', () =>
  withTempTree(async (source) => {
    mkdirSync(`${source}/below`);
    writeFileSync(`${source}/below/covered`, 'own');
    await runOk(['mount', '-t', 'tmpfs', 'tmpfs', `${source}/below`]);
    writeFileSync(`${source}/below/file`, 'other');
    await withView({ source }, async (view) => {
      expect(await runOk(['cat', `${view.mountpoint}/below/file`])).toBe('other');
    });
    await withView({ source, options: ['--xdev'] }, async (view) => {
      expect(await runOk(['ls', `${view.mountpoint}/below`])).toBe('covered\n');
      expect(await runOk(['cat', `${view.mountpoint}/below/covered`])).toBe('own');
    });
  }));

test('every file of an overlayfs is there, whichever layer it is on', () =>
  withTempTree(async (directory) => {
    // Two file systems: overlayfs then shows files under device numbers of their layers, and directories under its own.
    for (const layer of ['lower', 'upper']) {
      mkdirSync(`${directory}/${layer}`);
      await runOk(['mount', '-t', 'tmpfs', 'tmpfs', `${directory}/${layer}`]);
    }
    for (const each of ['lower/a', 'lower/a/b', 'upper/layer', 'upper/work', 'upper/layer/a', 'source']) {
      mkdirSync(`${directory}/${each}`);
    }
    for (const file of ['lower/a/b/below', 'lower/a/file', 'lower/top', 'upper/layer/a/new']) {
      writeFileSync(`${directory}/${file}`, file);
    }
    const source = `${directory}/source`;
    const layers = `lowerdir=${directory}/lower,upperdir=${directory}/upper/layer,workdir=${directory}/upper/work`;
    await runOk(['mount', '-t', 'overlay', 'overlay', '-o', `xino=off,${layers}`, source]);
    const devices = ['', '/top', '/a/new', '/a/b'].map((path) => statSync(source + path).dev);
    expect(new Set(devices).size, 'device numbers that overlayfs shows').toBe(3);
    await withView({ source, options: ['--xdev'] }, async (view) => {
      expect(await find(view.mountpoint)).toEqual(await find(source));
      expect(await runOk(['cat', `${view.mountpoint}/a/b/below`])).toBe('lower/a/b/below');
      await runOk(['sh', '-c', 'echo more >> "$1"', 'sh', `${view.mountpoint}/top`]);
      expect(readFileSync(`${source}/top`, 'utf8')).toBe('lower/topmore\n');
      rmSync(`${source}/a/file`);
      expect(await runOk(['ls', `${view.mountpoint}/a`])).toBe('b\nnew\n');
      expect(readdirSync(`${source}/a`)).toEqual(['b', 'new']);
    });
  }));
