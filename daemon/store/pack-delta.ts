/**
 * Git's deltas: an object as pieces copied from another one and pieces of its own.
 * Varint size of the base, varint size of the result, then per piece: 1xxxxxxx and up to 4 bytes of offset and 3 of
 * length (copy), or 0nnnnnnn and n bytes (insert).
 */
import { PackError, objectBytesMax } from './pack-format.js';

const windowBytes = 16;
const insertMax = 127;
const copyMax = 0xffffff;
/** Places of the base with one hash that are tried; more repeat themselves. */
const placesTried = 16;
const factor = 0x01000193;
/** `factor` to the power of `windowBytes` − 1: what the byte that leaves the window counts. */
const leaving = Array.from({ length: windowBytes - 1 }).reduce<number>(
  (power) => Math.imul(power, factor),
  1,
);

function readSize(delta: Uint8Array, at: number): { size: number; next: number } {
  let size = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = delta[at++];
    if (byte === undefined || scale > objectBytesMax)
      throw new PackError('the sizes of a delta are cut short');
    size += (byte & 0x7f) * scale;
    if (byte < 128) return { size, next: at };
  }
}

/** How many bytes the delta makes. @throws PackError */
export function deltaResultSize(delta: Uint8Array): number {
  return readSize(delta, readSize(delta, 0).next).size;
}

/**
 * What the delta makes of its base.
 * @throws PackError where the delta is not for this base, reaches outside of it or makes another length than it says
 */
export function applyDelta(base: Uint8Array, delta: Uint8Array): Buffer {
  const of = readSize(delta, 0);
  if (of.size !== base.length) throw new PackError('a delta is for a base of another size');
  const to = readSize(delta, of.next);
  if (to.size > objectBytesMax) throw new PackError(`a delta makes more than ${objectBytesMax} bytes`);
  const result = Buffer.allocUnsafe(to.size);
  let done = 0;
  let at = to.next;
  const byte = (): number => {
    const value = delta[at++];
    if (value === undefined) throw new PackError('a delta is cut short');
    return value;
  };
  while (at < delta.length) {
    const code = byte();
    let from = 0;
    let size = code;
    let source = delta;
    if (code >= 128) {
      size = 0;
      for (let bit = 0; bit < 4; bit += 1) if (code & (1 << bit)) from += byte() * 2 ** (8 * bit);
      for (let bit = 0; bit < 3; bit += 1) if (code & (16 << bit)) size += byte() * 2 ** (8 * bit);
      if (size === 0) size = 0x10000;
      source = base;
    } else {
      if (code === 0) throw new PackError('a delta has the piece 0, which means nothing');
      from = at;
      at += size;
    }
    if (from + size > source.length || done + size > result.length)
      throw new PackError('a piece of a delta reaches outside');
    result.set(source.subarray(from, from + size), done);
    done += size;
  }
  if (done !== result.length) throw new PackError('a delta makes fewer bytes than it says');
  return result;
}

/** Where in a base each 16 bytes stand: made once for any number of deltas against it. */
export class DeltaBase {
  readonly data: Uint8Array;
  readonly #mask: number;
  /** By hash: 1 + the last block with it, 0 for none; and by block: the one before it with the same hash. */
  readonly #heads: Int32Array;
  readonly #before: Int32Array;

  constructor(data: Uint8Array) {
    this.data = data;
    const blocks = Math.floor(data.length / windowBytes);
    const size = 2 ** Math.max(4, Math.ceil(Math.log2(blocks + 1)) + 1);
    this.#mask = size - 1;
    this.#heads = new Int32Array(size);
    this.#before = new Int32Array(blocks);
    // From the end, so that the first of equal blocks is found first.
    for (let block = blocks - 1; block >= 0; block -= 1) {
      const slot = slotOf(hashAt(data, block * windowBytes), this.#mask);
      this.#before[block] = this.#heads[slot]!;
      this.#heads[slot] = block + 1;
    }
  }

  /** The delta that makes `target`; null where it would be `limit` bytes or more. */
  deltaTo(target: Uint8Array, limit: number): Buffer | null {
    const { data } = this;
    const out = new Pieces(limit);
    out.size(data.length);
    out.size(target.length);
    let own = 0;
    let at = 0;
    let hash = target.length >= windowBytes ? hashAt(target, 0) : 0;
    while (at + windowBytes <= target.length) {
      const match = this.#longest(target, at, own, hash);
      if (match === null) {
        if (at - own >= limit) return null;
        if (at + windowBytes < target.length) hash = rolled(hash, target[at]!, target[at + windowBytes]!);
        at += 1;
        continue;
      }
      const begin = at - match.before;
      out.insert(target.subarray(own, begin));
      out.copy(match.from - match.before, match.before + match.length);
      if (out.full) return null;
      at += match.length;
      own = at;
      if (at + windowBytes <= target.length) hash = hashAt(target, at);
    }
    out.insert(target.subarray(own));
    return out.full ? null : out.bytes();
  }

  /** The longest run of the base that stands at `at` in the target, grown backwards down to `own`. */
  #longest(
    target: Uint8Array,
    at: number,
    own: number,
    hash: number,
  ): { from: number; before: number; length: number } | null {
    const { data } = this;
    let best: { from: number; before: number; length: number } | null = null;
    let next = this.#heads[slotOf(hash, this.#mask)]!;
    for (let tried = 0; next > 0 && tried < placesTried; tried += 1) {
      const from = (next - 1) * windowBytes;
      next = this.#before[next - 1]!;
      let length = 0;
      const most = Math.min(data.length - from, target.length - at);
      while (length < most && data[from + length] === target[at + length]) length += 1;
      if (length < windowBytes) continue;
      let before = 0;
      while (before < from && at - before > own && data[from - before - 1] === target[at - before - 1])
        before += 1;
      if (best === null || before + length > best.before + best.length) best = { from, before, length };
    }
    return best;
  }
}

const slotOf = (hash: number, mask: number): number => (hash ^ (hash >>> 15)) & mask;

function hashAt(data: Uint8Array, at: number): number {
  let hash = 0;
  for (let index = at; index < at + windowBytes; index += 1)
    hash = (Math.imul(hash, factor) + data[index]!) | 0;
  return hash;
}

const rolled = (hash: number, leaves: number, enters: number): number =>
  (Math.imul(hash - Math.imul(leaves, leaving), factor) + enters) | 0;

class Pieces {
  readonly #bytes: number[] = [];
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get full(): boolean {
    return this.#bytes.length >= this.#limit;
  }

  size(value: number): void {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#bytes.push(128 + (rest % 128));
    this.#bytes.push(rest);
  }

  insert(own: Uint8Array): void {
    for (let at = 0; at < own.length && !this.full; at += insertMax) {
      const piece = own.subarray(at, at + insertMax);
      this.#bytes.push(piece.length, ...piece);
    }
  }

  copy(from: number, length: number): void {
    for (let done = 0; done < length; done += copyMax)
      this.#copy(from + done, Math.min(copyMax, length - done));
  }

  #copy(from: number, length: number): void {
    const place = this.#bytes.push(0) - 1;
    let code = 0x80;
    for (let bit = 0; bit < 4; bit += 1) {
      const byte = Math.floor(from / 2 ** (8 * bit)) % 256;
      if (byte !== 0) code |= 1 << bit;
      if (byte !== 0) this.#bytes.push(byte);
    }
    for (let bit = 0; bit < 3 && length !== 0x10000; bit += 1) {
      const byte = Math.floor(length / 2 ** (8 * bit)) % 256;
      if (byte !== 0) code |= 16 << bit;
      if (byte !== 0) this.#bytes.push(byte);
    }
    this.#bytes[place] = code;
  }

  bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }
}
