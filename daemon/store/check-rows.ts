/**
 * Looks through a whole database for what a flipped bit or a torn page left: SQLite's own check of every page and index,
 * the sum or the hash of every row, and what the tables say of each other. Reads only.
 */
import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';
import { checkModulus, checkOf, unpacked } from './archiving.js';
import { gitHash } from './database.js';
import { migrate, schemaVersion } from './migrations.js';
import { rowSum, summedColumns, type SummedTable, type Value } from './row-sums.js';

export interface RowProblem {
  readonly table: string;
  /** Which row: its key as a person reads it (`height 12`, `refs/heads/main`); null: the file as a whole. */
  readonly row: string | null;
  readonly what: string;
}

export interface CheckRowsOptions {
  /** Rows done and how many there are, now and then. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Ends the check early after so many problems. */
  readonly problemsMax?: number;
}

/** Rows between two calls of `onProgress`, after which others may do something too. */
const rowsPerTurn = 2_000;

/** What a person calls a row, where that is not its key. */
const names: { readonly [table: string]: readonly string[] } = {
  entries: ['id'],
  blocks: ['id'],
  consensus_log: ['height', 'round', 'step'],
  notices: ['member', 'at'],
};

/** Bytes that have a hash of their own beside the sum: the column, and the one that names it. */
const hashed: { readonly [table: string]: readonly [bytes: string, name: string] } = {
  entries: ['bytes', 'id'],
  blocks: ['raw', 'id'],
  merges: ['raw', 'id'],
};

/**
 * Checks every row of every table that this program knows. An empty list: nothing is wrong with the database by itself;
 * whether it fits the history, a replay tells.
 */
export async function checkRows(
  db: Database.Database,
  { onProgress, problemsMax = 1_000 }: CheckRowsOptions = {},
): Promise<RowProblem[]> {
  const problems: RowProblem[] = [];
  const isFull = (): boolean => problems.length >= problemsMax;
  const add = (table: string, row: string | null, what: string): void => {
    if (!isFull()) problems.push({ table, row, what });
  };
  const pages = (what: string): unknown[] => {
    try {
      return db.pragma(what) as unknown[];
    } catch (error) {
      add('database', null, (error as Error).message);
      return [];
    }
  };
  for (const line of pages(`integrity_check(${problemsMax})`) as { integrity_check: string }[])
    if (line.integrity_check !== 'ok') add('database', null, line.integrity_check.replaceAll('\n', '; '));
  for (const { table, parent } of pages('foreign_key_check') as { table: string; parent: string }[])
    add(table, null, `A row names one of ${parent} that is not there.`);

  for (const what of changedDefinitions(db)) add('database', null, what);

  const tables = Object.keys(summedColumns) as SummedTable[];
  const countOf = (table: string): number =>
    attempt(() => db.prepare(`SELECT count(*) FROM "${table}"`).pluck().get() as number, 0);
  const total = [...tables, 'objects', 'archived'].reduce((sum, table) => sum + countOf(table), 0);
  let done = 0;
  const turn = async (): Promise<void> => {
    done += 1;
    if (done % rowsPerTurn !== 0) return;
    onProgress?.(done, total);
    await new Promise((resolve) => setImmediate(resolve));
  };

  for (const table of tables) {
    try {
      const named = names[table] ?? keyOf(db, table);
      for (const row of rowsOf(db, table)) {
        await turn();
        const name = named.map((key) => String(row[key])).join(' ');
        const sum = rowSum(...summedColumns[table].map((column) => row[column] as Value));
        if (!sum.equals((row['sum'] ?? Buffer.alloc(0)) as Buffer))
          add(table, name, 'It does not have the content that it was stored with.');
        const [bytes, id] = hashed[table] ?? [];
        if (bytes !== undefined && id !== undefined && sha256(row[bytes] as Buffer) !== row[id])
          add(table, name, 'Its bytes do not have the hash that names it.');
        if (isFull()) return problems;
      }
    } catch (error) {
      // What cannot even be read; the check of the pages has named it too.
      add(table, null, `It cannot be read: ${(error as Error).message}.`);
    }
  }
  try {
    for (const { oid, type, data } of stagedObjects(db)) {
      await turn();
      if (gitHash(data, type) !== oid) add('objects', oid, 'Its bytes do not have the hash that names it.');
    }
    await checkArchive(db, add, turn);
  } catch (error) {
    add('archived', null, `It cannot be read: ${(error as Error).message}.`);
  }
  onProgress?.(total, total);
  return problems;
}

/** Of each table and index of a database what makes it one: type, name, table and text. What statistics SQLite keeps is its own. */
const definitionsOf = (db: Database.Database): Map<string, string> =>
  new Map(
    db
      .prepare(
        "SELECT type || ' ' || name, tbl_name || ': ' || coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'",
      )
      .raw()
      .all() as [string, string][],
  );

let made: ReadonlyMap<string, string> | null = null;

/** Those that the steps of this program make. */
function madeDefinitions(): ReadonlyMap<string, string> {
  if (made !== null) return made;
  const db = new Database(':memory:');
  try {
    migrate(db);
    return (made = definitionsOf(db));
  } finally {
    db.close();
  }
}

/** SQLite takes any text that it understands: a constraint that says something else shows with the next row at the earliest. */
function changedDefinitions(db: Database.Database): string[] {
  // Of another version they are others; whoever checks rows of one tells that by itself.
  if (attempt(() => db.pragma('user_version', { simple: true }), null) !== schemaVersion) return [];
  const there = attempt(() => definitionsOf(db), new Map<string, string>());
  const expected = madeDefinitions();
  return [...new Set([...expected.keys(), ...there.keys()])]
    .filter((name) => there.get(name) !== expected.get(name))
    .map((name) => `The definition of the ${name} is not the one that it was made with.`);
}

type Row = { readonly [column: string]: unknown };

/** In pages, so that no statement stays open while others have their turn. */
function* rowsOf(db: Database.Database, table: SummedTable): Generator<Row> {
  const columns = [...summedColumns[table], ...(hashed[table]?.slice(0, 1) ?? []), 'sum'].join(', ');
  const withoutRowid = isWithoutRowid(db, table);
  if (withoutRowid) {
    // These are small, or (the state) made of small rows.
    const key = keyOf(db, table);
    const order = key.join(', ');
    const marks = key.map(() => '?').join(', ');
    const first = db.prepare(`SELECT ${columns} FROM "${table}" ORDER BY ${order} LIMIT ${rowsPerTurn}`);
    const next = db.prepare(
      `SELECT ${columns} FROM "${table}" WHERE (${order}) > (${marks}) ORDER BY ${order} LIMIT ${rowsPerTurn}`,
    );
    for (let page = first.all() as Row[]; page.length > 0;) {
      yield* page;
      const last = page[page.length - 1]!;
      page = next.all(...key.map((column) => last[column])) as Row[];
    }
    return;
  }
  const page = db.prepare(
    `SELECT rowid AS its_row, ${columns} FROM "${table}" WHERE rowid > ? ORDER BY rowid LIMIT ${rowsPerTurn}`,
  );
  for (
    let rows = page.all(-1) as Row[];
    rows.length > 0;
    rows = page.all(rows[rows.length - 1]!['its_row']) as Row[]
  )
    yield* rows;
}

const keyOf = (db: Database.Database, table: string): string[] =>
  db.prepare('SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk').pluck().all(table) as string[];

const isWithoutRowid = (db: Database.Database, table: string): boolean =>
  (db.prepare('SELECT wr FROM pragma_table_list WHERE name = ?').pluck().get(table) as number) === 1;

function* stagedObjects(db: Database.Database): Generator<{ oid: string; type: string; data: Buffer }> {
  const next = db.prepare('SELECT seq, oid, type, data FROM objects WHERE seq > ? ORDER BY seq LIMIT 1');
  for (let seq = 0; ;) {
    const row = next.get(seq) as { seq: number; oid: string; type: string; data: Buffer } | undefined;
    if (row === undefined) return;
    yield row;
    seq = row.seq;
  }
}

type Add = (table: string, row: string | null, what: string) => void;

/** What the archive says of each block adds up to what was noted when it went there, and names blocks and entries that fit. */
async function checkArchive(db: Database.Database, add: Add, turn: () => Promise<void>): Promise<void> {
  const sums = new Map<number, { count: number; ids: number }>();
  const page = db
    .prepare('SELECT segment, id, block FROM archived WHERE (segment, id, block) > (?, ?, ?) LIMIT ?')
    .safeIntegers();
  type Place = { readonly segment: bigint; readonly id: bigint; readonly block: bigint };
  let last: Place = { segment: -1n, id: 0n, block: 0n };
  for (;;) {
    const rows = page.all(last.segment, last.id, last.block, rowsPerTurn) as Place[];
    for (const { id, block, segment } of rows) {
      const sum = sums.get(Number(block)) ?? { count: 0, ids: 0 };
      sums.set(Number(block), {
        count: sum.count + 1,
        ids: (sum.ids + checkOf(id, Number(segment))) % checkModulus,
      });
      await turn();
    }
    if (rows.length < rowsPerTurn) break;
    last = rows[rows.length - 1]!;
  }
  const blocks = db
    .prepare(
      'SELECT a.number, a.block, a.arrivals, a.ids, b.id, b.entries FROM archived_blocks AS a JOIN blocks AS b ON b.row = a.block',
    )
    .all() as { number: number; block: number; arrivals: string; ids: number; id: string; entries: number }[];
  for (const { number, block, arrivals, ids, id, entries } of blocks) {
    const sum = sums.get(block);
    sums.delete(block);
    if (sum?.ids !== ids || sum.count !== entries || unpacked(arrivals).length !== entries)
      add(
        'archived',
        id,
        `The archive does not name the ${entries} entries of this block (its number ${number}).`,
      );
  }
  for (const block of sums.keys())
    add('archived', String(block), 'The archive names a block that it does not have.');
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function attempt<T>(task: () => T, otherwise: T): T {
  try {
    return task();
  } catch {
    return otherwise;
  }
}
