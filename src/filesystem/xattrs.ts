// Extended attributes, with the ids inside them shifted. What the container may see and set:
//
//   user.*                      everything
//   system.posix_acl_access,    ids translated; the kernel enforces them on view ids
//   system.posix_acl_default
//   security.capability         root id translated; a capability that underlay root's namespace would honour on the host
//                               is refused (like a set-id bit, unless --allow-suid)
//   security.* (all others)     hidden, and refused with EPERM: the labels are the host's
//   trusted.*                   hidden, and refused with EPERM: they belong to the host's administrator
//   anything else               EOPNOTSUPP

import { aclToUnderlay, aclToView } from '../idmap/posix-acl.js';
import { CAPABILITY_SIZE_MAX, capabilityToUnderlay, capabilityToView } from '../idmap/security-capability.js';
import { S_IFDIR, XATTR_CREATE, XATTR_REPLACE } from '../linux/abi.js';
import { E2BIG, EINVAL, ENODATA, EOPNOTSUPP, EOVERFLOW, EPERM, ERANGE } from '../linux/errno.js';
import { call4, call6, NR } from '../linux/syscalls.js';
import { asOwnerOf, goneOrReplaced } from './attributes.js';
import { AT_XATTR, type Context, XATTR_BYTES } from './context.js';
import { acquire } from './resolve.js';

/** Most values and lists are shorter than this. */
const USUAL_BYTES = 512;

const USER = Buffer.from('user.');
const TRUSTED = Buffer.from('trusted.');
const SECURITY = Buffer.from('security.');
const CAPABILITY = Buffer.from('security.capability\0');
const ACL_ACCESS = Buffer.from('system.posix_acl_access\0');
const ACL_DEFAULT = Buffer.from('system.posix_acl_default\0');

type Kind = 'plain' | 'acl' | 'capability' | 'hidden' | 'unknown';

function startsWith(bytes: Uint8Array, offset: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[offset + i] !== prefix[i]) return false;
  return true;
}

function kindOf(bytes: Uint8Array, offset: number): Kind {
  if (startsWith(bytes, offset, USER)) return 'plain';
  if (startsWith(bytes, offset, ACL_ACCESS) || startsWith(bytes, offset, ACL_DEFAULT)) return 'acl';
  if (startsWith(bytes, offset, CAPABILITY)) return 'capability';
  if (startsWith(bytes, offset, TRUSTED) || startsWith(bytes, offset, SECURITY)) return 'hidden';
  return 'unknown';
}

/**
 * Reads a value of at most `size` bytes (0: only its length is asked). Fills result.offset and result.length; ERANGE
 * when it does not fit.
 */
export function getXattr(context: Context, slot: number, nameOffset: number, size: number): number {
  const { memory, result } = context;
  const kind = kindOf(memory.u8, nameOffset);
  if (kind === 'hidden') return -ENODATA;
  if (kind === 'unknown') return -EOPNOTSUPP;
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  // The kernel clears as much memory as is asked for, so little is asked for first.
  const path = context.fdName(fd);
  const value = memory.address + AT_XATTR;
  let got = call4(NR.getxattr, path, memory.address + nameOffset, value, USUAL_BYTES);
  if (got === -ERANGE) got = call4(NR.getxattr, path, memory.address + nameOffset, value, XATTR_BYTES);
  context.nodes.unpin(slot);
  if (got < 0) return got;
  let length = got;
  if (kind === 'acl') {
    const error = aclToView(context.ids, memory.u8, AT_XATTR, got);
    if (error < 0) return error;
  } else if (kind === 'capability') {
    length = capabilityToView(context.ids, memory.u8, AT_XATTR, got);
    // execve(2) reads it too, and any other error than "there is none" would make the program impossible to start.
    if (length === -EOVERFLOW && size !== 0) return -ENODATA;
    if (length < 0) return length;
  }
  if (size !== 0 && length > size) return -ERANGE;
  result.offset = AT_XATTR;
  result.length = length;
  return 0;
}

/** Sets a value that lies in memory at `valueOffset`, which is changed in place. `kill`: an ACL set drops setgid. */
export function setXattr(
  context: Context,
  slot: number,
  nameOffset: number,
  valueOffset: number,
  size: number,
  flags: number,
  killSgid: boolean,
): number {
  const { memory, credentials } = context;
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) !== 0) return -EINVAL;
  if (size > XATTR_BYTES) return -E2BIG;
  const kind = kindOf(memory.u8, nameOffset);
  if (kind === 'hidden') return -EPERM;
  if (kind === 'unknown') return -EOPNOTSUPP;
  // A copy, as translation may lengthen it and must not run over what follows in the request.
  memory.u8.copyWithin(AT_XATTR, valueOffset, valueOffset + size);
  let length = size;
  if (kind === 'acl') {
    const error = aclToUnderlay(context.ids, memory.u8, AT_XATTR, size);
    if (error < 0) return error;
  } else if (kind === 'capability') {
    length = capabilityToUnderlay(context.ids, memory.u8, AT_XATTR, size);
    if (length < 0) return length;
    if (!context.options.allowSuid && rootOfCapability(memory.u32, length) === 0) return -EPERM;
  }
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  credentials.serve();
  const value = memory.address + AT_XATTR;
  const set = (): number =>
    call6(NR.setxattr, context.fdName(fd), memory.address + nameOffset, value, length, flags, 0);
  // FUSE_SETXATTR_ACL_KILL_SGID says whether the caller may keep the bit; the underlay asks our credentials.
  let error: number;
  if (kind !== 'acl' || killSgid) error = set();
  else if (context.nodes.type(slot) !== S_IFDIR && !context.options.allowSuid) error = asOwnerOf(context, fd, set);
  else {
    credentials.setFsetid(true);
    error = set();
    credentials.setFsetid(false);
  }
  context.nodes.unpin(slot);
  return error;
}

/** The underlay uid whose user namespace would honour the capability at AT_XATTR: 0 is the host itself. */
function rootOfCapability(u32: Uint32Array, length: number): number {
  return length === CAPABILITY_SIZE_MAX ? u32[(AT_XATTR + CAPABILITY_SIZE_MAX - 4) >> 2]! : 0;
}

/** Names the container may see, each with its NUL. Fills result.offset and result.length. */
export function listXattrs(context: Context, slot: number, size: number): number {
  const { memory, result } = context;
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  const path = context.fdName(fd);
  let got = call4(NR.listxattr, path, memory.address + AT_XATTR, USUAL_BYTES, 0);
  if (got === -ERANGE) got = call4(NR.listxattr, path, memory.address + AT_XATTR, XATTR_BYTES, 0);
  context.nodes.unpin(slot);
  if (got < 0) return got;
  let kept = AT_XATTR;
  const end = AT_XATTR + got;
  for (let at = AT_XATTR; at < end; ) {
    let next = at;
    while (next < end && memory.u8[next] !== 0) next++;
    next++;
    const kind = kindOf(memory.u8, at);
    if (kind !== 'hidden' && kind !== 'unknown') {
      memory.u8.copyWithin(kept, at, next);
      kept += next - at;
    }
    at = next;
  }
  const length = kept - AT_XATTR;
  if (size !== 0 && length > size) return -ERANGE;
  result.offset = AT_XATTR;
  result.length = length;
  return 0;
}

export function removeXattr(context: Context, slot: number, nameOffset: number): number {
  const kind = kindOf(context.memory.u8, nameOffset);
  if (kind === 'hidden') return -EPERM;
  if (kind === 'unknown') return -EOPNOTSUPP;
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  const error = call4(NR.removexattr, context.fdName(fd), context.memory.address + nameOffset, 0, 0);
  context.nodes.unpin(slot);
  return error;
}
