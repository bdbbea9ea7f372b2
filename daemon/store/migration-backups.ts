/**
 * Copies of the database from before its tables were changed: `town.db.before-<first step>`, the newest two.
 * They hold the keys of private records as the database did: who destroys such keys has to remove these files too.
 */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { TownError } from '../ledger/ids.js';

const kept = 2;
/** What the file system should have left beside a copy, and the change itself, which may need as much again. */
const spareBytes = 16 * 1024 * 1024;
const pattern = /^town\.db\.before-([0-9]+)(\.tmp(-journal)?)?$/;

/** Every such file of a data folder, also one that was not finished. Absolute where `folder` is. */
export function backupFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/**
 * Copies the database of this connection, as it is, beside it: mode 600, durable when it returns. Then the oldest go.
 * @throws TownError `disk-full`: there is no copy, and the database is as it was
 */
export function backUpBefore(step: number, db: Database): void {
  const folder = dirname(db.name);
  for (const path of backupFiles(folder)) if (!/[0-9]$/.test(path)) unlinkSync(path);
  const bytes =
    (db.pragma('page_count', { simple: true }) as number) *
    (db.pragma('page_size', { simple: true }) as number);
  const needed = 2 * bytes + spareBytes;
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free < needed) throw diskFull(folder, needed, free);
  const target = join(folder, `town.db.before-${step}`);
  const temp = `${target}.tmp`;
  try {
    // Made by us, so that it is never readable by others, not even while it is written.
    closeSync(openSync(temp, 'wx', 0o600));
    db.prepare('VACUUM INTO ?').run(temp);
    chmodSync(temp, 0o600);
    syncPath(temp, 'r+');
    renameSync(temp, target);
    syncPath(folder, 'r');
  } catch (error) {
    // Somebody else took the space meanwhile. What is half written holds keys too.
    rmSync(temp, { force: true });
    rmSync(`${temp}-journal`, { force: true });
    const { code, syscall } = error as NodeJS.ErrnoException;
    const isFull = code === 'SQLITE_FULL' || (code === 'ENOSPC' && syscall !== 'fsync');
    throw isFull ? diskFull(folder, needed, free) : error;
  }
  const stepOf = (path: string): number => Number(pattern.exec(path.slice(folder.length + 1))?.[1]);
  const old = backupFiles(folder).sort((a, b) => stepOf(b) - stepOf(a));
  for (const path of old.slice(kept)) unlinkSync(path);
}

const diskFull = (folder: string, needed: number, free: number): TownError =>
  new TownError(
    'disk-full',
    `This version keeps its tables in another form. To change them, with a copy of the database first, takes ` +
      `${mebibytes(needed)} MiB; ${folder} has ${mebibytes(free)} MiB free.`,
    'Free some space there and start again. Nothing was changed.',
  );

function syncPath(path: string, flags: string): void {
  const handle = openSync(path, flags);
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

const mebibytes = (bytes: number): number => Math.ceil(bytes / (1024 * 1024));
