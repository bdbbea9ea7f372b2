/** A board comes back after a month away, with as much of its own as the others made meanwhile: real processes, one history. */
import { join } from 'node:path';
import t from 'tap';
import { CoreChild, type BenchTown, type Standing } from './testing/core-process.js';
import { keysOf, scratchFolder } from './testing/core-town.js';

t.setTimeout(1_800_000);

const DAY_MS = 86_400_000;
const DAYS = 30;
const ENTRIES = 10_000;
const TOWN: BenchTown = { names: ['alpha', 'beta'], validators: ['alpha'], interactiveMs: 3_600_000 };
const WAIT_MS = 1_200_000;

t.test(
  'thirty days away, 10,000 entries on each side: of use at once, one history in the end, and nothing is lost though it is killed',
  async (t) => {
    const folder = scratchFolder();
    const alpha = new CoreChild();
    const children = [alpha];
    t.teardown(async () => {
      for (const child of [...children].reverse()) await child.end();
      folder.remove();
    });
    const url = await alpha.ask('broker');
    const of = (name: string) => ({ folder: join(folder.path, name), name, town: TOWN });
    const child = async (more: { url: string | null; aheadMs: number }): Promise<CoreChild> => {
      const beta = new CoreChild();
      children.push(beta);
      await beta.ask('start', { ...of('beta'), catchesUp: true, ...more });
      return beta;
    };
    const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
      for (const end = Date.now() + WAIT_MS; !(await holds());) {
        if (Date.now() > end) throw new Error(`never came: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    };
    await alpha.ask('start', { ...of('alpha'), url });
    await alpha.ask('found');
    const founding = await alpha.ask('head');
    const met = await child({ url, aheadMs: 0 });
    await until('the founding', async () => (await met.ask('head')).id === founding.id);
    await met.end();

    const alone = await child({ url: null, aheadMs: 0 });
    for (let day = 1; day <= DAYS; day += 1) {
      const some = Math.round((ENTRIES * day) / DAYS) - Math.round((ENTRIES * (day - 1)) / DAYS);
      for (const node of [alpha, alone]) {
        await node.ask('pass', day * DAY_MS);
        await node.ask('record', some);
      }
      await alpha.ask('mergeAll');
    }
    const away = await alone.ask('head');
    t.equal(away.id, founding.id, 'it went on alone');
    t.equal(away.pending, ENTRIES);
    await alone.end();

    const there = await alpha.ask('head');
    const aheadMs = DAYS * DAY_MS;
    const back = await child({ url, aheadMs });
    let first: Standing | null = null;
    await until('a state to stand on', async () => {
      first = await back.ask('head');
      return first.ahead !== null || first.height >= there.height;
    });
    t.match(first, { ahead: Number, alarms: [] }, 'it stands on the newest state');
    // And the power goes in the midst.
    await back.kill();
    const again = await child({ url, aheadMs });
    const total = (standing: Standing): readonly number[] =>
      TOWN.names.map((name) => standing.entries[keysOf(name).id] ?? 0);
    await until('one history', async () => {
      await alpha.ask('mergeAll');
      const [one, other] = [await alpha.ask('head'), await again.ask('head')];
      return one.id === other.id && one.pending === 0 && other.pending === 0 && total(one)[1] === ENTRIES;
    });
    const [one, other] = [await alpha.ask('head'), await again.ask('head')];
    t.same(total(one), total(other), 'both logs are whole');
    t.ok((total(one)[0] ?? 0) >= ENTRIES);
    t.equal(other.ahead, null);
    t.same([...one.alarms, ...other.alarms], []);
    // What was on its way when a day went by at one stroke is too old.
    const refused = [one.refused, other.refused].map(({ expired: _, ...others }) => others);
    t.same(refused, [{}, {}]);
  },
);
