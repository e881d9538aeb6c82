// The mode that is shown for a file with an access ACL. libfuse 2 cannot tell the kernel to check ACLs (FUSE_POSIX_ACL), so
// the kernel goes by the mode alone, whose group bits are the ACL's mask: they would give the file's group what the ACL
// gives to others. Here the mode is cut down until nobody gets by it what the ACL refuses them (acl(5), ACCESS CHECK
// ALGORITHM).

const VERSION = 2;
const ALL = 0xffff;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const TAG = { user: 0x02, groupObject: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const;

/** `acl` is a value of system.posix_acl_access (include/uapi/linux/posix_acl_xattr.h), `mode` that of its file. */
export function modeWithinAcl(acl: Uint8Array, mode: number): number {
  const view = new DataView(acl.buffer, acl.byteOffset, acl.byteLength);
  if (acl.length < HEADER_BYTES || view.getUint32(0, true) !== VERSION) return mode & ~0o077;
  let group = 7;
  let other = 7;
  let mask = 7;
  // A named user is checked before any group, a named group before the others. All bits stand for "none is named".
  let users = ALL;
  let groups = ALL;
  for (let at = HEADER_BYTES; at + ENTRY_BYTES <= acl.length; at += ENTRY_BYTES) {
    const permissions = view.getUint16(at + 2, true);
    switch (view.getUint16(at, true)) {
      case TAG.user:
        users &= permissions;
        break;
      case TAG.groupObject:
        group = permissions;
        break;
      case TAG.group:
        groups &= permissions;
        break;
      case TAG.mask:
        mask = permissions;
        break;
      case TAG.other:
        other = permissions;
        break;
    }
  }
  if (users !== ALL) users &= mask;
  if (groups !== ALL) groups &= mask;
  return mode & (~0o077 | ((group & mask & users) << 3) | (other & users & groups));
}
