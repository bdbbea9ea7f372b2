/** Where in git the archived entries are: what the tables of the archive say. */
import type { Database, Statement } from 'better-sqlite3';
import { TownError, type Oid, type Sha256 } from '../ledger/ids.js';
import { archivedNumber, unpacked } from './archiving.js';

/** A block whose entries are in the archive. */
export interface ArchivedBlock {
  /** Its place in the archive: the later it went there, the higher. */
  readonly number: number;
  readonly id: Sha256;
  readonly oid: Oid;
  readonly height: number;
  /** Of each entry, in their order in the block, its running number of arrival. */
  readonly arrivals: readonly number[];
  /** The indexes of those that are facts. */
  readonly facts: ReadonlySet<number>;
}

interface Found extends Omit<ArchivedBlock, 'arrivals' | 'facts'> {
  readonly arrivals: string;
  readonly facts: string;
}

const from =
  'SELECT a.number, b.id, b.oid, b.height, a.arrivals, a.facts FROM archived_blocks AS a JOIN blocks AS b ON b.row = a.block';

const blockOf = ({ arrivals, facts, ...found }: Found): ArchivedBlock => ({
  ...found,
  arrivals: unpacked(arrivals),
  facts: new Set(unpacked(facts)),
});

export class ArchivedReads {
  readonly #db: Database;
  readonly #prepared = new Map<string, Statement<unknown[]>>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** Null: its entries are not in the archive. */
  block(id: string): ArchivedBlock | null {
    const found = this.#statement(`${from} WHERE b.id = ?`).get(id) as Found | undefined;
    return found === undefined ? null : blockOf(found);
  }

  /** The number of the block that went there last; 0 before the first. */
  last(): number {
    const sql = 'SELECT max(number) AS last FROM archived_blocks';
    return (this.#statement(sql).get() as { last: number | null }).last ?? 0;
  }

  /** From that number downwards. Run it to its end, or leave it, without waiting in between. */
  *blocksDown(number: number): IterableIterator<ArchivedBlock> {
    const found = this.#db.prepare(`${from} WHERE a.number <= ? ORDER BY a.number DESC`).iterate(number);
    for (const row of found as IterableIterator<Found>) yield blockOf(row);
  }

  /** Ids of blocks that may hold an entry whose id begins so (8 to 64 hex digits); `limit` at most. */
  blocksWith(prefix: string, limit: number): Sha256[] {
    const low = archivedNumber(prefix.padEnd(16, '0'));
    const high = archivedNumber(prefix.padEnd(16, 'f'));
    const segments =
      (this.#statement('SELECT max(segment) AS n FROM archived').get() as { n: number | null }).n ?? 0;
    const sql =
      'SELECT DISTINCT b.id FROM archived AS a JOIN blocks AS b ON b.row = a.block ' +
      'WHERE a.segment = ? AND a.id BETWEEN ? AND ? LIMIT ?';
    const found: Sha256[] = [];
    for (let segment = 1; segment <= segments && found.length < limit; segment += 1) {
      const rows = this.#statement(sql).all(segment, low, high, limit - found.length) as { id: Sha256 }[];
      for (const { id } of rows) if (!found.includes(id)) found.push(id);
    }
    return found;
  }

  /** How many entries are in the archive; looks through its list of blocks. */
  count(): number {
    const sql =
      'SELECT coalesce(sum(b.entries), 0) AS n FROM archived_blocks AS a JOIN blocks AS b ON b.row = a.block';
    return (this.#statement(sql).get() as { n: number }).n;
  }

  /** One moment of the database for several reads; `read` must not wait. */
  atOnce<T>(read: () => T): T {
    return this.#db.transaction(read)();
  }

  #statement(sql: string): Statement<unknown[]> {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) this.#prepared.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}

/** Where a page of the log ended; `row` and `mark` as log-page.ts uses them. */
export interface LogPlace {
  /** Rows of the hot table below it are still to come. */
  readonly row: number;
  /** How far the archive was when the first page was read. */
  readonly mark: number;
  /** In the archive: this block, and of it the entries before this index. Null: still in the hot table. */
  readonly archive: { readonly number: number; readonly before: number } | null;
}

export const logPlaceText = ({ row, mark, archive }: LogPlace): string =>
  [row, mark, ...(archive === null ? [] : [archive.number, archive.before])].join('.');

/** @throws TownError `bad-page` */
export function parseLogPlace(text: string): LogPlace {
  const numbers = /^[0-9]{1,15}(\.[0-9]{1,15}){1}((\.[0-9]{1,15}){2})?$/.test(text)
    ? text.split('.').map(Number)
    : null;
  if (numbers === null)
    throw new TownError('bad-page', '"before" is what the last page gave as "next".', 'Begin without it.');
  const [row, mark, number, before] = numbers as [number, number, number?, number?];
  return { row, mark, archive: number === undefined ? null : { number, before: before as number } };
}
