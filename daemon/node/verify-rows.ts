/**
 * What the rows of the database say of blocks, entries and merges beside their bytes, held against those bytes: a row whose sum is
 * right may still tell something else. Views, logs and the next block go by these columns.
 */
import { NO_BLOCK, type Block } from '../ledger/block.js';
import type { VerifiedEntry } from '../ledger/entry.js';
import type { Sha256 } from '../ledger/ids.js';
import type { BuiltMerge } from '../ledger/merge.js';
import { recordHandle } from '../ledger/record-key.js';
import { missingArrivals, runsText } from '../store/arrivals.js';
import type { PrivateKeyRow } from '../store/rows.js';
import type { OpenedDatabase } from './opened-database.js';
import type { Findings } from './verify-report.js';

const shortId = (id: string): string => `${id.slice(0, 12)}…`;
const differ = (kept: readonly unknown[], expected: readonly unknown[]): boolean =>
  JSON.stringify(kept) !== JSON.stringify(expected);

const VERDICTS = ['accepted', 'rejected', 'irregular'] as const;

/** The row of a merge. */
export function compareMergeRow(
  { store, read }: OpenedDatabase,
  { merge, receipt }: Pick<BuiltMerge, 'merge' | 'receipt'>,
  findings: Findings,
): void {
  const row = read(() => store.merge(merge.height));
  const count = (verdict: string): number =>
    receipt.entries.filter((entry) => entry.verdict === verdict).length;
  const { id, oid, content, time, node } = merge;
  const expected = [id, oid, content, time, node, ...VERDICTS.map(count)];
  const kept = row && [row.id, row.oid, row.content, row.time, row.node];
  if (differ(kept ? [...kept, ...VERDICTS.map((name) => row.counts[name])] : [], expected))
    findings.problem('database', `merge ${merge.height}`, 'Its row says something else.');
}

/** The row of a block and those of its entries, as far as they are here. @param height of the merge that folded it in, or null */
export function compareBlockRow(
  database: OpenedDatabase,
  block: Block,
  height: number | null,
  findings: Findings,
): void {
  const { store, read } = database;
  const row = read(() => store.block(block.id));
  const { oid, node, line, seq, prev, base, entries } = block;
  const kept = row && [row.oid, row.node, row.line, row.seq, row.prev, row.base, row.entries, row.height];
  const before = prev === NO_BLOCK ? null : prev;
  if (differ(kept ?? [], [oid, node, line, seq, before, base, entries.length, height]))
    findings.problem(
      'database',
      `block ${shortId(block.id)}`,
      row && row.height !== height
        ? `Its row does not say ${height === null ? 'that no merge has it' : `merge ${height}`}.`
        : 'Its row says something else.',
    );
  for (const [idx, entry] of entries.entries())
    compareEntryRow(database, entry, findings, { block: block.id, idx });
}

/** The row of an entry, where it is here. @param place in its block; none: it stands in no block yet */
export function compareEntryRow(
  { store, read }: OpenedDatabase,
  entry: VerifiedEntry,
  findings: Findings,
  place: { readonly block: Sha256 | null; readonly idx: number | null } = { block: null, idx: null },
): void {
  // Should its row say that it stands in none, the marks of its branch show it.
  const row = read(() => (place.block === null ? store.entry(entry.id) : store.placedEntry(entry.id)));
  if (!row) return;
  if (row.block !== place.block || row.idx !== place.idx)
    findings.problem('database', `entry ${shortId(entry.id)}`, 'Its row names another block or place.');
  const columns = ['node', 'line', 'n', 'type', 'by', 'at'] as const;
  if (
    differ(
      columns.map((name) => row[name]),
      columns.map((name) => entry[name]),
    )
  )
    findings.problem('database', `entry ${shortId(entry.id)}`, 'Its row says something else than its bytes.');
}

/** Whether each number of arrival that was given is still somewhere: what stands in no block yet, nothing else would miss. */
export function compareArrivals({ db, read }: OpenedDatabase, findings: Findings): void {
  const missing = read(() => missingArrivals(db)) ?? [];
  if (missing.length === 0) return;
  findings.problem(
    'database',
    'entries',
    `Entries are gone: those that arrived here as number ${runsText(missing)}.`,
    'Stop the daemon, and run `town verify --repair`: what a block has comes back from git. What this node recorded and put into no ' +
      'block yet is nowhere else, and has to be recorded again.',
  );
}

/** The marks of the branches, by which entries are put into blocks and judged anew; and the names of keys of records. */
export function compareMarks({ db, read }: OpenedDatabase, findings: Findings): void {
  const isPast = `(e.block IS NULL AND e.n <= b.blocked) OR (e.block IS NOT NULL AND e.n > b.blocked)
    OR (e.state = 'pending' AND e.n <= b.merged) OR (e.state <> 'pending' AND e.n > b.merged)`;
  const branches = read(() =>
    db
      .prepare<[], { node: string; line: string }>(
        `SELECT node, line FROM branches AS b WHERE EXISTS
          (SELECT 1 FROM entries AS e WHERE e.node = b.node AND e.line = b.line AND (${isPast}))`,
      )
      .all(),
  );
  for (const { node, line } of branches ?? [])
    findings.problem(
      'database',
      `branch ${node}/${line}`,
      'Its row says that another number of its entries is in blocks, or merged.',
    );
  const keys = read(() =>
    db.prepare<[], PrivateKeyRow>('SELECT handle, subject, month, key FROM private_keys').all(),
  );
  for (const row of keys ?? [])
    if (recordHandle(row) !== row.handle)
      findings.problem(
        'database',
        `private_keys ${row.handle}`,
        'The key, its subject or its month is not what its name was made from.',
        'Nothing on this node tells which is right. Other nodes that may read the records have the key: join the town anew.',
      );
}
