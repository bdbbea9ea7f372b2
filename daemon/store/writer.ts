/** The main thread's end of the writer: a bounded queue in front of one transaction at a time. */
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { invariant, InvariantError, TownError } from '../ledger/ids.js';
import {
  requestsPerTransaction,
  type Failure,
  type FromWriter,
  type OperationName,
  type Operations,
  type Outcome,
  type ToWriter,
  type WriteRequest,
} from './writer-protocol.js';
import { takeWriterThread, type WriterThreadParts } from './writer-thread.js';

/** Requests that may wait; more are refused with `store-busy`. */
const waitingMax = 10_000;
/** So many requests are sent before their turn is over, or before the last ones are answered: both threads work at once then. */
const sentAtOnce = 16;
/**
 * A disk that answers within this time is not waited for asleep: waking the main thread, on a processor that slept, takes a fifth of
 * the time that one entry needs. All else that comes to its event loop is served meanwhile. A slow disk is waited for asleep, and so is
 * any where there is but one processor for both threads.
 */
const awakeMs = availableParallelism() > 1 ? 0.5 : 0;
/** How long opening (check and migration included) and closing may take. */
const openMs = 120_000;
const closeMs = 60_000;

interface Waiting {
  readonly request: WriteRequest;
  readonly resolve: (gives: never) => void;
  readonly reject: (error: Error) => void;
}

function errorOf(failure: Failure): Error {
  if (failure.kind === 'town') return new TownError(failure.code, failure.message, failure.advice);
  if (failure.kind === 'invariant') return new InvariantError(failure.message);
  return Object.assign(new Error(failure.message), { code: failure.code });
}

export class WriterThread {
  readonly #worker: Worker;
  readonly #thread: WriterThreadParts;
  readonly #onFatal: (error: Error) => void;
  #waiting: Waiting[] = [];
  #sent: Waiting[] = [];
  #transactions = 0;
  #end: 'open' | 'closing' | 'closed' | 'failed' = 'open';
  #failure: Error | null = null;
  #closed: (() => void) | null = null;
  #scheduled = false;
  /** By `performance.now()`: when the last batch was sent. */
  #sentAt = 0;
  #isQuick = false;
  #isAwake = false;

  private constructor(thread: WriterThreadParts, onFatal: (error: Error) => void) {
    const { worker } = thread;
    this.#thread = thread;
    this.#worker = worker;
    this.#onFatal = onFatal;
    worker.on('message', (message: FromWriter) => this.#take(message));
    worker.on('error', (error) => this.fail(error));
    worker.on('exit', () => {
      if (this.#end !== 'closed') this.fail(new Error('The writer’s thread ended by itself.'));
    });
  }

  /** Starts the thread; resolves when the database is open, checked and migrated. */
  static async start(folder: string, onFatal: (error: Error) => void): Promise<WriterThread> {
    const thread = takeWriterThread();
    const { worker } = thread;
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error): void => {
        clearTimeout(timer);
        worker.off('error', done).off('exit', ended).off('message', answered);
        if (error === undefined) return resolve();
        void worker.terminate();
        reject(error);
      };
      const ended = (): void => done(new Error('The writer’s thread ended before the database was open.'));
      const answered = (message: FromWriter): void => {
        if (message.t === 'ready') done();
        else if (message.t === 'refused') done(errorOf(message.failure));
        else done(new InvariantError(`the writer begins with ready, not ${message.t}`));
      };
      const late = new Error(`The database did not open within ${openMs / 1000} s.`);
      const timer = setTimeout(() => done(late), openMs);
      worker.on('error', done).on('exit', ended).on('message', answered);
      tell(thread, { t: 'open', folder });
    });
    return new WriterThread(thread, onFatal);
  }

  /** Commits so far. */
  get transactions(): number {
    return this.#transactions;
  }

  /**
   * Resolves when the write is on disk.
   * @throws TownError `store-busy`, `store-closed`, `store-failed`, and what the operation refuses
   */
  write<Name extends OperationName>(
    name: Name,
    takes: Operations[Name]['takes'],
  ): Promise<Operations[Name]['gives']> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== null) return reject(refusal);
      this.#waiting.push({ request: { name, takes }, resolve: resolve as (gives: never) => void, reject });
      if (this.#waiting.length >= sentAtOnce) return this.#send();
      // What the same turn asks for goes into the same transaction, and what comes while one is under way into the next.
      if (this.#sent.length > 0 || this.#scheduled) return;
      this.#scheduled = true;
      queueMicrotask(() => {
        this.#scheduled = false;
        this.#send();
      });
    });
  }

  /** Ends all writing: for good, and told once. What was not acknowledged is rejected. */
  fail(error: Error): void {
    if (this.#end === 'failed' || this.#end === 'closed') return;
    this.#end = 'failed';
    this.#failure = error;
    const refusal = this.#refusal()!;
    for (const waiting of [...this.#sent, ...this.#waiting]) waiting.reject(refusal);
    this.#sent = [];
    this.#waiting = [];
    this.#closed?.();
    void this.#worker.terminate();
    this.#onFatal(error);
  }

  /** Takes no more, writes what waits, closes the database. */
  async close(): Promise<void> {
    if (this.#end !== 'open') return;
    this.#end = 'closing';
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.fail(new Error('The database did not close in time.')), closeMs);
      this.#closed = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#send();
    });
  }

  #refusal(): TownError | null {
    if (this.#end === 'failed') {
      return new TownError(
        'store-failed',
        `The database cannot be written any more: ${this.#failure?.message}`,
        'What was acknowledged before is safe. Check the disk and the log, then start again.',
      );
    }
    if (this.#end !== 'open')
      return new TownError('store-closed', 'The database is closed: the node is stopping.');
    if (this.#waiting.length < waitingMax) return null;
    return new TownError(
      'store-busy',
      `${waitingMax} writes wait for the disk already.`,
      'Try again in a moment; if this stays, the disk is too slow or failing.',
    );
  }

  #send(): void {
    const room = requestsPerTransaction - this.#sent.length;
    if (room <= 0 || this.#end === 'failed') return;
    if (this.#waiting.length === 0) {
      if (this.#end === 'closing' && this.#sent.length === 0) tell(this.#thread, { t: 'close' });
      return;
    }
    const batch = this.#waiting.splice(0, room);
    try {
      tell(this.#thread, { t: 'batch', requests: batch.map(({ request }) => request) });
      this.#sent.push(...batch);
      this.#sentAt = performance.now();
      if (this.#isQuick) this.#stayAwake();
    } catch (error) {
      // Something that cannot be cloned: a fault of the program; nothing of it was written.
      for (const { reject } of batch) reject(error as Error);
      this.#send();
    }
  }

  /** Goes round the event loop without sleeping in it. */
  #stayAwake(): void {
    if (this.#isAwake) return;
    this.#isAwake = true;
    setImmediate(() => {
      this.#isAwake = false;
      if (this.#sent.length > 0 && performance.now() - this.#sentAt < awakeMs) this.#stayAwake();
    });
  }

  #take(message: FromWriter): void {
    if (message.t === 'done') {
      const sent = this.#sent.splice(0, message.outcomes.length);
      this.#transactions = message.transactions;
      this.#isQuick = performance.now() - this.#sentAt < 2 * awakeMs;
      this.#send();
      sent.forEach((waiting, index) => settle(waiting, message.outcomes[index]));
    } else if (message.t === 'fatal') {
      this.fail(errorOf(message.failure));
    } else if (message.t === 'closed') {
      this.#end = 'closed';
      this.#closed?.();
    } else {
      invariant(false, `the writer says ${message.t} only once, at its start`);
    }
  }
}

function tell({ worker, bell }: WriterThreadParts, message: ToWriter): void {
  worker.postMessage(message);
  Atomics.add(bell, 0, 1);
  Atomics.notify(bell, 0);
}

function settle(waiting: Waiting, outcome: Outcome | undefined): void {
  if (outcome === undefined) waiting.reject(new InvariantError('every request of a batch has its outcome'));
  else if ('failed' in outcome) waiting.reject(errorOf(outcome.failed));
  else waiting.resolve(outcome.gives as never);
}
