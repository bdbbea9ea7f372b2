/** Damaged files are moved out of the way, not away: somebody may still get something out of them. */
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolderDurably, syncFolder } from './durable-file.js';

/** Folder of a repository for damaged files. */
export const damagedFolder = 'damaged';
/** The oldest go when there are more. */
const filesMax = 32;

/**
 * Moves files of one folder into `<gitdir>/damaged`, with the moment in front of their names; what is not there is left out.
 * Durable when it resolves.
 */
export async function setAside(gitdir: string, paths: readonly string[]): Promise<void> {
  const folder = join(gitdir, damagedFolder);
  await makeFolderDurably(folder);
  for (const path of paths) {
    const moved = join(folder, `${Math.round(performance.timeOrigin + performance.now())}-${basename(path)}`);
    await rename(path, moved).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
  const names = await readdir(folder);
  const aged = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(folder, name))).ctimeMs })),
  );
  aged.sort((a, b) => b.at - a.at);
  for (const { name } of aged.slice(filesMax)) await rm(join(folder, name), { force: true });
  await syncFolder(folder);
  for (const parent of new Set(paths.map(dirname))) await syncFolder(parent);
}
