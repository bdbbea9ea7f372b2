/** Time as the node is given it: the real one, or a simulated one in tests. */
import type { Millis } from '../ledger/ids.js';

export interface Clock {
  /** Milliseconds since 1970. */
  now(): Millis;
  /** Calls back once after `ms`; the returned function takes it back. */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now() as Millis,
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
