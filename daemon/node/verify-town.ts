/**
 * Verifies a town's data folder from its genesis: every file of the repository, every page and row of the database, every
 * signature, every certificate, every merge replayed by the dapps' own contracts, all of it held against each other.
 * Reads only; the daemon may run.
 */
import type { DappPackage } from '../dapps/package.js';
import type { VerifiedEntry } from '../ledger/entry.js';
import type { GitObject } from '../ledger/git-object.js';
import type { NodeId, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import type { BuiltMerge, Genesis } from '../ledger/merge.js';
import type { State, StateReader } from '../ledger/state.js';
import { withArchived } from '../store/archiving.js';
import { readPackages } from './dapp-set.js';
import { NOTES_REF, notesProblem } from './proof-notes.js';
import { HistoryError } from './history-reader.js';
import { hasTown } from './init-town.js';
import { readNodeKeys } from './key-files.js';
import { LedgerSource } from './ledger-source.js';
import { SignaturePool } from './signature-pool.js';
import { closeDatabase, openDamaged, type OpenedDatabase } from './opened-database.js';
import { verifyDatabase, verifyPending } from './verify-database.js';
import { verifyFiles } from './verify-files.js';
import { GateRecordCheck } from './verify-gate-records.js';
import { UNANSWERED, walkHistory, type FoldedPart, type HistorySink, type Walked } from './verify-history.js';
import { compareOrigins, SteadyDapps } from './verify-origins.js';
import { mainInGit, verifyRepository } from './verify-repository.js';
import { Findings, type VerifyReport } from './verify-report.js';
import { compareBlockRow, compareMergeRow } from './verify-rows.js';

export type { VerifyProblem, VerifyReport } from './verify-report.js';

export interface VerifyOptions {
  /** Folder of the built dapps. */
  readonly packagesFolder: string;
  readonly driver?: 'container' | 'process' | undefined;
  /** Leaves the replay out where a file or row by itself is wrong already. */
  readonly untilWrong?: boolean | undefined;
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/**
 * Verifies the town in a data folder.
 * @throws TownError `no-town`; what is wrong with the town itself is in the report
 */
export async function verifyTown(folder: string, options: VerifyOptions): Promise<VerifyReport> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const packages = await readPackages(options.packagesFolder);
  const findings = new Findings();
  const pool = new SignaturePool();
  const database = openDamaged(folder, findings);
  try {
    await verifyDatabase(folder, database, findings, options.onProgress);
    await verifyRepository(folder, database?.rows ?? null, findings, options.onProgress);
    await verifyFiles(folder, database, findings);
    if (options.untilWrong === true && findings.problems.length > 0) return findings.report();
    await verifyHistory(folder, database, packages, pool, findings, options);
    return findings.report();
  } finally {
    await pool.close();
    closeDatabase(database);
  }
}

async function verifyHistory(
  folder: string,
  database: OpenedDatabase | null,
  packages: readonly DappPackage[],
  pool: SignaturePool,
  findings: Findings,
  { driver, onProgress }: VerifyOptions,
): Promise<void> {
  const source = new LedgerSource(folder, database?.rows ?? null);
  const last = database?.last ?? null;
  const head = last?.oid ?? (await mainInGit(folder));
  if (head === null)
    return findings.problem('history', 'main', 'No main is found, in the database or in git.');
  const began = performance.now();
  const entriesTotal = database?.rows.mergedEntries() ?? 0;
  let walked: Walked;
  const comparison = new Comparison(source, database, packages, findings);
  try {
    walked = await walkHistory({
      ...{ source, head, packages, driver, pool },
      sink: comparison,
      onProgress: ({ merges, mergesTotal, blocks, entries }) => {
        Object.assign(findings.checked, { merges, blocks, entries });
        const rate = Math.round(entries / Math.max(0.001, (performance.now() - began) / 1000));
        const [done, total] = entriesTotal > 0 ? [entries, entriesTotal] : [merges, mergesTotal];
        onProgress?.(Math.min(done, total), total, `merge ${merges} of ${mergesTotal}, ${rate} entries/s`);
      },
    });
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    const where = error instanceof HistoryError ? error.where : 'history';
    return findings.problem(error.code === UNANSWERED ? 'dapps' : 'history', where, error.message);
  }
  if (database !== null) {
    await verifyPending(database, walked, pool, source, comparison, findings);
    const own = await readNodeKeys(folder).then(
      ({ id }) => id,
      () => null, // told with the files
    );
    comparison.end(walked.state, own);
    await verifyNotes(database, source, findings);
  }
  for (const [oid, what] of source.notInGit) findings.problem('git', oid, what);
}

/** What people read of certificates in git, against those that are kept. */
async function verifyNotes(
  { rows, store, read, last }: OpenedDatabase,
  source: LedgerSource,
  findings: Findings,
): Promise<void> {
  const tip = rows.ref(NOTES_REF);
  const kept = (height: number) => ({
    merge: read(() => store.merge(height)) ?? null,
    certificate: rows.certificate(height),
  });
  const what = await notesProblem((oid) => source.read(oid), tip, last?.height ?? 0, kept);
  if (what !== null) findings.problem('git', NOTES_REF, what);
}

const NOTHING_JUDGED = { height: 0, entries: [], expired: [], notices: [] };

/** Holds what the walk leads to against the repository and the rows. */
class Comparison implements HistorySink {
  private readonly gateRecords: GateRecordCheck | null;
  private readonly steady: SteadyDapps;

  constructor(
    private readonly source: LedgerSource,
    private readonly database: OpenedDatabase | null,
    packages: readonly DappPackage[],
    private readonly findings: Findings,
  ) {
    this.gateRecords = database && new GateRecordCheck(database, findings);
    this.steady = new SteadyDapps(packages);
  }

  /** An entry that is in no merge yet. */
  pending(entry: VerifiedEntry): void {
    this.gateRecords?.see(entry);
  }

  /** Once all of it was compared. */
  end(state: StateReader, own: NodeId | null): void {
    this.gateRecords?.end(own);
    if (this.database) compareOrigins(this.database, state, this.steady, own, this.findings);
  }

  problem(where: string, what: string): void {
    // Of certificates there are two copies, and the repair takes the one that holds.
    this.findings.problem('database', where, what);
  }

  async genesis({ merge, objects }: Genesis): Promise<void> {
    await this.compare('genesis', objects);
    if (this.database !== null)
      compareMergeRow(this.database, { merge, receipt: NOTHING_JUDGED }, this.findings);
  }

  async merge(
    { merge, objects, receipt }: BuiltMerge,
    parts: readonly FoldedPart[],
    certificate: string | null,
    state: State,
  ): Promise<void> {
    const where = `merge ${merge.height}`;
    await this.compare(where, objects);
    if (this.database === null) return;
    this.steady.see(readCharter(state));
    const { store } = this.database;
    compareMergeRow(this.database, { merge, receipt }, this.findings);
    if (certificate !== null && this.database.read(() => store.certificate(merge.height)) !== certificate)
      this.findings.problem(
        'database',
        `certificate ${merge.height}`,
        'The database does not have the one that proves it.',
      );
    for (const { blocks } of parts)
      for (const block of blocks) {
        compareBlockRow(this.database, block, merge.height, this.findings);
        for (const entry of block.entries) this.gateRecords?.see(entry);
      }
    for (const { id, verdict, code, reason, other, writes } of receipt.entries) {
      const entry = this.database.read(() => store.placedEntry(id)) ?? null;
      if (entry === null) {
        this.database.notInRows = withArchived(this.database.notInRows, id);
        continue;
      }
      const kept = [
        entry.state,
        entry.height,
        entry.verdict,
        entry.code,
        entry.reason,
        entry.other,
        entry.writes,
      ];
      const state = verdict === 'rejected' ? 'rejected' : 'merged';
      const expected = [state, merge.height, verdict, code ?? null, reason ?? null, other ?? null, writes];
      if (kept.join('\n') !== expected.join('\n'))
        this.findings.problem(
          'database',
          `entry ${id.slice(0, 12)}…`,
          `The database says ${entry.verdict ?? 'nothing'}, the replay ${verdict}.`,
        );
    }
  }

  /** What the replay gives must be there, byte for byte: in git, or staged for it. */
  private async compare(where: string, objects: readonly GitObject[]): Promise<void> {
    for (const { oid, data } of objects) {
      this.findings.checked.gitObjects += 1;
      try {
        const kept = await this.kept(oid);
        if (!Buffer.from(kept.data).equals(data))
          this.findings.problem('git', where, `The git object ${oid} holds other bytes.`);
      } catch (error) {
        if (!(error instanceof TownError)) throw error;
        this.findings.problem('git', where, error.message);
      }
    }
  }

  private async kept(oid: Oid): Promise<GitObject> {
    return this.database?.rows.staged(oid) ?? (await this.source.fromGit(oid));
  }
}
