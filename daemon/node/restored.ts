/**
 * The mark of a data folder that was restored from a backup: its node has a key of its own that the town does not know, and only
 * observes until a steward lets it in.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TownError } from '../ledger/ids.js';
import { syncFolder, writeFileDurably } from '../store/durable-file.js';

const FILE = 'restored.json';

export interface Restored {
  readonly v: 1;
  readonly town: string;
  /** The node that made the backup. */
  readonly from: string;
  /** When the backup was made: milliseconds; and the last merge in it. */
  readonly at: number;
  readonly height: number;
}

export const markRestored = (folder: string, restored: Restored): Promise<void> =>
  writeFileDurably(join(folder, FILE), `${JSON.stringify(restored)}\n`, 0o600);

/** Null where the folder was not restored, or its node was let in since. @throws TownError `bad-restored-file` */
export async function readRestored(folder: string): Promise<Restored | null> {
  let text: string;
  try {
    text = await readFile(join(folder, FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const found = JSON.parse(text) as Partial<Restored>;
    if (found.v === 1 && typeof found.town === 'string' && typeof found.from === 'string')
      return found as Restored;
  } catch {
    // Told below.
  }
  throw new TownError(
    'bad-restored-file',
    `${join(folder, FILE)} is not the mark of a restored folder.`,
    'Restore the backup again, into another folder.',
  );
}

/** The node is one of the town's from now on. */
export async function forgetRestored(folder: string): Promise<void> {
  await rm(join(folder, FILE), { force: true });
  await syncFolder(folder);
}

/** What people are told of a node that observes. */
export const observingTrouble = ({
  at,
  height,
}: Restored): { readonly code: string; readonly message: string } => ({
  code: 'observing',
  message:
    `This node was restored from a backup of ${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC (height ${height}) and observes: ` +
    'it records nothing and opens no doors until a steward at another node lets it in (town node invite there, town join CODE here).',
});

/** Why a node that observes records nothing. */
export const observingRefusal = (): TownError =>
  new TownError(
    'observing',
    'This node was restored from a backup and only observes: nothing is recorded here.',
    'Let a steward at another node of the town invite it (town node invite), stop it, and join with the code: town join CODE.',
  );
