/** What can be asked of the store about the ledger itself: entries, blocks and merges. */
import type { Database } from 'better-sqlite3';
import { type EntryId, type Sha256, TownError } from '../ledger/ids.js';
import { ArchivedReads } from './archived-reads.js';
import { endless, Query } from './query.js';
import { summedColumns } from './row-sums.js';
import type { BlockRow, BranchRow, EntryRow, MergeRow } from './rows.js';

const entryColumns = ['row', ...summedColumns.entries, 'bytes'] as const;
const blockColumns = [...summedColumns.blocks, 'raw'] as const;
const mergeColumns = [...summedColumns.merges, 'raw'] as const;

/** Entries `e` of one line (the first parameter) that no merge has judged: they stand above the marks of their branches. */
const pendingFrom =
  'FROM branches AS b CROSS JOIN entries AS e ON e.node = b.node AND e.line = b.line AND e.n > b.merged ' +
  "WHERE b.line = ? AND e.state = 'pending'";

/** Entries `e` that stand in no block, likewise. They are in no index by their ids: there are few. */
const looseFrom =
  'FROM branches AS b CROSS JOIN entries AS e ON e.node = b.node AND e.line = b.line AND e.n > b.blocked ' +
  'WHERE e.block IS NULL';

const columnsOf = (table: string): string => entryColumns.map((name) => `${table}.${name}`).join(', ');
const placedById = `SELECT ${entryColumns.join()} FROM entries WHERE block IS NOT NULL`;
const looseById = `SELECT ${columnsOf('e')} ${looseFrom}`;

export class LedgerReads {
  protected readonly query: Query;
  /** Where the entries are that these reads do not find any more: only git has them (archive.ts). */
  readonly archived: ArchivedReads;

  constructor(db: Database) {
    this.query = new Query(db);
    this.archived = new ArchivedReads(this.query);
  }

  // Entries, as long as they are not in the archive: pending ones, and the newest of the merged.

  entry(id: string): EntryRow | null {
    const sql = `${placedById} AND id = ? UNION ALL ${looseById} AND e.id = ? LIMIT 1`;
    return this.query.one<EntryRow>(sql, id, id);
  }

  /** As `entry`, where it stands in a block: that none has this id costs no look at those that stand in none. */
  placedEntry(id: string): EntryRow | null {
    return this.query.one<EntryRow>(`${placedById} AND id = ?`, id);
  }

  /** Entries whose id begins with `prefix` (8–64 hex digits), in order of their ids. */
  entriesByPrefix(prefix: string, limit = 2): EntryRow[] {
    const [from, to] = prefixRange(prefix);
    const sql =
      `SELECT * FROM (${placedById} AND id >= ? AND id < ? UNION ALL ${looseById} AND e.id >= ? AND e.id < ?) ` +
      'ORDER BY id LIMIT ?';
    return this.query.all(sql, limit, from, to, from, to);
  }

  /**
   * Entries of one node on one line with `n` > `after`, in order of `n`:
   * `pending`: no merge has judged them; `unblocked`: in no block yet; `all`.
   */
  entriesOf(
    node: string,
    line: string,
    which: 'pending' | 'unblocked' | 'all',
    limit: number,
    after = -1,
  ): EntryRow[] {
    const only = { pending: "AND state = 'pending'", unblocked: 'AND block IS NULL', all: '' }[which];
    const sql = `SELECT ${entryColumns.join()} FROM entries WHERE node = ? AND line = ? AND n > ? ${only} ORDER BY n LIMIT ?`;
    // Above the mark stands little else: no index of its own has to be written with each entry.
    const { merged, blocked } = this.#marks(node, line);
    const from = { pending: merged, unblocked: blocked, all: -1 }[which];
    return this.query.all(sql, limit, node, line, Math.max(after, from));
  }

  /** All entries of a line that no merge has judged, by node and number. */
  pendingOn(line: string, limit: number): EntryRow[] {
    return this.query.all(
      `SELECT ${columnsOf('e')} ${pendingFrom} ORDER BY e.node, e.n LIMIT ?`,
      limit,
      line,
    );
  }

  /** How many claims of the line no merge has judged; counts up to `limit`. */
  pendingClaims(limit: number, line = 'main'): number {
    const sql = `SELECT count(*) AS n FROM (SELECT 1 ${pendingFrom} AND e.kind = 'claim' LIMIT ?)`;
    return this.query.one<{ n: number }>(sql, line, limit)?.n ?? 0;
  }

  /** How many entries of the line no merge has judged: counted above the marks of the branches. */
  pendingCount(line = 'main'): number {
    return this.query.one<{ n: number }>(`SELECT count(*) AS n ${pendingFrom}`, line)!.n;
  }

  /** Whether an entry of the line, of any node, is in no block yet. */
  hasUnblocked(line = 'main'): boolean {
    return this.query.one(`SELECT 1 ${looseFrom} AND b.line = ? LIMIT 1`, line) !== null;
  }

  /** Newest first, those with `row` < `beforeRow`. */
  log(limit: number, beforeRow: number = endless): EntryRow[] {
    return this.query.all(
      `SELECT ${entryColumns.join()} FROM entries WHERE row < ? ORDER BY row DESC LIMIT ?`,
      limit,
      beforeRow,
    );
  }

  /** The highest number of an entry that the node has on the line; −1 where it has none. */
  lastN(node: string, line: string): number {
    const sql = 'SELECT max(n) AS n FROM entries WHERE node = ? AND line = ?';
    return this.query.one<{ n: number | null }>(sql, node, line)?.n ?? this.#marks(node, line).archived;
  }

  /** Up to which number the branch's entries are in the archive; −1 where none is. */
  archivedTo(node: string, line: string): number {
    return this.#marks(node, line).archived;
  }

  // Blocks.

  block(id: string): BlockRow | null {
    return this.query.one<BlockRow>(`SELECT ${blockColumns.join()} FROM blocks WHERE id = ?`, id);
  }

  /** The branch's block with the highest number; null for an empty branch. */
  lastBlock(node: string, line: string): BlockRow | null {
    return this.query.one<BlockRow>(
      `SELECT ${blockColumns.join()} FROM blocks WHERE node = ? AND line = ? ORDER BY seq DESC LIMIT 1`,
      ...[node, line],
    );
  }

  /** By sequence from `from` on, merged or not. */
  blocksFrom(node: string, line: string, from: number, limit: number): BlockRow[] {
    const sql = `SELECT ${blockColumns.join()} FROM blocks WHERE node = ? AND line = ? AND seq >= ? ORDER BY seq LIMIT ?`;
    return this.query.all(sql, limit, node, line, from);
  }

  /** By sequence, those that no merge has folded in. */
  blocksUnmerged(node: string, line: string, limit: number): BlockRow[] {
    const sql = `SELECT ${blockColumns.join()} FROM blocks WHERE node = ? AND line = ? AND height IS NULL ORDER BY seq LIMIT ?`;
    return this.query.all(sql, limit, node, line);
  }

  /** How many blocks of the line no merge has folded in, of all branches. */
  countUnmerged(line: string): number {
    const sql = 'SELECT count(*) AS n FROM blocks WHERE height IS NULL AND line = ?';
    return this.query.one<{ n: number }>(sql, line)?.n ?? 0;
  }

  /** By node and sequence, of the whole line. */
  blocksUnmergedOn(line: string, limit: number): BlockRow[] {
    const sql = `SELECT ${blockColumns.join()} FROM blocks WHERE height IS NULL AND line = ? ORDER BY node, seq LIMIT ?`;
    return this.query.all(sql, limit, line);
  }

  /** By node and sequence, those that the merge folded in. */
  blocksOfMerge(height: number, limit: number): BlockRow[] {
    return this.query.all(
      `SELECT ${blockColumns.join()} FROM blocks WHERE height = ? ORDER BY node, seq LIMIT ?`,
      limit,
      height,
    );
  }

  /** The block's entries in their order; at most 256, as a block holds. */
  blockEntries(id: string): EntryRow[] {
    return this.query.all(
      `SELECT ${entryColumns.join()} FROM entries WHERE block = ? ORDER BY idx LIMIT ?`,
      256,
      id,
    );
  }

  /** The text of each of the block's entries, in their order. */
  blockTexts(id: string): string[] {
    const sql = 'SELECT CAST(bytes AS TEXT) AS text FROM entries WHERE block = ? ORDER BY idx LIMIT ?';
    return this.query.all<{ text: string }>(sql, 256, id).map(({ text }) => text);
  }

  /** Every branch that has a block. */
  branches(limit: number): BranchRow[] {
    return this.query.all(
      'SELECT b.node, b.line, l.seq, l.id AS head, l.oid, (SELECT count(*) FROM blocks AS u WHERE u.height IS NULL ' +
        'AND u.node = b.node AND u.line = b.line) AS unmergedBlocks FROM branches AS b CROSS JOIN blocks AS l ' +
        'ON l.rowid = (SELECT rowid FROM blocks AS m WHERE m.node = b.node AND m.line = b.line ORDER BY m.seq DESC ' +
        'LIMIT 1) WHERE b.blocked >= 0 ORDER BY b.node, b.line LIMIT ?',
      limit,
    );
  }

  // Merges.

  merge(height: number): MergeRow | null {
    return this.#merge(`SELECT ${mergeColumns.join()} FROM merges WHERE height = ?`, height);
  }

  mergeById(id: string): MergeRow | null {
    return this.#merge(`SELECT ${mergeColumns.join()} FROM merges WHERE id = ?`, id);
  }

  lastMerge(): MergeRow | null {
    return this.#merge(`SELECT ${mergeColumns.join()} FROM merges ORDER BY height DESC LIMIT 1`);
  }

  mergesByPrefix(prefix: string, limit = 2): MergeRow[] {
    const [from, to] = prefixRange(prefix);
    const sql = `SELECT ${mergeColumns.join()} FROM merges WHERE id >= ? AND id < ? ORDER BY id LIMIT ?`;
    return this.query.all<StoredMerge>(sql, limit, from, to).map(mergeOf);
  }

  /** By their git ids, which begin with `prefix` (8–40 hex digits). */
  mergesByOid(prefix: string, limit = 2): MergeRow[] {
    const [from, to] = prefixRange(prefix);
    const sql = `SELECT ${mergeColumns.join()} FROM merges WHERE oid >= ? AND oid < ? ORDER BY oid LIMIT ?`;
    return this.query.all<StoredMerge>(sql, limit, from, to).map(mergeOf);
  }

  /** Newest first, those with a height < `before`. */
  merges(limit: number, before: number = endless): MergeRow[] {
    const sql = `SELECT ${mergeColumns.join()} FROM merges WHERE height < ? ORDER BY height DESC LIMIT ?`;
    return this.query.all<StoredMerge>(sql, limit, before).map(mergeOf);
  }

  /** The entries the merge judged, in order of arrival here. */
  mergeEntries(height: number, limit: number, afterRow = -1): EntryRow[] {
    return this.query.all(
      `SELECT ${entryColumns.join()} FROM entries WHERE height = ? AND row > ? ORDER BY row LIMIT ?`,
      ...[limit, height, afterRow],
    );
  }

  certificate(height: number): string | null {
    return (
      this.query.one<{ text: string }>('SELECT text FROM certificates WHERE height = ?', height)?.text ?? null
    );
  }

  /** Whether this git object is a block or a merge of ours. */
  knowsCommit(oid: string): boolean {
    const sql = 'SELECT 1 AS found FROM blocks WHERE oid = ? UNION ALL SELECT 1 FROM merges WHERE oid = ?';
    return this.query.one(sql, oid, oid) !== null;
  }

  /** One moment of the database for several questions; `read` must not wait. */
  atOnce<T>(read: () => T): T {
    return this.query.atOnce(read);
  }

  /** How far a branch is judged, in blocks, and in the archive: running numbers, −1 where it is not at all. */
  #marks(node: string, line: string): { merged: number; blocked: number; archived: number } {
    const sql = 'SELECT merged, blocked, archived FROM branches WHERE node = ? AND line = ?';
    return this.query.one(sql, node, line) ?? { merged: -1, blocked: -1, archived: -1 };
  }

  #merge(sql: string, ...values: unknown[]): MergeRow | null {
    const row = this.query.one<StoredMerge>(sql, ...values);
    return row === null ? null : mergeOf(row);
  }
}

type StoredMerge = Omit<MergeRow, 'counts'> & { readonly counts: string };

const mergeOf = (row: StoredMerge): MergeRow => ({
  ...row,
  counts: JSON.parse(row.counts) as MergeRow['counts'],
});

/** @throws TownError `bad-prefix` */
function prefixRange(prefix: string): [from: EntryId | Sha256 | string, to: string] {
  if (!/^[0-9a-f]{8,64}$/.test(prefix)) {
    throw new TownError(
      'bad-prefix',
      `An id begins with 8 to 64 of the digits 0–9 and a–f; “${prefix.slice(0, 80)}” does not.`,
      'Copy more of the id.',
    );
  }
  return [prefix, `${prefix}g`];
}
