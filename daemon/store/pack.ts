/**
 * Writes packs in memory, version 2 (gitformat-pack(5)): whole objects, no deltas, as a flush needs them.
 * A pack takes one fsync for any number of objects; a loose object takes one each.
 */
import { promisify } from 'node:util';
import { deflate, deflateSync } from 'node:zlib';
import { invariant } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import { crcOf, entryHead, packHeader, packType } from './pack-format.js';
import { packIndex, sha1, type IndexedEntry } from './pack-index.js';

export interface PackFiles {
  readonly pack: Buffer;
  readonly idx: Buffer;
  /** SHA-1 of the pack: the files are `pack-<name>.pack` and `pack-<name>.idx`. */
  readonly name: string;
}

/** Offsets in the index are 31 bits wide here. */
export const packBytesMax = 0x7fff_ffff;
/** Larger objects are deflated off this thread. */
const deflateHereMax = 4 * 1024;
/** Lets other work in after so many objects. */
const objectsPerTurn = 32;

const deflateAside = promisify(deflate);
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Packs the objects (each oid once; a repeated one is left out) in the order given.
 * Waits for nothing but zlib; the same objects give the same bytes.
 */
export async function writePack(objects: Iterable<GitObject>): Promise<PackFiles> {
  const unique = [...new Map([...objects].map((object) => [object.oid, object])).values()];
  const header = packHeader(unique.length);
  const parts: Buffer[] = [header];
  const placed: IndexedEntry[] = [];
  let offset = header.length;
  for (const [index, { oid, type, data }] of unique.entries()) {
    const head = entryHead(packType[type], data.byteLength);
    const body = data.byteLength <= deflateHereMax ? deflateSync(data) : await deflateAside(data);
    parts.push(head, body);
    placed.push({ oid: Buffer.from(oid, 'hex'), offset, crc: crcOf(head, body) });
    offset += head.length + body.length;
    invariant(offset < packBytesMax, 'a pack stays below 2 GiB');
    if (index % objectsPerTurn === objectsPerTurn - 1) await nextTurn();
  }
  const checksum = sha1(...parts);
  return {
    pack: Buffer.concat([...parts, checksum]),
    idx: packIndex(placed, checksum),
    name: checksum.toString('hex'),
  };
}
