/** For tests: chance that repeats itself from a seed. */

/** Numbers from a seed (mulberry32). */
export class Dice {
  constructor(private seed: number) {}
  /** From 0 to 1. */
  next(): number {
    this.seed = (this.seed + 0x6d2b79f5) | 0;
    let x = Math.imul(this.seed ^ (this.seed >>> 15), 1 | this.seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }
  /** From 0 to below. */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  bytes(n: number): Buffer {
    const bytes = Buffer.alloc(n + 3);
    for (let at = 0; at < n; at += 4) bytes.writeUInt32LE(this.below(2 ** 32), at);
    return bytes.subarray(0, n);
  }
}
