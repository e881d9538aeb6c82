// What the kernel may cache when nothing reports changes: the same time for everything, 0 in strict mode. Promises
// nothing more than that: with N seconds a host edit may stay unseen in the view for N seconds.

import type { Leases } from '../filesystem/context.js';

export class FixedLeases implements Leases {
  readonly granted = false;
  private readonly seconds: number;

  constructor(seconds: number) {
    this.seconds = seconds;
  }

  begin(): void {}

  name(): number {
    return this.seconds;
  }

  attributes(): number {
    return this.seconds;
  }

  keepData(): boolean {
    return false;
  }

  mayCacheListing(): boolean {
    return false;
  }

  changed(): void {}

  changing(): void {}

  renamed(): void {}

  doubt(): void {}

  forget(_slot: number): void {}

  beginsToBeWritten(_slot: number, granted: number): number {
    return granted;
  }

  settle(): void {}
}
