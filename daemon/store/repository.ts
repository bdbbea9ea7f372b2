/**
 * `ledger.git`: filled from the store with packs and refs, so that stock git can read it at any time.
 * Order: SQLite first, git second; a ref is moved only when what it points to is durable; what is staged in SQLite
 * is forgotten only when the ref is durable too. Being killed anywhere in between leaves a clean repository
 * that the next opening completes.
 */
import { dirname, resolve } from 'node:path';
import { type Oid, TownError } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import type { Combined } from './pack-combine.js';
import { PackMaintenance } from './pack-maintenance.js';
import { writePack } from './pack.js';
import { RepositoryFiles } from './repository-files.js';
import { GitObjects } from './repository-reader.js';
import type { Store } from './store.js';

export interface RepositoryOptions {
  /** A flush (again in 30 s) or a combining of packs (in an hour) could not be done now: a full disk, say. */
  onTrouble?(error: Error): void;
}

/** A flush comes this long after the last `scheduleFlush`, */
const quietMs = 500;
/** at the latest this long after the first, */
const flushMs = 5_000;
/** and at once with so many bytes staged. */
const stagedBytesMax = 4 * 1024 * 1024;
const retryMs = 30_000;
const objectsPerPack = 50_000;
const bytesPerPack = 64 * 1024 * 1024;

const brokenDisk = new Set(['EIO', 'EROFS', 'ENXIO', 'ENODEV', 'EUCLEAN']);

/** Errors after which nobody knows what is on the disk: never tried again. A sync that fails is one, whatever its code. */
function ofTheDisk(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return brokenDisk.has(String(code)) || syscall === 'fsync' || syscall === 'fdatasync';
}

export class Repository {
  readonly folder: string;
  readonly #store: Store;
  readonly #files: RepositoryFiles;
  readonly #objects: GitObjects;
  readonly #maintenance: PackMaintenance;
  readonly #onTrouble: (error: Error) => void;
  #queue: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  #scheduledAt = 0;
  #closed = false;

  private constructor(folder: string, store: Store, options: RepositoryOptions) {
    this.folder = folder;
    this.#store = store;
    this.#files = new RepositoryFiles(folder);
    this.#objects = new GitObjects(folder);
    this.#onTrouble = (error) => options.onTrouble?.(error);
    this.#maintenance = new PackMaintenance(folder, {
      onTrouble: (error) => this.#onTrouble(error),
      onSyncFailed: (error) => store.fail(error),
    });
  }

  /**
   * Opens the bare repository in `folder`, makes it where it is missing, removes what an interrupted flush left
   * half-done, and completes it from the store.
   * @throws TownError `database-behind` when git has history that the database lost;
   *   `repository-incomplete` when the history of a ref is neither in git nor in the database
   */
  static async open(folder: string, store: Store, options: RepositoryOptions = {}): Promise<Repository> {
    const repository = new Repository(resolve(folder), store, options);
    store.attachGit((oid) => repository.read(oid));
    await repository.#files.prepare(resolve(dirname(resolve(folder)), 'allowed_signers'));
    await repository.#refuseLostHistory();
    await repository.flush();
    for (const { name, oid } of store.refs()) await repository.#requirePresent(name, oid);
    repository.#maintenance.soon();
    repository.#maintenance.removeLater();
    return repository;
  }

  /**
   * Puts everything staged into the repository: one pack (of 64 MiB at most; more of them if need be), then the refs.
   * Resolves when both are durable. One at a time; a second call waits for the first and does what came since.
   */
  flush(): Promise<void> {
    this.#clearTimer();
    const done = this.#queue.then(() => this.#flushNow());
    this.#queue = done.catch((error: unknown) => {
      if (ofTheDisk(error)) this.#store.fail(error as Error);
    });
    return done;
  }

  /** Asks for a flush soon: 500 ms after the last call, 5 s after the first, or at once with 4 MiB staged. */
  scheduleFlush(): void {
    if (this.#closed) return;
    const now = performance.now();
    if (this.#timer === null) this.#scheduledAt = now;
    const due = this.#scheduledAt + flushMs - now;
    const full = this.#store.counts().stagedBytes >= stagedBytesMax;
    this.#flushIn(full ? 0 : Math.max(0, Math.min(quietMs, due)));
  }

  /**
   * One object, its bytes checked against its name.
   * @throws TownError `no-such-object`, `repository-corrupt`
   */
  async read(oid: Oid): Promise<GitObject> {
    const staged = this.#store.stagedObject(oid);
    return staged ?? this.#objects.read(oid);
  }

  /**
   * Combines packs now, as it happens by itself on idle: some where there are many.
   * @param all one pack of all, however few they are
   * @throws TownError `combine-failed`: the packs are as they were
   */
  combine({ all = false }: { all?: boolean } = {}): Promise<Combined[]> {
    return this.#maintenance.combine(all);
  }

  /** Removes now the packs that were combined, which otherwise stay a minute for who reads them. @returns their names */
  removeCombined(): Promise<readonly string[]> {
    return this.#maintenance.remove();
  }

  /** Flushes a last time. Throws what that throws; the store can be closed all the same. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#maintenance.close();
    try {
      await this.flush();
    } finally {
      await this.#objects.close();
    }
  }

  async #flushNow(): Promise<void> {
    const { refs, lastStaged } = this.#store.gitSnapshot();
    let after = 0;
    while (after < lastStaged) {
      const objects = this.#store.stagedObjects(objectsPerPack, after, lastStaged, bytesPerPack);
      const last = objects.at(-1);
      if (last === undefined) break;
      await this.#files.addPack(await writePack(objects));
      after = last.seq;
    }
    await this.#files.putRefs(refs);
    if (after > 0) await this.#store.dropStaged(lastStaged);
    if (after > 0) this.#maintenance.soon();
  }

  #flushIn(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.flush().catch((error: unknown) => {
        this.#onTrouble(error as Error);
        if (!this.#closed) this.#flushIn(retryMs);
      });
    }, ms);
    this.#timer.unref();
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /**
   * Git is written after the database; a branch in git that the database does not know means that the database is
   * an old copy. Going on from it would sign numbers a second time.
   */
  async #refuseLostHistory(): Promise<void> {
    // Of who signed two histories, one left its branch; git may not have followed yet.
    const cut = this.#store
      .refs()
      .flatMap(({ name }) => /^refs\/evidence\/(\w+)\/\d+-void/.exec(name)?.[1] ?? []);
    for (const { name, oid } of await this.#files.refs()) {
      if (!/^refs\/heads\/(main|nodes\/.+)$/.test(name)) continue;
      if (cut.some((node) => name.startsWith(`refs/heads/nodes/${node}/`))) continue;
      if (this.#store.knowsCommit(oid)) continue;
      throw new TownError(
        'database-behind',
        `${name} in ${this.folder} is at ${oid}, which the database does not know: the database is older than the repository.`,
        'Was an old copy of town.db put back? Put back database and ledger.git of one moment, or join the town again ' +
          'with a new key.',
      );
    }
  }

  async #requirePresent(name: string, oid: Oid): Promise<void> {
    try {
      await this.read(oid);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      throw new TownError(
        'repository-incomplete',
        `${name} should be at ${oid}, but ${this.folder} lacks it: ${error.message}`,
        `Fetch it with stock git from another node or a mirror ("git -C ${this.folder} fetch <where> ${name}"), or put ` +
          'back a copy of the data folder.',
      );
    }
  }
}
