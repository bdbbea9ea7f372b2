/** Plays many seeds on all cores. */
import { Worker } from 'node:worker_threads';
import type { SeedOptions } from './run-seed.js';
import type { SeedResult, SeedTask } from './seed-worker.js';

/** So many failures are made shorter; of the rest the command is told. */
const SHRUNK_MAX = 3;

export interface PlayOptions {
  readonly first: number;
  readonly last: number;
  readonly jobs: number;
  readonly traces: boolean;
  readonly town: SeedOptions;
  /** Told each time a seed has come to its end. */
  readonly played: (result: SeedResult, done: number) => void;
}

export interface Sums {
  readonly seeds: number;
  /** Seeds in which something did not hold. */
  readonly violations: number;
  readonly merges: number;
  readonly entries: number;
  readonly crashes: number;
  readonly simulatedMs: number;
  readonly convergedMs: number;
}

/** @throws what a worker dies of */
export function playSeeds({ first, last, jobs, traces, town, played }: PlayOptions): Promise<Sums> {
  const sums = { seeds: 0, violations: 0, merges: 0, entries: 0, crashes: 0, simulatedMs: 0, convergedMs: 0 };
  let next = first;
  const take = (result: SeedResult): void => {
    sums.seeds += 1;
    sums.merges += result.merges;
    sums.entries += result.entries;
    sums.crashes += result.crashes;
    sums.simulatedMs += result.simulatedMs;
    sums.convergedMs = Math.max(sums.convergedMs, result.convergedMs);
    if (result.breaches.length > 0) sums.violations += 1;
    played(result, sums.seeds);
  };
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./seed-worker.js', import.meta.url), { workerData: town });
      const give = (): void => {
        if (next > last) {
          worker.terminate().then(() => resolve(), reject);
          return;
        }
        const task: SeedTask = { seed: next, shrinks: sums.violations < SHRUNK_MAX, traces };
        next += 1;
        worker.postMessage(task);
      };
      worker.on('message', (result: SeedResult) => {
        take(result);
        give();
      });
      worker.on('error', reject);
      give();
    });
  const count = Math.max(1, Math.min(jobs, last - first + 1));
  return Promise.all(Array.from({ length: count }, one)).then(() => sums);
}
