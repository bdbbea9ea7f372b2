/**
 * `town verify` sees rows that are gone or say something else although every sum is right, which nothing but their meaning tells; and
 * the repair sets them right, or names what is lost.
 */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { signEntry } from '../ledger/entry.js';
import type { Millis } from '../ledger/ids.js';
import { State } from '../ledger/state.js';
import { FOLLOWED_META } from '../store/arrivals.js';
import { registerRowSum, summedColumns, type SummedTable } from '../store/row-sums.js';
import type { EntryRow, MergeRow } from '../store/rows.js';
import { Store } from '../store/store.js';
import { makeTown } from '../testing/whole-town.js';
import { readNodeKeys } from './key-files.js';
import { entryRow } from './new-rows.js';
import { repairTown } from './repair-town.js';
import { verifyTown } from './verify-town.js';

t.setTimeout(600_000);
const options = {
  packagesFolder: fileURLToPath(new URL('../../packages', import.meta.url)),
  driver: 'process' as const,
};

interface Damage {
  readonly what: string;
  /** @returns how many rows it changed */
  readonly how: (db: Database.Database) => number;
  readonly where: RegExp;
  readonly said: RegExp;
}

/** Changes a column of the rows that `of` finds, the sum with it. @returns how many */
const set = (db: Database.Database, table: SummedTable, change: string, of: string): number => {
  const { changes } = db.prepare(`UPDATE ${table} SET ${change} WHERE ${of}`).run();
  db.prepare(`UPDATE ${table} SET sum = row_sum(${summedColumns[table].join(', ')})`).run();
  return changes;
};

const nth = (table: string, of: string, offset: number): string =>
  `id = (SELECT id FROM ${table} WHERE ${of} LIMIT 1 OFFSET ${offset})`;
/** What was merged while the steward's key was known. */
const aClaim = (offset: number): string =>
  nth(
    'entries',
    "type IN ('membership.add', 'door-access.enrol') AND coalesce(height, 9) > 1 AND member IS NOT NULL ORDER BY row DESC",
    offset,
  );
const aRecord = (offset: number): string => nth('gate_records', 'true ORDER BY at DESC', offset);

/** Each of another row. */
const changes: readonly Damage[] = [
  {
    what: 'a fact is called a claim',
    how: (db) =>
      set(db, 'entries', "kind = 'claim'", nth('entries', "type = 'door-access.event' ORDER BY row DESC", 0)),
    where: /^entry /,
    said: /calls it a claim; door-access\.event is a fact/,
  },
  {
    what: 'a claim is called a fact',
    how: (db) => set(db, 'entries', "kind = 'fact'", aClaim(0)),
    where: /^entry /,
    said: /calls it a fact; .* is a claim/,
  },
  {
    what: 'a claim is said to be of another member',
    how: (db) => set(db, 'entries', "member = 'm0123456789abcdef'", aClaim(1)),
    where: /^entry /,
    said: /says that m0123456789abcdef signed it/,
  },
  {
    what: 'a claim is said to be of nobody',
    how: (db) => set(db, 'entries', 'member = NULL', aClaim(2)),
    where: /^entry /,
    said: /does not say whose key signed it/,
  },
  {
    what: 'a record is said to be of another door',
    how: (db) => set(db, 'gate_records', "door = 'back'", aRecord(0)),
    where: /^gate_records /,
    said: /something else than the entry/,
  },
  {
    what: 'a record is deleted',
    how: (db) => db.prepare(`DELETE FROM gate_records WHERE ${aRecord(1)}`).run().changes,
    where: /^gate_records /,
    said: /holds this record of the gate, and it has no row/,
  },
  {
    what: 'a record is said to be of another time',
    how: (db) => set(db, 'gate_records', 'at = at - 100000', aRecord(1)),
    where: /^gate_records /,
    said: /something else than the entry/,
  },
  {
    what: 'a record has another number',
    how: (db) => set(db, 'gate_records', "id = 'ffffffffffffffff-7'", aRecord(1)),
    where: /^gate_records ffffffffffffffff-7$/,
    said: /something else than the entry/,
  },
  {
    what: 'a record leads to no entry',
    how: (db) => set(db, 'gate_records', "entry = 'no such entry'", aRecord(2)),
    where: /^gate_records /,
    said: /names an entry that is not here/,
  },
];

/** Too small for what is kept of each block's ids: who asks for this entry would not find it. */
const misnamed: Damage = {
  what: 'the archive has one of the last bits of an id wrong',
  how: (db) =>
    db
      .prepare(
        'UPDATE archived SET id = id + 16 WHERE id = (SELECT id FROM archived WHERE id & 16 = 0 ORDER BY id LIMIT 1)',
      )
      .run().changes,
  where: /^archived$/,
  said: /names other entries than the history/,
};

/** Of what no block has. */
const deletions: readonly Damage[] = ['max', 'min'].map((which) => ({
  what: which === 'max' ? 'the last one' : 'one that others came after',
  how: (db) =>
    db
      .prepare(`DELETE FROM entries WHERE row = (SELECT ${which}(row) FROM entries WHERE block IS NULL)`)
      .run().changes,
  where: /^entries$/,
  said: /Entries are gone: .* number [0-9]+\./,
}));

/** Three claims that this node recorded and no block has, and the daemon stopped. */
async function addUnblocked(folder: string): Promise<void> {
  const keys = await readNodeKeys(folder);
  const store = await Store.open(folder, { onFatal: () => undefined });
  const { id: base } = store.lastMerge() as MergeRow;
  const { content: town } = store.merge(0) as MergeRow;
  const before = store.lastN(keys.id, 'main');
  const entries = [1, 2, 3].map((i) => {
    const place = { v: 1, town, line: 'main', base, node: keys.id, n: before + i } as const;
    const content = {
      ...place,
      type: 'membership.add',
      by: keys.key,
      at: (1_800_000_000_000 + i) as Millis,
      body: {},
    };
    return entryRow(signEntry(content, keys.secretKey), 'claim', new State());
  });
  await store.appendEntries({ entries });
  const last = store.log(1)[0] as EntryRow;
  await store.followRecords({ upTo: { key: FOLLOWED_META, value: String(last.row) }, missing: [] });
  await store.close();
}

t.test('what sums cannot tell', async (t) => {
  const base = t.testdir({});
  const town = join(base, 'town');
  await makeTown(town);
  await addUnblocked(town);
  const folder = join(base, 'copy');
  const damaged = async (t: Test, from: string, damages: readonly Damage[]): Promise<void> => {
    rmSync(folder, { recursive: true, force: true });
    cpSync(from, folder, { recursive: true });
    const db = new Database(join(folder, 'town.db'));
    registerRowSum(db);
    for (const { what, how } of damages) t.equal(how(db), 1, `${what}: one row`);
    db.close();
    const { problems } = await verifyTown(folder, options);
    for (const { what, where, said } of damages)
      t.ok(
        problems.some((problem) => where.test(problem.where) && said.test(problem.what)),
        `${what}: ${JSON.stringify(problems)}`,
      );
    t.same(new Set(problems.map(({ kind }) => kind)), new Set(['database']));
  };

  await t.test('as the town is, and with most of it in the archive', async (t) => {
    t.same((await verifyTown(town, options)).problems, [], 'whole before');
    await damaged(t, town, changes);
    const { report, lost } = await repairTown(folder, options);
    t.same(report.problems, []);
    t.same(lost, []);
    const archived = join(base, 'archived');
    cpSync(town, archived, { recursive: true });
    const store = await Store.open(archived, { onFatal: () => undefined });
    while ((await store.archiveStep({ entriesKept: 20, recordsPerDoor: 5 })) > 0);
    await store.close();
    t.same((await verifyTown(archived, options)).problems, [], 'whole before');
    await damaged(t, archived, [...changes, misnamed]);
    await damaged(t, archived, [misnamed]);
    const after = await repairTown(folder, options);
    t.same(after.report.problems, []);
    t.same(after.lost, []);
  });

  for (const deletion of deletions)
    await t.test(`an acknowledged entry that no block has is gone: ${deletion.what}`, async (t) => {
      await damaged(t, town, [deletion]);
      const { report, lost } = await repairTown(folder, options);
      t.same(report.problems, []);
      t.match(lost, [/arrived here as number [0-9]+, the entries that were in no block yet/]);
    });
});
