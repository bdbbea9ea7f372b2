/** Files of the data folder, beside the database, in which an erased record could still stand in plain. */
import { open, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { backupFiles } from '../store/migration-backups.js';

/** Where a backup is put together, in the data folder; what a killed one left goes with the next. */
export const BACKUP_WORK = '.backup';

/**
 * Removes copies of the database (from before its tables changed, or set aside as damaged: they hold the keys of records), and lines
 * of the gate's journal that were set aside because they could not be read. Durable when it resolves.
 */
export async function forgetFiles(folder: string): Promise<void> {
  const inFolder = async (name: string, isOne: (file: string) => boolean): Promise<readonly string[]> =>
    (await readdir(join(folder, name)).catch(() => [])).filter(isOne).map((file) => join(folder, name, file));
  const gone = [
    ...backupFiles(folder),
    ...(await inFolder('gate', (file) => file.startsWith('journal.bad-'))),
    ...(await inFolder('damaged', (file) => file.includes('town.db'))),
    // Of a backup that was not finished; one that is under way fails and is made anew.
    ...(await inFolder(BACKUP_WORK, () => true)),
  ];
  for (const path of gone) await rm(path, { force: true });
  for (const path of new Set(gone.map(dirname))) {
    const handle = await open(path, 'r');
    await handle.sync().finally(() => handle.close());
  }
}
