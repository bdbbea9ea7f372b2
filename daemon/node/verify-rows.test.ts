/**
 * `town verify` sees rows that are gone or say something else although every sum is right, which nothing but their meaning tells; and
 * the repair sets them right, or names what is lost.
 */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import t from 'tap';
import { registerRowSum, summedColumns, type SummedTable } from '../store/row-sums.js';
import { Store } from '../store/store.js';
import { makeTown } from '../testing/whole-town.js';
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
    "type IN ('membership.add', 'door-access.enrol') AND coalesce(height, 9) > 1 ORDER BY row DESC",
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

/** Of what no block has. */
const deletions: readonly (Damage & { readonly lost: RegExp })[] = [
  {
    what: 'the last one, with its record of the gate',
    how: (db) => {
      db.exec('DELETE FROM gate_records WHERE entry = (SELECT id FROM entries ORDER BY row DESC LIMIT 1)');
      return db
        .prepare('DELETE FROM entries WHERE block IS NULL AND row = (SELECT max(row) FROM entries)')
        .run().changes;
    },
    where: /^entries$/,
    said: /Entries are gone: .* number [0-9]+\./,
    lost: /arrived here as number [0-9]+, the entries that were in no block yet/,
  },
  {
    what: 'one that others came after',
    how: (db) =>
      db
        .prepare(
          "DELETE FROM entries WHERE row = (SELECT min(row) FROM entries WHERE block IS NULL AND kind = 'claim')",
        )
        .run().changes,
    where: /^entries$/,
    said: /Entries are gone/,
    lost: /the entries that were in no block yet/,
  },
];

t.test('what sums cannot tell', async (t) => {
  const base = t.testdir({});
  const town = join(base, 'town');
  await makeTown(town);
  const folder = join(base, 'copy');
  const damaged = async (from: string, damages: readonly Damage[]): Promise<void> => {
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
    await damaged(town, changes);
    const { report, lost } = await repairTown(folder, options);
    t.same(report.problems, []);
    t.same(lost, []);
    const archived = join(base, 'archived');
    cpSync(town, archived, { recursive: true });
    const store = await Store.open(archived, { onFatal: () => undefined });
    while ((await store.archiveStep({ entriesKept: 20, recordsPerDoor: 5 })) > 0);
    await store.close();
    t.same((await verifyTown(archived, options)).problems, [], 'whole before');
    await damaged(archived, changes);
  });

  for (const deletion of deletions)
    await t.test(`an acknowledged entry that no block has is gone: ${deletion.what}`, async (t) => {
      await damaged(town, [deletion]);
      const { report, lost } = await repairTown(folder, options);
      t.same(report.problems, []);
      t.ok(
        lost.some((one) => deletion.lost.test(one)),
        JSON.stringify(lost),
      );
    });
});
