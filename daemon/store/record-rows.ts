/** The keys of sealed records as the store keeps them: rows, reads and writes. They are in SQLite only, never in git. */
import type { Database } from 'better-sqlite3';
import { invariant, type Millis, type NodeId } from '../ledger/ids.js';
import type { Query } from './query.js';
import type { PrivateKeyRow } from './rows.js';
import { replaced, type Tables } from './tables.js';

/** A handle that the ledger names and whose key is not here. */
export interface MissingKey {
  readonly handle: string;
  /** The node whose entry named it last, and when that was. */
  readonly node: NodeId;
  readonly at: Millis;
}

/** An entry as it arrived, for those who go through all of them once. */
export interface ArrivedEntry {
  readonly row: number;
  readonly node: NodeId;
  readonly at: Millis;
  readonly bytes: Uint8Array;
}

/** What is destroyed in one go. */
export interface Erasure {
  /** Keys, by handle. */
  readonly handles: readonly string[];
  /** People whose names stood in invitations. */
  readonly persons: readonly string[];
  /** Handles that are not asked for any more. */
  readonly missing: readonly string[];
}

export class RecordReads {
  constructor(private readonly query: Query) {}

  key(handle: string): PrivateKeyRow | null {
    return this.query.one('SELECT handle, subject, month, key FROM private_keys WHERE handle = ?', handle);
  }

  /** The key that new records of this subject and month use: nodes that made two while apart go by the lower name. */
  keyFor(subject: string, month: string): PrivateKeyRow | null {
    const sql =
      'SELECT handle, subject, month, key FROM private_keys WHERE subject = ? AND month = ? ORDER BY handle';
    return this.query.one(`${sql} LIMIT 1`, subject, month);
  }

  /** Every subject of which there is a key, each once. */
  subjects(limit: number): readonly string[] {
    const sql = 'SELECT DISTINCT subject FROM private_keys ORDER BY subject LIMIT ?';
    return this.query.all<{ subject: string }>(sql, limit).map(({ subject }) => subject);
  }

  handlesOf(subject: string, limit: number): readonly string[] {
    const sql = 'SELECT handle FROM private_keys WHERE subject = ? ORDER BY handle LIMIT ?';
    return this.query.all<{ handle: string }>(sql, limit, subject).map(({ handle }) => handle);
  }

  /** Keys of months before this one. */
  handlesBefore(month: string, limit: number): readonly string[] {
    const sql = 'SELECT handle FROM private_keys WHERE month < ? ORDER BY month, handle LIMIT ?';
    return this.query.all<{ handle: string }>(sql, limit, month).map(({ handle }) => handle);
  }

  /** Keys that other nodes gave to this one. */
  handlesGiven(limit: number): readonly string[] {
    const sql = 'SELECT handle FROM private_keys WHERE own = 0 ORDER BY handle LIMIT ?';
    return this.query.all<{ handle: string }>(sql, limit).map(({ handle }) => handle);
  }

  /** How many keys are here, month by month, the newest first. */
  months(limit: number): readonly { readonly month: string; readonly keys: number }[] {
    const sql = 'SELECT month, count(*) AS keys FROM private_keys GROUP BY month ORDER BY month DESC LIMIT ?';
    return this.query.all(sql, limit);
  }

  /** The newest first. */
  missing(limit: number): readonly MissingKey[] {
    return this.query.all(
      'SELECT handle, node, at FROM missing_keys ORDER BY at DESC, handle LIMIT ?',
      limit,
    );
  }

  isMissing(handle: string): boolean {
    return this.query.one('SELECT 1 AS found FROM missing_keys WHERE handle = ?', handle) !== null;
  }

  missingCount(): number {
    return this.query.one<{ n: number }>('SELECT count(*) AS n FROM missing_keys')?.n ?? 0;
  }

  /** Those that no entry has named since a moment. */
  missingBefore(at: Millis, limit: number): readonly string[] {
    const sql = 'SELECT handle FROM missing_keys WHERE at < ? ORDER BY at, handle LIMIT ?';
    return this.query.all<{ handle: string }>(sql, limit, at).map(({ handle }) => handle);
  }

  /** Entries of all nodes in the order of their arrival here, after that one. */
  arrivedAfter(row: number, limit: number): readonly ArrivedEntry[] {
    return this.query.all(
      'SELECT row, node, at, bytes FROM entries WHERE row > ? ORDER BY row LIMIT ?',
      limit,
      row,
    );
  }
}

/** Keys that this node made (`own`), or was given; those that are here already stay. */
export function putRecordKeys(rows: readonly PrivateKeyRow[], own: boolean, tables: Tables): void {
  for (const { handle, subject, month, key } of rows) {
    invariant(key.byteLength === 32, 'a private key has 32 bytes');
    tables.put('private_keys', { handle, subject, month, key, own: own ? 1 : 0 }, 'ON CONFLICT DO NOTHING');
    tables.run('DELETE FROM missing_keys WHERE handle = ?', handle);
  }
}

/** Notes which keys the ledger names that are not here. */
export function noteMissing(missing: readonly MissingKey[], tables: Tables): void {
  for (const { handle, node, at } of missing)
    if (tables.one('SELECT 1 FROM private_keys WHERE handle = ?', handle) === undefined)
      tables.put('missing_keys', { handle, node, at }, replaced('handle', 'node', 'at'));
}

/**
 * Destroys keys so that no page of the database holds them any more: the tables are emptied and what stays is written anew,
 * for SQLite zeroes the pages of an emptied table, but not what it moved from page to page before. The log still has them: the
 * writer folds it in and cuts it off right after.
 */
export function eraseRecords({ handles, persons, missing }: Erasure, db: Database, tables: Tables): void {
  const gone = new Set(handles);
  const people = new Set(persons);
  db.pragma('secure_delete = ON');
  try {
    if (gone.size > 0) rewrite(db, 'private_keys', ({ handle }) => !gone.has(handle as string));
    if (people.size > 0)
      rewrite(db, 'invitations', ({ text }) => {
        const { person } = JSON.parse(text as string) as { person?: string };
        return person === undefined || !people.has(person);
      });
    for (const handle of missing) tables.run('DELETE FROM missing_keys WHERE handle = ?', handle);
    tables.put('meta', { key: scrubMeta, value: 'due' }, replaced('key', 'value'));
  } finally {
    db.pragma('secure_delete = FAST');
  }
}

const scrubMeta = 'log-scrub';

/**
 * Folds the log into the database and cuts it off where keys were destroyed since that was done last: until then it holds what
 * was there before. @returns false where a reader is in the way: try again soon
 */
export function scrubLog(db: Database): boolean {
  const isDue = db
    .prepare<[string], { value: string }>('SELECT value FROM meta WHERE key = ?')
    .get(scrubMeta);
  if (isDue?.value !== 'due') return true;
  const [answer] = db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
  if (answer?.busy !== 0) return false;
  db.prepare('DELETE FROM meta WHERE key = ?').run(scrubMeta);
  return true;
}

type Row = { readonly [column: string]: unknown };

function rewrite(db: Database, table: 'private_keys' | 'invitations', stays: (row: Row) => boolean): void {
  const rows = db.prepare<[], Row>(`SELECT * FROM ${table}`).all();
  const kept = rows.filter(stays);
  if (kept.length === rows.length) return;
  db.prepare(`DELETE FROM ${table}`).run();
  const [first] = kept;
  if (first === undefined) return;
  const columns = Object.keys(first);
  const insert = db.prepare(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  );
  for (const row of kept) insert.run(...columns.map((column) => row[column]));
}
