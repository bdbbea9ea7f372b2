/** Files of the gate that must survive a power cut whole: the old content or the new, never half of one. */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes a folder's entries (names, renames) durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces `path` by `content` (mode 600): temp file, fsync, rename, fsync of the folder. One writer a path. */
export async function writeDurably(path: string, content: string): Promise<void> {
  const temp = `${path}.new`;
  const handle = await open(temp, 'w', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temp, path);
  await syncFolder(dirname(path));
}

/** The text of a file, or null where there is none. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
