/**
 * Keeps the database small: the entries of old blocks, which git has, go to the archive; of each door the newest records
 * stay. Each step is small and stands in a transaction that its caller holds.
 */
import { invariant, type EntryId } from '../ledger/ids.js';
import { replaced, type Tables } from './tables.js';
import type { ArchiveBounds } from './writer-protocol.js';

/** A segment of the archive takes no more after so many entries. */
const segmentEntries = 5_000;
/** A step stops after so many entries. */
const stepEntries = 128;
const stepGateRecords = 500;

/** The number under which the archive has an entry: the first 8 bytes of its id, signed. */
export const archivedNumber = (id: EntryId | string): bigint =>
  BigInt.asIntN(64, BigInt(`0x${id.slice(0, 16)}`));

/** Which entries are in the archive, so that two lists of them can be compared: how many, and the sum of their numbers modulo 2⁶⁴. */
export interface ArchivedSum {
  readonly count: number;
  readonly ids: bigint;
}

export const nothingArchived: ArchivedSum = { count: 0, ids: 0n };

/** The same with one entry more. */
export const withArchived = ({ count, ids }: ArchivedSum, id: EntryId | string): ArchivedSum => ({
  count: count + 1,
  ids: BigInt.asUintN(64, ids + archivedNumber(id)),
});

/**
 * What a row of the archive adds to the check of its block: the upper bits of the id, and the segment. The lower 13 bits are in no
 * check: `withArchived` over the history tells.
 */
export const checkOf = (number: bigint, segment: number): number =>
  Number(BigInt.asUintN(64, number) >> 13n) + segment;
export const checkModulus = 2 ** 52;

/** One step. How many entries and records it moved: 0 when there is nothing to do. */
export function archiveOldest(bounds: ArchiveBounds, tables: Tables): number {
  return archiveEntries(bounds, tables) + trimGateRecords(bounds, tables);
}

function archiveEntries({ entriesKept }: ArchiveBounds, tables: Tables): number {
  const count = tables.one('SELECT count(*) FROM entries') as number;
  let moved = 0;
  while (moved < stepEntries) {
    const block = tables.one(
      'SELECT block FROM entries WHERE height IS NOT NULL ORDER BY height, row LIMIT 1',
    ) as string | null | undefined;
    // Without a block it cannot be found in git; with one that is not durable there it is not yet.
    if (block === undefined || block === null || isStaged(block, tables)) break;
    // The highest number of arrival stays taken, or it would be given again.
    const last = 'SELECT 1 FROM entries WHERE block = ? AND row = (SELECT max(row) FROM entries)';
    if (tables.one(last, block) !== undefined) break;
    const size = tables.one('SELECT entries FROM blocks WHERE id = ?', block) as number;
    if (count - moved - size < entriesKept) break;
    archiveBlock(block, size, tables);
    moved += size;
  }
  return moved;
}

/** Whether git lacks the block, or the merge that judged it: the repository drops what is staged once it is durable. */
function isStaged(block: string, tables: Tables): boolean {
  const sql =
    'SELECT 1 FROM blocks AS b JOIN merges AS m ON m.height = b.height ' +
    'WHERE b.id = ? AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.oid IN (b.oid, m.oid))';
  return tables.one(sql, block) === undefined;
}

interface Moving {
  readonly row: number;
  readonly id: EntryId;
  readonly kind: 'claim' | 'fact';
  readonly n: number;
}

function archiveBlock(block: string, size: number, tables: Tables): void {
  const entries = tables.all(
    'SELECT row, id, kind, n FROM entries WHERE block = ? ORDER BY idx',
    block,
  ) as Moving[];
  const row = tables.one('SELECT row FROM blocks WHERE id = ?', block) as number;
  invariant(entries.length === size, `all entries of block ${block} are here until it is in the archive`);
  let segment = (tables.one('SELECT max(segment) FROM archived') ?? 1) as number;
  const inSegment = tables.one('SELECT count(*) FROM archived WHERE segment = ?', segment) as number;
  if (inSegment >= segmentEntries) segment += 1;
  let ids = 0;
  const numbers = entries.map(({ id }) => archivedNumber(id));
  for (const id of numbers.toSorted((a, b) => (a < b ? -1 : 1))) {
    tables.run('INSERT INTO archived VALUES (?, ?, ?)', segment, id, row);
    ids = (ids + checkOf(id, segment)) % checkModulus;
  }
  const number = (tables.one('SELECT coalesce(max(number), 0) + 1 FROM archived_blocks') ?? 1) as number;
  const facts = entries.flatMap(({ kind }, idx) => (kind === 'fact' ? [idx] : []));
  tables.put('archived_blocks', {
    ...{ number, block: row, ids },
    arrivals: packed(entries.map((entry) => entry.row)),
    facts: packed(facts),
  });
  const last = { block, archived: entries[entries.length - 1]!.n };
  const where = '(node, line) = (SELECT node, line FROM blocks WHERE id = @block) AND archived < @archived';
  tables.change('branches', ['archived'], where, last);
  tables.run('DELETE FROM entries WHERE block = ?', block);
}

/** Growing numbers as runs, `first+more`, separated by commas: what came together takes a few characters. */
export function packed(numbers: readonly number[]): string {
  const runs: [first: number, more: number][] = [];
  for (const number of numbers) {
    const run = runs[runs.length - 1];
    if (run !== undefined && run[0] + run[1] + 1 === number) run[1] += 1;
    else runs.push([number, 0]);
  }
  return runs.map(([first, more]) => (more === 0 ? String(first) : `${first}+${more}`)).join(',');
}

export function unpacked(text: string): number[] {
  if (text === '') return [];
  return text.split(',').flatMap((run) => {
    const [first, more = 0] = run.split('+').map(Number) as [number, number?];
    return Array.from({ length: more + 1 }, (_, index) => first + index);
  });
}

/** The gate's process, and the running number that it gave the record. */
function partsOf(id: string): { readonly gate: string; readonly number: number } {
  const [, gate, number] = /^(.*)-([0-9]{1,15})$/.exec(id) ?? [];
  return gate === undefined ? { gate: id, number: 0 } : { gate, number: Number(number) };
}

/** Whether a record that is among the newest of its door no more was here once. */
export function isGateRecordSeen(id: string, tables: Tables): boolean {
  const { gate, number } = partsOf(id);
  const sql = 'SELECT last FROM gate_seen WHERE gate = ? AND first <= ? ORDER BY first DESC LIMIT 1';
  return ((tables.one(sql, gate, number) ?? -1) as number) >= number;
}

function trimGateRecords({ recordsPerDoor }: ArchiveBounds, tables: Tables): number {
  const crowded = tables.all(
    'SELECT door, count(*) AS n FROM gate_records GROUP BY door HAVING n > ?',
    recordsPerDoor,
  ) as { readonly door: string; readonly n: number }[];
  let left = stepGateRecords;
  for (const { door, n } of crowded) {
    const oldest = tables.all(
      'SELECT id FROM gate_records WHERE door = ? ORDER BY at, id LIMIT ?',
      ...[door, Math.min(n - recordsPerDoor, left)],
    ) as { readonly id: string }[];
    for (const { id } of oldest) {
      rememberGateRecord(id, tables);
      tables.run('DELETE FROM gate_records WHERE id = ?', id);
    }
    left -= oldest.length;
  }
  return stepGateRecords - left;
}

/** Adds it to the ranges: grows the one before it, or the one after it, or joins both. */
function rememberGateRecord(id: string, tables: Tables): void {
  if (isGateRecordSeen(id, tables)) return;
  const { gate, number } = partsOf(id);
  const before = tables.one('SELECT first FROM gate_seen WHERE gate = ? AND last = ?', gate, number - 1) as
    number | undefined;
  const after = tables.one('SELECT last FROM gate_seen WHERE gate = ? AND first = ?', gate, number + 1) as
    number | undefined;
  if (after !== undefined) tables.run('DELETE FROM gate_seen WHERE gate = ? AND first = ?', gate, number + 1);
  const range = { gate, first: before ?? number, last: after ?? number };
  tables.put('gate_seen', range, replaced('gate, first', 'last'));
}
