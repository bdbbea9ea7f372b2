/**
 * Finds what a delta of an object could be made against: an earlier object of its type with the same names or phrases
 * in it, which for the trees and values of a ledger is the version before. No paths are needed for that.
 */
import { DeltaBase } from './pack-delta.js';

/** An object that is in the pack already. */
export interface Candidate {
  readonly base: DeltaBase;
  readonly offset: number;
  /** Deltas below it. */
  readonly depth: number;
}

/** Larger objects change too much, or seldom: they are kept whole. */
export const deltaBytesMax = 512 * 1024;
/** Smaller ones have nothing to copy from. */
export const deltaBytesMin = 32;
/** What is remembered at most. Indexes of 16-byte blocks come on top: about as much again. */
const rememberedBytesMax = 4 * 1024 * 1024;
const rememberedMax = 4096;
/** Two independent least hashes: both differ only when much does. */
const seeds = [0x811c9dc5, 0x2f0b4a27];

export class Similar {
  /** The one remembered first comes first. */
  readonly #remembered = new Map<string, { readonly candidate: Candidate; readonly bytes: number }>();
  #bytes = 0;

  /** Earlier objects that look alike, the likeliest first; two at most. */
  candidates(type: string, data: Uint8Array): Candidate[] {
    const found = new Set<Candidate>();
    for (const mark of marksOf(type, data)) {
      const candidate = this.#remembered.get(mark)?.candidate;
      if (candidate !== undefined) found.add(candidate);
    }
    return [...found];
  }

  remember(type: string, data: Uint8Array, offset: number, depth: number): void {
    const candidate = { base: new DeltaBase(data), offset, depth };
    for (const mark of marksOf(type, data)) {
      this.#forget(mark);
      this.#remembered.set(mark, { candidate, bytes: data.length });
      this.#bytes += data.length;
    }
    for (const mark of this.#remembered.keys()) {
      if (this.#bytes <= rememberedBytesMax && this.#remembered.size <= rememberedMax) return;
      this.#forget(mark);
    }
  }

  #forget(mark: string): void {
    this.#bytes -= this.#remembered.get(mark)?.bytes ?? 0;
    this.#remembered.delete(mark);
  }
}

/** Least hashes over the words of an object: equal for objects that share most of their words. */
function marksOf(type: string, data: Uint8Array): string[] {
  if (type === 'commit') return [`commit ${authorAndSubject(data)}`];
  const least = seeds.map(() => 0xffff_ffff);
  const count = (from: number, to: number): void => {
    for (const [index, seed] of seeds.entries()) {
      let hash = seed;
      for (let at = from; at < to; at += 1) hash = Math.imul(hash ^ data[at]!, 0x01000193);
      hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
      hash = (hash ^ (hash >>> 13)) >>> 0;
      if (hash < least[index]!) least[index] = hash;
    }
  };
  if (type === 'tree') namesOfTree(data, count);
  else wordsOf(data, count);
  return least.map((hash, index) => `${type} ${index} ${hash}`);
}

/** Who wrote a commit, and how what it says begins: of one node, blocks are like blocks and merges like merges. */
function authorAndSubject(data: Uint8Array): string {
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('latin1');
  const author = /^author ([^<\n]*)/m.exec(text)?.[1] ?? '';
  const subject = text.slice(text.indexOf('\n\n') + 2);
  return `${author} ${/^[0-9]/.test(subject) ? '0' : subject.slice(0, 5)}`;
}

/** Mode and name of each entry; the ids behind them are what changes. */
function namesOfTree(data: Uint8Array, take: (from: number, to: number) => void): void {
  for (let at = 0; at < data.length;) {
    const zero = data.indexOf(0, at);
    if (zero < 0) return;
    take(at, zero);
    at = zero + 21;
  }
}

const quote = 0x22;

/** What stands between quotes in JSON: names of fields and texts. Long words (ids, signatures) are told apart by their first bytes. */
function wordsOf(data: Uint8Array, take: (from: number, to: number) => void): void {
  let from = 0;
  for (let at = 0; at <= data.length; at += 1) {
    if (at < data.length && data[at] !== quote) continue;
    if (at - from > 1) take(from, Math.min(at, from + 24));
    from = at + 1;
  }
}
