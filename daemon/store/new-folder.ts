/** A data folder that is made as a whole: it stands in its place when it is complete, or not at all. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { TownError } from '../ledger/ids.js';
import { makeFolderDurably, syncFolder } from './durable-file.js';

/**
 * Fills a new folder beside `folder` (mode 700) and puts it in that place, durably.
 * @param folder is empty or not there; `advice`: what to do where it is not
 * @returns what `fill`, given the folder to fill, resolves to; where it fails nothing is left
 * @throws TownError `folder-not-empty`
 */
export async function inNewFolder<T>(
  folder: string,
  advice: string,
  fill: (work: string) => Promise<T>,
): Promise<T> {
  const target = resolve(folder);
  const there = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  if (there.length > 0)
    throw new TownError('folder-not-empty', `There is something in ${target} already.`, advice);
  await makeFolderDurably(dirname(target), 0o755);
  const work = join(dirname(target), `.${basename(target)}.making-${randomBytes(4).toString('hex')}`);
  await mkdir(work, { mode: 0o700 });
  try {
    const filled = await fill(work);
    await rmdir(target).catch(() => undefined);
    await rename(work, target);
    await syncFolder(dirname(target));
    return filled;
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
}
