/**
 * Keeps the packs few: on idle some are combined, in a thread of its own, and what was combined is removed a while later.
 * Nothing waits for it; it may be ended at any moment.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { TownError } from '../ledger/ids.js';
import type { CombineJob, Combined } from './pack-combine.js';
import { packDisk } from './pack-disk.js';
import { packsToCombine, type PackSize } from './pack-plan.js';
import { readSuperseded, wantedBy } from './superseded.js';

export type MaintenanceJob = { readonly combine: CombineJob } | { readonly remove: string };

export type FromMaintenance =
  | { readonly t: 'combined'; readonly combined: Combined }
  | { readonly t: 'removed'; readonly packs: readonly string[] }
  | { readonly t: 'foreign'; readonly pack: string }
  | { readonly t: 'failed'; readonly code: string; readonly message: string; readonly syncFailed: boolean };

export interface MaintenanceOptions {
  /** Combining did not work (a full disk, a damaged pack): all is as it was, and it is tried again in an hour. */
  onTrouble(error: Error): void;
  /** A sync failed: nobody knows what is on the disk. */
  onSyncFailed(error: Error): void;
}

/** Combining begins so long after the last flush, */
const idleMs = 3_000;
/** at the latest so long after the first. */
const busyMs = 60_000;
/** Packs that were combined stay so long, for a stock git that reads them or copies the folder at this moment. */
export const graceMs = 60_000;
const retryMs = 3_600_000;
/** Of the thread: garbage is collected early, boards have little memory. The indexes of two full packs have room. */
const resourceLimits = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 192 };
/** Combinings in a row. */
const stepsMax = 8;

export class PackMaintenance {
  readonly #gitdir: string;
  readonly #options: MaintenanceOptions;
  /** Packs of somebody else. */
  readonly #foreign = new Set<string>();
  #worker: Worker | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #combineTimer: NodeJS.Timeout | null = null;
  #removeTimer: NodeJS.Timeout | null = null;
  #askedAt = 0;
  #notBefore = 0;
  #closed = false;

  constructor(gitdir: string, options: MaintenanceOptions) {
    this.#gitdir = gitdir;
    this.#options = options;
  }

  /** Asks for combining where there are many packs, once nothing is flushed for a while. */
  soon(): void {
    if (this.#closed) return;
    const now = performance.now();
    if (this.#combineTimer === null) this.#askedAt = now;
    else clearTimeout(this.#combineTimer);
    const wait = Math.max(0, Math.min(idleMs, this.#askedAt + busyMs - now));
    this.#combineTimer = setTimeout(() => {
      this.#combineTimer = null;
      if (performance.now() >= this.#notBefore)
        this.combine().catch((error: unknown) => this.#failed(error as Error));
    }, wait);
    this.#combineTimer.unref();
  }

  /** Removes what is superseded in a while. */
  removeLater(): void {
    if (this.#closed || this.#removeTimer !== null) return;
    this.#removeTimer = setTimeout(() => {
      this.#removeTimer = null;
      this.remove().catch((error: unknown) => this.#failed(error as Error));
    }, graceMs);
    this.#removeTimer.unref();
  }

  /**
   * Combines while there are many packs. One at a time.
   * @param all make one pack of all that can be combined, however few they are
   * @throws TownError `combine-failed`, `closing`: the packs are as they were
   */
  combine(all = false): Promise<Combined[]> {
    return this.#inTurn(async () => {
      const made: Combined[] = [];
      for (let step = 0; step < stepsMax; step += 1) {
        const packs = packsToCombine(await this.#packs(), all);
        if (packs.length === 0) break;
        const done = await this.#run({ combine: { gitdir: this.#gitdir, packs } });
        if (done.t === 'foreign') this.#foreign.add(done.pack);
        if (done.t !== 'combined') continue;
        made.push(done.combined);
        this.removeLater();
      }
      return made;
    });
  }

  /** Removes now the packs that were combined. @throws as `combine` */
  remove(): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      if (readSuperseded(this.#gitdir, packDisk).length === 0) return [];
      const done = await this.#run({ remove: this.#gitdir });
      return done.t === 'removed' ? done.packs : [];
    });
  }

  /** Ends what is under way, wherever it is: the next opening clears up. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#combineTimer !== null) clearTimeout(this.#combineTimer);
    if (this.#removeTimer !== null) clearTimeout(this.#removeTimer);
    await this.#worker?.terminate();
    await this.#queue;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(() => {
      if (this.#closed) throw closing();
      return work();
    });
    this.#queue = done.catch(() => undefined);
    return done;
  }

  #failed(error: Error): void {
    if (this.#closed) return;
    this.#notBefore = performance.now() + retryMs;
    this.#options.onTrouble(error);
  }

  /** The packs that are ours to combine, the oldest first. */
  async #packs(): Promise<PackSize[]> {
    const folder = join(this.#gitdir, 'objects', 'pack');
    const files = new Set(packDisk.list(folder));
    const superseded = new Set(readSuperseded(this.#gitdir, packDisk).map(({ pack }) => pack));
    const packs: (PackSize & { readonly at: number })[] = [];
    for (const file of files) {
      const name = /^pack-([0-9a-f]{40})\.idx$/.exec(file)?.[1];
      if (name === undefined || superseded.has(name) || this.#foreign.has(name)) continue;
      if (wantedBy.some((ending) => files.has(`pack-${name}.${ending}`))) continue;
      const found = await stat(join(folder, `pack-${name}.pack`)).catch(() => null);
      if (found !== null) packs.push({ name, bytes: found.size, at: found.mtimeMs });
    }
    return packs.sort((a, b) => a.at - b.at);
  }

  /** @throws TownError `combine-failed`, `closing` */
  async #run(job: MaintenanceJob): Promise<FromMaintenance> {
    if (this.#closed) throw closing();
    const worker = new Worker(new URL('./pack-maintenance-worker.js', import.meta.url), {
      workerData: { job },
      execArgv: [],
      resourceLimits,
    });
    worker.unref();
    this.#worker = worker;
    try {
      const answer = await new Promise<FromMaintenance>((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
        worker.once('exit', () => reject(closing()));
      });
      if (answer.t !== 'failed') return answer;
      const failure = new TownError(
        'combine-failed',
        `The packs of ${this.#gitdir} could not be combined: ${answer.message}.`,
        answer.code === 'ENOSPC'
          ? 'The disk is full: make room. Nothing was lost, and the packs are as they were.'
          : 'Nothing was lost, and the packs are as they were. Run `town verify` to see whether they are sound.',
      );
      if (answer.syncFailed && answer.code !== 'ENOSPC') this.#options.onSyncFailed(failure);
      throw failure;
    } finally {
      await worker.terminate();
      this.#worker = null;
    }
  }
}

const closing = (): TownError =>
  new TownError('closing', 'The repository is closing; packs are combined another time.');
