// Translates security.capability, the file capabilities, whose revision 3 names a uid: the root of the user namespace
// that the capabilities are good in. In place, without allocation.
//
// Layouts (include/uapi/linux/capability.h), all fields little-endian u32: revision 2 is magic_etc, then two pairs of
// permitted and inheritable (20 bytes), and means rootid 0; revision 3 adds rootid (24 bytes).
//
// How values reach us (security/commoncap.c and fs/xattr.c of Linux 6.12; the view belongs to the initial user namespace):
// - setxattr on the view by a container: cap_convert_nscap() has turned what setcap wrote (revision 2) into revision 3
//   with the rootid of the container's root, in ids of the initial namespace: a *view* uid, 100000 for 0:100000:65536.
// - setxattr on the view by root of the host: revision 2 comes through as it is. It means view uid 0.
// - getxattr on the underlay by the daemon: cap_inode_getsecurity() gives revision 2 for rootid 0, else revision 3 with
//   an *underlay* uid, and EINVAL for what is neither (also for revision 1, which can no longer be written).
// - getxattr on the view: the kernel asks us, then turns our revision 3 with the caller's own root into revision 2, and
//   answers EOVERFLOW where rootid is foreign to the caller. execve(2) asks us too (get_vfs_caps_from_disk) and honours
//   the capabilities only below a namespace whose root is rootid.
// So revision 2 must not pass unchanged where uid 0 does not map to uid 0: the view would show capabilities that are good
// on the whole host, where the underlay meant the container's root. An idmapped mount shows the very same values (tried on
// Linux 6.18), but answers EINVAL where a rootid that does not map is set; here that is EOVERFLOW, as for chown.
//
// Squashing many ids into one must not turn capabilities for some user's own namespace into capabilities for the
// container's: here only squash.underlay and squash.view stand for each other, every other rootid is unmapped.

import { EINVAL, EOVERFLOW, ERANGE } from '../linux/errno.js';
import { underlayUid, viewUid } from './ids.js';
import { getU32, setU32 } from './little-endian.js';
import { type IdMap, UNMAPPED } from './map.js';

/** VFS_CAP_REVISION_2, VFS_CAP_REVISION_3, VFS_CAP_FLAGS_EFFECTIVE */
const REVISION_2 = 0x02000000;
const REVISION_3 = 0x03000000;
const FLAG_EFFECTIVE = 0x000001;
/** XATTR_CAPS_SZ_2, XATTR_CAPS_SZ_3 */
const SIZE_2 = 20;
const SIZE_3 = 24;

/** The longest value; the region given to the functions below needs room for it. */
export const CAPABILITY_SIZE_MAX = SIZE_3;

/**
 * An underlay value to what the view shows. It keeps its revision, but for revision 2 where underlay uid 0 is not view
 * uid 0: that becomes revision 3, four bytes longer (so a size probe must translate too: the length of the underlay's
 * value is not the answer).
 *
 * @returns the new length, or
 *   -EOVERFLOW where rootid has no view id. Pass that on to a size probe (getxattr(2) starts with one, and
 *   cap_inode_getsecurity answers EOVERFLOW for an idmapped mount), but answer ENODATA to a read with a buffer: that is
 *   how execve(2) asks, and for it any other error means that the program cannot be started at all;
 *   -EINVAL for what is not revision 2 or 3;
 *   -ERANGE where `bytes` ends before offset + 24.
 */
export function capabilityToView(map: IdMap, bytes: Uint8Array, offset: number, length: number): number {
  const rootid = readRootid(bytes, offset, length);
  if (rootid < 0) return rootid;
  const view = map.uidToViewExact(underlayUid(rootid));
  return view === UNMAPPED ? -EOVERFLOW : writeRootid(bytes, offset, length, view);
}

/**
 * A view value on its way to the underlay. It keeps its revision, but for revision 2 where view uid 0 is not underlay
 * uid 0 (root of the host on the view): that becomes revision 3, four bytes longer.
 *
 * Where the container's root is underlay uid 0 the result is good on the whole host, as with an idmapped mount: see
 * `IdMap.reachesUnderlayRoot`.
 *
 * @returns the new length, or -EOVERFLOW where rootid has no underlay id, -EINVAL and -ERANGE as `capabilityToView`.
 */
export function capabilityToUnderlay(map: IdMap, bytes: Uint8Array, offset: number, length: number): number {
  const rootid = readRootid(bytes, offset, length);
  if (rootid < 0) return rootid;
  const underlay = map.uidToUnderlayExact(viewUid(rootid));
  return underlay === UNMAPPED ? -EOVERFLOW : writeRootid(bytes, offset, length, underlay);
}

/** rootid, or -EINVAL: is_v2header and is_v3header of security/commoncap.c. */
function readRootid(bytes: Uint8Array, offset: number, length: number): number {
  if ((length !== SIZE_2 && length !== SIZE_3) || offset + length > bytes.length) return -EINVAL;
  const revision = getU32(bytes, offset) & ~FLAG_EFFECTIVE;
  if (length === SIZE_2) return revision === REVISION_2 ? 0 : -EINVAL;
  return revision === REVISION_3 ? getU32(bytes, offset + SIZE_2) : -EINVAL;
}

function writeRootid(bytes: Uint8Array, offset: number, length: number, rootid: number): number {
  if (length === SIZE_2) {
    if (rootid === 0) return SIZE_2;
    if (offset + SIZE_3 > bytes.length) return -ERANGE;
    setU32(bytes, offset, REVISION_3 | (getU32(bytes, offset) & FLAG_EFFECTIVE));
  }
  setU32(bytes, offset + SIZE_2, rootid);
  return SIZE_3;
}
