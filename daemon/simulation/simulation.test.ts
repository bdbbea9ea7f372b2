/**
 * Whole towns of real nodes in simulated time: any loss, any cut, any crash, one history. `SEEDS=17-17` plays one seed, `TRACE=1`
 * shows what happened in it, `NODES=5` takes towns of five.
 */
import t from 'tap';
import { NOTES, notesContract } from '../ledger/testing/small-town.js';
import { BROKEN_RULES, type BrokenRule } from './broken-rules.js';
import { foundTown, playTown, type TownReport } from './simulated-town.js';

t.setTimeout(600_000);

const [first = 1, last = first] = (process.env['SEEDS'] ?? '1-300').split('-').map(Number);
const NODES = Number(process.env['NODES'] ?? 3);
const dapp = { manifest: NOTES, contract: notesContract };
const founded = await foundTown(NODES, dapp);

const play = (seed: number, broken?: BrokenRule): Promise<TownReport> =>
  playTown({ seed, founded, ...(broken === undefined ? {} : { broken }) });

t.test('towns of three nodes come to one history whatever goes wrong', async (t) => {
  const begun = performance.now();
  const sums = { merges: 0, entries: 0, crashes: 0, messages: 0, simulatedMs: 0 };
  for (let seed = first; seed <= last; seed += 1) {
    const report = await play(seed);
    for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += report[name];
    if (process.env['TRACE']) for (const line of report.trace) t.comment(line);
    if (report.breaches.length > 0)
      t.fail(`NODES=${NODES} SEEDS=${seed}-${seed} TRACE=1 node dist/daemon/simulation/simulation.test.js`, {
        breaches: report.breaches,
      });
  }
  const { merges, entries, crashes, messages, simulatedMs } = sums;
  t.comment(
    `${last - first + 1} seeds, ${merges} merges, ${entries} entries, ${crashes} crashes, ${messages} messages, ` +
      `${(simulatedMs / 3_600_000).toFixed(1)} simulated hours, ${((performance.now() - begun) / 1000).toFixed(1)} s`,
  );
  t.ok(merges > 0);
});

t.test('seeds that found something once find it no more', async (t) => {
  const five = await foundTown(5, dapp);
  // A proposal judged while its height was being adopted already: a false alarm.
  t.same((await playTown({ seed: 19, founded: five })).breaches, []);
});

t.test('a run repeats exactly', async (t) => {
  const [one, two] = [await play(first), await play(first)];
  t.same(one.trace, two.trace);
  t.equal(one.main, two.main);
});

for (const broken of BROKEN_RULES)
  t.test(`a broken rule is found: ${broken}`, async (t) => {
    for (let seed = 1; seed <= 100; seed += 1) {
      const { breaches } = await play(seed, broken);
      if (breaches.length === 0) continue;
      t.pass(`seed ${seed}: ${breaches[0]}`);
      return;
    }
    t.fail('no seed found it');
  });
