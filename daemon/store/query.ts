/** Questions to the database: each prepared once, on a connection that cannot write, and every list with a bound. */
import type { Database, Statement } from 'better-sqlite3';
import { corrupt, isCorruption } from './database.js';

/** No list is longer, whatever was asked for. */
export const listMax = 100_000;

/** Above every number that a row has. */
export const endless = Number.MAX_SAFE_INTEGER;

export class Query {
  readonly #db: Database;
  readonly #prepared = new Map<string, Statement<unknown[], unknown>>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** The first row, or null. @throws TownError `database-corrupt` */
  one<T>(sql: string, ...values: unknown[]): T | null {
    return this.#guarded(() => (this.#statement(sql).get(...values) as T | undefined) ?? null);
  }

  /** `limit` is the statement's last parameter. @throws TownError `database-corrupt` */
  all<T>(sql: string, limit: number, ...values: unknown[]): T[] {
    const bounded = Math.max(0, Math.min(Math.floor(limit), listMax));
    return this.#guarded(() => this.#statement(sql).all(...values, bounded) as T[]);
  }

  /** Every row, without a bound: run it to its end without waiting in between, for it holds the log file back. */
  iterate<T>(sql: string, ...values: unknown[]): IterableIterator<T> {
    return this.#db.prepare<unknown[], T>(sql).iterate(...values);
  }

  /** One moment of the database for several questions; `read` must not wait. */
  atOnce<T>(read: () => T): T {
    return this.#db.transaction(read)();
  }

  close(): void {
    this.#db.close();
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
}
