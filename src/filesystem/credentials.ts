// The identity a serving thread creates files with. All of it is per thread (raw system calls: glibc's wrappers would
// change every thread), cached so that a call is made only when something differs, and switched *before* the create, so
// that no file is ever visible with a wrong owner.
//
// Promises: a thread keeps its capabilities whatever its fsuid is (SECBIT_NO_SETUID_FIXUP), because the kernel has
// already decided on the view's ids what the caller may do; CAP_FSETID is effective only inside `withFsetid`, because
// with it a write would leave set-id bits standing (fs/attr.c, setattr_should_drop_suidgid).

import type { Memory } from '../linux/memory.js';
import { call2, call6, NR } from '../linux/syscalls.js';

const PR_SET_SECUREBITS = 28;
/** include/uapi/linux/securebits.h: keep capabilities when uids change, and lock that. */
const SECBIT_NO_SETUID_FIXUP = 1 << 2;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;
const CAP_FOWNER = 3;
const CAP_FSETID = 4;
/** ext4 lets fsuid 0 have the reserved blocks (ext4_has_free_clusters), so writes run as somebody else. */
const NOBODY = 65534;

export class Credentials {
  private readonly memory: Memory;
  /** Room for __user_cap_header_struct (8 bytes) and two __user_cap_data_struct (24), and a gid list of one. */
  private readonly at: number;
  private fsuid = -1;
  private fsgid = -1;
  private umask = -1;
  private group = -1;
  private fsetid = true;
  /** Permitted capabilities 0 to 31 and 32 to 63: what the launcher left, for good. */
  private permitted: readonly [number, number] | null = null;

  constructor(memory: Memory, at: number) {
    this.memory = memory;
    this.at = at;
  }

  /** Prepares the calling thread. Throws when a capability the daemon stands on is missing. */
  initialize(): void {
    const secured = call6(NR.prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0, 0);
    // EPERM where CAP_SETPCAP is gone already and the launcher has set the bit: inherited by every thread.
    if (secured < 0 && (call6(NR.prctl, 27, 0, 0, 0, 0, 0) & SECBIT_NO_SETUID_FIXUP) === 0) {
      throw new Error(`prctl(PR_SET_SECUREBITS) failed: errno ${-secured}`);
    }
    call2(NR.setgroups, 0, 0);
    this.setFsetid(false);
    this.serve();
  }

  /** Creates from here on belong to `uid` and `gid` (underlay ids); `group` is one more group, or -1. */
  become(uid: number, gid: number, group: number, umask: number): void {
    if (this.fsgid !== gid) {
      call2(NR.setfsgid, gid, 0);
      this.fsgid = gid;
    }
    if (this.fsuid !== uid) {
      call2(NR.setfsuid, uid, 0);
      this.fsuid = uid;
    }
    if (this.group !== group) {
      if (group === -1) call2(NR.setgroups, 0, 0);
      else {
        this.memory.u32[this.at >> 2] = group;
        call2(NR.setgroups, 1, this.memory.address + this.at);
      }
      this.group = group;
    }
    if (this.umask !== umask) {
      call2(NR.umask, umask, 0);
      this.umask = umask;
    }
  }

  /** Before a write, or before a backing file is registered: anybody but root. */
  serve(): void {
    if (this.fsuid > 0) return;
    call2(NR.setfsgid, NOBODY, 0);
    call2(NR.setfsuid, NOBODY, 0);
    this.fsgid = NOBODY;
    this.fsuid = NOBODY;
  }

  /**
   * Runs `change` as the owner and the group of a file, and with no right over files of others: whether it still has
   * them is then decided by the underlay, under its own lock. EPERM when it has not.
   */
  asOwner(uid: number, gid: number, change: () => number): number {
    this.become(uid, gid, -1, this.umask);
    this.withhold((1 << CAP_FOWNER) | (1 << CAP_FSETID));
    const result = change();
    this.withhold(1 << CAP_FSETID);
    this.fsetid = false;
    return result;
  }

  /** Makes CAP_FSETID effective, or not, on this thread. */
  setFsetid(on: boolean): void {
    if (this.fsetid === on) return;
    if (this.withhold(on ? 0 : 1 << CAP_FSETID)) this.fsetid = on;
  }

  /** Makes every permitted capability effective but those of the mask (of capabilities 0 to 31). */
  private withhold(mask: number): boolean {
    const word = this.at >> 2;
    const { u32, address } = this.memory;
    u32[word] = LINUX_CAPABILITY_VERSION_3;
    u32[word + 1] = 0;
    // Layout: effective, permitted, inheritable of capabilities 0-31, then of 32-63. Nothing is inheritable.
    if (this.permitted === null) {
      if (call2(NR.capget, address + this.at, address + this.at + 8) < 0) return false;
      this.permitted = [u32[word + 3]!, u32[word + 6]!];
    }
    const [low, high] = this.permitted;
    u32[word + 2] = low & ~mask;
    u32[word + 3] = low;
    u32[word + 4] = 0;
    u32[word + 5] = high;
    u32[word + 6] = high;
    u32[word + 7] = 0;
    return call2(NR.capset, address + this.at, address + this.at + 8) === 0;
  }
}
