/**
 * Every row of the database against what it was written with: the short sum, or the hash that names its bytes. Together with
 * SQLite's `integrity_check`, which looks at the pages and indexes, no bit of it can change unseen.
 */
import { createHash } from 'node:crypto';
import type { Database } from 'better-sqlite3';
import { checkModulus, checkOf } from './archiving.js';
import { gitHash } from './database.js';
import { schemaVersion } from './migrations.js';
import { rowSum, summedColumns, type SummedTable, type Value } from './row-sums.js';

export interface RowProblem {
  /** The table, and the row by its key. */
  readonly where: string;
  readonly what: string;
}

/** The column whose bytes are named by a hash, and the one that has it. */
const hashed: { readonly [table: string]: { readonly bytes: string; readonly id: string } } = {
  entries: { bytes: 'bytes', id: 'id' },
  blocks: { bytes: 'raw', id: 'id' },
  merges: { bytes: 'raw', id: 'id' },
};

/** Tables that have no sums: `objects` is named by its hashes, `archived` is checked by block, the rest is SQLite's own. */
const withoutSums = new Set(['objects', 'archived']);

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b);

/**
 * Checks every table, one row at a time. Reads only; the connection may stand in a transaction.
 * @param onProgress rows so far and of all; told every thousand rows
 */
export function* checkRows(
  db: Database,
  onProgress: (done: number, total: number) => void = () => undefined,
): Generator<RowProblem, void, void> {
  const version = db.pragma('user_version', { simple: true }) as number;
  if (version !== schemaVersion) {
    yield { where: 'town.db', what: `It says version ${version} of its tables, not ${schemaVersion}.` };
    return;
  }
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    .pluck()
    .all() as string[];
  const count = (table: string): number =>
    db.prepare(`SELECT count(*) FROM "${table}"`).pluck().get() as number;
  const total = tables.reduce((sum, table) => sum + count(table), 0);
  let done = 0;
  const counted = (): void => {
    done += 1;
    if (done % 1000 === 0 || done === total) onProgress(done, total);
  };
  for (const table of tables) {
    if (table in summedColumns) yield* checkSums(db, table as SummedTable, counted);
    else if (table === 'objects') yield* checkObjects(db, counted);
    else if (table === 'archived') yield* checkArchive(db, counted);
    else if (!withoutSums.has(table))
      yield { where: table, what: 'The database has a table that is not ours.' };
  }
}

function* checkSums(db: Database, table: SummedTable, counted: () => void): Generator<RowProblem> {
  const columns: readonly string[] = summedColumns[table];
  const named = hashed[table];
  const sql = `SELECT ${[...columns, 'sum', ...(named ? [named.bytes] : [])].join(', ')} FROM ${table}`;
  const at = named ? columns.indexOf(named.id) : -1;
  for (const row of db.prepare(sql).raw().iterate() as IterableIterator<Value[]>) {
    counted();
    const where = `${table} ${String(row[0]).slice(0, 40)}`;
    if (!isSame(rowSum(...row.slice(0, columns.length)), row[columns.length] as Uint8Array))
      yield { where, what: 'The row is not as it was written: its sum does not fit.' };
    if (named && sha256(row[columns.length + 1] as Uint8Array) !== row[at])
      yield { where, what: `Its ${named.bytes} are not those it was stored with.` };
  }
}

function* checkObjects(db: Database, counted: () => void): Generator<RowProblem> {
  const sql = 'SELECT oid, type, data FROM objects';
  for (const [oid, type, data] of db.prepare(sql).raw().iterate() as IterableIterator<
    [string, string, Uint8Array]
  >) {
    counted();
    if (gitHash(data, type) !== oid)
      yield { where: `objects ${oid}`, what: 'Its bytes are not those it was stored with.' };
  }
}

/** Each block in the archive keeps a check over the numbers of its entries. */
function* checkArchive(db: Database, counted: () => void): Generator<RowProblem> {
  const found = new Map<number, number>();
  const sql = 'SELECT id, block FROM archived';
  for (const [id, block] of db.prepare(sql).raw().safeIntegers().iterate() as IterableIterator<
    [bigint, bigint]
  >) {
    counted();
    const row = Number(block);
    found.set(row, ((found.get(row) ?? 0) + checkOf(id)) % checkModulus);
  }
  const kept = db.prepare('SELECT block, ids FROM archived_blocks').raw().iterate() as IterableIterator<
    [number, number]
  >;
  for (const [block, ids] of kept) {
    if (found.get(block) !== ids)
      yield {
        where: `archived ${block}`,
        what: 'The entries of the block are not those that went to the archive.',
      };
    found.delete(block);
  }
  for (const block of found.keys())
    yield { where: `archived ${block}`, what: 'It names a block that is not in the archive.' };
}
