/** Files that are either wholly there or not there, whatever the power does. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Makes renames, new files and removals in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the folder and the ones above it where missing, each durable in its parent. */
export async function makeFolderDurably(path: string, mode = 0o700): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = path; ; made = dirname(made)) {
    await syncFolder(dirname(made));
    if (made === first || made === dirname(made)) return;
  }
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
