/**
 * One daemon a data folder. The lock is the kernel's (an exclusive SQLite lock on `lock.held`): it ends with the
 * process however that ends, so there is no stale lock after a power cut and no process id that came again.
 * `lock` beside it only tells people and programs who holds it.
 */
import { closeSync, openSync, realpathSync } from 'node:fs';
import { readFile, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { TownError } from '../ledger/ids.js';
import { makeFolderDurably, writeFileDurably } from './durable-file.js';

const held = new Set<string>();

/** Whether this process holds the folder's lock. */
export function holdsLock(folder: string): boolean {
  try {
    return held.has(realpathSync(folder));
  } catch {
    return false; // No such folder yet.
  }
}

/**
 * Takes the data folder for this process; makes the folder where it is missing (mode 700).
 * @returns what gives the lock back; calling it twice is harmless.
 * @throws TownError `folder-in-use`, naming the process that holds it.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  await makeFolderDurably(resolve(folder));
  const path = realpathSync(folder);
  // Checked before the lock file is touched: closing any descriptor of it would drop this process's own lock.
  if (held.has(path)) throw await inUse(path);
  const lock = takeKernelLock(join(path, 'lock.held'));
  if (lock === null) throw await inUse(path);
  held.add(path);
  await writeFileDurably(join(path, 'lock'), `${process.pid}\n`, 0o600);
  let released = false;
  return async () => {
    if (released) return;
    released = true;
    await unlink(join(path, 'lock')).catch(() => undefined);
    held.delete(path);
    lock.close();
  };
}

function takeKernelLock(file: string): Database.Database | null {
  closeSync(openSync(file, 'a', 0o600));
  const lock = new Database(file, { timeout: 0 });
  try {
    lock.pragma('journal_mode = MEMORY');
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) return null;
    throw error;
  }
}

async function inUse(path: string): Promise<TownError> {
  const pid = await readFile(join(path, 'lock'), 'utf8').then(
    (text) => /^\d+/.exec(text)?.[0] ?? 'unknown',
    () => 'unknown',
  );
  return new TownError(
    'folder-in-use',
    `The data folder ${path} is in use by process ${pid}.`,
    `Stop that one first (kill ${pid}), or start with another folder (--data).`,
  );
}
