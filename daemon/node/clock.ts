/** Time as the node is given it: the real one, or a simulated one in tests. */
import type { Millis } from '../ledger/ids.js';

export interface Clock {
  /** Milliseconds since 1970. */
  now(): Millis;
  /** Calls back once after `ms`; the returned function takes it back. */
  after(ms: number, callback: () => void): () => void;
}

/** A timer of the runtime waits no longer than this; what is longer it calls back at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now() as Millis,
  after(ms, callback) {
    let timer: NodeJS.Timeout;
    const wait = (left: number): void => {
      const next = left > TIMER_MS_MAX ? () => wait(left - TIMER_MS_MAX) : callback;
      timer = setTimeout(next, Math.min(left, TIMER_MS_MAX));
    };
    wait(ms);
    return () => clearTimeout(timer);
  },
};
