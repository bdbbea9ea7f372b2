/** Files that are either wholly there or not there, whatever the power does. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { TownError } from '../ledger/ids.js';

/** Makes renames, new files and removals in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes the folder and the ones above it where missing, each durable in its parent. Not by Node's own `recursive`: that tries for ever
 * where the system says ENOENT of a folder whose parent is there, as `/proc` does.
 * @throws TownError `no-folder` where folders cannot be made; the system's error otherwise
 */
export async function makeFolderDurably(path: string, mode = 0o700): Promise<void> {
  const missing: string[] = [];
  for (let folder = resolve(path); !(await isFolder(folder)); folder = dirname(folder)) missing.push(folder);
  for (const folder of missing.reverse()) {
    await mkdir(folder, { mode }).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST' && (await isFolder(folder))) return; // Another process was faster.
      if (error.code !== 'ENOENT') throw error;
      throw new TownError(
        'no-folder',
        `The folder ${folder} cannot be made: ${dirname(folder)} takes no new folders (ENOENT).`,
        'Name a folder on a disk.',
      );
    });
    await syncFolder(dirname(folder));
  }
}

/** @throws TownError `no-folder` where it or a part of its path is a file */
async function isFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    if (code !== 'ENOTDIR') throw error;
  }
  throw new TownError('no-folder', `A part of the path ${path} is a file.`, 'Name a folder.');
}

/** Writes and syncs a new file; fails with EEXIST where there is one. Not yet durable in its folder. */
export async function writeSynced(path: string, bytes: Uint8Array | string, mode: number): Promise<void> {
  const handle: FileHandle = await open(path, 'wx', mode);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } catch (error) {
    await handle.close().catch(() => undefined);
    await unlink(path).catch(() => undefined);
    throw error;
  }
  await handle.close();
}

/**
 * Puts `bytes` at `path`: temp file, fsync, rename, fsync of the folder.
 * After it resolves the file survives a power cut; before, the old file is still whole.
 */
export async function writeFileDurably(
  path: string,
  bytes: Uint8Array | string,
  mode: number,
): Promise<void> {
  const temp = join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
  await writeSynced(temp, bytes, mode);
  await rename(temp, path);
  await syncFolder(dirname(path));
}
