// A local datagram socket to receive on (node has none): what the daemon says to systemd and to syslog.

import { rmSync } from 'node:fs';
import { Memory } from '../../src/linux/memory.js';
import { call4, call6, close } from '../../src/linux/syscalls.js';

const arm64 = process.arch === 'arm64';
const SYS_SOCKET = arm64 ? 198 : 41;
const SYS_BIND = arm64 ? 200 : 49;
const SYS_RECVFROM = arm64 ? 207 : 45;
const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;

export class DatagramReceiver {
  readonly path: string;
  readonly #fd: number;
  readonly #memory = new Memory(65536);

  /** Binds `path`, of at most 107 bytes. */
  constructor(path: string) {
    this.path = path;
    this.#fd = call4(SYS_SOCKET, AF_UNIX, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0, 0);
    this.#memory.u16[0] = AF_UNIX;
    this.#memory.setString(2, path);
    const error = call4(SYS_BIND, this.#fd, this.#memory.address, 2 + Buffer.byteLength(path) + 1, 0);
    if (error < 0) throw new Error(`bind ${path}: errno ${-error}`);
  }

  /** What has arrived since the last call. */
  take(): string[] {
    const texts: string[] = [];
    for (;;) {
      const length = call6(SYS_RECVFROM, this.#fd, this.#memory.address, this.#memory.size, 0, 0, 0);
      if (length < 0) return texts;
      texts.push(Buffer.from(this.#memory.u8.subarray(0, length)).toString('utf8'));
    }
  }

  close(): void {
    close(this.#fd);
    rmSync(this.path, { force: true });
  }
}
