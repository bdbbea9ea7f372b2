/**
 * For how long the daemon has been away. Measured on the monotonic clock, because the wall clock of a board without a
 * battery jumps; the part before this process started comes from the time stamp of a file touched while it was there.
 */
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { clockIsKnown } from './decide.js';

const touchEveryMs = 10 * 60 * 1000;

export class Presence {
  #awayFrom: number | null;
  #before: number;
  #timer: NodeJS.Timeout | null = null;

  /** `path`: the file touched. Starts as away since the daemon was last seen, or since now where nobody knows. */
  constructor(private readonly path: string) {
    this.#awayFrom = performance.now();
    this.#before = sinceTouched(path);
  }

  /** Milliseconds; null: it is there. */
  awayMs(): number | null {
    return this.#awayFrom === null ? null : this.#before + (performance.now() - this.#awayFrom);
  }

  /** The daemon came or went. */
  set(here: boolean): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#before = 0;
    this.#awayFrom = here ? null : performance.now();
    void touch(this.path);
    if (!here) return;
    this.#timer = setInterval(() => void touch(this.path), touchEveryMs);
    this.#timer.unref();
  }
}

function sinceTouched(path: string): number {
  try {
    const now = Date.now();
    return clockIsKnown(now) ? Math.max(0, now - statSync(path).mtimeMs) : 0;
  } catch {
    return 0;
  }
}

/** Best effort, and off the event loop: a disk that is slow or fails must not stop the doors. */
async function touch(path: string): Promise<void> {
  try {
    const handle = await open(path, 'a', 0o600);
    try {
      const now = new Date();
      await handle.utimes(now, now);
    } finally {
      await handle.close();
    }
  } catch {
    // The age is then counted from the start of this process.
  }
}
