/** Numbered steps that bring any older database to today's tables. A step, once released, never changes. */
import type { Database } from 'better-sqlite3';
import { TownError } from '../ledger/ids.js';
import { sql as tables } from './migrations/0001-tables.js';
import { sql as nodeInvitations } from './migrations/0002-node-invitations.js';

const migrations: ReadonlyMap<number, string> = new Map([
  [1, tables],
  [2, nodeInvitations],
]);

/** The version this program reads and writes. */
export const schemaVersion = Math.max(...migrations.keys());

/**
 * Runs what is missing, all in one transaction: a power cut leaves the old version or the new one.
 * @throws TownError `database-newer` when a later program wrote it.
 */
export function migrate(db: Database): void {
  const found = db.pragma('user_version', { simple: true }) as number;
  if (found > schemaVersion) {
    throw new TownError(
      'database-newer',
      `The database has version ${found}; this program knows versions up to ${schemaVersion}.`,
      'Start the newer version of Mergetown that wrote it, or update this one. The database was not changed.',
    );
  }
  if (found === schemaVersion) return;
  db.transaction(() => {
    for (let version = found + 1; version <= schemaVersion; version += 1) db.exec(migrations.get(version)!);
    db.pragma(`user_version = ${schemaVersion}`);
  }).immediate();
}
