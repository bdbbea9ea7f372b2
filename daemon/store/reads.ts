/**
 * Everything that can be asked of the store: synchronous, prepared, on a connection that cannot write.
 * Every list takes a limit; what comes back was durable when the question was asked.
 */
import type { Database, Statement } from 'better-sqlite3';
import { type EntryId, type NodeId, type Oid, type Sha256, TownError } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import { Archive } from './archive.js';
import { ArchivedReads } from './archived-reads.js';
import { corrupt, isCorruption } from './database.js';
import { summedColumns } from './row-sums.js';
import { RecordReads } from './record-rows.js';
import type {
  BlockRow,
  BranchRow,
  ConsensusRow,
  EntryRow,
  GateRecordRow,
  InvitationRow,
  MergeRow,
  NoticeRow,
  Ref,
  StateRow,
  StoreCounts,
} from './rows.js';

/** Doors whose records are listed together. */
const doorsMax = 1_000;

/** No list is longer, whatever was asked for. */
export const listMax = 100_000;

/** A git object that the repository does not have yet. */
export interface StagedObject extends GitObject {
  readonly seq: number;
}

const branchEnd = 9_007_199_254_740_991;

const entryColumns = ['row', ...summedColumns.entries, 'bytes'] as const;
const blockColumns = [...summedColumns.blocks, 'raw'] as const;
const mergeColumns = [...summedColumns.merges, 'raw'] as const;

/** Entries `e` of one line (the first parameter) that no merge has judged: they stand above the marks of their branches. */
const pendingFrom =
  'FROM branches AS b CROSS JOIN entries AS e ON e.node = b.node AND e.line = b.line AND e.n > b.merged ' +
  "WHERE b.line = ? AND e.state = 'pending'";

export class StoreReads {
  readonly #db: Database;
  readonly #prepared = new Map<string, Statement<unknown[], unknown>>();

  /** The keys of sealed records. */
  readonly records: RecordReads;
  /** Where the entries are that these reads do not find any more: only git has them (archive.ts). */
  readonly archived: ArchivedReads;
  /** Entries wherever they are: the way to read what may be old. */
  readonly archive: Archive;
  #readGit: ((oid: Oid) => Promise<GitObject>) | null = null;

  constructor(db: Database) {
    this.#db = db;
    this.archived = new ArchivedReads(db);
    this.archive = new Archive(this, (oid) => {
      if (this.#readGit !== null) return this.#readGit(oid);
      return Promise.reject(
        new TownError('starting', 'The repository is not open yet.', 'Try again in a moment.'),
      );
    });
    this.records = new RecordReads(
      (sql, ...values) => this.#one(sql, ...values),
      (sql, limit, ...values) => this.#all(sql, limit, ...values),
    );
  }

  /** How git is read for the archive: objects that are staged or in the repository, each held against its name. */
  attachGit(read: (oid: Oid) => Promise<GitObject>): void {
    this.#readGit = read;
  }

  // Entries, as long as they are not in the archive: pending ones, and the newest of the merged.

  entry(id: string): EntryRow | null {
    return this.#one<EntryRow>(`SELECT ${entryColumns.join()} FROM entries WHERE id = ?`, id);
  }

  /** Entries whose id begins with `prefix` (8–64 hex digits), in order of their ids. */
  entriesByPrefix(prefix: string, limit = 2): EntryRow[] {
    const [from, to] = prefixRange(prefix);
    return this.#all(
      `SELECT ${entryColumns.join()} FROM entries WHERE id >= ? AND id < ? ORDER BY id LIMIT ?`,
      limit,
      from,
      to,
    );
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
    return this.#all(sql, limit, node, line, Math.max(after, from));
  }

  /** All entries of a line that no merge has judged, by node and number. */
  pendingOn(line: string, limit: number): EntryRow[] {
    const columns = entryColumns.map((name) => `e.${name}`).join(', ');
    return this.#all(`SELECT ${columns} ${pendingFrom} ORDER BY e.node, e.n LIMIT ?`, limit, line);
  }

  /** How many claims of the line no merge has judged; counts up to `limit`. */
  pendingClaims(limit: number, line = 'main'): number {
    const sql = `SELECT count(*) AS n FROM (SELECT 1 ${pendingFrom} AND e.kind = 'claim' LIMIT ?)`;
    return this.#one<{ n: number }>(sql, line, limit)?.n ?? 0;
  }

  /** Newest first, those with `row` < `beforeRow`. */
  log(limit: number, beforeRow: number = branchEnd): EntryRow[] {
    return this.#all(
      `SELECT ${entryColumns.join()} FROM entries WHERE row < ? ORDER BY row DESC LIMIT ?`,
      limit,
      beforeRow,
    );
  }

  /** The highest number of an entry that the node has on the line; −1 where it has none. */
  lastN(node: string, line: string): number {
    const sql = 'SELECT max(n) AS n FROM entries WHERE node = ? AND line = ?';
    return this.#one<{ n: number | null }>(sql, node, line)?.n ?? this.#marks(node, line).archived;
  }

  // Blocks.

  block(id: string): BlockRow | null {
    return this.#one<BlockRow>(`SELECT ${blockColumns.join()} FROM blocks WHERE id = ?`, id);
  }

  /** The branch's block with the highest number; null for an empty branch. */
  lastBlock(node: string, line: string): BlockRow | null {
    return this.#one<BlockRow>(
      `SELECT ${blockColumns.join()} FROM blocks WHERE node = ? AND line = ? ORDER BY seq DESC LIMIT 1`,
      ...[node, line],
    );
  }

  /** By sequence from `from` on, merged or not. */
  blocksFrom(node: string, line: string, from: number, limit: number): BlockRow[] {
    const sql = `SELECT ${blockColumns.join()} FROM blocks WHERE node = ? AND line = ? AND seq >= ? ORDER BY seq LIMIT ?`;
    return this.#all(sql, limit, node, line, from);
  }

  /** By sequence, those that no merge has folded in. */
  blocksUnmerged(node: string, line: string, limit: number): BlockRow[] {
    const sql = `SELECT ${blockColumns.join()} FROM blocks WHERE node = ? AND line = ? AND height IS NULL ORDER BY seq LIMIT ?`;
    return this.#all(sql, limit, node, line);
  }

  /** How many blocks of the line no merge has folded in, of all branches. */
  countUnmerged(line: string): number {
    const sql = 'SELECT count(*) AS n FROM blocks WHERE height IS NULL AND line = ?';
    return this.#one<{ n: number }>(sql, line)?.n ?? 0;
  }

  /** By node and sequence, of the whole line. */
  blocksUnmergedOn(line: string, limit: number): BlockRow[] {
    const sql = `SELECT ${blockColumns.join()} FROM blocks WHERE height IS NULL AND line = ? ORDER BY node, seq LIMIT ?`;
    return this.#all(sql, limit, line);
  }

  /** By node and sequence, those that the merge folded in. */
  blocksOfMerge(height: number, limit: number): BlockRow[] {
    return this.#all(
      `SELECT ${blockColumns.join()} FROM blocks WHERE height = ? ORDER BY node, seq LIMIT ?`,
      limit,
      height,
    );
  }

  /** The block's entries in their order; at most 256, as a block holds. */
  blockEntries(id: string): EntryRow[] {
    return this.#all(
      `SELECT ${entryColumns.join()} FROM entries WHERE block = ? ORDER BY idx LIMIT ?`,
      256,
      id,
    );
  }

  /** Every branch that has a block. */
  branches(limit: number): BranchRow[] {
    const rows = this.#all<{ node: NodeId; line: string; unmergedBlocks: number }>(
      'SELECT node, line, (SELECT count(*) FROM blocks AS u WHERE u.height IS NULL AND u.node = b.node ' +
        'AND u.line = b.line) AS unmergedBlocks FROM branches AS b WHERE blocked >= 0 ORDER BY node, line LIMIT ?',
      limit,
    );
    return rows.map((row) => {
      const { seq, id, oid } = this.lastBlock(row.node, row.line)!;
      return { ...row, seq, head: id, oid };
    });
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
    return this.#all<StoredMerge>(sql, limit, from, to).map(mergeOf);
  }

  /** By their git ids, which begin with `prefix` (8–40 hex digits). */
  mergesByOid(prefix: string, limit = 2): MergeRow[] {
    const [from, to] = prefixRange(prefix);
    const sql = `SELECT ${mergeColumns.join()} FROM merges WHERE oid >= ? AND oid < ? ORDER BY oid LIMIT ?`;
    return this.#all<StoredMerge>(sql, limit, from, to).map(mergeOf);
  }

  /** Newest first, those with a height < `before`. */
  merges(limit: number, before: number = branchEnd): MergeRow[] {
    const sql = `SELECT ${mergeColumns.join()} FROM merges WHERE height < ? ORDER BY height DESC LIMIT ?`;
    return this.#all<StoredMerge>(sql, limit, before).map(mergeOf);
  }

  /** The entries the merge judged, in order of arrival here. */
  mergeEntries(height: number, limit: number, afterRow = -1): EntryRow[] {
    return this.#all(
      `SELECT ${entryColumns.join()} FROM entries WHERE height = ? AND row > ? ORDER BY row LIMIT ?`,
      ...[limit, height, afterRow],
    );
  }

  certificate(height: number): string | null {
    return (
      this.#one<{ text: string }>('SELECT text FROM certificates WHERE height = ?', height)?.text ?? null
    );
  }

  // State.

  /**
   * The whole state of `main`, by dapp, collection and key: one consistent snapshot, however the writer goes on.
   * Run it to its end without waiting in between: the snapshot holds the log file back.
   */
  *allState(): IterableIterator<StateRow> {
    const sql = 'SELECT dapp, collection, key, value FROM state ORDER BY dapp, collection, key';
    yield* this.#db.prepare<[], StateRow>(sql).iterate();
  }

  stateValue(dapp: string, collection: string, key: string): string | null {
    const sql = 'SELECT value FROM state WHERE dapp = ? AND collection = ? AND key = ?';
    return this.#one<{ value: string }>(sql, dapp, collection, key)?.value ?? null;
  }

  /** Bytewise by key, those after `after`. */
  stateCollection(dapp: string, collection: string, limit: number, after = ''): StateRow[] {
    const sql =
      'SELECT dapp, collection, key, value FROM state WHERE dapp = ? AND collection = ? AND key > ? ORDER BY key LIMIT ?';
    return this.#all(sql, limit, dapp, collection, after);
  }

  // Consensus, git, the rest.

  consensusLog(height: number, limit = 10_000): ConsensusRow[] {
    return this.#all(
      'SELECT seq, height, round, step, kind, text, bytes FROM consensus_log WHERE height = ? ORDER BY seq LIMIT ?',
      limit,
      height,
    );
  }

  refs(limit = listMax): Ref[] {
    return this.#all('SELECT name, oid FROM refs ORDER BY name LIMIT ?', limit);
  }

  ref(name: string): Oid | null {
    return this.#one<{ oid: Oid }>('SELECT oid FROM refs WHERE name = ?', name)?.oid ?? null;
  }

  /** In the order they came, those after `afterSeq`, up to `upTo`; ends after `bytesMax` (the last may cross it). */
  stagedObjects(
    limit: number,
    afterSeq = 0,
    upTo: number = branchEnd,
    bytesMax = 64 * 1024 * 1024,
  ): StagedObject[] {
    const sql =
      'SELECT seq, length(data) AS size FROM objects WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?';
    let bytes = 0;
    const taken: StagedObject[] = [];
    for (const { seq, size } of this.#all<{ seq: number; size: number }>(sql, limit, afterSeq, upTo)) {
      taken.push(this.#one<StagedObject>('SELECT seq, oid, type, data FROM objects WHERE seq = ?', seq)!);
      bytes += size;
      if (bytes >= bytesMax) break;
    }
    return taken;
  }

  stagedObject(oid: string): GitObject | null {
    return this.#one<GitObject>('SELECT oid, type, data FROM objects WHERE oid = ?', oid);
  }

  /** One moment's refs and the last staged object: every ref's objects are in git or staged up to there. */
  gitSnapshot(): { refs: Ref[]; lastStaged: number } {
    return this.#db.transaction(() => {
      const last = this.#one<{ seq: number | null }>('SELECT max(seq) AS seq FROM objects')?.seq ?? 0;
      return { refs: this.refs(), lastStaged: last };
    })();
  }

  /** Whether this git object is a block or a merge of ours. */
  knowsCommit(oid: string): boolean {
    const sql = 'SELECT 1 AS found FROM blocks WHERE oid = ? UNION ALL SELECT 1 FROM merges WHERE oid = ?';
    return this.#one(sql, oid, oid) !== null;
  }

  gateRecord(id: string): GateRecordRow | null {
    return this.#one('SELECT id, entry, door, at FROM gate_records WHERE id = ?', id);
  }

  /** Newest first; of one door, or (null) of all. */
  gateRecords(door: string | null, limit: number): GateRecordRow[] {
    const sql =
      'SELECT id, entry, door, at FROM gate_records WHERE door = ? ORDER BY at DESC, id DESC LIMIT ?';
    if (door !== null) return this.#all(sql, limit, door);
    const doors = this.#all<{ door: string }>('SELECT DISTINCT door FROM gate_records LIMIT ?', doorsMax);
    return doors
      .flatMap(({ door: one }) => this.#all<GateRecordRow>(sql, limit, one))
      .sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1))
      .slice(0, limit);
  }

  invitation(hash: string): InvitationRow | null {
    return this.#one('SELECT hash, text, expires, used FROM invitations WHERE hash = ?', hash);
  }

  /** The records of invitations for nodes, by id. */
  nodeInvitations(limit: number): { readonly id: string; readonly text: string }[] {
    return this.#all('SELECT id, text FROM node_invitations ORDER BY id LIMIT ?', limit);
  }

  /** Newest first. */
  notices(member: string, limit: number): NoticeRow[] {
    const rows = this.#all<Omit<NoticeRow, 'read'> & { read: number }>(
      'SELECT id, member, entry, at, text, read FROM notices WHERE member = ? ORDER BY id DESC LIMIT ?',
      ...[limit, member],
    );
    return rows.map((row) => ({ ...row, read: row.read === 1 }));
  }

  /** Of all members, those with an id > `after`, in their order. */
  noticesAfter(after: number, limit: number): NoticeRow[] {
    const rows = this.#all<Omit<NoticeRow, 'read'> & { read: number }>(
      'SELECT id, member, entry, at, text, read FROM notices WHERE id > ? ORDER BY id LIMIT ?',
      ...[limit, after],
    );
    return rows.map((row) => ({ ...row, read: row.read === 1 }));
  }

  /** The id of the last notice; 0 before the first. */
  lastNotice(): number {
    return this.#one<{ id: number | null }>('SELECT max(id) AS id FROM notices')?.id ?? 0;
  }

  /** How many notices the member has not read; counts up to `limit`. */
  unreadNotices(member: string, limit: number): number {
    const sql = 'SELECT count(*) AS n FROM (SELECT 1 FROM notices WHERE member = ? AND read = 0 LIMIT ?)';
    return this.#one<{ n: number }>(sql, member, limit)?.n ?? 0;
  }

  meta(key: string): string | null {
    return this.#one<{ value: string }>('SELECT value FROM meta WHERE key = ?', key)?.value ?? null;
  }

  /** How many entries of the line no merge has judged: counted above the marks of the branches. */
  pendingCount(line = 'main'): number {
    return this.#one<{ n: number }>(`SELECT count(*) AS n ${pendingFrom}`, line)!.n;
  }

  /** Whether an entry of the line, of any node, is in no block yet. */
  hasUnblocked(line = 'main'): boolean {
    const sql =
      'SELECT 1 FROM branches AS b CROSS JOIN entries AS e ON e.node = b.node AND e.line = b.line ' +
      'AND e.n > b.blocked WHERE b.line = ? AND e.block IS NULL LIMIT 1';
    return this.#one(sql, line) !== null;
  }

  /** Everything at once: it reads all staged objects, so those who ask often ask for what they need. */
  counts(): StoreCounts {
    return this.#one<StoreCounts>(
      `SELECT (SELECT coalesce(max(row), 0) FROM entries) AS entries,
        (SELECT count(*) FROM branches AS b CROSS JOIN entries AS e ON e.node = b.node AND e.line = b.line
          AND e.n > b.merged WHERE e.state = 'pending') AS pending,
        (SELECT count(*) FROM branches AS b CROSS JOIN entries AS e ON e.node = b.node AND e.line = b.line
          AND e.n > b.blocked WHERE e.block IS NULL) AS unblocked,
        (SELECT coalesce(max(height), -1) FROM merges) AS height,
        (SELECT count(*) FROM objects) AS stagedObjects,
        (SELECT coalesce(sum(length(data)), 0) FROM objects) AS stagedBytes`,
    )!;
  }

  /** Closes the reading connection. */
  protected closeReads(): void {
    this.#db.close();
  }

  /** How far a branch is judged, in blocks, and in the archive: running numbers, −1 where it is not at all. */
  #marks(node: string, line: string): { merged: number; blocked: number; archived: number } {
    const sql = 'SELECT merged, blocked, archived FROM branches WHERE node = ? AND line = ?';
    return this.#one(sql, node, line) ?? { merged: -1, blocked: -1, archived: -1 };
  }

  #statement(sql: string): Statement<unknown[], unknown> {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) this.#prepared.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #guarded<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw isCorruption(error) ? corrupt(this.#db.name, (error as Error).message) : error;
    }
  }

  #one<T>(sql: string, ...values: unknown[]): T | null {
    return this.#guarded(() => (this.#statement(sql).get(...values) as T | undefined) ?? null);
  }

  /** `limit` is the statement's last parameter. */
  #all<T>(sql: string, limit: number, ...values: unknown[]): T[] {
    const bounded = Math.max(0, Math.min(Math.floor(limit), listMax));
    return this.#guarded(() => this.#statement(sql).all(...values, bounded) as T[]);
  }

  #merge(sql: string, ...values: unknown[]): MergeRow | null {
    const row = this.#one<StoredMerge>(sql, ...values);
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
