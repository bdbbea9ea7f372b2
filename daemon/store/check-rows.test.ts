/** Damage to any column of any table is found by the check of the rows. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import type { EntryId, MemberId, Millis } from '../ledger/ids.js';
import { checkRows } from './check-rows.js';
import { Repository } from './repository.js';
import { Store } from './store.js';
import { node, sampleBlock, sampleEntry, sampleMerge } from './testing/samples.js';

/** A database with rows in every table that a store without peers fills: an image of it. */
async function filled(t: Test): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'town-rows-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  const repository = await Repository.open(join(folder, 'ledger.git'), store);
  const notice = { member: 'm1' as MemberId, entry: null, at: 1 as Millis, text: 'paid' };
  for (let round = 0; round < 4; round += 1) {
    const entries = [0, 1, 2].map((i) => sampleEntry(round * 3 + i));
    const gateRecords = entries.map(({ id }, i) => ({
      ...{ id: `g-${round * 3 + i}`, entry: id as EntryId, door: 'front', at: round as Millis },
    }));
    await store.appendEntries({ entries, gateRecords });
    await store.putBlock(sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 10)));
    await store.adopt({ ...sampleMerge(store), notices: [notice] });
    if (round === 2) await repository.flush();
  }
  while ((await store.archiveStep({ entriesKept: 2, recordsPerDoor: 5 })) > 0);
  await store.appendEntries({ entries: [sampleEntry(50)] });
  await store.setMeta('town', 'x');
  await store.logConsensus([
    { height: 9, round: 0, step: 'prevote', kind: 'vote', text: '{}', bytes: Buffer.from('value') },
  ]);
  await store.putInvitation({ hash: 'h', text: '{}', expires: 100 as Millis });
  await store.useInvitation('h', 9 as Millis);
  await store.putNodeInvitation('00000000000000bb', '{}');
  await store.close();
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  const image = db.serialize();
  db.close();
  // It says of itself that it has a log beside it; in memory there is none.
  image[18] = image[19] = 1;
  return image;
}

t.test('of a sound database there is nothing to say', async (t) => {
  const db = new Database(await filled(t));
  const told: [number, number][] = [];
  t.same(await checkRows(db, { onProgress: (done, total) => void told.push([done, total]) }), []);
  const [done, total] = told.at(-1)!;
  t.ok(done === total && total > 20, `${total} rows`);
  db.close();
});

t.test('a changed value is found in every column of every table', async (t) => {
  const image = await filled(t);
  const db = new Database(image);
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .pluck()
    .all() as string[];
  const places = tables.flatMap((table) => {
    const columns = db.prepare('SELECT name, type FROM pragma_table_info(?)').all(table) as {
      name: string;
      type: string;
    }[];
    const isFilled = db.prepare(`SELECT 1 FROM "${table}"`).get() !== undefined;
    return isFilled ? columns.map((column) => ({ table, ...column })) : [];
  });
  db.close();
  const seen = new Set(places.map(({ table }) => table));
  for (const table of ['archived', 'archived_blocks', 'gate_seen', 'branches', 'objects', 'entries'])
    t.ok(seen.has(table), `${table} has rows`);
  for (const { table, name, type } of places) {
    const copy = new Database(image);
    copy.pragma('foreign_keys = OFF');
    copy.pragma('ignore_check_constraints = ON');
    const other =
      type === 'INTEGER'
        ? `coalesce("${name}", 0) + 1000`
        : type === 'BLOB'
          ? `CAST(coalesce("${name}", x'') || 'x' AS BLOB)`
          : `coalesce("${name}", '') || 'x'`;
    const one = { entries: 'height IS NULL', gate_records: "id = 'g-11'" }[table] ?? '1';
    // Running numbers that nothing else is made of: SQLite orders rows by them, and the indexes hold them again.
    const isRowid = ['entries.row', 'objects.seq', 'notices.id', 'consensus_log.seq'].includes(
      `${table}.${name}`,
    );
    if (!isRowid) {
      copy.exec(`UPDATE "${table}" SET "${name}" = ${other} WHERE ${one}`);
      const found = await checkRows(copy);
      t.ok(found.length > 0, `${table}.${name}: ${found[0]?.table} ${found[0]?.row}, ${found[0]?.what}`);
    }
    copy.close();
  }
});

/** The definitions as SQLite reads them. */
function textsOf(image: Buffer): string[] {
  const db = new Database(image);
  const texts = db.prepare('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL').pluck().all() as string[];
  db.close();
  return texts;
}

t.test('a flipped letter in the definition of a table or an index is found', async (t) => {
  const image = await filled(t);
  const texts = textsOf(image);
  const entries = texts.find((text) => text.includes("'rejected'"))!;
  const places = texts.flatMap((text) => [0, text.length >> 1, text.length - 2].map((at) => ({ text, at })));
  // Which states there may be: rows that are there already do not show that it says something else.
  for (const { text, at } of [...places, { text: entries, at: entries.indexOf('rejected') }]) {
    // Free space holds older copies.
    for (let start = image.indexOf(text); start !== -1; start = image.indexOf(text, start + 1)) {
      const flipped = Buffer.from(image);
      flipped[start + at]! ^= 0x20;
      let isRead = true;
      try {
        isRead = textsOf(flipped).join() !== texts.join();
      } catch {
        // SQLite does not understand it.
      }
      if (!isRead) continue;
      const copy = new Database(flipped);
      const found = await checkRows(copy);
      t.ok(found.length > 0, `${text.slice(0, 40)}, letter ${at}: ${found[0]?.what}`);
      copy.close();
    }
  }
});

t.test('a page that is no page is told of, and the rest is looked at', async (t) => {
  const image = Buffer.from(await filled(t));
  const pageSize = image.readUInt16BE(16);
  const db = new Database(image);
  const root = db
    .prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'notices'")
    .pluck()
    .get() as number;
  db.close();
  image[(root - 1) * pageSize]! ^= 0x40;
  const damaged = new Database(image);
  const found = await checkRows(damaged);
  t.ok(found.some(({ table }) => table === 'notices'));
  t.notOk(found.some(({ table }) => table === 'merges'));
  damaged.close();
});
