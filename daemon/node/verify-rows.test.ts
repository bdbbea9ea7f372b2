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
  /** Changes the database; 0 or undefined: there was nothing to change. */
  readonly how: (db: Database.Database) => number;
  readonly where: RegExp;
  readonly said: RegExp;
  readonly lost?: RegExp;
}

/** Changes a column of the rows that `of` finds, the sum with it. @returns how many */
const set = (db: Database.Database, table: SummedTable, change: string, of: string): number => {
  const { changes } = db.prepare(`UPDATE ${table} SET ${change} WHERE ${of}`).run();
  db.prepare(`UPDATE ${table} SET sum = row_sum(${summedColumns[table].join(', ')})`).run();
  return changes;
};

const unblocked = "block IS NULL AND line = 'main'";
const first = (table: string, of: string, key = 'id'): string =>
  `${key} = (SELECT ${key} FROM ${table} WHERE ${of} LIMIT 1)`;
const aFact = first('entries', "type = 'door-access.event' AND height IS NOT NULL");
const aClaim = first('entries', "type = 'membership.add' AND height > 1");
const aRecord = first('gate_records', 'true');

const damages: readonly Damage[] = [
  {
    what: 'the last acknowledged entry, which no block has, is deleted with its record',
    how: (db) => {
      db.exec(`DELETE FROM gate_records WHERE entry = (SELECT id FROM entries ORDER BY row DESC LIMIT 1)`);
      return db
        .prepare(`DELETE FROM entries WHERE row = (SELECT max(row) FROM entries) AND ${unblocked}`)
        .run().changes;
    },
    where: /^entries$/,
    said: /Entries are gone: .* number [0-9]+\./,
    lost: /arrived here as number [0-9]+, the entries that were in no block yet/,
  },
  {
    what: 'one that no block has and others came after is deleted',
    how: (db) =>
      db
        .prepare(
          `DELETE FROM entries WHERE row = (SELECT min(row) FROM entries WHERE ${unblocked} AND type <> 'door-access.event')`,
        )
        .run().changes,
    where: /^entries$/,
    said: /Entries are gone/,
    lost: /the entries that were in no block yet/,
  },
  {
    what: 'a fact is called a claim',
    how: (db) => set(db, 'entries', "kind = 'claim'", aFact),
    where: /^entry /,
    said: /calls it a claim; door-access\.event is a fact/,
  },
  {
    what: 'a claim is called a fact',
    how: (db) => set(db, 'entries', "kind = 'fact'", aClaim),
    where: /^entry /,
    said: /calls it a fact; membership\.add is a claim/,
  },
  {
    what: 'a claim is said to be of another member',
    how: (db) => set(db, 'entries', "member = 'm0123456789abcdef'", aClaim),
    where: /^entry /,
    said: /says that m0123456789abcdef signed it/,
  },
  {
    what: 'a claim is said to be of nobody',
    how: (db) => set(db, 'entries', 'member = NULL', aClaim),
    where: /^entry /,
    said: /does not say whose key signed it/,
  },
  {
    what: 'a record is said to be of another door',
    how: (db) => set(db, 'gate_records', "door = 'back'", aRecord),
    where: /^gate_records /,
    said: /something else than the entry/,
  },
  {
    what: 'a record is said to be of another time',
    how: (db) => set(db, 'gate_records', 'at = at + 1', aRecord),
    where: /^gate_records /,
    said: /something else than the entry/,
  },
  {
    what: 'a record has another number',
    how: (db) => set(db, 'gate_records', "id = 'ffffffffffffffff-7'", aRecord),
    where: /^gate_records ffffffffffffffff-7$/,
    said: /something else than the entry/,
  },
  {
    what: 'a record leads to no entry',
    how: (db) => set(db, 'gate_records', "entry = 'no such entry'", aRecord),
    where: /^gate_records /,
    said: /names an entry that is not here/,
  },
  {
    what: 'a record is deleted',
    how: (db) => db.prepare(`DELETE FROM gate_records WHERE ${aRecord}`).run().changes,
    where: /^gate_records /,
    said: /holds this record of the gate, and it has no row/,
  },
];

t.test('what sums cannot tell', async (t) => {
  const base = t.testdir({});
  const town = join(base, 'town');
  await makeTown(town);
  const archived = join(base, 'archived');
  cpSync(town, archived, { recursive: true });
  const store = await Store.open(archived, { onFatal: () => undefined });
  while ((await store.archiveStep({ entriesKept: 12, recordsPerDoor: 4 })) > 0);
  await store.close();
  for (const folder of [town, archived])
    t.same((await verifyTown(folder, options)).problems, [], 'whole before');
  const folder = join(base, 'copy');
  for (const { what, how, where, said, lost } of damages)
    await t.test(what, async (t) => {
      for (const from of [town, archived]) {
        rmSync(folder, { recursive: true, force: true });
        cpSync(from, folder, { recursive: true });
        const db = new Database(join(folder, 'town.db'));
        registerRowSum(db);
        const changed = how(db);
        db.close();
        if (changed === 0 && from === archived) continue;
        t.equal(changed, 1, 'one row');
        const { problems } = await verifyTown(folder, options);
        t.ok(
          problems.some((problem) => where.test(problem.where) && said.test(problem.what)),
          JSON.stringify(problems),
        );
        t.same(new Set(problems.map(({ kind }) => kind)), new Set(['database']));
        if (from === archived) continue;
        const repaired = await repairTown(folder, options);
        t.same(repaired.report.problems, []);
        if (lost)
          t.ok(
            repaired.lost.some((one) => lost.test(one)),
            JSON.stringify(repaired.lost),
          );
        else t.same(repaired.lost, []);
      }
    });
});
