/**
 * Git's pack and index formats, version 2 each (gitformat-pack(5)): whole objects, no deltas.
 * A pack takes one fsync for any number of objects; a loose object takes one each.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { crc32, deflate, deflateSync } from 'node:zlib';
import { invariant } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';

export interface PackFiles {
  readonly pack: Buffer;
  readonly idx: Buffer;
  /** SHA-1 of the pack: the files are `pack-<name>.pack` and `pack-<name>.idx`. */
  readonly name: string;
}

/** Offsets in the index are 31 bits wide here. */
const packBytesMax = 0x7fff_ffff;
/** Larger objects are deflated off this thread. */
const deflateHereMax = 4 * 1024;
/** Lets other work in after so many objects. */
const objectsPerTurn = 32;

const typeNumber = { commit: 1, tree: 2, blob: 3 } as const;
const deflateAside = promisify(deflate);
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Placed {
  readonly oid: Buffer;
  readonly offset: number;
  readonly crc: number;
}

/**
 * Packs the objects (each oid once; a repeated one is left out) in the order given.
 * Waits for nothing but zlib; the same objects give the same bytes.
 */
export async function writePack(objects: Iterable<GitObject>): Promise<PackFiles> {
  const unique = [...new Map([...objects].map((object) => [object.oid, object])).values()];
  const header = Buffer.alloc(12);
  header.write('PACK', 'latin1');
  header.writeUInt32BE(2, 4);
  header.writeUInt32BE(unique.length, 8);

  const parts: Buffer[] = [header];
  const placed: Placed[] = [];
  let offset = header.length;
  for (const [index, { oid, type, data }] of unique.entries()) {
    const head = objectHeader(typeNumber[type], data.byteLength);
    const body = data.byteLength <= deflateHereMax ? deflateSync(data) : await deflateAside(data);
    parts.push(head, body);
    placed.push({ oid: Buffer.from(oid, 'hex'), offset, crc: crc32(body, crc32(head)) });
    offset += head.length + body.length;
    invariant(offset < packBytesMax, 'a pack stays below 2 GiB');
    if (index % objectsPerTurn === objectsPerTurn - 1) await nextTurn();
  }
  const checksum = sha1(...parts);
  return {
    pack: Buffer.concat([...parts, checksum]),
    idx: index(placed, checksum),
    name: checksum.toString('hex'),
  };
}

/** Type in bits 4–6 of the first byte, size in its low 4 bits and 7 a byte from there on. */
function objectHeader(type: number, size: number): Buffer {
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

function index(placed: readonly Placed[], packChecksum: Buffer): Buffer {
  const sorted = placed.toSorted((a, b) => Buffer.compare(a.oid, b.oid));
  const count = sorted.length;
  const tables = Buffer.alloc(8 + 256 * 4 + count * 28);
  tables.writeUInt32BE(0xff744f63, 0);
  tables.writeUInt32BE(2, 4);
  const fanout = new Uint32Array(256);
  for (const { oid } of sorted) fanout[oid[0]!]! += 1;
  let total = 0;
  fanout.forEach((here, first) => tables.writeUInt32BE((total += here), 8 + first * 4));
  const oids = 8 + 256 * 4;
  const crcs = oids + count * 20;
  const offsets = crcs + count * 4;
  sorted.forEach(({ oid, crc, offset }, position) => {
    oid.copy(tables, oids + position * 20);
    tables.writeUInt32BE(crc, crcs + position * 4);
    tables.writeUInt32BE(offset, offsets + position * 4);
  });
  return Buffer.concat([tables, packChecksum, sha1(tables, packChecksum)]);
}

function sha1(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha1');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
