/** Files of the data folder, beside the database, in which an erased record could still stand in plain. */
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder } from '../store/durable-file.js';
import { backupFiles } from '../store/migration-backups.js';
import { SET_ASIDE } from './joining-files.js';

/** Where a backup is put together, in the data folder; what a killed one left goes with the next. */
export const BACKUP_WORK = '.backup';
/** Where a repair makes the database anew, in the data folder; what a killed one left goes with the next. */
export const REBUILT = '.rebuilt';

/**
 * Removes copies of the database (from before its tables changed, set aside as damaged, half made by a repair, or of the town that this
 * board had before it joined: they may hold keys of records and names), and lines of the gate's journal that were set aside because they
 * could not be read. Durable when it resolves.
 */
export async function forgetFiles(folder: string): Promise<void> {
  const inFolder = async (name: string, isOne: (file: string) => boolean): Promise<readonly string[]> =>
    (await readdir(join(folder, name)).catch(() => [])).filter(isOne).map((file) => join(folder, name, file));
  const gone = [
    ...backupFiles(folder),
    ...(await inFolder('', (file) => file === REBUILT || file.startsWith(SET_ASIDE))),
    ...(await inFolder('gate', (file) => file.startsWith('journal.bad-'))),
    ...(await inFolder('damaged', (file) => file.includes('town.db'))),
    // Of a backup that was not finished; one that is under way fails and is made anew.
    ...(await inFolder(BACKUP_WORK, () => true)),
  ];
  for (const path of gone) await rm(path, { recursive: true, force: true });
  for (const path of new Set(gone.map(dirname))) await syncFolder(path);
}
