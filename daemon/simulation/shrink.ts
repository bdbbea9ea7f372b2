/** Makes the story of a seed that failed shorter: fewer phases, fewer faults, fewer things that people do; it still fails. */
import { playSeed, type SeedOptions } from './run-seed.js';
import { scenarioOf, FAULTS } from './scenario.js';
import { phasesOf, type TownReport } from './simulated-town.js';

/** Runs that one seed may take. */
const RUNS_MAX = 40;

export interface Shrunk {
  readonly options: SeedOptions;
  readonly report: TownReport;
}

/** @param failed the report of the seed with these options: it has breaches */
export async function shrink(options: SeedOptions, failed: TownReport): Promise<Shrunk> {
  const { seed } = failed;
  const { faults } = scenarioOf(seed, options.nodes, options.faults ?? FAULTS);
  let best: Shrunk = {
    options: {
      ...options,
      faults: [...faults],
      phases: options.phases ?? phasesOf(seed),
      actsMax: failed.acts,
    },
    report: failed,
  };
  let runs = 0;
  const tries = async (change: SeedOptions): Promise<boolean> => {
    if (runs >= RUNS_MAX) return false;
    runs += 1;
    const next = { ...best.options, ...change };
    const report = await playSeed(seed, next);
    if (report.breaches.length === 0) return false;
    best = { options: { ...next, actsMax: report.acts }, report };
    return true;
  };
  while ((best.options.phases ?? 1) > 1 && (await tries({ phases: (best.options.phases ?? 1) - 1 })));
  if (best.options.days !== undefined) await tries({ days: 0 });
  for (const fault of faults)
    await tries({ faults: (best.options.faults ?? []).filter((other) => other !== fault) });
  while (await tries({ actsMax: Math.floor((best.options.actsMax ?? 0) / 2) }))
    if (best.options.actsMax === 0) break;
  return best;
}

/** The command that plays it again. */
export function commandOf(
  seed: number,
  { nodes, days, faults, phases, actsMax, broken }: SeedOptions,
): string {
  const words = [
    `--seeds ${seed}`,
    nodes === undefined ? '' : `--nodes ${nodes}`,
    days === undefined || days === 0 ? '' : `--days ${days}`,
    faults === undefined ? '' : `--faults ${faults.length === 0 ? 'none' : faults.join()}`,
    phases === undefined ? '' : `--phases ${phases}`,
    actsMax === undefined || actsMax === Infinity ? '' : `--acts ${actsMax}`,
    broken === undefined ? '' : `--break ${broken}`,
  ];
  return `npm run simulate -- ${words.filter((word) => word !== '').join(' ')} --trace`;
}
