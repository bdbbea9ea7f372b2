/** For tests: loaded into a daemon before its own modules (`--import`), it makes all its clocks and timers run `FAST` times as fast. */
import { fileURLToPath } from 'node:url';
import { performance } from 'node:perf_hooks';
import type { StartOptions } from './running-town.js';

export const FAST = 20;
const SINCE = 'TOWN_FAST_SINCE';

/** How daemons are started so that time is fast in them, and the same in all of those started with one answer. */
export const fastTime = (): StartOptions => ({
  preload: fileURLToPath(import.meta.url),
  environment: { [SINCE]: String(Date.now()) },
});

function makeFast(since: number): void {
  const now = Date.now.bind(Date);
  Date.now = () => Math.floor(since + (now() - since) * FAST);
  const steady = performance.now.bind(performance);
  performance.now = () => steady() * FAST;
  const { setTimeout: later, setInterval: every } = globalThis;
  globalThis.setTimeout = Object.assign(
    (task: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) => later(task, ms / FAST, ...values),
    later,
  ) as typeof setTimeout;
  globalThis.setInterval = ((task: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) =>
    every(task, ms / FAST, ...values)) as typeof setInterval;
}

const since = process.env[SINCE];
if (since !== undefined) makeFast(Number(since));
