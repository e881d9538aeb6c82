// The life of a daemon: signals, ends and their exit statuses, where its log goes, what it tells systemd.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { abortFuse, mountAt } from '../support/mounts.js';
import { run, runOk, startProgram } from '../support/programs.js';
import { childEnvironment } from '../support/temp.js';
import { CLI } from '../support/view.js';
import { DatagramReceiver } from './datagrams.js';
import { cli, daemonFault, isRunning, type Place, sitIn, statusOf, tryRead, until, withPlace } from './support.js';

interface LogLine {
  readonly level: string;
  readonly time: string;
  readonly pid: number;
  readonly view: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

class Foreground {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  stderr = '';

  constructor({ source, mountpoint }: Place, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    this.child = spawn(process.execPath, [CLI, 'mount', source, mountpoint, '--foreground', ...args], {
      env: { ...childEnvironment(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = once(this.child, 'close').then(([code]) => code as number | null);
  }

  lines(): LogLine[] {
    return parseLog(this.stderr);
  }

  async untilSaid(message: string): Promise<void> {
    await until(`"${message}" in:\n${this.stderr}`, () => this.stderr.includes(message));
  }
}

function parseLog(text: string): LogLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LogLine);
}

/** What is in the pipe, of which `fd` is the non-blocking end. */
function readAvailable(fd: number): string {
  const buffer = Buffer.alloc(1 << 20);
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return '';
    throw error;
  }
}

const messages = (lines: readonly LogLine[]) => lines.map(({ level, msg }) => `${level} ${msg}`);

describe('in the foreground', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('keeps its pid, and unmounts on %s with status 0', (signal) =>
    withPlace(async (place) => {
      const daemon = new Foreground(place, ['--map', '0:100000:65536']);
      await daemon.untilSaid('"serving"');
      expect((await statusOf(place.mountpoint)).pid).toBe(daemon.child.pid);
      daemon.child.kill(signal);
      expect(await daemon.ended).toBe(0);
      expect(mountAt(place.mountpoint)).toBeUndefined();
      expect(messages(daemon.lines())).toEqual(['info serving', 'info unmounting', 'info unmounted']);
      expect(daemon.lines()[0]).toMatchObject({
        pid: daemon.child.pid,
        view: place.mountpoint,
        source: place.source,
        map: 'b:0:100000:65536',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      });
    }),
  );

  it('drops privileges as in the background', () =>
    withPlace(async (place) => {
      const daemon = new Foreground(place);
      await daemon.untilSaid('"serving"');
      const status = await runOk(['sh', '-c', `cat /proc/${daemon.child.pid}/task/*/status`]);
      const sets = new Set(
        [...status.matchAll(/^(NoNewPrivs|CapBnd|Umask):\s*(\S+)$/gm)].map(([, name, value]) => `${name} ${value}`),
      );
      expect([...sets].sort()).toEqual(['CapBnd 00000000882000df', 'NoNewPrivs 1', 'Umask 0000']);
      daemon.child.kill();
      await daemon.ended;
    }));

  it('tells an error as the command does, with its exit status', () =>
    withPlace(async (place) => {
      const daemon = new Foreground(place, ['--driver', 'fuse-native', '--passthrough', 'on', '--log-level', 'silent']);
      expect(await daemon.ended).toBe(32);
      expect(daemon.stderr).toMatch(/^fuse-shiftfs: .*\[UNSUPPORTED\]\n {2}\S/);
    }));

  it('ends with 71 and unmounts when the connection is aborted', () =>
    withPlace(async (place) => {
      const daemon = new Foreground(place);
      await daemon.untilSaid('"serving"');
      abortFuse(mountAt(place.mountpoint)!);
      expect(await daemon.ended).toBe(71);
      expect(messages(daemon.lines())).toContain('error the connection to the kernel was aborted');
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('ends with 70 and unmounts after an exception nobody caught', () =>
    withPlace(async (place) => {
      const env = daemonFault(place.directory, `process.on('SIGUSR2', () => { throw new Error('injected'); });`);
      const daemon = new Foreground(place, [], env);
      await daemon.untilSaid('"serving"');
      daemon.child.kill('SIGUSR2');
      expect(await daemon.ended).toBe(70);
      expect(daemon.lines().at(-1)).toMatchObject({
        level: 'fatal',
        msg: 'uncaught exception',
        err: { message: 'injected', stack: expect.stringContaining('fault.cjs') },
      });
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('ends with 70 after a promise nobody awaited', () =>
    withPlace(async (place) => {
      const env = daemonFault(
        place.directory,
        `process.on('SIGUSR2', () => { Promise.reject(new Error('injected')); });`,
      );
      const daemon = new Foreground(place, [], env);
      await daemon.untilSaid('"serving"');
      daemon.child.kill('SIGUSR2');
      expect(await daemon.ended).toBe(70);
      expect(daemon.lines().at(-1)).toMatchObject({ level: 'fatal', msg: 'unhandled rejection' });
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('detaches a view in use on SIGTERM, and still serves its users for a while', () =>
    withPlace(async (place) => {
      const daemon = new Foreground(place);
      await daemon.untilSaid('"serving"');
      const holder = await sitIn(place.mountpoint);
      daemon.child.kill('SIGTERM');
      await until('the detaching', () => mountAt(place.mountpoint) === undefined);
      expect(await runOk(['cat', `/proc/${holder.pid}/cwd/file`])).toBe('content\n');
      await holder.stop();
      expect(await daemon.ended).toBe(0);
      expect(messages(daemon.lines())).toEqual([
        'info serving',
        'info unmounting',
        'warn the view is in use: detaching it',
        'info unmounted',
      ]);
    }));

  it('leaves at the second signal, or when those who stay have had their time', () =>
    withPlace(async (place) => {
      for (const impatient of [true, false]) {
        const daemon = new Foreground(place);
        await daemon.untilSaid('"serving"');
        const holder = await sitIn(place.mountpoint);
        daemon.child.kill('SIGTERM');
        await daemon.untilSaid('detaching it');
        if (impatient) daemon.child.kill('SIGTERM');
        expect(await daemon.ended).toBe(0);
        expect(messages(daemon.lines()).at(-1)).toMatch(
          impatient ? /^warn stopping at once$/ : /^warn open files or copies/,
        );
        await holder.stop();
        expect(mountAt(place.mountpoint)).toBeUndefined();
      }
    }));

  it('leaves alone what is mounted in its place since', () =>
    withPlace(async (place) => {
      const first = new Foreground(place);
      await first.untilSaid('"serving"');
      // A copy in another mount namespace keeps it alive when its own mount is gone.
      const holder = await startProgram(['unshare', '--mount', '--propagation', 'private', 'sleep', '60']);
      await until('the copy', () => tryRead(`/proc/${holder.pid}/comm`) === 'sleep\n');
      await runOk(['umount', '--no-canonicalize', place.mountpoint]);
      const second = new Foreground(place);
      await second.untilSaid('"serving"');
      first.child.kill('SIGTERM');
      expect(await first.ended).toBe(0);
      expect(messages(first.lines()).at(-1)).toMatch(/^warn open files or copies/);
      expect(await runOk(['cat', `${place.mountpoint}/file`])).toBe('content\n');
      second.child.kill('SIGTERM');
      expect(await second.ended).toBe(0);
      holder.kill('SIGKILL');
    }));

  it('is readable on a terminal', () =>
    withPlace(async (place) => {
      // Without exec, a shell between would be ended by the Ctrl-C as well.
      const command = `exec ${process.execPath} ${CLI} mount ${place.source} ${place.mountpoint} --foreground`;
      const terminal = spawn('script', ['-qec', command, '/dev/null'], {
        env: { ...childEnvironment(), TERM: 'xterm' },
      });
      let text = '';
      terminal.stdout.setEncoding('utf8').on('data', (more: string) => {
        text += more;
      });
      const closed = once(terminal, 'close');
      await until('it serves', () => text.includes('serving'));
      // Ctrl-C.
      terminal.stdin.write('\x03');
      expect((await closed)[0]).toBe(0);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is looked for.
      expect(text).toMatch(/\[\d\d:\d\d:\d\d\.\d{3}\] \x1b\[32mINFO\x1b\[39m: \x1b\[36mserving\x1b\[39m/);
      expect(text).toContain('unmounted');
    }));
});

describe('the log', () => {
  it('goes to --log-file, which SIGHUP opens anew', () =>
    withPlace(async (place) => {
      const log = `${place.directory}/log`;
      await cli(['mount', place.source, place.mountpoint, '--log-file', log]);
      const { pid } = await statusOf(place.mountpoint);
      renameSync(log, `${log}.1`);
      process.kill(pid, 'SIGHUP');
      await until('the new file', () => tryRead(log) !== '');
      await cli(['umount', place.mountpoint]);
      expect(messages(parseLog(readFileSync(`${log}.1`, 'utf8')))).toEqual(['info serving']);
      expect(messages(parseLog(readFileSync(log, 'utf8')))).toEqual(['info log file opened anew', 'info unmounted']);
    }));

  it('keeps to --log-level', () =>
    withPlace(async (place) => {
      const log = `${place.directory}/log`;
      await cli(['mount', place.source, place.mountpoint, '--log-file', log, '--log-level', 'warn']);
      await cli(['umount', place.mountpoint]);
      expect(readFileSync(log, 'utf8')).toBe('');
    }));

  it('--trace shows every request and reply with its fields, and no content', () =>
    withPlace(async (place) => {
      const log = `${place.directory}/log`;
      const { source, mountpoint } = place;
      await cli(['mount', source, mountpoint, '--trace', '--log-file', log, '--map', '0:100000:65536']);
      // As an id that the map gives: it makes a file, renames it, and is refused another.
      const script = `cd ${mountpoint} && umask 027 && echo secret-content >made && mv made moved && ! mkdir moved`;
      await runOk(['chown', '1000:1000', source]);
      await runOk(['sh', '-c', script], { uid: 101000 });
      await runOk(['dd', `if=${mountpoint}/moved`, 'of=/dev/null', 'iflag=direct'], { uid: 101000 });
      await cli(['umount', mountpoint]);
      const text = readFileSync(log, 'utf8');
      const requests = parseLog(text).filter(({ level }) => level === 'trace');
      const find = (opcode: string, name: string): LogLine | undefined =>
        requests.find((line) => line['opcode'] === opcode && (line['request'] as { name?: string })?.name === name);
      expect(find('CREATE', 'made')).toMatchObject({
        uid: 101000,
        gid: 101000,
        caller: expect.any(Number),
        request: { mode: '0100666', umask: '027', name: 'made' },
        reply: { uid: 101000, gid: 101000, mode: '0100640', nlink: 1, size: 0, fh: expect.any(String) },
      });
      expect(find('RENAME2', 'made')).toMatchObject({ request: { name: 'made', name2: 'moved' }, reply: { bytes: 0 } });
      expect(find('LOOKUP', 'moved')).toMatchObject({ reply: { nodeid: '0.0' } });
      expect(requests.find(({ opcode }) => opcode === 'RELEASE')).toMatchObject({
        request: { fh: expect.any(String) },
      });
      expect(text).not.toContain('secret-content');
    }));

  it.each([
    ['a full disk', '/dev/full', ''],
    ['a missing directory', '/nonexistent/log', 'fuse-shiftfs: warning: log file: ENOENT'],
  ])('does not stop the view: %s', (_, log, warning) =>
    withPlace(async (place) => {
      const result = await cli(['mount', place.source, place.mountpoint, '--log-file', log]);
      expect(result.status).toBe(0);
      expect(result.stderr.startsWith(warning) && (warning !== '' || result.stderr === ''), result.stderr).toBe(true);
      expect(await runOk(['cat', `${place.mountpoint}/file`])).toBe('content\n');
      expect((await cli(['umount', place.mountpoint])).status).toBe(0);
    }),
  );

  it('does not wait for a FIFO without a reader', () =>
    withPlace(async (place) => {
      const log = `${place.directory}/fifo`;
      await runOk(['mkfifo', log]);
      const result = await cli(['mount', place.source, place.mountpoint, '--log-file', log]);
      expect(result.stderr).toMatch(/^fuse-shiftfs: warning: log file: ENXIO/);
      expect(result.status).toBe(0);
      expect((await cli(['umount', place.mountpoint])).status).toBe(0);
    }));

  it('does not wait for a reader of stderr, and says later what was lost', () =>
    withPlace(async (place) => {
      const env = daemonFault(
        place.directory,
        // Far more than a pipe holds, then a sign that the main thread got through.
        `process.on('SIGUSR2', () => {
          for (let i = 0; i < 3000; i++) process.emit('SIGHUP');
          require('node:fs').writeFileSync('${place.directory}/through', 'yes');
        });`,
      );
      // A pipe whose reading end stays open and is read when we say; writing to it blocks, as it does in a shell.
      const fifo = `${place.directory}/stderr`;
      await runOk(['mkfifo', fifo]);
      const stderr = openSync(fifo, 'r+');
      const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
      const daemon = spawn(process.execPath, [CLI, 'mount', place.source, place.mountpoint, '--foreground'], {
        env: { ...childEnvironment(), ...env },
        stdio: ['ignore', 'ignore', stderr],
      });
      const ended = once(daemon, 'close');
      let text = '';
      const reads = (what: string) =>
        until(what, () => {
          text += readAvailable(reader);
          return text.includes(what);
        });
      await reads('"serving"');
      daemon.kill('SIGUSR2');
      await until('the main thread goes on', () => tryRead(`${place.directory}/through`) === 'yes');
      await reads('log file opened anew');
      daemon.kill('SIGHUP');
      await reads('log lines were lost');
      daemon.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
      text += readAvailable(reader);
      const lost = parseLog(text).find(({ msg }) => msg === 'log lines were lost')!;
      expect(lost['lines']).toBeGreaterThan(0);
      expect(messages(parseLog(text)).at(-1)).toBe('info unmounted');
      closeSync(stderr);
      closeSync(reader);
    }));

  it('goes to syslog in the background', () =>
    withPlace(async (place) => {
      const receiver = new DatagramReceiver(`${place.directory}/syslog`);
      try {
        // A /dev of its own, because /dev/log is everybody's.
        const devices =
          'mkdir "$0/dev" && for d in fuse null zero random urandom tty; do touch "$0/dev/$d"; done && ' +
          'for d in fuse null zero random urandom tty; do mount --bind /dev/$d "$0/dev/$d"; done && touch "$0/dev/log" && ' +
          'mount --bind "$0/syslog" "$0/dev/log" && mount --rbind "$0/dev" /dev && "$@"; s=$?; umount "$2"; exit $s';
        const mount = 'exec "$0" "$1" mount "$2" "$3" --map 0:100000:65536 && exec "$0" "$1" umount "$3"';
        await runOk(
          [
            'sh',
            '-c',
            devices,
            place.directory,
            'sh',
            '-c',
            mount.replaceAll('exec ', ''),
            process.execPath,
            CLI,
            place.source,
            place.mountpoint,
          ],
          { mountNamespace: true },
        );
        const prefix = /^<(\d+)>fuse-shiftfs\[\d+\]: /;
        const texts = receiver.take();
        for (const text of texts) expect(text).toMatch(prefix);
        const said = texts.map((text) => text.replace(prefix, '<$1> '));
        expect(said).toEqual([
          `<30> serving view="${place.mountpoint}" source="${place.source}" map="b:0:100000:65536"`,
          `<30> unmounted view="${place.mountpoint}"`,
        ]);
      } finally {
        receiver.close();
      }
    }));

  it('goes nowhere, and the view serves, where there is no syslog', () =>
    withPlace(async (place) => {
      const result = await cli(['mount', place.source, place.mountpoint]);
      expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
      expect((await cli(['umount', place.mountpoint])).status).toBe(0);
    }));
});

describe('under systemd', () => {
  it('says when it is ready, how it does, and that it stops', () =>
    withPlace(async (place) => {
      const receiver = new DatagramReceiver(`${place.directory}/notify`);
      const daemon = new Foreground(place, [], { NOTIFY_SOCKET: receiver.path, WATCHDOG_USEC: '200000' });
      const said: string[] = [];
      const hears = (text: string) =>
        until(text, () => {
          said.push(...receiver.take());
          return said.some((each) => each.split('\n').includes(text));
        });
      await hears('READY=1');
      expect(mountAt(place.mountpoint)).toBeDefined();
      expect(said[0]!.split('\n')).toEqual([
        'READY=1',
        `MAINPID=${daemon.child.pid}`,
        `STATUS=Serving ${place.source} on ${place.mountpoint}`,
      ]);
      await hears('WATCHDOG=1');
      daemon.child.kill('SIGTERM');
      expect(await daemon.ended).toBe(0);
      await hears('STOPPING=1');
      receiver.close();
    }));

  it('misses the heartbeat when the main thread is stuck', () =>
    withPlace(async (place) => {
      const receiver = new DatagramReceiver(`${place.directory}/notify`);
      const env = daemonFault(
        place.directory,
        `process.on('SIGUSR2', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500));`,
      );
      const daemon = new Foreground(place, [], { ...env, NOTIFY_SOCKET: receiver.path, WATCHDOG_USEC: '100000' });
      await until('a heartbeat', () => receiver.take().includes('WATCHDOG=1'));
      daemon.child.kill('SIGUSR2');
      // The signal is taken when the process sits in the wait of the handler: no heartbeat between two looks far apart.
      await until('it is stuck', async () => {
        receiver.take();
        await new Promise((resolve) => setTimeout(resolve, 400));
        return receiver.take().length === 0;
      });
      await until('it goes on', () => receiver.take().includes('WATCHDOG=1'));
      daemon.child.kill('SIGTERM');
      await daemon.ended;
      receiver.close();
    }));

  it('hands over no descriptors but those that systemd gave it', () =>
    withPlace(async (place) => {
      writeFileSync(`${place.directory}/kept`, '');
      const daemon = spawn(
        'sh',
        [
          '-c',
          'exec 3<"$0/kept" 9<"$0/kept"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"',
          place.directory,
          process.execPath,
          CLI,
          'mount',
          place.source,
          place.mountpoint,
          '-f',
        ],
        { env: childEnvironment(), stdio: ['ignore', 'ignore', 'pipe'] },
      );
      let said = '';
      daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      const closed = once(daemon, 'close');
      await until('it serves', () => said.includes('"serving"'));
      const { stdout } = await run([
        'sh',
        '-c',
        `cd /proc/${daemon.pid}/fd && for f in *; do echo "$f $(readlink "$f")"; done`,
      ]);
      const kept = stdout
        .toString()
        .split('\n')
        .filter((line) => line.endsWith('/kept'));
      expect(kept).toEqual([`3 ${place.directory}/kept`]);
      daemon.kill('SIGTERM');
      expect((await closed)[0]).toBe(0);
      expect(isRunning(daemon.pid!)).toBe(false);
    }));
});
