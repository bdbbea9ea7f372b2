/** The index of a pack, version 2 (gitformat-pack(5)): 256 running counts, names in order, CRCs, offsets, two checksums. */
import { createHash } from 'node:crypto';
import { invariant } from '../ledger/ids.js';
import { PackError, checksumBytes } from './pack-format.js';

export interface IndexedEntry {
  readonly oid: Buffer;
  readonly offset: number;
  /** CRC-32 of the entry's head and deflated data. */
  readonly crc: number;
}

const magic = 0xff744f63;
export const indexHeadBytes = 8 + 256 * 4;
const rowBytes = checksumBytes + 4 + 4;
/** Offsets above go to a table of 8-byte ones, which ours never need. */
const smallOffsetMax = 0x7fff_ffff;

/** The index of a pack with these entries, in any order. Offsets below 2 GiB. */
export function packIndex(entries: readonly IndexedEntry[], packChecksum: Buffer): Buffer {
  const table = new IndexTable(entries.length);
  for (const entry of entries) table.add(entry);
  return table.bytes(packChecksum);
}

/** Entries of a pack to be: 32 bytes for each, so that a million of them are no matter on a small board. */
export class IndexTable {
  readonly #oids: Buffer;
  readonly #offsets: Uint32Array;
  readonly #crcs: Uint32Array;
  #count = 0;

  /** @param countMax the most that will be added */
  constructor(countMax: number) {
    this.#oids = Buffer.alloc(countMax * checksumBytes);
    this.#offsets = new Uint32Array(countMax);
    this.#crcs = new Uint32Array(countMax);
  }

  add({ oid, offset, crc }: IndexedEntry): void {
    invariant(
      this.#count < this.#offsets.length && offset <= smallOffsetMax,
      'an index has room for its entries',
    );
    oid.copy(this.#oids, this.#count * checksumBytes);
    this.#offsets[this.#count] = offset;
    this.#crcs[this.#count] = crc;
    this.#count += 1;
  }

  /** The file. @param packChecksum of the pack, 20 bytes */
  bytes(packChecksum: Buffer): Buffer {
    const count = this.#count;
    const oids = this.#oids;
    const sorted = new Uint32Array(count).map((_, row) => row);
    sorted.sort((a, b) => {
      const [from, to] = [a * checksumBytes, b * checksumBytes];
      return oids.compare(oids, to, to + checksumBytes, from, from + checksumBytes);
    });
    const tables = Buffer.alloc(indexHeadBytes + count * rowBytes);
    tables.writeUInt32BE(magic, 0);
    tables.writeUInt32BE(2, 4);
    const fanout = new Uint32Array(256);
    for (let row = 0; row < count; row += 1) fanout[oids[row * checksumBytes]!]! += 1;
    let total = 0;
    fanout.forEach((here, first) => tables.writeUInt32BE((total += here), 8 + first * 4));
    const at = placesOf(count);
    sorted.forEach((row, position) => {
      oids.copy(tables, at.oids + position * checksumBytes, row * checksumBytes, (row + 1) * checksumBytes);
      tables.writeUInt32BE(this.#crcs[row]!, at.crcs + position * 4);
      tables.writeUInt32BE(this.#offsets[row]!, at.offsets + position * 4);
    });
    return Buffer.concat([tables, packChecksum, sha1(tables, packChecksum)]);
  }
}

/** Where the tables of an index of so many objects begin. */
export function placesOf(count: number): { oids: number; crcs: number; offsets: number; large: number } {
  const oids = indexHeadBytes;
  const crcs = oids + count * checksumBytes;
  const offsets = crcs + count * 4;
  return { oids, crcs, offsets, large: offsets + count * 4 };
}

/**
 * The 256 running counts of an index from its first bytes, held against the size of the file.
 * @throws PackError
 */
export function readFanout(head: Buffer, fileBytes: number): Uint32Array {
  if (head.length < indexHeadBytes || head.readUInt32BE(0) !== magic || head.readUInt32BE(4) !== 2)
    throw new PackError('its index is not one of version 2');
  const fanout = new Uint32Array(256);
  for (let first = 0; first < 256; first += 1) {
    fanout[first] = head.readUInt32BE(8 + first * 4);
    if (first > 0 && fanout[first]! < fanout[first - 1]!) throw new PackError('the counts of its index fall');
  }
  const count = fanout[255]!;
  const large = fileBytes - placesOf(count).large - 2 * checksumBytes;
  if (large < 0 || large % 8 !== 0 || large / 8 > count)
    throw new PackError('its index has another length than it says');
  return fanout;
}

/** A whole index in memory: for work on whole packs, where 28 bytes an object are little. */
export class PackIndex {
  readonly count: number;
  /** The checksum of the pack that this is the index of, in hex. */
  readonly packChecksum: string;
  readonly #bytes: Buffer;
  readonly #fanout: Uint32Array;
  readonly #at: ReturnType<typeof placesOf>;

  /**
   * @param damaged take it as it is, as long as its tables can be found
   * @throws PackError where form, order of names or checksum are wrong
   */
  constructor(bytes: Buffer, damaged = false) {
    this.#bytes = bytes;
    this.#fanout = readFanout(bytes, bytes.length);
    this.count = this.#fanout[255]!;
    this.#at = placesOf(this.count);
    const end = bytes.length - checksumBytes;
    this.packChecksum = bytes.toString('hex', end - checksumBytes, end);
    if (damaged) return;
    if (!sha1(bytes.subarray(0, end)).equals(bytes.subarray(end)))
      throw new PackError('its index does not have its checksum');
    for (let position = 1; position < this.count; position += 1)
      if (Buffer.compare(this.oid(position - 1), this.oid(position)) >= 0)
        throw new PackError('the names in its index are not in order');
  }

  /** The 20 bytes of the name at this place of the order; a view. */
  oid(position: number): Buffer {
    const at = this.#at.oids + position * checksumBytes;
    return this.#bytes.subarray(at, at + checksumBytes);
  }

  crc(position: number): number {
    return this.#bytes.readUInt32BE(this.#at.crcs + position * 4);
  }

  /** @throws PackError */
  offset(position: number): number {
    const small = this.#bytes.readUInt32BE(this.#at.offsets + position * 4);
    if (small <= smallOffsetMax) return small;
    const at = this.#at.large + (small - smallOffsetMax - 1) * 8;
    if (at + 8 > this.#bytes.length - 2 * checksumBytes)
      throw new PackError('an offset of its index is outside');
    return Number(this.#bytes.readBigUInt64BE(at));
  }

  /** The place of a name in the order; −1 where it is not in this pack. */
  find(oid: Buffer): number {
    let low = oid[0] === 0 ? 0 : this.#fanout[oid[0]! - 1]!;
    let high = this.#fanout[oid[0]!]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = Buffer.compare(this.oid(middle), oid);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  /** Places of the order by offset: how the pack is read from its beginning to its end. @throws PackError */
  byOffset(): { readonly positions: Uint32Array; readonly offsets: Float64Array } {
    const offsets = new Float64Array(this.count).map((_, position) => this.offset(position));
    const positions = new Uint32Array(this.count).map((_, position) => position);
    return { positions: positions.sort((a, b) => offsets[a]! - offsets[b]!), offsets };
  }
}

export function sha1(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha1');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
