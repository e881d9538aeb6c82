// Memory that system calls can point at: one block per thread, seen through typed arrays and known by its address.
// Addresses are plain numbers (user space ends far below 2^53), so passing one to a system call allocates nothing.
// Offsets into a block are in bytes unless a name says otherwise; both supported architectures are little-endian.

import koffi from 'koffi';

export class Memory {
  readonly size: number;
  /** Address of the first byte. */
  readonly address: number;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly i32: Int32Array<ArrayBuffer>;

  constructor(size: number) {
    // A fresh ArrayBuffer is never moved by the collector (only small typed arrays without one live on the heap).
    const buffer = new ArrayBuffer((size + 7) & ~7);
    this.size = buffer.byteLength;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.address = Number(koffi.address(this.u8));
  }

  /** Reads a u64 as a number; exact below 2^53. `offset` must be a multiple of 4. */
  u64(offset: number): number {
    return this.u32[(offset >> 2) + 1]! * 4294967296 + this.u32[offset >> 2]!;
  }

  setU64(offset: number, value: number): void {
    this.u32[offset >> 2] = value >>> 0;
    this.u32[(offset >> 2) + 1] = Math.floor(value / 4294967296) >>> 0;
  }

  /** Writes `text` as a NUL-terminated string; returns its address. For paths the program itself makes. */
  setString(offset: number, text: string): number {
    const bytes = Buffer.from(text);
    if (offset + bytes.length + 1 > this.size) throw new RangeError(`string of ${bytes.length} bytes does not fit`);
    this.u8.set(bytes, offset);
    this.u8[offset + bytes.length] = 0;
    return this.address + offset;
  }

  /** Writes the decimal digits of `n` and a NUL: a name in /proc/self/fd. Returns its address. */
  setDecimal(offset: number, n: number): number {
    let digits = 1;
    for (let m = n; m >= 10; m = (m / 10) | 0) digits++;
    let at = offset + digits;
    this.u8[at] = 0;
    let rest = n;
    do {
      const next = (rest / 10) | 0;
      this.u8[--at] = 48 + (rest - next * 10);
      rest = next;
    } while (rest > 0);
    return this.address + offset;
  }
}
