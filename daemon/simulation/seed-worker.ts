/** Plays seeds in a thread of its own: one message in, one out. */
import { parentPort, workerData } from 'node:worker_threads';
import { rememberSignatures } from './remembered-signatures.js';
import { playSeed, type SeedOptions } from './run-seed.js';
import { commandOf, shrink } from './shrink.js';
import type { TownReport } from './simulated-town.js';

/** What a seed came to; `command` and `trace` only where it failed, or where the trace was asked for. */
export interface SeedResult extends Omit<TownReport, 'trace'> {
  readonly trace: readonly string[];
  readonly command: string | null;
}

export interface SeedTask {
  readonly seed: number;
  /** Whether a failure is made shorter, and the trace of a success is wanted. */
  readonly shrinks: boolean;
  readonly traces: boolean;
}

async function play({ seed, shrinks, traces }: SeedTask, options: SeedOptions): Promise<SeedResult> {
  const report = await playSeed(seed, options);
  if (report.breaches.length === 0) return { ...report, trace: traces ? report.trace : [], command: null };
  if (!shrinks) return { ...report, trace: traces ? report.trace : [], command: commandOf(seed, options) };
  const { options: shorter, report: found } = await shrink(options, report);
  return { ...report, breaches: found.breaches, trace: found.trace, command: commandOf(seed, shorter) };
}

rememberSignatures();
parentPort?.on('message', (task: SeedTask) => {
  play(task, workerData as SeedOptions).then(
    (result) => parentPort?.postMessage(result),
    (error: unknown) => {
      throw error;
    },
  );
});
