/** The bytes of a pack's entries (gitformat-pack(5), version 2): what stands before the deflated data of each. */
import { crc32 } from 'node:zlib';
import type { GitObjectType } from '../ledger/git-object.js';

/** Numbers of the types as they stand in a pack; tags are git's own and never ours. */
export const packType = { commit: 1, tree: 2, blob: 3, tag: 4, ofsDelta: 6, refDelta: 7 } as const;

/** An object's type as git has it: ours, or a tag that somebody else put there. */
export type PackedType = GitObjectType | 'tag';

const typeNames: Readonly<Record<number, PackedType>> = { 1: 'commit', 2: 'tree', 3: 'blob', 4: 'tag' };

export const packHeaderBytes = 12;
export const checksumBytes = 20;
/** A head is at most this long: 10 bytes of type and size, and 20 of the base's name. */
export const headBytesMax = 32;
/** No object is larger: a merge has 2 MiB of entries, a tree 512 names or 256 folders. */
export const objectBytesMax = 256 * 1024 * 1024;

export interface EntryHead {
  /** The type of a whole object; null for a delta. */
  readonly type: PackedType | null;
  /** Bytes of the inflated data: of the object, or of the delta. */
  readonly size: number;
  /** Bytes of this head. */
  readonly length: number;
  /** Where a delta's base is: so many bytes before this entry, or by its name in hex. */
  readonly base: { readonly back: number } | { readonly oid: string } | null;
}

/** The bytes of a pack or index are not what the format says. */
export class PackError extends Error {
  override readonly name = 'PackError';
}

export function packHeader(count: number): Buffer {
  const header = Buffer.alloc(packHeaderBytes);
  header.write('PACK', 'latin1');
  header.writeUInt32BE(2, 4);
  header.writeUInt32BE(count, 8);
  return header;
}

/** @returns how many objects the pack says it has. @throws PackError */
export function readPackHeader(bytes: Buffer): number {
  if (bytes.length < packHeaderBytes || bytes.toString('latin1', 0, 4) !== 'PACK')
    throw new PackError('it does not begin as a pack');
  if (bytes.readUInt32BE(4) !== 2) throw new PackError(`its version is ${bytes.readUInt32BE(4)}, not 2`);
  return bytes.readUInt32BE(8);
}

/** Type in bits 4–6 of the first byte, size in its low 4 bits and 7 a byte from there on, the lowest first. */
export function entryHead(type: number, size: number): Buffer {
  const bytes: number[] = [];
  let byte = (type << 4) | (size & 0x0f);
  for (let rest = Math.floor(size / 16); ; rest = Math.floor(rest / 128)) {
    if (rest === 0) {
      bytes.push(byte);
      return Buffer.from(bytes);
    }
    bytes.push(byte | 0x80);
    byte = rest % 128;
  }
}

/** How far back a delta's base is: 7 bits a byte, the highest first, one added at each further byte. */
export function backBytes(back: number): Buffer {
  const bytes = [back % 128];
  for (let rest = Math.floor(back / 128); rest > 0; rest = Math.floor(rest / 128)) {
    rest -= 1;
    bytes.unshift(128 + (rest % 128));
  }
  return Buffer.from(bytes);
}

/** @throws PackError */
export function readEntryHead(bytes: Buffer): EntryHead {
  let at = 0;
  const next = (): number => {
    const byte = bytes[at++];
    if (byte === undefined || at > headBytesMax) throw new PackError('the head of an entry is cut short');
    return byte;
  };
  let byte = next();
  const number = (byte >> 4) & 7;
  let size = byte & 0x0f;
  for (let factor = 16; byte >= 128; factor *= 128) {
    byte = next();
    size += (byte & 0x7f) * factor;
  }
  if (size > objectBytesMax)
    throw new PackError(`an entry says it has ${size} bytes, ${objectBytesMax} are allowed`);
  if (number === packType.ofsDelta) {
    byte = next();
    let back = byte & 0x7f;
    while (byte >= 128) {
      byte = next();
      back = (back + 1) * 128 + (byte & 0x7f);
    }
    return { type: null, size, length: at, base: { back } };
  }
  if (number === packType.refDelta) {
    if (bytes.length < at + checksumBytes) throw new PackError('the head of an entry is cut short');
    const oid = bytes.toString('hex', at, at + checksumBytes);
    return { type: null, size, length: at + checksumBytes, base: { oid } };
  }
  const type = typeNames[number];
  if (type === undefined) throw new PackError(`there is no entry of type ${number}`);
  return { type, size, length: at, base: null };
}

/** No zlib stream of so many bytes is longer (zlib's own bound for stored blocks, rounded up). */
export const deflatedBound = (size: number): number => size + Math.ceil(size / 1000) + 64;

/** CRC-32 of several parts as if they were one. */
export function crcOf(...parts: readonly Uint8Array[]): number {
  let crc = 0;
  for (const part of parts) crc = crc32(part, crc);
  return crc;
}
