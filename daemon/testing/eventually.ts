/** Waits for what comes about by itself, within a bound. */
import { setTimeout as sleep } from 'node:timers/promises';

const EVERY_MS = 50;

export interface Patience {
  readonly withinMs?: number;
  readonly everyMs?: number;
  /** Looked at when the time is over, for the error. */
  readonly last?: () => unknown;
}

/**
 * Asks again and again until the answer is something; resolves to that.
 * @param look null, undefined and false are not yet an answer; what it throws ends the wait
 * @throws Error that names what was waited for
 */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  { withinMs = 90_000, everyMs = EVERY_MS, last }: Patience = {},
): Promise<T> {
  for (const end = Date.now() + withinMs; ;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (Date.now() > end) {
      const state = last ? `\n${JSON.stringify(await last(), null, 1)}` : '';
      throw new Error(`It did not come about within ${withinMs / 1000} s: ${what}${state}`);
    }
    await sleep(everyMs);
  }
}
