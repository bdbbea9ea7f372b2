/** Statements and row sums of the connection that writes. */
import type { Database, Statement } from 'better-sqlite3';
import { registerRowSum, rowSum, summedColumns, type SummedTable, type Value } from './row-sums.js';

type Row = { readonly [column: string]: Value };

/** Columns that stand beside the summed ones: their bytes have a hash of their own. */
const besides: { readonly [table: string]: readonly string[] } = {
  entries: ['bytes'],
  blocks: ['raw'],
  merges: ['raw'],
};

/** The statements of one connection, each prepared once; rows that have a `sum` get it here. */
export class Tables {
  readonly #db: Database;
  readonly #prepared = new Map<string, Statement<unknown[]>>();
  readonly #puts = new Map<
    string,
    { readonly besides: readonly string[]; readonly statement: Statement<unknown[]> }
  >();

  constructor(db: Database) {
    this.#db = db;
    registerRowSum(db);
  }

  /** How many rows it changed. */
  run(sql: string, ...values: unknown[]): number {
    return this.#statement(sql, false).run(...values).changes;
  }

  /** The first column of the first row. */
  one(sql: string, ...values: unknown[]): unknown {
    return this.#statement(sql, true).get(...values);
  }

  all(sql: string, ...values: unknown[]): unknown[] {
    return this.#statement(sql, false).all(...values);
  }

  /** Puts a row with its sum; `onConflict` as SQLite has it. How many rows it changed. */
  put(table: SummedTable, row: Row, onConflict = ''): number {
    const key = `${table} ${onConflict}`;
    let found = this.#puts.get(key);
    if (found === undefined) {
      const others = besides[table] ?? [];
      const names = [...summedColumns[table], 'sum', ...others];
      const places = names.map(() => '?').join(', ');
      const sql = `INSERT INTO ${table} (${names.join(', ')}) VALUES (${places}) ${onConflict}`;
      this.#puts.set(key, (found = { besides: others, statement: this.#db.prepare(sql) }));
    }
    const values = summedColumns[table].map((name) => row[name] as Value);
    values.push(rowSum(...values));
    for (const name of found.besides) values.push(row[name] as Value);
    return found.statement.run(values).changes;
  }

  /** Changes columns of the rows that `where` (with named parameters out of `row`) finds. How many rows it changed. */
  change(table: SummedTable, columns: readonly string[], where: string, row: Row): number {
    const set = columns.map((name) => `${name} = @${name}`).join(', ');
    const sum = summedColumns[table].map((name) => (columns.includes(name) ? `@${name}` : name)).join(', ');
    return this.run(`UPDATE ${table} SET ${set}, sum = row_sum(${sum}) WHERE ${where}`, row);
  }

  #statement(sql: string, pluck: boolean): Statement<unknown[]> {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      if (pluck) statement.pluck();
      this.#prepared.set(sql, statement);
    }
    return statement;
  }
}

/** A row with this key is replaced as a whole. */
export const replaced = (key: string, ...columns: string[]): string =>
  `ON CONFLICT (${key}) DO UPDATE SET ${[...columns, 'sum'].map((name) => `${name} = excluded.${name}`).join(', ')}`;
