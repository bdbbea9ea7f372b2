/**
 * Bench `simulate`: towns in simulated time, with any faults, for each minute of one thread. Beside it a bare replay: every node of the
 * same towns goes through the same history from genesis to its end, with no messages, disk, votes, faults and checks around it.
 */
import { rememberSignatures } from '../../daemon/simulation/remembered-signatures.js';
import { playSeed } from '../../daemon/simulation/run-seed.js';
import type { EndedTown } from '../../daemon/simulation/simulated-town.js';
import { replayAsStranger } from '../../daemon/simulation/stranger.js';
import { rateLine, type BenchLine } from './bench-line.js';

const SEEDS = 60;
/** On a slow machine fewer towns are played, and never fewer than these. */
const SEEDS_MIN = 8;
const MEASURED_MS = 35_000;
/** Other towns than those that are measured: they found the towns of all shapes, and warm up. */
const WARM_UP = { from: 1_001, to: 1_012 };

interface Played {
  readonly townMs: number;
  readonly replayMs: number;
}

export async function run(): Promise<BenchLine[]> {
  rememberSignatures();
  for (let seed = WARM_UP.from; seed <= WARM_UP.to; seed += 1) await played(seed);
  let townMs = 0;
  let replayMs = 0;
  let seeds = 0;
  while (seeds < SEEDS_MIN || (seeds < SEEDS && townMs + replayMs < MEASURED_MS)) {
    const { townMs: town, replayMs: replay } = await played((seeds += 1));
    townMs += town;
    replayMs += replay;
  }
  const rate = (ms: number): number => (seeds * 60_000) / ms;
  return [rateLine('simulate', 'seeds-a-minute', rate(townMs), 'seeds/min', rate(replayMs))];
}

/** @throws Error where something did not hold */
async function played(seed: number): Promise<Played> {
  let replayMs = 0;
  const ended = async ({ genesis, dapp, processes }: EndedTown): Promise<void> => {
    const began = performance.now();
    for (const { store } of processes) await replayAsStranger(genesis, store, dapp);
    replayMs = performance.now() - began;
  };
  const began = performance.now();
  const { breaches } = await playSeed(seed, { ended });
  if (breaches.length > 0) throw new Error(`Seed ${seed}: ${breaches.join('; ')}`);
  return { townMs: performance.now() - began - replayMs, replayMs };
}
