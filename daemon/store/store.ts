/**
 * The one durable place of a node: entries, blocks, merges, votes, refs, keys and the state of `main`, in one SQLite
 * file. Reads are here and now; a write's promise resolves when its transaction is on disk, and not before.
 */
import type { MemberId, Millis } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import { openForReading, removeLog } from './database.js';
import { holdsLock, lockFolder } from './folder-lock.js';
import { packAdoption, packBlock } from './packed-rows.js';
import { StoreReads } from './reads.js';
import type { Erasure } from './record-rows.js';
import type { ConsensusRecord, InvitationRow, NewEntry, PrivateKeyRow, Ref } from './rows.js';
import {
  archiveBounds,
  type AdoptBatch,
  type AppendBatch,
  type AppendResult,
  type ArchiveBounds,
  type BlockBatch,
  type CutBatch,
  type Operations,
} from './writer-protocol.js';
import { WriterThread } from './writer.js';

export interface StoreOptions {
  /**
   * The disk or the database failed: end the process. Called once; nothing is written after it,
   * and every write not acknowledged is rejected with `store-failed`.
   */
  onFatal(error: Error): void;
}

export class Store extends StoreReads {
  readonly folder: string;
  readonly #writer: WriterThread;
  readonly #release: () => Promise<void>;
  readonly #hasFailed: () => boolean;
  #closing: Promise<void> | null = null;

  private constructor(
    folder: string,
    writer: WriterThread,
    release: () => Promise<void>,
    hasFailed: () => boolean,
  ) {
    super(openForReading(folder));
    this.folder = folder;
    this.#writer = writer;
    this.#release = release;
    this.#hasFailed = hasFailed;
  }

  /**
   * Opens `<folder>/town.db`; makes folder (mode 700) and file (mode 600) where they are missing, checks and migrates.
   * Takes the folder's lock unless this process holds it already (`lockFolder`).
   * @throws TownError `folder-in-use`, `database-corrupt`, `database-newer`
   */
  static async open(folder: string, options: StoreOptions): Promise<Store> {
    const release = holdsLock(folder) ? () => Promise.resolve() : await lockFolder(folder);
    try {
      let failed = false;
      const writer = await WriterThread.start(folder, (error) => {
        failed = true;
        options.onFatal(error);
      });
      try {
        return new Store(folder, writer, release, () => failed);
      } catch (error) {
        await writer.close();
        throw error;
      }
    } catch (error) {
      await release();
      throw error;
    }
  }

  /** Commits so far: fewer than writes, when many came at once. */
  get transactions(): number {
    return this.#writer.transactions;
  }

  /**
   * Takes the entries, the gate records they carry and the new private keys: all, or none.
   * A gate record that is here already is skipped with its entry (whose `n` then stays unused) and told in `skipped`.
   * @throws TownError `duplicate-entry` (an id or a (node, line, n) that is here), `duplicate-key`, `entry-too-large`
   */
  appendEntries(batch: AppendBatch): Promise<AppendResult> {
    return this.#writer.write('append', { ...batch, entries: batch.entries.map(tightEntry) });
  }

  /**
   * Takes a block, places its entries, stages its git objects and moves its refs.
   * @throws TownError `duplicate-block`, `entry-not-free`, `block-size`
   */
  putBlock(batch: BlockBatch): Promise<void> {
    return this.#writer.write('putBlock', packBlock({ ...batch, objects: batch.objects.map(tightObject) }));
  }

  /**
   * Makes a merge the head of `main`: its certificate, verdicts, state changes, git objects, refs and notices.
   * @throws TownError `wrong-height` unless it is the next one (genesis is 0)
   */
  adopt(batch: AdoptBatch): Promise<void> {
    return this.#writer.write('adopt', packAdoption({ ...batch, objects: batch.objects.map(tightObject) }));
  }

  /** Takes the void blocks of a branch, and their entries, out of it; git keeps them. How many blocks. */
  cutBranch(batch: CutBatch): Promise<number> {
    return this.#writer.write('cutBranch', batch);
  }

  /** Stages objects and moves refs that belong to neither a block nor a merge, such as the notes with certificates. */
  putRefs(batch: { objects: readonly GitObject[]; refs: readonly Ref[] }): Promise<void> {
    return this.#writer.write('putRefs', { refs: batch.refs, objects: batch.objects.map(tightObject) });
  }

  /** Votes and locks: durable before they are sent. */
  logConsensus(records: readonly ConsensusRecord[]): Promise<void> {
    return this.#writer.write('logConsensus', records);
  }

  /** Drops the log of heights below this one. */
  forgetConsensus(belowHeight: number): Promise<void> {
    return this.#writer.write('forgetConsensus', belowHeight);
  }

  setMeta(key: string, value: string): Promise<void> {
    return this.#writer.write('setMeta', { key, value });
  }

  /** A key that this node made. */
  putPrivateKey(row: PrivateKeyRow): Promise<void> {
    return this.#writer.write('putPrivateKey', row);
  }

  /** Keys that another node gave; they are not missing any more. */
  takeRecordKeys(rows: readonly PrivateKeyRow[]): Promise<void> {
    return this.#writer.write('takeRecordKeys', rows);
  }

  /** Notes which keys the ledger names that are not here, and in `meta` up to where it was looked through. */
  followRecords(batch: Operations['followRecords']['takes']): Promise<void> {
    return this.#writer.write('followRecords', batch);
  }

  /** Destroys keys and what else names people: no file of the database has them when it resolves, unless a reader was in the way; soon after, then. */
  eraseRecords(erasure: Erasure): Promise<void> {
    return this.#writer.write('eraseRecords', erasure);
  }

  putInvitation(invitation: Omit<InvitationRow, 'used'>): Promise<void> {
    return this.#writer.write('putInvitation', invitation);
  }

  /** Uses an invitation up. False: unknown, used already, or expired at `at`. True is given once. */
  useInvitation(hash: string, at: Millis): Promise<boolean> {
    return this.#writer.write('useInvitation', { hash, at });
  }

  /** Keeps the host's record of an invitation for a node, in place of the one before. `text`: JSON. */
  putNodeInvitation(id: string, text: string): Promise<void> {
    return this.#writer.write('putNodeInvitation', { id, text });
  }

  forgetNodeInvitation(id: string): Promise<void> {
    return this.#writer.write('forgetNodeInvitation', id);
  }

  /** Marks the member's notices up to this id as read. */
  readNotices(member: MemberId, upTo: number): Promise<void> {
    return this.#writer.write('readNotices', { member, upTo });
  }

  /** Forgets staged objects up to this number: only once the repository has them durably. */
  dropStaged(upTo: number): Promise<void> {
    return this.#writer.write('dropStaged', upTo);
  }

  /**
   * One step of moving old entries to the archive, as the writer does by itself when it is idle.
   * @returns how many rows were moved; 0 when nothing is left to do
   */
  archiveStep(bounds: ArchiveBounds = archiveBounds): Promise<number> {
    return this.#writer.write('archive', bounds);
  }

  /** Ends all writing, as a failed disk does. For what else must be durable, such as the repository. */
  fail(error: Error): void {
    this.#writer.fail(error);
  }

  /**
   * Writes what waits, closes the database and gives the lock back. After a failure of the disk the reader stays open, until the process
   * ends: SQLite folds the log in when the last connection is closed, and would sync again what could not be synced.
   */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      // The writer first: while the reader is there SQLite does not fold the log in behind the writer's own, checked, doing so.
      await this.#writer.close();
      if (!this.#hasFailed()) removeLog(this.folder, () => this.closeReads());
      await this.#release();
    })();
    return this.#closing;
  }
}

/** A view into a larger buffer would cross to the other thread with the whole of that buffer. */
const tight = (bytes: Uint8Array): Uint8Array =>
  bytes.byteLength === bytes.buffer.byteLength ? bytes : Uint8Array.prototype.slice.call(bytes);

const tightEntry = (entry: NewEntry): NewEntry => ({ ...entry, bytes: tight(entry.bytes) });
const tightObject = (object: GitObject): GitObject => ({ ...object, data: tight(object.data) });
