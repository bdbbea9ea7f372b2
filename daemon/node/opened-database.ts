/** A database opened to be verified or repaired: it may be damaged. */
import type { Database } from 'better-sqlite3';
import type { Oid, Sha256 } from '../ledger/ids.js';
import { nothingArchived, type ArchivedSum } from '../store/archiving.js';
import { openForReading } from '../store/database.js';
import { LedgerRows } from '../store/ledger-rows.js';
import { StoreReads } from '../store/reads.js';
import type { Findings } from './verify-report.js';

export interface OpenedDatabase {
  readonly db: Database;
  readonly store: StoreReads;
  readonly rows: LedgerRows;
  /** The last merge when it was opened. */
  readonly last: { readonly height: number; readonly id: Sha256; readonly oid: Oid } | null;
  /** Judged entries that have no row: those that the archive should have. */
  notInRows: ArchivedSum;
  /** What the rows say; undefined where they cannot be read. */
  read<T>(question: () => T): T | undefined;
}

/** Opens the database to read it; null, with a problem told, where that cannot be done at all. */
export function openDamaged(folder: string, findings: Findings): OpenedDatabase | null {
  let db: Database | null = null;
  const cannot = (error: unknown): void =>
    findings.problem('database', 'town.db', `The database cannot be read: ${(error as Error).message}.`);
  const read = <T>(question: () => T): T | undefined => {
    try {
      return question();
    } catch (error) {
      cannot(error);
      return undefined;
    }
  };
  try {
    db = openForReading(folder);
    // A moment of its own: what the daemon adds meanwhile is not looked at.
    db.exec('BEGIN');
    const store = new StoreReads(db);
    const last = store.lastMerge();
    return { db, store, rows: new LedgerRows(db), last, notInRows: nothingArchived, read };
  } catch (error) {
    db?.close();
    cannot(error);
    return null;
  }
}

export function closeDatabase(database: OpenedDatabase | null): void {
  database?.db.close();
}
