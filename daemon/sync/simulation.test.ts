/**
 * Whole towns that sync, in simulated time, from seeds. What must hold: once the network is good, all honest nodes hold all
 * blocks and all merges; and then nothing is sent any more but the heads, once a minute.
 * A failing seed runs again alone with SEED=<n>; SEEDS=<n> runs that many of each kind.
 */
import t from 'tap';
import { SimulatedTown, type Scenario } from './testing/simulated-town.js';
import { MINUTE, SECOND } from './testing/timeline.js';

t.setTimeout(process.env['SEEDS'] === undefined ? 600_000 : 3_600_000);

const usual = { nodes: 3, blocks: 5, badMs: 2 * MINUTE, sealed: false, withLiar: false };
const scenarios: [string, number, Omit<Scenario, 'seed'>][] = [
  ['three nodes', 120, usual],
  ['three nodes, every message sealed and opened', 8, { ...usual, sealed: true }],
  ['five nodes', 5, { ...usual, nodes: 5 }],
  ['three nodes, one of them a liar', 25, { ...usual, withLiar: true }],
];

for (const [name, seeds, scenario] of scenarios) {
  t.test(`${name}: all come to hold the same under any faults, then fall silent`, async (t) => {
    const only = process.env['SEED'];
    const count = Number(process.env['SEEDS'] ?? seeds);
    const chosen = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
    let crashed = 0;
    let slowest = 0;
    for (const seed of chosen) {
      try {
        const town = new SimulatedTown({ ...scenario, seed });
        town.runUntil(town.goodFrom + 20 * MINUTE, () => town.isGood && town.isEven());
        slowest = Math.max(slowest, town.time.now - town.goodFrom);
        if (!town.isEven()) {
          t.fail(`seed ${seed}: not even after ${20} good minutes`);
          continue;
        }
        if (!scenario.withLiar) assertQuiet(t, town, seed);
        crashed += town.crashed;
      } catch (error) {
        t.fail(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
      }
    }
    t.ok(
      only !== undefined || crashed > 0,
      `${crashed} crashes; even ${slowest} ms after the network is good`,
    );
  });
}

/** After a minute in which the last answers may still be on their way, five minutes of nothing but heads. */
function assertQuiet(
  t: { readonly fail: (message: string) => unknown },
  town: SimulatedTown,
  seed: number,
): void {
  town.runUntil(town.time.now + MINUTE + 30 * SECOND);
  const before = { ...town.sent };
  town.runUntil(town.time.now + 5 * MINUTE);
  const { heads, want, have } = town.sent;
  if (want > before.want || have > before.have || heads - before.heads > town.nodes.length * 6)
    t.fail(`seed ${seed}: not quiet: ${JSON.stringify([before, town.sent])}`);
}

t.test('a run repeats from its seed', async (t) => {
  const run = (): string => {
    const town = new SimulatedTown({ ...usual, seed: 7, sealed: true });
    town.runUntil(town.goodFrom + MINUTE);
    return JSON.stringify([town.sent, town.crashed, town.refused, town.nodes.map((node) => node.last.id)]);
  };
  t.equal(run(), run());
});
