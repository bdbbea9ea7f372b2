/** Files of the data folder, beside the database, in which an erased record could still stand in plain. */
import { open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { backupFiles } from '../store/migration-backups.js';
import { damagedFolder } from '../store/set-aside.js';

/**
 * Removes copies of the database from before its tables changed (they hold the keys of records), and lines of the gate's journal
 * that were set aside because they could not be read. Durable when it resolves.
 */
export async function forgetFiles(folder: string): Promise<void> {
  const gate = join(folder, 'gate');
  const names = await readdir(gate).catch(() => []);
  const aside = names.filter((name) => name.startsWith('journal.bad-')).map((name) => join(gate, name));
  // What a repair moved aside is a database with such keys too.
  const damaged = join(folder, damagedFolder);
  const databases = (await readdir(damaged).catch(() => []))
    .filter((name) => name.includes('town.db'))
    .map((name) => join(damaged, name));
  for (const path of [...backupFiles(folder), ...aside, ...databases]) await rm(path, { force: true });
  const folders = [...(aside.length > 0 ? [gate] : []), ...(databases.length > 0 ? [damaged] : [])];
  for (const path of [folder, ...folders]) {
    const handle = await open(path, 'r');
    await handle.sync().finally(() => handle.close());
  }
}
