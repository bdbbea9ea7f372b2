/**
 * Reads objects of one pack at their offsets, never the pack as a whole. The reading itself is a generator that asks for
 * bytes: the daemon answers it without holding up its thread, a worker at once.
 */
import { inflateSync } from 'node:zlib';
import { applyDelta } from './pack-delta.js';
import {
  PackError,
  checksumBytes,
  deflatedBound,
  packHeaderBytes,
  readEntryHead,
  readPackHeader,
  type EntryHead,
  type PackedType,
} from './pack-format.js';
import { indexHeadBytes, placesOf, readFanout } from './pack-index.js';

/** Asks for bytes of one of the two files; fewer come at its end. */
export interface ReadRequest {
  readonly file: 'pack' | 'idx';
  readonly at: number;
  readonly length: number;
}

export type Reading<T> = Generator<ReadRequest, T, Buffer>;

export interface PackedObject {
  readonly type: PackedType;
  readonly data: Buffer;
}

/** What is read at first: the head and all of a small object. */
const firstBytes = 4096;
/** Git makes chains of 50, of 4095 at the very most. */
const depthMax = 4096;
/** A search that is down to so many names reads them in one go. */
const namesAtOnce = 192;

/** Objects that others are deltas of, the ones used last, up to so many bytes. */
export class BaseCache {
  readonly #bytesMax: number;
  readonly #objects = new Map<string, PackedObject>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get(key: string): PackedObject | undefined {
    const found = this.#objects.get(key);
    if (found === undefined) return undefined;
    this.#objects.delete(key);
    this.#objects.set(key, found);
    return found;
  }

  put(key: string, object: PackedObject): void {
    if (object.data.length > this.#bytesMax / 4 || this.#objects.has(key)) return;
    this.#objects.set(key, object);
    this.#bytes += object.data.length;
    for (const [oldest, { data }] of this.#objects) {
      if (this.#bytes <= this.#bytesMax) return;
      this.#objects.delete(oldest);
      this.#bytes -= data.length;
    }
  }
}

export class PackReader {
  /** Without `pack-` and ending. */
  readonly name: string;
  readonly packBytes: number;
  readonly #fanout: Uint32Array;

  private constructor(name: string, packBytes: number, fanout: Uint32Array) {
    this.name = name;
    this.packBytes = packBytes;
    this.#fanout = fanout;
  }

  get count(): number {
    return this.#fanout[255]!;
  }

  /** Reads heads and checksums of both files and holds them against each other. @throws PackError */
  static *open(name: string, packBytes: number, idxBytes: number): Reading<PackReader> {
    const fanout = readFanout(yield { file: 'idx', at: 0, length: indexHeadBytes }, idxBytes);
    const count = readPackHeader(yield { file: 'pack', at: 0, length: packHeaderBytes });
    if (count !== fanout[255]) throw new PackError('pack and index differ in how many objects there are');
    const own = yield { file: 'pack', at: packBytes - checksumBytes, length: checksumBytes };
    const named = yield { file: 'idx', at: idxBytes - 2 * checksumBytes, length: checksumBytes };
    if (own.length !== checksumBytes || !own.equals(named))
      throw new PackError('its index is that of another pack');
    return new PackReader(name, packBytes, fanout);
  }

  /** For a pack that may be damaged: nothing is held against anything but the size of the index. @throws PackError */
  static trusting(name: string, packBytes: number, idx: Buffer): PackReader {
    return new PackReader(name, packBytes, readFanout(idx, idx.length));
  }

  /** Where an object stands in the pack; null where it is not in it. @throws PackError */
  *find(oid: Buffer): Reading<number | null> {
    const at = placesOf(this.count);
    let low = oid[0] === 0 ? 0 : this.#fanout[oid[0]! - 1]!;
    let high = this.#fanout[oid[0]!]!;
    // Names are evenly spread: the next four bytes say about where in the bucket this one is.
    let guess = low + Math.floor((oid.readUInt32BE(1) / 2 ** 32) * (high - low));
    while (low < high) {
      const whole = high - low <= namesAtOnce;
      const first = whole ? low : Math.max(low, Math.min(guess - namesAtOnce / 2, high - namesAtOnce));
      const count = Math.min(namesAtOnce, high - first);
      const names = yield { file: 'idx', at: at.oids + first * checksumBytes, length: count * checksumBytes };
      if (names.length !== count * checksumBytes) throw new PackError('its index is cut short');
      const place = placeIn(names, oid);
      if (place.found) return yield* this.#offset(first + place.at);
      if ((place.at > 0 || first === low) && (place.at < count || first + count === high)) return null;
      if (place.at === 0) high = first;
      else low = first + count;
      guess = (low + high) >>> 1;
    }
    return null;
  }

  *#offset(position: number): Reading<number> {
    const at = placesOf(this.count);
    const small = (yield { file: 'idx', at: at.offsets + position * 4, length: 4 }).readUInt32BE(0);
    if (small < 0x8000_0000) return small;
    const row = yield { file: 'idx', at: at.large + (small - 0x8000_0000) * 8, length: 8 };
    return Number(row.readBigUInt64BE(0));
  }

  /**
   * The object at an offset, its chain of deltas resolved. Its name is for the caller to check.
   * @throws PackError
   */
  *object(offset: number, cache: BaseCache): Reading<PackedObject> {
    const deltas: { readonly offset: number; readonly delta: Buffer }[] = [];
    let at = offset;
    let base: PackedObject | undefined;
    while ((base = cache.get(this.#key(at))) === undefined) {
      const { head, data } = yield* this.entry(at);
      if (head.type !== null) {
        base = { type: head.type, data };
        break;
      }
      deltas.push({ offset: at, delta: data });
      if (deltas.length > depthMax) throw new PackError(`more than ${depthMax} deltas stand on each other`);
      at = yield* this.baseOf(at, head);
    }
    if (deltas.length > 0) cache.put(this.#key(at), base);
    for (const { offset: of, delta } of deltas.reverse()) {
      base = { type: base.type, data: applyDelta(base.data, delta) };
      if (of !== offset || base.type === 'tree') cache.put(this.#key(of), base);
    }
    return base;
  }

  /** Where the base of a delta stands. @throws PackError */
  *baseOf(offset: number, { base }: EntryHead): Reading<number> {
    let at: number | null = null;
    if (base !== null && 'back' in base) at = base.back > 0 ? offset - base.back : null;
    else if (base !== null) at = yield* this.find(Buffer.from(base.oid, 'hex'));
    if (at === null || at < packHeaderBytes) throw new PackError('the base of a delta is not in the pack');
    return at;
  }

  /** Head and inflated data of the entry at an offset: of the object or of the delta. @throws PackError */
  *entry(offset: number): Reading<{ head: EntryHead; data: Buffer }> {
    const end = this.packBytes - checksumBytes;
    if (offset < packHeaderBytes || offset >= end) throw new PackError('an offset lies outside of the pack');
    let bytes = yield { file: 'pack', at: offset, length: Math.min(firstBytes, end - offset) };
    const head = readEntryHead(bytes);
    const bound = Math.min(head.length + deflatedBound(head.size), end - offset);
    // Well deflated data is all here; the rest is asked for once it is known to be missing.
    if (bytes.length < bound) {
      const early = head.size <= 4 * firstBytes ? inflated(bytes, head) : null;
      if (early !== null) return { head, data: early };
      const rest = yield { file: 'pack', at: offset + bytes.length, length: bound - bytes.length };
      bytes = Buffer.concat([bytes, rest]);
    }
    const data = inflated(bytes, head);
    if (data === null) throw new PackError('the data of an entry are damaged');
    return { head, data };
  }

  #key(offset: number): string {
    return `${this.name} ${offset}`;
  }
}

/** Where a name is among names in order, or the place where it would stand. */
function placeIn(names: Buffer, oid: Buffer): { found: boolean; at: number } {
  let low = 0;
  let high = names.length / checksumBytes;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const from = middle * checksumBytes;
    const order = names.compare(oid, 0, checksumBytes, from, from + checksumBytes);
    if (order === 0) return { found: true, at: middle };
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return { found: false, at: low };
}

function inflated(bytes: Buffer, head: EntryHead): Buffer | null {
  try {
    // One byte more than there must be: what inflates to more than it says is found, and costs no more.
    const data = inflateSync(bytes.subarray(head.length), { maxOutputLength: head.size + 1 });
    if (data.length !== head.size) return null;
    return data;
  } catch {
    return null;
  }
}
