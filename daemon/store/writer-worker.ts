/**
 * The writer's thread: the only one that writes to the database. Takes a batch, makes it one transaction,
 * and answers when it is on disk (group commit).
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { Database } from 'better-sqlite3';
import { invariant, InvariantError, TownError } from '../ledger/ids.js';
import { corrupt, databaseFile, isCorruption, openForWriting } from './database.js';
import {
  archiveBounds,
  type Failure,
  type FromWriter,
  type Outcome,
  type PackedAdoption,
  type PackedBlock,
  type ToWriter,
  type WriterData,
  type WriteRequest,
} from './writer-protocol.js';
import { scrubLog } from './record-rows.js';
import { makeWrites } from './writes.js';

/** After so many requests the log is folded into the database once nobody waits; */
const requestsBeforeCheckpoint = 200;
/**
 * and after so many even if somebody does, one by one or many to a transaction: it bounds the log's size, and a log that is begun
 * anew in its place costs the disk less than one that grows (a growing file is two writes more for its file system at every sync).
 */
const beforeForcedCheckpoint = { requests: 8_000, transactions: 250 };
/** How long nothing may have come for the writer to count as idle. */
const idleMs = 40;
/**
 * After a transaction the thread looks for the next one so long before it sleeps: who appends one entry after another answers
 * within this time, and waking a thread takes longer than all that SQLite does for one entry.
 */
const awakeMs = 0.2;
/** A reader is in the way of cutting off the log: again after this. */
const scrubAgainMs = 500;

const port = parentPort;
invariant(port !== null, 'this file runs as a worker thread');
const { bell } = workerData as WriterData;
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

/** How much of the log a request may take, in requests of one entry. */
function weightOf({ name, takes }: WriteRequest): number {
  if (name === 'putBlock') return (takes as PackedBlock).entryIds.length;
  return name === 'adopt' ? (takes as PackedAdoption).rows : 1;
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
  #checkpointedAt = 0;
  #mayArchive = true;
  /** When, by `performance.now()`, there is something to do if nothing comes before; infinite: nothing is. */
  #idleAt = Infinity;
  #scrubAt = Infinity;

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
    const outcomes = this.#outcomes(requests);
    if (requests.some(({ name }) => name === 'eraseRecords')) this.#scrub();
    say({ t: 'done', outcomes, transactions: this.#transactions });
    for (const request of requests) this.#sinceCheckpoint += weightOf(request);
    // Git has more now, or a merge has judged more: some of the oldest may go.
    this.#mayArchive ||= requests.some(({ name }) => name === 'dropStaged' || name === 'adopt');
    const { requests: most, transactions } = beforeForcedCheckpoint;
    if (this.#sinceCheckpoint >= most || this.#transactions - this.#checkpointedAt >= transactions)
      this.#checkpoint();
    this.#whenIdle();
  }

  /** When `tick` has something to do. */
  get nextAt(): number {
    return Math.min(this.#idleAt, this.#scrubAt);
  }

  /** Does what is due. Throws only what is fatal. */
  tick(): void {
    const now = performance.now();
    if (now >= this.#scrubAt) this.#scrub();
    if (now >= this.#idleAt) this.#doOnIdle();
  }

  #whenIdle(): void {
    const hasWork = this.#mayArchive || this.#sinceCheckpoint >= requestsBeforeCheckpoint;
    this.#idleAt = hasWork ? performance.now() + idleMs : Infinity;
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
    this.#scrubAt = scrubLog(this.db) ? Infinity : performance.now() + scrubAgainMs;
  }

  close(): void {
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
    this.#checkpointedAt = this.#transactions;
    try {
      this.db.pragma('wal_checkpoint(PASSIVE)');
    } catch (error) {
      // Without space the log simply stays as it is, whole.
      if (passing(error) === null) throw error;
    }
  }
}

const received = (): ToWriter | null =>
  (receiveMessageOnPort(port) as { message: ToWriter } | undefined)?.message ?? null;

/** The next message, or null when it is time for what `at` (by `performance.now()`) waits for. */
function nextMessage(at: number): ToWriter | null {
  const sleepAt = performance.now() + awakeMs;
  for (;;) {
    const rung = Atomics.load(bell, 0);
    const message = received();
    if (message !== null) return message;
    while (Atomics.load(bell, 0) === rung && performance.now() < sleepAt);
    if (Atomics.load(bell, 0) !== rung) continue;
    if (Atomics.wait(bell, 0, rung, Math.max(0, at - performance.now())) === 'timed-out') return null;
  }
}

/** The requests of one batch, and of those that came meanwhile: the sender has no more than a transaction may take under way. */
function gathered(first: readonly WriteRequest[]): WriteRequest[] {
  const requests = [...first];
  for (let more; (more = received()) !== null;) {
    invariant(more.t === 'batch', 'it is told to close when everything is answered');
    requests.push(...more.requests);
  }
  return requests;
}

/** Until it is told to close. Throws only what is fatal: a failed commit or fsync is never tried again. */
function serve(writer: Writer): void {
  for (;;) {
    const message = nextMessage(writer.nextAt);
    if (message?.t === 'batch') writer.batch(gathered(message.requests));
    else if (message?.t === 'close') return writer.close();
    else writer.tick();
  }
}

function open(folder: string): Writer | null {
  try {
    return new Writer(openForWriting(folder));
  } catch (error) {
    say({ t: 'refused', failure: failureOf(passing(error) ?? error) });
    return null;
  }
}

const first = nextMessage(Infinity);
invariant(first?.t === 'open', 'the first message says what to open');
const { folder } = first;
const writer = open(folder);
if (writer !== null) {
  say({ t: 'ready' });
  try {
    serve(writer);
    say({ t: 'closed' });
  } catch (error) {
    const told = isCorruption(error) ? corrupt(databaseFile(folder), (error as Error).message) : error;
    say({ t: 'fatal', failure: failureOf(told) });
  }
}
port.close();
