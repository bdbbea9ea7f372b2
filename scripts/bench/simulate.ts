/**
 * Bench `simulate`: towns in simulated time for each minute of one thread. Beside it the same towns in which nothing goes wrong:
 * what the faults cost, and what comes of them (lost rounds, restarts, evidence, nodes that are replaced).
 */
import { rememberSignatures } from '../../daemon/simulation/remembered-signatures.js';
import { playSeed, type SeedOptions } from '../../daemon/simulation/run-seed.js';
import { rateLine, type BenchLine } from './bench-line.js';

const SEEDS = 40;

export async function run(): Promise<BenchLine[]> {
  rememberSignatures();
  // Founds the towns of all shapes, and warms up.
  await seedsPerMinute({});
  const without = await seedsPerMinute({ faults: [] });
  const withAll = await seedsPerMinute({});
  return [rateLine('simulate', 'seeds-a-minute', withAll, 'seeds/min', without)];
}

async function seedsPerMinute(options: SeedOptions): Promise<number> {
  const began = performance.now();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { breaches } = await playSeed(seed, options);
    if (breaches.length > 0) throw new Error(`Seed ${seed}: ${breaches.join('; ')}`);
  }
  return (SEEDS * 60_000) / (performance.now() - began);
}
