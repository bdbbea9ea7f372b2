/** Simulated time, and chance from a seed. */

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

interface Event {
  readonly at: number;
  /** What is due at one moment comes in the order in which it was asked for. */
  readonly order: number;
  readonly run: () => void;
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Lets everything that an event set going come to its end: promises whose time has not come stay as they are. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What happens when. Nothing here waits for the real clock. */
export class Timeline {
  now: number;
  /** Events so far. */
  count = 0;
  readonly #heap: Event[] = [];
  #order = 0;

  /** @param start milliseconds since 1970 */
  constructor(start: number) {
    this.now = start;
  }

  /** Runs something after so many milliseconds. */
  after(ms: number, run: () => void): void {
    const event = { at: this.now + Math.max(0, Math.floor(ms)), order: (this.#order += 1), run };
    const heap = this.#heap;
    let place = heap.push(event) - 1;
    for (let parent = (place - 1) >> 1; place > 0 && isBefore(event, heap[parent] as Event);) {
      heap[place] = heap[parent] as Event;
      place = parent;
      parent = (place - 1) >> 1;
    }
    heap[place] = event;
  }

  /** Lets time pass until `end`, or until something holds; looks after each event. */
  async runUntil(end: number, done: () => boolean = () => false): Promise<void> {
    while (!done()) {
      const next = this.#heap[0];
      if (next === undefined || next.at > end) {
        this.now = Math.max(this.now, end);
        return;
      }
      this.#removeFirst();
      this.now = Math.max(this.now, next.at);
      this.count += 1;
      next.run();
      await settled();
    }
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop() as Event;
    if (heap.length === 0) return;
    let place = 0;
    for (let child = 1; child < heap.length; child = place * 2 + 1) {
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, heap[child] as Event)) child += 1;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[place] = heap[child] as Event;
      place = child;
    }
    heap[place] = last;
  }
}

/** Chance from a seed (mulberry32): the same in every run. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** One of many independent chances of a seed: what is drawn from one leaves the others as they are (FNV-1a of the name). */
  static of(seed: number, name: string): Chance {
    let hash = 0x811c9dc5 ^ seed;
    for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    const chance = new Chance(hash ^ Math.imul(seed, 0x9e3779b1));
    chance.next();
    return chance;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let n = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    n ^= n + Math.imul(n ^ (n >>> 7), n | 61);
    return ((n ^ (n >>> 14)) >>> 0) / 2 ** 32;
  }

  hits(probability: number): boolean {
    return this.next() < probability;
  }

  /** In [low, high). */
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** From 0 to `count` − 1. */
  index(count: number): number {
    return Math.floor(this.next() * count);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.index(list.length)] as T;
  }
}
