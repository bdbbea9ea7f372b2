/**
 * The writer's thread: the only one that writes to the database. Takes a batch, makes it one transaction,
 * and answers when it is on disk (group commit).
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { Database } from 'better-sqlite3';
import { invariant, InvariantError, TownError } from '../ledger/ids.js';
import { corrupt, databaseFile, isCorruption, openForWriting } from './database.js';
import {
  archiveBounds,
  type Failure,
  type FromWriter,
  type Outcome,
  type ToWriter,
  type WriteRequest,
} from './writer-protocol.js';
import { scrubLog } from './record-rows.js';
import { makeWrites } from './writes.js';

/** After so many requests the log is folded into the database once nobody waits; */
const requestsBeforeCheckpoint = 200;
/**
 * and after so many even if somebody does: it bounds the log's size, and a log that is begun anew in its place costs the disk less
 * than one that grows (a growing file is two writes more for its file system at every sync).
 */
const requestsBeforeForcedCheckpoint = 2_000;
/** How long nothing may have come for the writer to count as idle. */
const idleMs = 40;
/** A reader is in the way of cutting off the log: again after this. */
const scrubAgainMs = 500;

const port = parentPort;
invariant(port !== null, 'this file runs as a worker thread');
const { folder } = workerData as { folder: string };
const say = (message: FromWriter): void => port.postMessage(message);

function failureOf(error: unknown): Failure {
  if (error instanceof TownError) {
    return { kind: 'town', code: error.code, message: error.message, advice: error.advice };
  }
  const { code, message } = error as { code?: unknown; message?: unknown };
  const kind = error instanceof InvariantError ? 'invariant' : 'other';
  return { kind, code: String(code ?? 'unknown'), message: String(message ?? error) };
}

/** Full disks and locked files pass; the transaction was undone and nothing is in doubt. */
function passing(error: unknown): TownError | null {
  const code = String((error as { code?: unknown }).code);
  if (code === 'SQLITE_FULL') {
    return new TownError(
      'disk-full',
      'The disk is full: nothing was recorded.',
      'Free some space in the data folder’s file system; the town goes on by itself then.',
    );
  }
  if (code.startsWith('SQLITE_BUSY')) {
    return new TownError(
      'database-busy',
      'Another program holds the database: nothing was recorded.',
      'Close the program that has town.db open, and try again.',
    );
  }
  return null;
}

/** Errors of the file or the disk, after which nothing more may be written. */
function ofTheDisk(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code);
  return /^SQLITE_(IOERR|READONLY|CANTOPEN|NOMEM|PROTOCOL|INTERRUPT)/.test(code) || isCorruption(error);
}

class Writer {
  readonly #writes;
  readonly #begin;
  readonly #commit;
  readonly #savepoint;
  readonly #release;
  readonly #undo;
  #transactions = 0;
  #sinceCheckpoint = 0;
  #mayArchive = true;
  #idle: NodeJS.Timeout | undefined;
  #scrubbing: NodeJS.Timeout | undefined;

  constructor(readonly db: Database) {
    this.#writes = makeWrites(db);
    this.#begin = db.prepare('BEGIN IMMEDIATE');
    this.#commit = db.prepare('COMMIT');
    this.#savepoint = db.prepare('SAVEPOINT request');
    this.#release = db.prepare('RELEASE request');
    this.#undo = db.prepare('ROLLBACK TO request');
    // What a crash left undone.
    this.#scrub();
  }

  /** One transaction. Throws only what is fatal. */
  batch(requests: readonly WriteRequest[]): void {
    clearTimeout(this.#idle);
    const outcomes = this.#outcomes(requests);
    if (requests.some(({ name }) => name === 'eraseRecords')) this.#scrub();
    say({ t: 'done', outcomes, transactions: this.#transactions });
    this.#sinceCheckpoint += requests.length;
    // Git has more now, or a merge has judged more: some of the oldest may go.
    this.#mayArchive ||= requests.some(({ name }) => name === 'dropStaged' || name === 'adopt');
    if (this.#sinceCheckpoint >= requestsBeforeForcedCheckpoint) this.#checkpoint();
    this.#whenIdle();
  }

  #whenIdle(): void {
    if (!this.#mayArchive && this.#sinceCheckpoint < requestsBeforeCheckpoint) return;
    this.#idle = setTimeout(() => guard(() => this.#doOnIdle()), idleMs);
  }

  /** One small piece of work, then whoever came meanwhile. */
  #doOnIdle(): void {
    if (this.#mayArchive) {
      const [outcome] = this.#outcomes([{ name: 'archive', takes: archiveBounds }]);
      this.#mayArchive = outcome !== undefined && 'gives' in outcome && (outcome.gives as number) > 0;
      if (this.#mayArchive) this.#sinceCheckpoint += 1;
    } else this.#checkpoint();
    this.#whenIdle();
  }

  /** Keys were destroyed: the log may not keep them. */
  #scrub(): void {
    clearTimeout(this.#scrubbing);
    if (!scrubLog(this.db)) this.#scrubbing = setTimeout(() => guard(() => this.#scrub()), scrubAgainMs);
  }

  close(): void {
    clearTimeout(this.#scrubbing);
    clearTimeout(this.#idle);
    // SQLite folds the log in as it closes, but keeps to itself what fails then.
    this.#checkpoint();
    this.db.close();
  }

  #outcomes(requests: readonly WriteRequest[]): Outcome[] {
    try {
      return this.#together(requests) ?? this.#oneByOne(requests);
    } catch (error) {
      const failure = passing(error);
      if (failure === null) throw error;
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
      return requests.map(() => ({ failed: failureOf(failure) }));
    }
  }

  /** All at once, with nothing kept to undo a single one; null, and nothing done, where one of them is refused. */
  #together(requests: readonly WriteRequest[]): Outcome[] | null {
    this.#begin.run();
    let outcomes: Outcome[];
    try {
      outcomes = requests.map(({ name, takes }) => ({ gives: this.#writes[name](takes as never) }));
    } catch (error) {
      if (ofTheDisk(error) || passing(error) !== null) throw error;
      this.db.exec('ROLLBACK');
      return null;
    }
    this.#commit.run();
    this.#transactions += 1;
    return outcomes;
  }

  #oneByOne(requests: readonly WriteRequest[]): Outcome[] {
    this.#begin.run();
    const outcomes = requests.map((request) => this.#one(request));
    this.#commit.run();
    this.#transactions += 1;
    return outcomes;
  }

  /** A refused request is undone alone; the others of the batch stay. */
  #one({ name, takes }: WriteRequest): Outcome {
    this.#savepoint.run();
    try {
      const gives: unknown = this.#writes[name](takes as never);
      this.#release.run();
      return { gives };
    } catch (error) {
      if (ofTheDisk(error) || passing(error) !== null) throw error;
      this.#undo.run();
      this.#release.run();
      return { failed: failureOf(error) };
    }
  }

  #checkpoint(): void {
    this.#sinceCheckpoint = 0;
    try {
      this.db.pragma('wal_checkpoint(PASSIVE)');
    } catch (error) {
      // Without space the log simply stays as it is, whole.
      if (passing(error) === null) throw error;
    }
  }
}

/** Runs a step of the writer; what it throws ends all writing. A failed commit or fsync is never tried again. */
function guard(step: () => void): void {
  try {
    step();
  } catch (error) {
    const told = isCorruption(error) ? corrupt(databaseFile(folder), (error as Error).message) : error;
    say({ t: 'fatal', failure: failureOf(told) });
    port!.close();
  }
}

try {
  const writer = new Writer(openForWriting(folder));
  port.on('message', (message: ToWriter) => {
    guard(() => {
      if (message.t === 'batch') return writer.batch(message.requests);
      writer.close();
      say({ t: 'closed' });
      port.close();
    });
  });
  say({ t: 'ready' });
} catch (error) {
  say({ t: 'refused', failure: failureOf(passing(error) ?? error) });
  port.close();
}
