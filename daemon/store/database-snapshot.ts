/** A copy of the database as it is at one moment, whoever writes to it meanwhile. */
import { chmodSync, closeSync, fsyncSync, openSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TownError } from '../ledger/ids.js';
import { databaseFile, openForReading } from './database.js';

/** What a file system should have left after a copy was put on it. */
const SPARE_BYTES = 16 * 1024 * 1024;

/**
 * Copies the database of a data folder to `target`, which must not exist (mode 600, synced; not yet durable in its folder).
 * One read transaction: it shows one moment. @throws TownError `disk-full` before anything is written
 */
export async function copyDatabase(folder: string, target: string): Promise<void> {
  const { size } = statSync(databaseFile(folder));
  const { bavail, bsize } = await statfs(dirname(target));
  if (bavail * bsize < size + SPARE_BYTES)
    throw new TownError(
      'disk-full',
      `A copy of the database needs ${size} bytes; ${bavail * bsize} are free where ${target} is to stand.`,
      'Free some space there, and try again.',
    );
  const db = openForReading(folder);
  try {
    db.pragma('query_only = OFF');
    db.prepare('VACUUM INTO ?').run(target);
  } finally {
    db.close();
  }
  chmodSync(target, 0o600);
  const handle = openSync(target, 'r+');
  fsyncSync(handle);
  closeSync(handle);
}
