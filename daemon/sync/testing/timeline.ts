/** For tests: simulated time, and chance from a seed. */
export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let n = Math.imul(state ^ (state >>> 15), state | 1);
    n ^= n + Math.imul(n ^ (n >>> 7), n | 61);
    return ((n ^ (n >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What happens when, in order of time. */
export class Timeline {
  now = 1_700_000_000_000;
  readonly #events: { readonly at: number; readonly run: () => void }[] = [];

  after(ms: number, run: () => void): void {
    const event = { at: this.now + Math.max(0, Math.floor(ms)), run };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle] as { at: number }).at > event.at) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
  }

  runUntil(end: number, done: () => boolean): void {
    while (this.now < end && !done()) {
      const next = this.#events.pop();
      if (next === undefined) return;
      this.now = Math.max(this.now, next.at);
      next.run();
    }
  }
}
