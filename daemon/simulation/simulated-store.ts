/**
 * The store of a simulated node: the real tables, reads and writes in a database in memory, made durable in simulated time.
 * What was not committed when the process died is lost; what was committed is there at the next start, acknowledged or not.
 */
import Database from 'better-sqlite3';
import { InvariantError, TownError } from '../ledger/ids.js';
import { migrate } from '../store/migrations.js';
import { packAdoption, packBlock } from '../store/packed-rows.js';
import { StoreReads } from '../store/reads.js';
import type { BlockRow, ConsensusRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import {
  requestsPerTransaction,
  type AdoptBatch,
  type BlockBatch,
  type OperationName,
  type Operations,
} from '../store/writer-protocol.js';
import { makeWrites } from '../store/writes.js';
import type { BrokenRule } from './broken-rules.js';
import { LateInMemory } from './late-in-memory.js';

function opened(from: Buffer | ':memory:'): Database.Database {
  const db = new Database(from);
  db.pragma('foreign_keys = ON');
  return db;
}

/** The same database, on which a question is prepared once, whichever process asks it: a start of a process opens no file here. */
function preparedOnce(db: Database.Database): Database.Database {
  const prepared = new Map<string, Database.Statement>();
  const prepare = (sql: string): Database.Statement => {
    let statement = prepared.get(sql);
    if (statement === undefined) prepared.set(sql, (statement = db.prepare(sql)));
    return statement;
  };
  return Object.create(db, { prepare: { value: prepare } }) as Database.Database;
}

/** The part of a node that outlives its process. */
export class SimulatedDisk {
  private db: Database.Database;
  /** The connection that its processes read on. */
  reading: Database.Database;
  /** Whether it forgets the last transaction at a crash: a fault that the checks must find. */
  lies = false;
  /** What was fetched of a state ahead of its history. */
  readonly late = new LateInMemory();
  /** The file with the town's keys; null: there is none yet. */
  townKeys: string | null = null;
  /** Transactions so far. */
  commits = 0;
  #writes: ReturnType<typeof makeWrites>;
  /** As the disk was before the last transaction, where it is one that may forget that. */
  #before: Buffer | null = null;

  /** @param image what another disk held; without it the disk is new */
  constructor(image?: Buffer) {
    this.db = opened(image ?? ':memory:');
    migrate(this.db);
    this.reading = preparedOnce(this.db);
    this.#writes = makeWrites(this.db);
  }

  /** One transaction; each request is taken or refused by itself, as the writer's thread does. */
  commit(requests: readonly Request[]): readonly (() => void)[] {
    if (this.lies) this.#before = this.db.serialize();
    this.commits += 1;
    this.db.exec('BEGIN');
    const answers = requests.map(({ name, takes, resolve, reject }) => {
      this.db.exec('SAVEPOINT request');
      try {
        const gives: unknown = this.#writes[name](takes as never);
        this.db.exec('RELEASE request');
        return () => resolve(gives);
      } catch (error) {
        this.db.exec('ROLLBACK TO request; RELEASE request');
        if (!(error instanceof TownError) && !(error instanceof InvariantError)) throw error;
        return () => reject(error);
      }
    });
    this.db.exec('COMMIT');
    return answers;
  }

  /** Writes a mark down before any process runs on it. */
  put(key: string, value: string): void {
    const fail = (error: unknown): never => {
      throw error;
    };
    this.commit([{ name: 'setMeta', takes: { key, value }, resolve: () => undefined, reject: fail }]);
  }

  /** What a crash does to what is on the disk: nothing, unless the disk lies. */
  crash(): void {
    if (this.#before === null) return;
    this.db = opened(this.#before);
    this.reading = preparedOnce(this.db);
    this.#writes = makeWrites(this.db);
    this.#before = null;
  }

  /** All it holds, for another disk to begin with. */
  image(): Buffer {
    return this.db.serialize();
  }

  close(): void {
    this.db.close();
  }
}

export interface Request {
  readonly name: OperationName;
  readonly takes: unknown;
  readonly resolve: (gives: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What the store needs of the process it lives in. */
export interface StorePorts {
  /** Runs something later, unless the process has ended by then. */
  readonly after: (ms: number, run: () => void) => void;
  /** How long the next transaction takes: milliseconds. */
  readonly syncMs: () => number;
  /** The process may end here. False: it has ended. */
  readonly reach: (point: 'write-asked' | 'committed' | 'acknowledged') => boolean;
  readonly broken: BrokenRule | null;
}

/** What a node of the simulation uses of the real store: all reads, and the writes of its core and its peering. */
type SimulatedWrites = Pick<
  Store,
  | 'folder'
  | 'appendEntries'
  | 'putBlock'
  | 'adopt'
  | 'cutBranch'
  | 'putRefs'
  | 'logConsensus'
  | 'forgetConsensus'
  | 'setMeta'
>;

export class SimulatedStore extends StoreReads implements SimulatedWrites {
  readonly folder = 'memory';
  readonly #disk: SimulatedDisk;
  readonly #ports: StorePorts;
  readonly #queue: Request[] = [];
  /** What is being written. */
  #flying: readonly Request[] = [];
  #busy = false;

  constructor(disk: SimulatedDisk, ports: StorePorts) {
    super(disk.reading);
    this.#disk = disk;
    this.#ports = ports;
  }

  appendEntries(batch: Operations['append']['takes']): Promise<Operations['append']['gives']> {
    const written = this.#write('append', batch);
    return this.#ports.broken === 'acknowledge-before-durable' ? Promise.resolve({ skipped: [] }) : written;
  }

  putBlock(batch: BlockBatch): Promise<void> {
    return this.#write('putBlock', packBlock(batch));
  }

  adopt(batch: AdoptBatch): Promise<void> {
    return this.#write('adopt', packAdoption(batch));
  }

  cutBranch(batch: Operations['cutBranch']['takes']): Promise<number> {
    return this.#write('cutBranch', batch);
  }

  putRefs(batch: Operations['putRefs']['takes']): Promise<void> {
    return this.#write('putRefs', batch);
  }

  logConsensus(records: Operations['logConsensus']['takes']): Promise<void> {
    const written = this.#write('logConsensus', records);
    return this.#ports.broken === 'vote-before-durable' ? Promise.resolve() : written;
  }

  forgetConsensus(belowHeight: number): Promise<void> {
    return this.#write('forgetConsensus', belowHeight);
  }

  setMeta(key: string, value: string): Promise<void> {
    return this.#write('setMeta', { key, value });
  }

  override consensusLog(height: number, limit?: number): ConsensusRow[] {
    return this.#ports.broken === 'vote-twice' ? [] : super.consensusLog(height, limit);
  }

  override blocksUnmergedOn(line: string, limit: number): BlockRow[] {
    return this.#ports.broken === 'forget-restrictions' ? [] : super.blocksUnmergedOn(line, limit);
  }

  /** Whether something waits for the disk: of blocks that come together, some may be there by then, and nobody was told. */
  get isWriting(): boolean {
    return this.#busy || this.#queue.length > 0;
  }

  /**
   * The process ends while something is being written: it is on the disk as a whole though nobody was told (a transaction that is
   * there in part is gone at the next start: SQLite's write-ahead log has a checksum for each).
   */
  landTorn(): void {
    if (this.#flying.length > 0) this.#disk.commit(this.#flying);
    this.#flying = [];
  }

  #write<Name extends OperationName>(
    name: Name,
    takes: Operations[Name]['takes'],
  ): Promise<Operations[Name]['gives']> {
    return new Promise((resolve, reject) => {
      if (!this.#ports.reach('write-asked')) return;
      this.#queue.push({ name, takes, resolve: resolve as (gives: unknown) => void, reject });
      this.#sync();
    });
  }

  /** Group commit: what waits when a transaction begins goes with it; the rest with the next. */
  #sync(): void {
    if (this.#busy || this.#queue.length === 0) return;
    this.#busy = true;
    const batch = (this.#flying = this.#queue.splice(0, requestsPerTransaction));
    this.#ports.after(this.#ports.syncMs(), () => {
      this.#flying = [];
      const answers = this.#disk.commit(batch);
      if (!this.#ports.reach('committed')) return;
      this.#ports.after(0, () => {
        this.#busy = false;
        for (const answer of answers) answer();
        if (this.#ports.reach('acknowledged')) this.#sync();
      });
    });
  }
}

/** What a disk holds, changed: as somebody leaves it who copies it elsewhere. */
export function changedImage(image: Buffer, change: (db: Database.Database) => void): Buffer {
  const db = opened(image);
  try {
    change(db);
    return db.serialize();
  } finally {
    db.close();
  }
}
