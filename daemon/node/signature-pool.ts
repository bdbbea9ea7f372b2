/**
 * Verifies signatures in bulk on all cores: threads that take batches and answer with the verdicts that `verifyEntry` and
 * `readBlock` would come to. Where no thread can be had the same functions run here. Threads start with the first batch and
 * end after a while without one, so that an idle node has none.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { rememberSigned } from '../ledger/commit-signature.js';
import { rememberVerified } from '../ledger/entry.js';
import type { EntryId } from '../ledger/ids.js';
import { invariant, TownError } from '../ledger/ids.js';
import {
  checkBatch,
  type SignatureBatch,
  type SignatureVerdicts,
  type SignedCommit,
} from './signature-batch.js';

export const POOL_THREADS_MAX = 8;
/** Texts, or commits, that one message to a thread holds. */
const PER_MESSAGE = 64;
/** Messages that a thread has at once: one at work, one waiting, so that it is never idle. */
const MESSAGES_PER_THREAD = 2;
/** Messages that wait for a thread: 128 Ki signatures. */
const WAITING_MAX = 2048;
/** Below this a message to a thread costs more than it saves. */
const WORTH_IT = 16;

interface Job {
  readonly batch: SignatureBatch;
  readonly resolve: (verdicts: SignatureVerdicts) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Job[];
}

export interface SignaturePoolOptions {
  /** 0: everything on this thread. */
  readonly threads?: number;
  /** The threads end after so long without work: milliseconds. */
  readonly idleMs?: number;
}

export class SignaturePool {
  private readonly threadsMax: number;
  private readonly idleMs: number;
  private threads: Thread[] = [];
  private readonly waiting: Job[] = [];
  private idle: NodeJS.Timeout | null = null;
  private hasThreads = true;
  private isLocal = false;
  private closed = false;

  constructor({
    threads = Math.min(availableParallelism(), POOL_THREADS_MAX),
    idleMs = 10_000,
  }: SignaturePoolOptions = {}) {
    this.threadsMax = Math.min(threads, POOL_THREADS_MAX);
    this.hasThreads = threads > 0;
    this.idleMs = idleMs;
  }

  /**
   * Checks entries (texts of `entries.jsonl`, one a line) and commits, in any order, answers in order.
   * @throws TownError `busy` where 128 Ki signatures wait already, `stopping` after `close`
   */
  async check(texts: readonly string[], commits: readonly SignedCommit[] = []): Promise<SignatureVerdicts> {
    if (this.closed)
      throw new TownError('stopping', 'No signatures are verified any more: the program ends.');
    const batches = batchesOf(texts, commits);
    if (this.waiting.length + batches.length > WAITING_MAX)
      throw new TownError(
        'busy',
        'More signatures wait to be verified than fit.',
        'Try again a little later.',
      );
    const verdicts = await Promise.all(batches.map((batch) => this.enqueue(batch)));
    return {
      entries: verdicts.flatMap((verdict) => verdict.entries),
      commits: verdicts.flatMap((verdict) => verdict.commits),
    };
  }

  /**
   * Checks ahead of need: what is good is remembered, so that `verifyEntry` and `readBlock` find it known. What is not is left for
   * them to refuse, in their order and with their words. Gives way where it is busy.
   */
  async prepare(texts: readonly string[], commits: readonly SignedCommit[] = []): Promise<void> {
    if (this.closed || texts.length + commits.length < WORTH_IT) return;
    let verdicts: SignatureVerdicts;
    try {
      verdicts = await this.check(texts, commits);
    } catch (error) {
      if (error instanceof TownError) return;
      throw error;
    }
    rememberVerified(verdicts.entries.filter((verdict): verdict is EntryId => typeof verdict === 'string'));
    commits.forEach(({ raw, key }, i) => verdicts.commits[i] === true && rememberSigned(raw, key));
  }

  /** Ends the threads; what waits is still answered, on this thread. */
  async close(): Promise<void> {
    this.closed = true;
    await this.endThreads();
  }

  private enqueue(batch: SignatureBatch): Promise<SignatureVerdicts> {
    return new Promise((resolve) => {
      this.waiting.push({ batch, resolve });
      this.advance();
    });
  }

  private advance(): void {
    if (this.idle !== null) clearTimeout(this.idle);
    this.idle = null;
    while (this.waiting.length > 0) {
      const thread = this.freeThread();
      if (thread === null) break;
      const job = this.waiting.shift() as Job;
      thread.jobs.push(job);
      thread.worker.ref();
      thread.worker.postMessage(job.batch);
    }
    if (this.waiting.length > 0 && this.threads.length === 0) this.workHere();
    if (this.waiting.length === 0 && this.threads.every(({ jobs }) => jobs.length === 0)) {
      for (const { worker } of this.threads) worker.unref();
      this.idle = setTimeout(() => void this.endThreads(), this.idleMs).unref();
    }
  }

  /** The one with the least to do that has room; a new one before any gets a second message. */
  private freeThread(): Thread | null {
    const least = this.threads.reduce<Thread | null>(
      (best, thread) => (best === null || thread.jobs.length < best.jobs.length ? thread : best),
      null,
    );
    if (least !== null && least.jobs.length === 0) return least;
    const fresh =
      this.hasThreads && !this.closed && this.threads.length < this.threadsMax ? this.start() : null;
    if (fresh !== null) return fresh;
    return least !== null && least.jobs.length < MESSAGES_PER_THREAD ? least : null;
  }

  private start(): Thread | null {
    try {
      const worker = new Worker(new URL('./signature-worker.js', import.meta.url), {
        resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8 },
      });
      const thread: Thread = { worker, jobs: [] };
      worker.on('message', (verdicts: SignatureVerdicts) => {
        // Its last answer may come when it was given up already, and what it had is with others.
        if (!this.threads.includes(thread)) return;
        const job = thread.jobs.shift();
        invariant(job !== undefined, 'a thread answers what it was asked, in order');
        job.resolve(verdicts);
        this.advance();
      });
      worker.on('error', () => this.lost(thread));
      worker.on('exit', () => this.lost(thread));
      this.threads.push(thread);
      return thread;
    } catch {
      this.hasThreads = false; // no memory, or no threads in this place: it goes on here
      return null;
    }
  }

  /** A thread that fell over (no memory, say): what it had is done by the others or here. */
  private lost(thread: Thread): void {
    if (!this.threads.includes(thread)) return;
    this.threads = this.threads.filter((one) => one !== thread);
    if (thread.jobs.length > 0) this.hasThreads = false;
    this.waiting.unshift(...thread.jobs.splice(0));
    this.advance();
  }

  /** Without threads: a message at a time, other work in between. */
  private workHere(): void {
    if (this.isLocal) return;
    this.isLocal = true;
    setImmediate(() => {
      this.isLocal = false;
      const job = this.waiting.shift();
      if (job !== undefined) job.resolve(checkBatch(job.batch));
      this.advance();
    });
  }

  private async endThreads(): Promise<void> {
    if (this.idle !== null) clearTimeout(this.idle);
    this.idle = null;
    const ending = this.threads;
    this.threads = [];
    this.waiting.unshift(...ending.flatMap(({ jobs }) => jobs.splice(0)));
    await Promise.all(ending.map(({ worker }) => worker.terminate()));
    if (this.waiting.length > 0) this.advance();
  }
}

function batchesOf(texts: readonly string[], commits: readonly SignedCommit[]): readonly SignatureBatch[] {
  const batches: SignatureBatch[] = [];
  for (let i = 0; i < texts.length; i += PER_MESSAGE)
    batches.push({ texts: texts.slice(i, i + PER_MESSAGE), commits: [] });
  for (let i = 0; i < commits.length; i += PER_MESSAGE)
    batches.push({ texts: [], commits: commits.slice(i, i + PER_MESSAGE) });
  return batches;
}
