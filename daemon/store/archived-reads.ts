/** Where in git the archived entries are: what the tables of the archive say. */
import { TownError, type Oid, type Sha256 } from '../ledger/ids.js';
import { archivedNumber, unpacked } from './archiving.js';
import type { Query } from './query.js';

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
  constructor(private readonly query: Query) {}

  /** Null: its entries are not in the archive. */
  block(id: string): ArchivedBlock | null {
    const found = this.query.one<Found>(`${from} WHERE b.id = ?`, id);
    return found === null ? null : blockOf(found);
  }

  /** The number of the block that went there last; 0 before the first. */
  last(): number {
    const sql = 'SELECT max(number) AS last FROM archived_blocks';
    return this.query.one<{ last: number | null }>(sql)?.last ?? 0;
  }

  /** From that number downwards. Run it to its end, or leave it, without waiting in between. */
  *blocksDown(number: number): IterableIterator<ArchivedBlock> {
    const sql = `${from} WHERE a.number <= ? ORDER BY a.number DESC`;
    for (const row of this.query.iterate<Found>(sql, number)) yield blockOf(row);
  }

  /** Ids of blocks that may hold an entry whose id begins so (8 to 64 hex digits); `limit` at most. */
  blocksWith(prefix: string, limit: number): Sha256[] {
    const low = archivedNumber(prefix.padEnd(16, '0'));
    const high = archivedNumber(prefix.padEnd(16, 'f'));
    const segments = this.query.one<{ n: number | null }>('SELECT max(segment) AS n FROM archived')?.n ?? 0;
    const sql =
      'SELECT DISTINCT b.id FROM archived AS a JOIN blocks AS b ON b.row = a.block ' +
      'WHERE a.segment = ? AND a.id BETWEEN ? AND ? LIMIT ?';
    const found: Sha256[] = [];
    for (let segment = 1; segment <= segments && found.length < limit; segment += 1) {
      const rows = this.query.all<{ id: Sha256 }>(sql, limit - found.length, segment, low, high);
      for (const { id } of rows) if (!found.includes(id)) found.push(id);
    }
    return found;
  }

  /** How many entries are in the archive; looks through its list of blocks. */
  count(): number {
    const sql =
      'SELECT coalesce(sum(b.entries), 0) AS n FROM archived_blocks AS a JOIN blocks AS b ON b.row = a.block';
    return this.query.one<{ n: number }>(sql)?.n ?? 0;
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
