/**
 * The database under verification: its header, its log, every page, every row against its own sum or hash, and what no merge has
 * judged yet against the history.
 */
import { open } from 'node:fs/promises';
import { NO_BLOCK, claimedPlace, entriesText, objectsOf, readBlock } from '../ledger/block.js';
import { keyOfNode } from '../ledger/charter.js';
import { verifyEntry, type VerifiedEntry } from '../ledger/entry.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import { databaseFile } from '../store/database.js';
import { checkRows } from '../store/check-rows.js';
import { schemaVersion } from '../store/migrations.js';
import { checkWal } from '../store/wal-check.js';
import type { LedgerSource } from './ledger-source.js';
import type { OpenedDatabase } from './opened-database.js';
import type { SignaturePool } from './signature-pool.js';
import type { Walked } from './verify-history.js';
import type { Findings } from './verify-report.js';
import { compareArrivals, compareBlockRow, compareEntryRow, compareMarks } from './verify-rows.js';

/** The name under which problems of the database's log are told. */
export const LOG_FILE = 'town.db-wal';

/** Every page and row by itself. */
export async function verifyDatabase(
  folder: string,
  database: OpenedDatabase | null,
  findings: Findings,
  onProgress: (done: number, total: number, what: string) => void = () => undefined,
): Promise<void> {
  await verifyHeader(folder, findings);
  await verifyLog(folder, findings);
  if (database === null) return;
  const bad = (where: string, what: string): void => findings.problem('database', where, what);
  try {
    const version = database.db.pragma('user_version', { simple: true });
    if (version !== schemaVersion)
      bad('town.db', `It says version ${String(version)} of its tables, not ${schemaVersion}.`);
    onProgress(0, 1, 'pages of the database');
    const problems = await checkRows(database.db, {
      problemsMax: 100,
      onProgress: (done, total) => {
        findings.checked.rows = done;
        onProgress(done, total, 'rows of the database');
      },
    });
    for (const { table, row, what } of problems) bad(row === null ? table : `${table} ${row}`, what);
  } catch (error) {
    bad('town.db', `The database cannot be read: ${(error as Error).message}.`);
  }
}

/** What `integrity_check` does not look at: fields of the header that decide who may open the file, and how. */
async function verifyHeader(folder: string, findings: Findings): Promise<void> {
  try {
    const file = await open(databaseFile(folder), 'r');
    const header = Buffer.alloc(100);
    await file.read(header, 0, 100, 0).finally(() => file.close());
    const isRight =
      header.subarray(0, 16).toString('latin1') === 'SQLite format 3\0' &&
      (header[18] as number) <= 2 &&
      (header[19] as number) <= 2 &&
      header[18] === header[19] &&
      [64, 32, 32].every((value, i) => header[21 + i] === value) &&
      header[20] === 0 &&
      header.readUInt32BE(44) === 4 &&
      header.readUInt32BE(56) === 1 &&
      header.subarray(72, 92).every((byte) => byte === 0);
    if (!isRight)
      findings.problem('database', 'town.db', 'The header of the database file is not as it was written.');
  } catch (error) {
    findings.problem('database', 'town.db', `It cannot be read: ${(error as Error).message}.`);
  }
}

async function verifyLog(folder: string, findings: Findings): Promise<void> {
  const found = await checkWal(`${databaseFile(folder)}-wal`);
  if (found.t === 'damaged')
    findings.problem(
      'database',
      LOG_FILE,
      `Frame ${found.frame} of the log is damaged: ${found.what}. SQLite drops all that comes after it. (Was the power cut while it was written, nothing that was acknowledged is missing.)`,
    );
  if (found.t === 'torn')
    findings.notes.push(
      'The last write in the log of the database is not whole: the power was cut, or it is being written. It was not acknowledged.',
    );
}

/** Is told each entry that no merge has judged yet. */
interface PendingSink {
  pending(entry: VerifiedEntry): void;
}

/** What stands beside the history: blocks and entries that no merge has judged, the archive's count, the state's rows. */
export async function verifyPending(
  database: OpenedDatabase,
  walked: Walked,
  pool: SignaturePool,
  source: LedgerSource,
  sink: PendingSink,
  findings: Findings,
): Promise<void> {
  const { rows } = database;
  const archived = rows.archivedEntries();
  const { notInRows } = database;
  if (notInRows.count !== archived.count)
    findings.problem(
      'database',
      'entries',
      `${notInRows.count} entries of the history are not among the rows; the archive has ${archived.count}.`,
    );
  else if (notInRows.ids !== archived.ids)
    findings.problem('database', 'archived', 'The archive names other entries than the history has.');
  const charter = readCharter(walked.state);
  const unmerged = rows.unmergedBlocks();
  for (const { id, oid, raw } of unmerged) {
    const where = `block ${id.slice(0, 12)}…`;
    try {
      const place = claimedPlace(raw);
      const key = keyOfNode(charter, place.node);
      if (key === undefined) continue; // of a node that was taken out: nobody will fold it in
      const texts = rows.entriesOfBlock(id);
      await pool.prepare(texts);
      const prev = place.prev === NO_BLOCK ? null : rows.blockOid(place.prev);
      const before = prev === null ? null : rows.commit(prev);
      const isOnOther = before === null || claimedPlace(before).base !== place.base;
      const main = isOnOther ? (walked.oids.get(place.base) ?? null) : null;
      const block = readBlock(raw, Buffer.from(entriesText(texts.map((text) => ({ text })))), key, {
        prev,
        main,
      });
      if (block.id !== id || block.oid !== oid)
        throw new TownError('bad-block', 'It has another name than its bytes.');
      compareBlockRow(database, block, null, findings);
      for (const entry of block.entries) sink.pending(entry);
      for (const object of objectsOf(block)) await source.lookFor(object.oid);
      findings.checked.blocks += 1;
      findings.checked.entries += block.entries.length;
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      findings.problem('database', where, error.message);
    }
  }
  const loose = rows.unblockedEntries();
  const { entries } = await pool.check(loose.map(({ bytes }) => Buffer.from(bytes).toString('utf8')));
  findings.checked.entries += loose.length;
  entries.forEach((verdict, i) => {
    const { id, bytes } = loose[i] as (typeof loose)[number];
    if (verdict === id) {
      const entry = verifyEntry(Buffer.from(bytes).toString('utf8'));
      sink.pending(entry);
      return compareEntryRow(database, entry, findings);
    }
    const what = typeof verdict === 'string' ? 'Its bytes have another name.' : verdict.message;
    findings.problem('database', `entry ${id.slice(0, 12)}…`, what);
  });
  compareMarks(database, findings);
  compareArrivals(database, findings);
  compareState(database, walked, findings);
}

/** The rows of the state against the replayed one. */
function compareState({ store, read }: OpenedDatabase, { state }: Walked, findings: Findings): void {
  const lineOf = ({
    dapp,
    collection,
    key,
    value,
  }: Record<'dapp' | 'collection' | 'key' | 'value', string>): string =>
    `${dapp}/${collection}/${key} ${value}`;
  const there = new Set(read(() => [...store.allState()].map(lineOf)) ?? []);
  findings.checked.values = there.size;
  for (const row of state.rows()) {
    const line = lineOf(row);
    if (!there.delete(line))
      findings.problem('database', 'state', `The database lacks ${line.slice(0, 120)}.`);
  }
  for (const line of there)
    findings.problem('database', 'state', `The database has ${line.slice(0, 120)}, the replay has not.`);
}
