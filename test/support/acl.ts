// POSIX ACLs as the blobs that setxattr(2) takes (include/uapi/linux/posix_acl_xattr.h), for the suites.

export const ACL_ACCESS = 'system.posix_acl_access';
export const ACL_DEFAULT = 'system.posix_acl_default';

const VERSION = 2;
const TAGS = { owner: 0x01, user: 0x02, group: 0x04, namedGroup: 0x08, mask: 0x10, others: 0x20 } as const;
/** Entries that name nobody. */
const NO_ID = 0xffff_ffff;

/** Permission bits 0 to 7 each. An entry that is left out is not in the ACL. */
export interface AclSpec {
  readonly owner?: number;
  readonly users?: Readonly<Record<number, number>>;
  readonly group?: number;
  readonly groups?: Readonly<Record<number, number>>;
  readonly mask?: number;
  readonly others?: number;
}

/** `[tag, permissions, id]` in the order of the blob. */
export type AclEntry = readonly [number, number, number];

export function acl(spec: AclSpec): Buffer {
  const one = (tag: number, permissions: number | undefined): AclEntry[] =>
    permissions === undefined ? [] : [[tag, permissions, NO_ID]];
  const named = (tag: number, ids: Readonly<Record<number, number>> = {}): AclEntry[] =>
    Object.entries(ids).map(([id, permissions]) => [tag, permissions, Number(id)]);
  const entries = [
    ...one(TAGS.owner, spec.owner),
    ...named(TAGS.user, spec.users),
    ...one(TAGS.group, spec.group),
    ...named(TAGS.namedGroup, spec.groups),
    ...one(TAGS.mask, spec.mask),
    ...one(TAGS.others, spec.others),
  ];
  const blob = Buffer.alloc(4 + entries.length * 8);
  blob.writeUInt32LE(VERSION, 0);
  entries.forEach(([tag, permissions, id], index) => {
    blob.writeUInt16LE(tag, 4 + index * 8);
    blob.writeUInt16LE(permissions, 6 + index * 8);
    blob.writeUInt32LE(id, 8 + index * 8);
  });
  return blob;
}

export function readAcl(blob: Buffer): AclEntry[] {
  const entries: AclEntry[] = [];
  for (let offset = 4; offset < blob.length; offset += 8)
    entries.push([blob.readUInt16LE(offset), blob.readUInt16LE(offset + 2), blob.readUInt32LE(offset + 4)]);
  return entries;
}
