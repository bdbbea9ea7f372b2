/** Opens the one database file: settings, checks, migrations. */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { TownError } from '../ledger/ids.js';
import { backUpBefore } from './migration-backups.js';
import { migrate } from './migrations.js';

export const databaseFile = (folder: string): string => join(folder, 'town.db');

/** Up to this size every page and index is checked at each start, and up to the other after a stop that was none. */
const wholeCheckBytes = { clean: 4 * 1024 * 1024, unclean: 32 * 1024 * 1024 };
/** Rows of each table whose hashes are checked at each start, newest first. */
const hashedRowsMax = { clean: 256, unclean: 4_096 };

/**
 * The writer's connection: made with mode 600 where there is none, checked, migrated.
 * @throws TownError `database-corrupt`, `database-newer`
 */
export function openForWriting(folder: string): Database.Database {
  const file = databaseFile(folder);
  createPrivately(folder, file);
  // Who closes the database leaves no log behind; a process that was killed, or had no power any more, does.
  const stop = existsSync(`${file}-wal`) ? 'unclean' : 'clean';
  let db: Database.Database | undefined;
  try {
    db = new Database(file, { timeout: 5_000 });
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    db.pragma('trusted_schema = OFF');
    db.pragma('cache_size = -8000');
    // The writer folds the log in when nobody waits for it.
    db.pragma('wal_autocheckpoint = 0');
    check(db, file, stop);
    const opened = db;
    migrate(opened, { backup: (step) => backUpBefore(step, opened) });
    // The log's file is made by now. SQLite syncs the folder as it first syncs the log, but keeps to itself what fails then.
    syncFolderNow(folder);
    return db;
  } catch (error) {
    db?.close();
    throw isCorruption(error) ? corrupt(file, (error as Error).message) : error;
  }
}

/** The main thread's connection: cannot write. */
export function openForReading(folder: string): Database.Database {
  const db = new Database(databaseFile(folder), { readonly: true, fileMustExist: true, timeout: 5_000 });
  db.pragma('query_only = ON');
  db.pragma('cache_size = -4000');
  return db;
}

/**
 * Ends the log of a database that was written to its end and folded in: the last connection that may write takes it away.
 * Where somebody has taken the whole folder away meanwhile, there is no log to end.
 * @param closeOthers closes the other connections of this process; afterwards this one is the last
 */
export function removeLog(folder: string, closeOthers: () => void): void {
  if (!existsSync(databaseFile(folder))) return closeOthers();
  const last = new Database(databaseFile(folder), { fileMustExist: true, timeout: 5_000 });
  try {
    // The first look is what connects it to the log.
    last.pragma('user_version');
    closeOthers();
  } finally {
    last.close();
  }
}

/** Whether SQLite says that the file itself is broken. */
export function isCorruption(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code);
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB';
}

export function corrupt(file: string, found: string): TownError {
  return new TownError(
    'database-corrupt',
    `The database ${file} is damaged: ${found}`,
    `Nothing was changed. Move ${file} aside together with its -wal and -shm (keep them: most rows can still be read ` +
      `with "sqlite3 ${file} .recover"), and put back a copy of the whole data folder. ` +
      `What was merged is still readable with git in ${join(dirname(file), 'ledger.git')}. ` +
      'Check the disk or SD card before going on.',
  );
}

function createPrivately(folder: string, file: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (existsSync(file)) return;
  // The -wal and -shm take their mode from the database file.
  closeSync(openSync(file, 'a', 0o600));
  syncFolderNow(folder);
}

function syncFolderNow(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * What a start looks at does not grow with the town: the whole of a small database, the newest rows of any; after a stop
 * that was none some more of it. Damage elsewhere shows when it is read, and to `town verify`.
 */
function check(db: Database.Database, file: string, stop: 'clean' | 'unclean'): void {
  const tables = db
    .prepare("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")
    .pluck()
    .get() as number;
  if (tables === 0) return;
  const isSmall = statSync(file).size <= wholeCheckBytes[stop];
  const checks = isSmall
    ? ['integrity_check(3)']
    : stop === 'unclean'
      ? ['meta', 'refs', 'consensus_log', 'private_keys'].map((table) => `quick_check(${table})`)
      : [];
  for (const pragma of checks) {
    const found = db.pragma(pragma, { simple: true }) as string;
    if (found !== 'ok') throw corrupt(file, found.replaceAll('\n', '; '));
  }
  checkHashes(db, file, hashedRowsMax[stop]);
}

/** SQLite checks its structure, not the bytes of a value; ids that are hashes do that. */
function checkHashes(db: Database.Database, file: string, rowsMax: number): void {
  if ((db.pragma('user_version', { simple: true }) as number) < 1) return;
  const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  const kinds: [what: string, sql: string, hash: (bytes: Buffer, type: string) => string][] = [
    ['entry', "SELECT id, bytes, '' FROM entries ORDER BY row DESC LIMIT ?", sha256],
    ['block', "SELECT id, raw, '' FROM blocks ORDER BY rowid DESC LIMIT ?", sha256],
    ['merge', "SELECT id, raw, '' FROM merges ORDER BY height DESC LIMIT ?", sha256],
    ['git object', 'SELECT oid, data, type FROM objects ORDER BY seq DESC LIMIT ?', gitHash],
  ];
  for (const [what, sql, hash] of kinds) {
    const rows = db.prepare<[number], [string, Buffer, string]>(sql).raw().iterate(rowsMax);
    for (const [id, bytes, type] of rows) {
      if (hash(bytes, type) !== id)
        throw corrupt(file, `the bytes of ${what} ${id} are not those it was stored with.`);
    }
  }
}

/** Git's name of an object: SHA-1 over its header and bytes. */
export function gitHash(bytes: Uint8Array, type: string): string {
  return createHash('sha1').update(`${type} ${bytes.byteLength}\0`).update(bytes).digest('hex');
}
