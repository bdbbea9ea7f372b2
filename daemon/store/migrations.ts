/**
 * Numbered steps that bring any older database to today's tables, each in a transaction of its own. A step, once
 * released, never changes; its SQL may call `row_sum`.
 */
import type { Database } from 'better-sqlite3';
import { TownError, invariant } from '../ledger/ids.js';
import { sql as tables } from './migrations/0001-tables.js';
import { sql as nodeInvitations } from './migrations/0002-node-invitations.js';
import { sql as archive } from './migrations/0003-archive.js';
import { sql as recordKeys } from './migrations/0004-record-keys.js';
import { sql as entriesById } from './migrations/0005-entries-by-id.js';
import { registerRowSum } from './row-sums.js';

export const migrations: ReadonlyMap<number, string> = new Map([
  [1, tables],
  [2, nodeInvitations],
  [3, archive],
  [4, recordKeys],
  [5, entriesById],
]);

/** The version this program reads and writes. */
export const schemaVersion = Math.max(...migrations.keys());

export interface MigrateOptions {
  /** Called once, before the first step, where there is something to lose. */
  readonly backup?: (firstStep: number) => void;
  /** For tests: a step is done and not committed. */
  readonly beforeCommit?: (step: number) => void;
}

/**
 * Runs the steps that are missing: a power cut leaves the version before a step or the one after it.
 * @throws TownError `database-newer` when a later program wrote it; what `backup` throws
 */
export function migrate(db: Database, { backup, beforeCommit }: MigrateOptions = {}): void {
  const found = db.pragma('user_version', { simple: true }) as number;
  if (found > schemaVersion) {
    throw new TownError(
      'database-newer',
      `The database has version ${found}; this program knows versions up to ${schemaVersion}.`,
      'Start the newer version of Mergetown that wrote it, or update this one. The database was not changed.',
    );
  }
  if (found === schemaVersion) return;
  if (hasRows(db)) backup?.(found + 1);
  registerRowSum(db);
  const keysOn = db.pragma('foreign_keys', { simple: true }) as number;
  // A table is replaced by another of its name: what refers to it is looked at once the step is done.
  db.pragma('foreign_keys = OFF');
  try {
    for (let version = found + 1; version <= schemaVersion; version += 1) {
      db.transaction(() => {
        db.exec(migrations.get(version)!);
        const dangling = db.pragma('foreign_key_check') as unknown[];
        invariant(dangling.length === 0, `step ${version} of the tables leaves no row without what it names`);
        db.pragma(`user_version = ${version}`);
        beforeCommit?.(version);
      }).immediate();
    }
  } finally {
    db.pragma(`foreign_keys = ${keysOn}`);
  }
}

function hasRows(db: Database): boolean {
  const names = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .pluck()
    .all() as string[];
  return names.some((name) => db.prepare(`SELECT 1 FROM "${name}" LIMIT 1`).get() !== undefined);
}
