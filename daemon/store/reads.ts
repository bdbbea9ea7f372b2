/**
 * Everything that can be asked of the store: synchronous, prepared, on a connection that cannot write.
 * Every list takes a limit; what comes back was durable when the question was asked.
 */
import type { Database } from 'better-sqlite3';
import { type Oid, TownError } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import { Archive } from './archive.js';
import { LedgerReads } from './ledger-reads.js';
import { endless, listMax } from './query.js';
import { RecordReads } from './record-rows.js';
import type {
  ConsensusRow,
  GateRecordRow,
  InvitationRow,
  NoticeRow,
  Ref,
  StateRow,
  StoreCounts,
} from './rows.js';

/** Doors whose records are listed together. */
const doorsMax = 1_000;

/** A git object that the repository does not have yet. */
export interface StagedObject extends GitObject {
  readonly seq: number;
}

export class StoreReads extends LedgerReads {
  /** The keys of sealed records. */
  readonly records: RecordReads;
  /** Entries wherever they are: the way to read what may be old. */
  readonly archive: Archive;
  #readGit: ((oid: Oid) => Promise<GitObject>) | null = null;

  constructor(db: Database) {
    super(db);
    this.archive = new Archive(this, (oid) => {
      if (this.#readGit !== null) return this.#readGit(oid);
      return Promise.reject(
        new TownError('starting', 'The repository is not open yet.', 'Try again in a moment.'),
      );
    });
    this.records = new RecordReads(this.query);
  }

  /** How git is read for the archive: objects that are staged or in the repository, each held against its name. */
  attachGit(read: (oid: Oid) => Promise<GitObject>): void {
    this.#readGit = read;
  }

  // State.

  /**
   * The whole state of `main`, by dapp, collection and key: one consistent snapshot, however the writer goes on.
   * Run it to its end without waiting in between: the snapshot holds the log file back.
   */
  *allState(): IterableIterator<StateRow> {
    const sql = 'SELECT dapp, collection, key, value FROM state ORDER BY dapp, collection, key';
    yield* this.query.iterate<StateRow>(sql);
  }

  stateValue(dapp: string, collection: string, key: string): string | null {
    const sql = 'SELECT value FROM state WHERE dapp = ? AND collection = ? AND key = ?';
    return this.query.one<{ value: string }>(sql, dapp, collection, key)?.value ?? null;
  }

  /** Bytewise by key, those after `after`. */
  stateCollection(dapp: string, collection: string, limit: number, after = ''): StateRow[] {
    const sql =
      'SELECT dapp, collection, key, value FROM state WHERE dapp = ? AND collection = ? AND key > ? ORDER BY key LIMIT ?';
    return this.query.all(sql, limit, dapp, collection, after);
  }

  // Consensus, git, the rest.

  consensusLog(height: number, limit = 10_000): ConsensusRow[] {
    return this.query.all(
      'SELECT seq, height, round, step, kind, text, bytes FROM consensus_log WHERE height = ? ORDER BY seq LIMIT ?',
      limit,
      height,
    );
  }

  refs(limit = listMax): Ref[] {
    return this.query.all('SELECT name, oid FROM refs ORDER BY name LIMIT ?', limit);
  }

  ref(name: string): Oid | null {
    return this.query.one<{ oid: Oid }>('SELECT oid FROM refs WHERE name = ?', name)?.oid ?? null;
  }

  /** In the order they came, those after `afterSeq`, up to `upTo`; ends after `bytesMax` (the last may cross it). */
  stagedObjects(
    limit: number,
    afterSeq = 0,
    upTo: number = endless,
    bytesMax = 64 * 1024 * 1024,
  ): StagedObject[] {
    const sql =
      'SELECT seq, length(data) AS size FROM objects WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?';
    let bytes = 0;
    const taken: StagedObject[] = [];
    for (const { seq, size } of this.query.all<{ seq: number; size: number }>(sql, limit, afterSeq, upTo)) {
      taken.push(
        this.query.one<StagedObject>('SELECT seq, oid, type, data FROM objects WHERE seq = ?', seq)!,
      );
      bytes += size;
      if (bytes >= bytesMax) break;
    }
    return taken;
  }

  stagedObject(oid: string): GitObject | null {
    return this.query.one<GitObject>('SELECT oid, type, data FROM objects WHERE oid = ?', oid);
  }

  /** One moment's refs and the last staged object: every ref's objects are in git or staged up to there. */
  gitSnapshot(): { refs: Ref[]; lastStaged: number } {
    return this.query.atOnce(() => {
      const last = this.query.one<{ seq: number | null }>('SELECT max(seq) AS seq FROM objects')?.seq ?? 0;
      return { refs: this.refs(), lastStaged: last };
    });
  }

  gateRecord(id: string): GateRecordRow | null {
    return this.query.one('SELECT id, entry, door, at FROM gate_records WHERE id = ?', id);
  }

  /** Newest first; of one door, or (null) of all. */
  gateRecords(door: string | null, limit: number): GateRecordRow[] {
    const sql =
      'SELECT id, entry, door, at FROM gate_records WHERE door = ? ORDER BY at DESC, id DESC LIMIT ?';
    if (door !== null) return this.query.all(sql, limit, door);
    const doors = this.query.all<{ door: string }>(
      'SELECT DISTINCT door FROM gate_records LIMIT ?',
      doorsMax,
    );
    return doors
      .flatMap(({ door: one }) => this.query.all<GateRecordRow>(sql, limit, one))
      .sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1))
      .slice(0, limit);
  }

  invitation(hash: string): InvitationRow | null {
    return this.query.one('SELECT hash, text, expires, used FROM invitations WHERE hash = ?', hash);
  }

  /** The records of invitations for nodes, by id. */
  nodeInvitations(limit: number): { readonly id: string; readonly text: string }[] {
    return this.query.all('SELECT id, text FROM node_invitations ORDER BY id LIMIT ?', limit);
  }

  /** Newest first. */
  notices(member: string, limit: number): NoticeRow[] {
    const rows = this.query.all<Omit<NoticeRow, 'read'> & { read: number }>(
      'SELECT id, member, entry, at, text, read FROM notices WHERE member = ? ORDER BY id DESC LIMIT ?',
      ...[limit, member],
    );
    return rows.map((row) => ({ ...row, read: row.read === 1 }));
  }

  /** Of all members, those with an id > `after`, in their order. */
  noticesAfter(after: number, limit: number): NoticeRow[] {
    const rows = this.query.all<Omit<NoticeRow, 'read'> & { read: number }>(
      'SELECT id, member, entry, at, text, read FROM notices WHERE id > ? ORDER BY id LIMIT ?',
      ...[limit, after],
    );
    return rows.map((row) => ({ ...row, read: row.read === 1 }));
  }

  /** The id of the last notice; 0 before the first. */
  lastNotice(): number {
    return this.query.one<{ id: number | null }>('SELECT max(id) AS id FROM notices')?.id ?? 0;
  }

  /** How many notices the member has not read; counts up to `limit`. */
  unreadNotices(member: string, limit: number): number {
    const sql = 'SELECT count(*) AS n FROM (SELECT 1 FROM notices WHERE member = ? AND read = 0 LIMIT ?)';
    return this.query.one<{ n: number }>(sql, member, limit)?.n ?? 0;
  }

  meta(key: string): string | null {
    return this.query.one<{ value: string }>('SELECT value FROM meta WHERE key = ?', key)?.value ?? null;
  }
  /** Everything at once: it reads all staged objects, so those who ask often ask for what they need. */
  counts(): StoreCounts {
    return this.query.one<StoreCounts>(
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
    this.query.close();
  }
}
