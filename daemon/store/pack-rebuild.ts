/** Makes the index of a pack anew from the pack itself, where its index is lost or damaged. */
import { createHash } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import type { PackDisk } from './pack-disk.js';
import {
  PackError,
  checksumBytes,
  crcOf,
  deflatedBound,
  headBytesMax,
  packHeaderBytes,
  readEntryHead,
  readPackHeader,
  type EntryHead,
} from './pack-format.js';
import { packIndex, type IndexedEntry } from './pack-index.js';
import { applyDelta, deltaResultSize } from './pack-delta.js';
import { BaseCache, type PackedObject } from './pack-reader.js';

const chunkBytes = 1024 * 1024;
const baseBytesMax = 32 * 1024 * 1024;
/** A delta whose base is named behind it waits for the next pass; git makes chains of 50, of 4095 at the very most. */
const passesMax = 4096;

interface Found {
  readonly offset: number;
  readonly end: number;
  readonly crc: number;
  readonly head: EntryHead;
  oid: Buffer | null;
}

/** What a pack of strangers may have. */
export interface PackLimits {
  readonly objectsMax: number;
  /** Of one object, inflated. */
  readonly objectBytesMax: number;
  /** Bytes that are made of it, inflated and put together, until each object has its name. */
  readonly madeBytesMax: number;
}

/** A pack goes beyond its limits. */
export class PackTooLarge extends PackError {}

const unlimited: PackLimits = {
  objectsMax: Infinity,
  objectBytesMax: Infinity,
  madeBytesMax: Infinity,
};

/**
 * The index of a pack, from its bytes alone. Holds one entry in memory, and bases up to a bound.
 * @param path of the pack
 * @throws PackError where the pack is not whole: its checksum, any entry, or a base that is not in it; `PackTooLarge`
 */
export function rebuiltIndex(disk: PackDisk, path: string, limits: PackLimits = unlimited): Buffer {
  const file = disk.open(path, 'r');
  try {
    return new Rebuild(disk, file, limits).index();
  } finally {
    disk.close(file);
  }
}

class Rebuild {
  readonly #cache = new BaseCache(baseBytesMax);
  readonly #byOffset = new Map<number, Found>();
  readonly #byOid = new Map<string, Found>();
  readonly #end: number;
  #madeBytes = 0;

  constructor(
    private readonly disk: PackDisk,
    private readonly file: number,
    private readonly limits: PackLimits,
  ) {
    this.#end = disk.size(file) - checksumBytes;
  }

  index(): Buffer {
    const checksum = this.#checksum();
    const count = readPackHeader(this.disk.read(this.file, 0, packHeaderBytes));
    if (count > this.limits.objectsMax)
      throw new PackTooLarge(`it has ${count} objects, ${this.limits.objectsMax} are allowed`);
    let offset = packHeaderBytes;
    for (let index = 0; index < count; index += 1) {
      const found = this.#entry(offset);
      this.#byOffset.set(offset, found);
      offset = found.end;
    }
    if (offset !== this.#end) throw new PackError('it has more bytes than entries');
    this.#nameAll();
    const entries = [...this.#byOffset.values()].map(({ oid, offset: at, crc }): IndexedEntry => ({
      oid: oid!,
      offset: at,
      crc,
    }));
    return packIndex(entries, checksum);
  }

  #checksum(): Buffer {
    const hash = createHash('sha1');
    for (let at = 0; at < this.#end; at += chunkBytes)
      hash.update(this.disk.read(this.file, at, Math.min(chunkBytes, this.#end - at)));
    const checksum = hash.digest();
    if (this.#end < packHeaderBytes || !checksum.equals(this.disk.read(this.file, this.#end, checksumBytes)))
      throw new PackError('it does not have its checksum');
    return checksum;
  }

  #entry(offset: number): Found {
    const head = readEntryHead(this.disk.read(this.file, offset, Math.min(headBytesMax, this.#end - offset)));
    this.#allow(head.size);
    const length = Math.min(head.length + deflatedBound(head.size), this.#end - offset);
    const bytes = this.disk.read(this.file, offset, length);
    const { used } = inflatedWith(bytes.subarray(head.length), head.size);
    const end = offset + head.length + used;
    return { offset, end, head, crc: crcOf(bytes.subarray(0, end - offset)), oid: null };
  }

  /** Names whole objects first, and then deltas as their bases get names: git may put a base behind. */
  #nameAll(): void {
    let waiting = [...this.#byOffset.values()];
    for (let passes = 0; waiting.length > 0; passes += 1) {
      if (passes === passesMax) throw new PackError('its deltas stand in an order that no git writes');
      const later = waiting.filter((found) => !this.#name(found));
      if (later.length === waiting.length) throw new PackError('the base of a delta is not in it');
      waiting = later;
    }
  }

  #name(found: Found): boolean {
    const object = this.#object(found);
    if (object === null) return false;
    const { type, data } = object;
    found.oid = createHash('sha1').update(`${type} ${data.length}\0`).update(data).digest();
    this.#byOid.set(found.oid.toString('hex'), found);
    return true;
  }

  /** The object at an entry; null while the base is not known. */
  #object(found: Found): PackedObject | null {
    const chain: Found[] = [];
    let at = found;
    let base = this.#cache.get(String(at.offset));
    while (base === undefined && at.head.type === null) {
      chain.push(at);
      const next = this.#baseOf(at);
      if (next === null || chain.length > this.#byOffset.size) return null;
      at = next;
      base = this.#cache.get(String(at.offset));
    }
    base ??= this.#made({ type: at.head.type!, data: this.#inflated(at) });
    this.#cache.put(String(at.offset), base);
    for (const delta of chain.reverse()) {
      const pieces = this.#inflated(delta);
      this.#allow(deltaResultSize(pieces));
      base = this.#made({ type: base.type, data: applyDelta(base.data, pieces) });
      this.#cache.put(String(delta.offset), base);
    }
    return base;
  }

  /** Counts what was made: also what is made again, for a base is not kept for ever. */
  #made(object: PackedObject): PackedObject {
    this.#madeBytes += object.data.length;
    if (this.#madeBytes > this.limits.madeBytesMax)
      throw new PackTooLarge(`more than ${this.limits.madeBytesMax} bytes would be made of it`);
    return object;
  }

  /** Before so many bytes are made. */
  #allow(size: number): void {
    if (size > this.limits.objectBytesMax)
      throw new PackTooLarge(`an object has ${size} bytes, ${this.limits.objectBytesMax} are allowed`);
  }

  #baseOf({ head, offset }: Found): Found | null {
    if (head.base === null) return null;
    if ('oid' in head.base) return this.#byOid.get(head.base.oid) ?? null;
    return this.#byOffset.get(offset - head.base.back) ?? null;
  }

  #inflated({ offset, end, head }: Found): Buffer {
    return inflatedWith(
      this.disk.read(this.file, offset + head.length, end - offset - head.length),
      head.size,
    ).data;
  }
}

/** Inflates, and tells how many bytes that used: where the next entry begins. @throws PackError */
function inflatedWith(bytes: Buffer, size: number): { data: Buffer; used: number } {
  try {
    const options = { maxOutputLength: size + 1, info: true };
    const { buffer, engine } = inflateSync(bytes, options) as unknown as {
      buffer: Buffer;
      engine: { bytesWritten: number };
    };
    if (buffer.length === size) return { data: buffer, used: engine.bytesWritten };
  } catch {
    throw new PackError('an entry does not inflate');
  }
  throw new PackError('an entry has another size than it says');
}
