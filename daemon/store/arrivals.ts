/**
 * Each entry that comes gets the next number of arrival (`entries.row`), and takes it into the archive. So a number that is nowhere is
 * an entry that is gone, unless it was taken out on purpose: that is noted here. What no block has yet nothing else would miss.
 */
import type { Database } from 'better-sqlite3';
import { packed, unpacked } from './archiving.js';
import { replaced, type Tables } from './tables.js';

/** The number up to which somebody has looked at every entry: it was given, whatever is there now. */
export const FOLLOWED_META = 'records-followed';
/** Numbers of entries that were taken out. */
const CUT_META = 'cut-arrivals';

/** First and last of numbers that follow each other. */
export type Run = readonly [first: number, last: number];

/** Notes that entries with these numbers are about to be taken out, or were just now, in the transaction of the caller. */
export function noteCut(rows: readonly number[], tables: Tables): void {
  const value = packed([...new Set([...cutRows(tables), ...rows])].sort((a, b) => a - b));
  tables.put('meta', { key: CUT_META, value }, replaced('key', 'value'));
}

const cutRows = (tables: Tables): readonly number[] =>
  unpacked((tables.one('SELECT value FROM meta WHERE key = ?', CUT_META) ?? '') as string);

/** Once entries are out: the highest numbers are given again, and who follows has to look at them again. */
export function followFromLast(tables: Tables): void {
  const last = (tables.one('SELECT max(row) FROM entries') ?? 0) as number;
  const followed = tables.one('SELECT value FROM meta WHERE key = ?', FOLLOWED_META) as string | undefined;
  if (Number(followed ?? 0) > last)
    tables.put('meta', { key: FOLLOWED_META, value: String(last) }, replaced('key', 'value'));
}

/** A database whose entries all arrived anew: nothing was taken out, nobody has looked at them. */
export function startArrivals(tables: Tables): void {
  tables.run('DELETE FROM meta WHERE key = ?', CUT_META);
  if (tables.one('SELECT 1 FROM meta WHERE key = ?', FOLLOWED_META) !== undefined)
    tables.put('meta', { key: FOLLOWED_META, value: '0' }, replaced('key', 'value'));
}

/** Whether entries were ever taken out. */
export const wasCut = (db: Database): boolean =>
  db.prepare('SELECT 1 FROM meta WHERE key = ?').get(CUT_META) !== undefined;

/** Numbers that were given and that nothing has, in runs. */
export function missingArrivals(db: Database): readonly Run[] {
  const meta = (key: string): string =>
    (db.prepare('SELECT value FROM meta WHERE key = ?').pluck().get(key) ?? '') as string;
  const there: Run[] = [...runsOf(meta(CUT_META))];
  for (const arrivals of db.prepare('SELECT arrivals FROM archived_blocks').pluck().iterate())
    there.push(...runsOf(arrivals as string));
  let run: [number, number] | null = null;
  for (const row of db.prepare('SELECT row FROM entries ORDER BY row').pluck().iterate() as Iterable<number>)
    if (run !== null && row === run[1] + 1) run[1] = row;
    else there.push((run = [row, row]));
  there.sort((a, b) => a[0] - b[0]);
  const missing: Run[] = [];
  let next = 1;
  for (const [first, last] of there) {
    if (first > next) missing.push([next, first - 1]);
    next = Math.max(next, last + 1);
  }
  const followed = Number(meta(FOLLOWED_META));
  if (followed >= next) missing.push([next, followed]);
  return missing;
}

/** As `packed` writes them. */
const runsOf = (text: string): readonly Run[] =>
  text === ''
    ? []
    : text.split(',').map((run) => {
        const [first, more = 0] = run.split('+').map(Number) as [number, number?];
        return [first, first + more];
      });

/** As people read them: `7, 9–11`. */
export const runsText = (runs: readonly Run[]): string =>
  runs.map(([first, last]) => (first === last ? String(first) : `${first}–${last}`)).join(', ');
