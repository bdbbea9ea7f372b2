/** Old entries stand in git only: whoever asks sees no border. Real stores, repositories and a broker; a tiny window. */
import t, { type Test } from 'tap';
import { MANIFESTS, notesContract } from '../ledger/testing/small-town.js';
import { startBroker } from '../sync/broker.js';
import type { EntryRow, MergeRow } from '../store/rows.js';
import { Conversations } from './drive.js';
import { StateChanges } from './state-changes.js';
import { CoreNode, genesisOf, scratchFolder, until } from './testing/core-town.js';

const bounds = { entriesKept: 6, recordsPerDoor: 3 };

async function archiveAll(node: CoreNode): Promise<number> {
  let moved = 0;
  for (let step = 1; step > 0; moved += step) step = await node.store.archiveStep(bounds);
  return moved;
}

/** A node with `merges` merges of some entries each, facts and claims, one of them rejected. */
async function townWithHistory(t: Test, merges: number, url: string | null = null, names = ['alpha']) {
  const scratch = scratchFolder();
  t.teardown(() => scratch.remove());
  const genesis = genesisOf(names, (charter) => ({
    ...charter,
    validators: charter.validators.slice(0, 1),
    pace: { interactiveMs: 600_000, factsMs: 600_000 },
  }));
  const alpha = await CoreNode.start({ folder: `${scratch.path}/alpha`, name: 'alpha', genesis, url });
  t.teardown(() => alpha.stop());
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await alpha.core.merger.mergeNow();
  for (let merge = 0; merge < merges; merge += 1) {
    for (let i = 0; i < 3; i += 1)
      await alpha.core.appender.fact(
        'notes.seen',
        { key: i === 2 ? 'odd' : `k${merge}` },
        { id: `aaaaaaaaaaaaaaaa-${merge * 3 + i}`, door: i === 0 ? 'front' : 'back' },
      );
    await alpha.claim('ada', 'notes.put', { key: `p${merge}`, value: merge });
    await alpha.core.merger.mergeNow();
  }
  await alpha.repository.flush();
  return { alpha, genesis, scratch };
}

const ofDatabase = ({ member: _, ...row }: EntryRow): unknown => ({ ...row, bytes: Buffer.from(row.bytes) });

t.test('an entry reads the same before and after it went to the archive', async (t) => {
  const { alpha } = await townWithHistory(t, 8);
  const { store } = alpha;
  const before = store.log(1_000);
  const mergesBefore = Array.from({ length: 9 }, (_, i) => store.mergeEntries(i + 1, 100));
  const blocks = mergesBefore.flatMap((rows) => rows.map(({ block }) => block as string));
  t.ok((await archiveAll(alpha)) > before.length / 2);
  const hot = store.log(1_000).length;
  t.ok(hot >= bounds.entriesKept && hot < bounds.entriesKept + 4, `${hot} stay in the database`);
  for (const row of before) {
    const found = await store.archive.entry(row.id);
    t.same(ofDatabase(found as EntryRow), ofDatabase(row), `${row.type} ${row.n}`);
    t.same(
      (await store.archive.entriesByPrefix(row.id.slice(0, 12))).map(({ id }) => id),
      [row.id],
    );
  }
  t.same(await store.archive.entriesByPrefix('00000000', 2), [], 'and nothing is found where nothing is');
  t.equal(await store.archive.entry('f'.repeat(64)), null);
  for (const block of new Set(blocks)) {
    const rows = await store.archive.blockEntries(block);
    t.same(
      rows.map(ofDatabase),
      before
        .filter((row) => row.block === block)
        .toReversed()
        .map(ofDatabase),
    );
  }
  for (const [i, rows] of mergesBefore.entries())
    t.same((await store.archive.mergeEntries(i + 1, 100)).map(ofDatabase), rows.map(ofDatabase));
  t.equal(store.lastN(alpha.keys.id, 'main'), before[0]?.n, 'the last number of a branch is known');
  const [oldest] = before.slice(-1) as [EntryRow];
  await t.rejects(store.appendEntries({ entries: [oldest] }), { code: 'duplicate-entry' }, 'it applies once');
  t.equal(await archiveAll(alpha), 0, 'nothing is left to do');
});

t.test(
  'what an old merge changed is told as before, and only where the replay agrees with its receipt',
  async (t) => {
    const { alpha } = await townWithHistory(t, 4);
    const { store, core, repository } = alpha;
    const changesOf = (answer: ReturnType<typeof notesContract>) => {
      const conversations = new Conversations({ exchange: async (_dapp, message) => answer(message) });
      return new StateChanges({
        ...{ store, main: core.main, manifests: MANIFESTS, conversations: () => conversations },
        readObject: (oid) => repository.read(oid),
      });
    };
    const merge = store.merge(2) as MergeRow;
    const before = await changesOf(notesContract()).of(merge);
    t.match(
      before?.all.find(({ path }) => path === 'notes/notes/k0'),
      { before: null, after: '"seen"' },
    );
    await archiveAll(alpha);
    t.same(store.mergeEntries(merge.height, 10), [], 'only git has its entries');
    t.same(await changesOf(notesContract()).of(merge), before);
    const honest = notesContract();
    const other = changesOf((message) => {
      const answer = honest(message);
      return answer.t === 'accept' && answer.writes.length > 0
        ? { ...answer, writes: answer.writes.map((write) => ({ ...write, value: 'something else' })) }
        : answer;
    });
    t.equal(await other.of(merge), null, 'a contract that answers otherwise tells nothing of that time');
  },
);

t.test('what git does not have yet stays in the database', async (t) => {
  const { alpha } = await townWithHistory(t, 3);
  await alpha.claim('ada', 'notes.put', { key: 'late', value: 1 });
  await alpha.core.merger.mergeNow();
  for (let i = 0; i < 4; i += 1) await alpha.claim('ada', 'notes.put', { key: `l${i}`, value: 1 });
  await alpha.core.merger.mergeNow();
  const staged = alpha.store.log(5).map(({ id }) => id);
  while ((await alpha.store.archiveStep({ entriesKept: 0, recordsPerDoor: 3 })) > 0);
  t.same(
    alpha.store.log(100).map(({ id }) => id),
    staged,
    'the rest went',
  );
  await alpha.repository.flush();
  while ((await alpha.store.archiveStep({ entriesKept: 0, recordsPerDoor: 3 })) > 0);
  t.ok(alpha.store.log(100).length < staged.length + 1, 'and then these, but for the last block');
});

t.test('pages of the log cross the border, each entry once, whatever moves meanwhile', async (t) => {
  const { alpha } = await townWithHistory(t, 10);
  const { store } = alpha;
  const all = store.log(1_000).map(({ id }) => id);
  const read = async (size: number, between: () => Promise<unknown>): Promise<string[]> => {
    const ids: string[] = [];
    for (let next: string | undefined; ;) {
      const page = await store.archive.log(size, next);
      ids.push(...page.rows.map(({ id }) => id));
      if (page.next === null) return ids;
      next = page.next;
      await between();
    }
  };
  t.same(await read(7, () => Promise.resolve()), all, 'as long as all is in the database');
  for (const [size, kept] of [
    [5, 30],
    [3, 20],
    [4, 12],
    [7, 6],
  ] as const) {
    const shown = await read(size, () => store.archiveStep({ entriesKept: kept, recordsPerDoor: 3 }));
    t.equal(new Set(shown).size, shown.length, `no entry twice in pages of ${size}`);
    t.same(shown.toSorted(), all.toSorted(), 'and none left out');
  }
  await t.rejects(store.archive.log(5, 'x'), { code: 'bad-page' });
  await t.rejects(store.archive.log(5, '1.2.3'), { code: 'bad-page' });
});

t.test('of each door the newest records stay, and none is taken twice, however old', async (t) => {
  const { alpha } = await townWithHistory(t, 6);
  await archiveAll(alpha);
  const { store } = alpha;
  t.equal(store.gateRecords('front', 100).length, bounds.recordsPerDoor);
  t.equal(store.gateRecords('back', 100).length, bounds.recordsPerDoor);
  t.same(
    store.gateRecords(null, 2).map(({ id }) => id),
    ['aaaaaaaaaaaaaaaa-17', 'aaaaaaaaaaaaaaaa-16'],
    'of all doors the newest first',
  );
  for (let i = 0; i < 18; i += 1) {
    const again = await alpha.core.appender.fact(
      'notes.seen',
      { key: 'x' },
      { id: `aaaaaaaaaaaaaaaa-${i}`, door: 'front' },
    );
    t.equal(again, null, `record ${i} is refused`);
  }
  const other = { id: 'bbbbbbbbbbbbbbbb-3', door: 'front' };
  t.ok(await alpha.core.appender.fact('notes.seen', { key: 'x' }, other), 'that of another gate is not');
});

t.test('a node that comes late gets the whole history from one that has it in git only', async (t) => {
  const broker = await startBroker(0);
  t.teardown(() => broker.close());
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const { alpha, genesis, scratch } = await townWithHistory(t, 12, url, ['alpha', 'beta']);
  await archiveAll(alpha);
  const beta = await CoreNode.start({ folder: `${scratch.path}/beta`, name: 'beta', genesis, url });
  t.teardown(() => beta.stop());
  await until('one main', () => beta.head.id === alpha.head.id, [alpha, beta]);
  t.equal(beta.store.log(1_000).length, 12 * 4 + 1);
  t.same(beta.refused(), {});
  t.same(
    [...beta.store.allState()],
    [...alpha.store.allState()],
    'and comes to the same state by its own replay',
  );
});
