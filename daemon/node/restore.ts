/** Puts a backup into a new data folder, for a new node that observes first. All of it, or nothing. */
import { createWriteStream } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TownError } from '../ledger/ids.js';
import { inNewFolder } from '../store/new-folder.js';
import { Repository } from '../store/repository.js';
import { Store } from '../store/store.js';
import { PENDING } from './backup.js';
import { readBackup, type BackupHead, type BackupKey } from './backup-file.js';
import { hasTown } from './init-town.js';
import { makeOwnKeys } from './key-files.js';
import { markRestored } from './restored.js';

/** What a backup holds, and nothing else: no name leads out of the folder. */
const NAMES =
  /^(town\.db|config\.json|allowed_signers|pending\.jsonl|keys\/(town|badge)\.key|keys\/members\/m?[0-9a-f]{16,64}\.json|ledger\.git\/(HEAD|config|objects\/[0-9a-f]{2}\/[0-9a-f]{38}|objects\/pack\/pack-[0-9a-f]{40}\.(pack|idx)))$/;

export interface RestoreOptions {
  readonly key: BackupKey;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface RestoredTown extends BackupHead {
  readonly folder: string;
  /** The id that the restored node has from now on. */
  readonly newNode: string;
  /** Entries that stood in no block when the backup was made; they are in `pending.jsonl` of the folder. */
  readonly unblocked: number;
}

/**
 * Restores a backup into a folder that is empty or not there.
 * @throws TownError `folder-not-empty`, those of `readBackup`, and what opening the town in it finds wrong
 */
export async function restore(file: string, folder: string, options: RestoreOptions): Promise<RestoredTown> {
  const target = resolve(folder);
  return inNewFolder(target, 'Restore into a new folder: --data DIR.', async (work) => {
    const head = await readBackup(file, options.key, async ({ head: about, files }) => {
      let done = 0;
      for await (const { name, size, content } of files) {
        if (!NAMES.test(name))
          throw new TownError('no-backup', `The backup holds a file that none should: ${name.slice(0, 80)}.`);
        await put(work, name, content);
        options.onProgress?.((done += size), about.bytes);
      }
      return about;
    });
    if (!(await hasTown(work)))
      throw new TownError('no-backup', 'There is no town in the backup.', 'Take another one.');
    const { id: newNode } = await makeOwnKeys(work);
    await complete(work);
    const { town, node: from, at, height } = head;
    await markRestored(work, { v: 1, town, from, at, height });
    const pending = await readFile(join(work, PENDING), 'utf8').catch(() => '');
    return { ...head, folder: target, newNode, unblocked: pending.split('\n').length - 1 };
  });
}

async function put(folder: string, name: string, content: Readable): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await pipeline(content, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Opens what was restored: the database is checked, and the repository gets its refs and whatever else it lacks. */
async function complete(folder: string): Promise<void> {
  let failure: Error | null = null;
  const store = await Store.open(folder, { onFatal: (error) => (failure = error) });
  try {
    const repository = await Repository.open(join(folder, 'ledger.git'), store);
    await repository.close();
  } finally {
    await store.close();
  }
  if (failure !== null) throw failure as Error;
}
