// Translates the ids inside POSIX ACLs: values of system.posix_acl_access and system.posix_acl_default, in place.
//
// Layout (include/uapi/linux/posix_acl_xattr.h): u32 version, always 2, then entries of u16 tag, u16 perm, u32 id, all
// little-endian. Only ACL_USER and ACL_GROUP entries have an id; the others hold ACL_UNDEFINED_ID, left alone.
//
// What it promises: entries are never added, lost or reordered, the length stays, permissions and tags stay; a value
// that is refused is left untouched; nothing is allocated.
//
// Two entries may end up with one id: two underlay ids that no range maps both show as the overflow id, and squashing
// makes all of them one. Linux 6.12 has no objection: posix_acl_valid() (fs/posix_acl.c) checks the order of the tags,
// the permission bits and that ids exist, not that ids differ or are sorted, and the road from a FUSE reply
// (fuse_get_acl, posix_acl_from_xattr) does not even call it. posix_acl_permission() then uses the first entry that
// matches. libacl does object: getfacl shows such a file, but `setfacl -m` on it ends with "Duplicate entries" (tried).
// Dropping or merging entries here would instead lose rights or grant them silently.
//
// An idmapped mount shows 4294967295 for an id that does not map (tried). A FUSE reply cannot: posix_acl_from_xattr()
// refuses it with EINVAL, and every permission check of the file with it.

import { EINVAL, EOPNOTSUPP, EOVERFLOW } from '../linux/errno.js';
import { underlayGid, underlayUid, viewGid, viewUid } from './ids.js';
import { getU16, getU32, setU32 } from './little-endian.js';
import { type IdMap, UNMAPPED } from './map.js';

/** POSIX_ACL_XATTR_VERSION */
const VERSION = 2;
const HEADER_SIZE = 4;
const ENTRY_SIZE = 8;

/** e_tag, include/uapi/linux/posix_acl.h. */
const ACL_USER_OBJ = 0x01;
const ACL_USER = 0x02;
const ACL_GROUP_OBJ = 0x04;
const ACL_GROUP = 0x08;
const ACL_MASK = 0x10;
const ACL_OTHER = 0x20;

/**
 * Underlay ids to view ids, for an ACL read from the underlay. Ids that no range maps, and 4294967295 (what getxattr(2)
 * gives for an id it cannot express), become the overflow id.
 *
 * @returns 0, -EINVAL for a value that is not an ACL, -EOPNOTSUPP for another version (as posix_acl_from_xattr does).
 */
export function aclToView(map: IdMap, bytes: Uint8Array, offset: number, length: number): number {
  const error = check(bytes, offset, length);
  if (error !== 0) return error;
  const end = offset + length;
  for (let at = offset + HEADER_SIZE; at < end; at += ENTRY_SIZE) {
    const tag = getU16(bytes, at);
    if (tag === ACL_USER) setU32(bytes, at + 4, map.uidToView(underlayUid(getU32(bytes, at + 4))));
    else if (tag === ACL_GROUP) setU32(bytes, at + 4, map.gidToView(underlayGid(getU32(bytes, at + 4))));
  }
  return 0;
}

/**
 * View ids to underlay ids, for an ACL on its way to the underlay.
 *
 * @returns 0, -EOVERFLOW when an id has no counterpart in the underlay, -EINVAL and -EOPNOTSUPP as `aclToView`.
 */
export function aclToUnderlay(map: IdMap, bytes: Uint8Array, offset: number, length: number): number {
  const error = check(bytes, offset, length);
  if (error !== 0) return error;
  const end = offset + length;
  // All ids are looked up before one is written: a refused value stays as it was.
  for (let at = offset + HEADER_SIZE; at < end; at += ENTRY_SIZE) {
    if (entryToUnderlay(map, bytes, at) === UNMAPPED) return -EOVERFLOW;
  }
  for (let at = offset + HEADER_SIZE; at < end; at += ENTRY_SIZE) {
    setU32(bytes, at + 4, entryToUnderlay(map, bytes, at));
  }
  return 0;
}

/** The id that belongs into the entry at `at`, or UNMAPPED; the one it has where the tag takes none. */
function entryToUnderlay(map: IdMap, bytes: Uint8Array, at: number): number {
  const tag = getU16(bytes, at);
  const id = getU32(bytes, at + 4);
  if (tag === ACL_USER) return map.uidToUnderlay(viewUid(id));
  if (tag === ACL_GROUP) return map.gidToUnderlay(viewGid(id));
  return id;
}

/**
 * What posix_acl_from_xattr() refuses before it looks at ids. The order of entries is posix_acl_valid()'s business, in the
 * kernel under us. A header without entries is valid: it removes the ACL.
 */
function check(bytes: Uint8Array, offset: number, length: number): number {
  if (length < HEADER_SIZE || offset + length > bytes.length) return -EINVAL;
  if (getU32(bytes, offset) !== VERSION) return -EOPNOTSUPP;
  if ((length - HEADER_SIZE) % ENTRY_SIZE !== 0) return -EINVAL;
  for (let at = offset + HEADER_SIZE; at < offset + length; at += ENTRY_SIZE) {
    switch (getU16(bytes, at)) {
      case ACL_USER_OBJ:
      case ACL_USER:
      case ACL_GROUP_OBJ:
      case ACL_GROUP:
      case ACL_MASK:
      case ACL_OTHER:
        break;
      default:
        return -EINVAL;
    }
  }
  return 0;
}
