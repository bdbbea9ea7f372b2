/** `town verify --repair`: what one copy on this node lacks the other gives; then everything is verified again. */
import { join } from 'node:path';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { writeAllowedSigners } from '../store/allowed-signers.js';
import { lockFolder } from '../store/folder-lock.js';
import { LedgerRows } from '../store/ledger-rows.js';
import { databaseFile, openForReading } from '../store/database.js';
import { repairPacks } from '../store/pack-repair.js';
import { mendWal } from '../store/wal-mend.js';
import { readPackages } from './dapp-set.js';
import { LedgerSource } from './ledger-source.js';
import { mendKeyFiles } from './key-check.js';
import { repairNotes } from './repair-notes.js';
import { repairObjects, repairRefs } from './repair-git.js';
import { rebuildDatabase } from './repair-database.js';
import { SignaturePool } from './signature-pool.js';
import { SIGNERS_META } from './signers.js';
import { Findings, type VerifyReport } from './verify-report.js';
import { closeDatabase, openDamaged } from './opened-database.js';
import { LOG_FILE } from './verify-database.js';
import { mainInGit } from './verify-repository.js';
import { verifyTown, type VerifyOptions } from './verify-town.js';

export interface RepairReport {
  /** As it is now. */
  readonly report: VerifyReport;
  /** What was wrong before. */
  readonly before: VerifyReport;
  /** What was done. */
  readonly done: readonly string[];
  /** What this node had no second copy of, and no peer has: keys of records, entries that were in no block. */
  readonly lost: readonly string[];
}

/**
 * Repairs a town's data folder from the copies on this node, and verifies it again. Damaged files are kept, in `damaged/` and
 * `ledger.git/damaged/`, the newest 32 of each.
 * @throws TownError `no-town`, `folder-in-use` while the daemon runs
 */
export async function repairTown(folder: string, options: VerifyOptions): Promise<RepairReport> {
  const release = await lockFolder(folder);
  try {
    const before = await verifyTown(folder, options);
    if (before.ok) return { report: before, before, done: [], lost: [] };
    const done: string[] = [];
    const lost: string[] = [];
    done.push(...(await mendKeyFiles(folder)));
    const now = (await repairLog(folder, before, done, lost)) ? await verifyTown(folder, options) : before;
    if (now.ok) return { report: now, before, done, lost };
    await repair(folder, now, options, done, lost);
    return { report: await verifyTown(folder, options), before, done, lost };
  } finally {
    await release();
  }
}

/** The database's log comes first: what it holds is read from then on. Whether it is whole now. */
async function repairLog(
  folder: string,
  { problems }: VerifyReport,
  done: string[],
  lost: string[],
): Promise<boolean> {
  const problem = problems.find(({ where }) => where === LOG_FILE);
  if (problem === undefined) return false;
  const mended = await mendWal(`${databaseFile(folder)}-wal`);
  if (mended === null)
    lost.push(
      `what was recorded last, behind the damaged place of the database's log (${problem.what}): entries that were in no block yet, ` +
        'votes, keys of records',
    );
  else
    done.push(
      `The database's log can be read again: ${mended.bits} flipped bits set right, ${mended.pages} damaged pages left in it.`,
    );
  return mended !== null;
}

async function repair(
  folder: string,
  before: VerifyReport,
  { packagesFolder, driver, onProgress }: VerifyOptions,
  done: string[],
  lost: string[],
): Promise<void> {
  const wrong = new Set(before.problems.map(({ kind }) => kind));
  const packages = await readPackages(packagesFolder);
  const pool = new SignaturePool();
  const opened = openDamaged(folder, new Findings());
  try {
    const rows = opened?.rows ?? null;
    const head = await newestHead(folder, rows, opened?.last?.oid ?? null);
    if (head === null) return;
    const job = { folder, rows, head, packages, driver, pool, onProgress };
    // What is staged goes into git first: the database may be made anew from there.
    const staged = rows?.stagedAll() ?? [];
    if (staged.length > 0 && wrong.has('database'))
      await repairPacks(join(folder, 'ledger.git'), { packs: [], objects: staged });
    if (wrong.has('git') || wrong.has('refs') || wrong.has('history') || wrong.has('database'))
      done.push(...(await repairObjects(job)));
    // What could not be replayed says nothing of the database yet.
    const now = wrong.has('history')
      ? await verifyTown(folder, { packagesFolder, driver, onProgress })
      : before;
    if (now.problems.some(({ kind }) => kind === 'database')) {
      const rebuilt = await rebuildDatabase(job).catch((error: unknown) => {
        if (!(error instanceof TownError)) throw error;
        done.push(`The database could not be made anew: ${error.message}`);
        return null;
      });
      if (rebuilt) {
        done.push(...rebuilt.said);
        lost.push(...rebuilt.lost);
      }
    }
  } finally {
    await pool.close();
    closeDatabase(opened);
  }
  done.push(...(await repairNotes(folder)));
  const db = openForReading(folder);
  try {
    const rows = new LedgerRows(db);
    done.push(...(await repairRefs(folder, rows)));
    const signers = rows.meta(SIGNERS_META);
    if (signers !== null && before.problems.some(({ where }) => where === 'allowed_signers')) {
      await writeAllowedSigners(join(folder, 'allowed_signers'), JSON.parse(signers) as string[]);
      done.push('allowed_signers was written anew.');
    }
  } catch (error) {
    done.push(`The refs could not be repaired: ${(error as Error).message}`);
  } finally {
    db.close();
  }
}

/** The later one of the database's head and git's: what only one of them has is taken from there. */
async function newestHead(folder: string, rows: LedgerRows | null, last: Oid | null): Promise<Oid | null> {
  const source = new LedgerSource(folder, rows);
  const heightOf = async (oid: Oid | null): Promise<number> => {
    if (oid === null) return -1;
    const commit = await source.read(oid).catch(() => null);
    const height = commit && /^Height: (\d{1,15})$/m.exec(Buffer.from(commit.data).toString('utf8'))?.[1];
    return height ? Number(height) : -1;
  };
  const inGit = await mainInGit(folder);
  const [ours, gits] = await Promise.all([heightOf(last), heightOf(inGit)]);
  if (ours < 0 && gits < 0) return null;
  return ours >= gits ? last : inGit;
}
