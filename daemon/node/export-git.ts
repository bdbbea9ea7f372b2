/**
 * `town export git`: the ledger as a bare repository that stock git clones, fetches and bundles: every object and ref of one
 * moment, and the keys whose signatures count. No secret is in it. The daemon may run.
 */
import { copyFile, mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { openForReading } from '../store/database.js';
import { makeFolderDurably, syncFolder, writeFileDurably } from '../store/durable-file.js';
import { writePack } from '../store/pack.js';
import { StoreReads } from '../store/reads.js';
import { RepositoryFiles } from '../store/repository-files.js';
import { readGitObject } from '../store/repository-reader.js';
import { hasTown } from './init-town.js';

/** Packs are combined and removed while they are copied: the folder is looked at again, this often at most. */
const LOOKS_MAX = 20;
const OBJECTS_PER_PACK = 20_000;
const BYTES_PER_PACK = 64 * 1024 * 1024;
const FOLDER_DEPTH_MAX = 2;

export interface ExportedGit {
  readonly folder: string;
  readonly refs: number;
  /** Git id of `main`. */
  readonly main: Oid | null;
  readonly bytes: number;
}

/**
 * Copies the ledger into a new folder; it is whole and durable when this resolves, and not there before.
 * @throws TownError `no-town`, `export-exists`, `export-incomplete` where the repository itself is damaged
 */
export async function exportGit(
  folder: string,
  target: string,
  onProgress: (done: number, total: number, what: string) => void = () => undefined,
): Promise<ExportedGit> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const path = resolve(target);
  if (
    (
      await readdir(path).catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? [] : ['']))
    )[0] !== undefined
  )
    throw new TownError('export-exists', `${path} is there already, and not empty.`, 'Name a new folder.');
  const half = join(dirname(path), `.${basename(path)}.${process.pid}.half`);
  await rm(half, { recursive: true, force: true });
  const db = openForReading(folder);
  const store = new StoreReads(db);
  try {
    // The refs of one moment first: what they need is in git by then, or staged, and nothing of it goes away.
    const { refs, lastStaged } = store.gitSnapshot();
    await makeFolderDurably(dirname(path));
    await mkdir(half, { mode: 0o755 });
    await writeFileDurably(join(half, 'allowed_signers'), await signersOf(folder), 0o644);
    const files = new RepositoryFiles(half);
    await files.prepare(join(path, 'allowed_signers'));
    for (let after = 0; after < lastStaged;) {
      const objects = store.stagedObjects(OBJECTS_PER_PACK, after, lastStaged, BYTES_PER_PACK);
      const last = objects.at(-1);
      if (last === undefined) break;
      await files.addPack(await writePack(objects));
      after = last.seq;
    }
    const bytes = await copyObjects(join(folder, 'ledger.git'), half, onProgress);
    const cache = {};
    for (const { name, oid } of refs)
      await readGitObject(half, oid, cache).catch((error: Error) => {
        throw new TownError(
          'export-incomplete',
          `${name} is at ${oid}, which cannot be read: ${error.message}`,
          'See town verify.',
        );
      });
    await files.putRefs(refs);
    await rm(path, { recursive: true, force: true });
    await rename(half, path);
    await syncFolder(dirname(path));
    const main = refs.find(({ name }) => name === 'refs/heads/main')?.oid ?? null;
    return { folder: path, refs: refs.length, main, bytes };
  } finally {
    db.close();
    await rm(half, { recursive: true, force: true });
  }
}

const signersOf = (folder: string): Promise<string> =>
  readFile(join(folder, 'allowed_signers'), 'utf8').catch(() => '');

/** Packs and loose objects, each synced; an index is copied after its pack. Returns the bytes copied. */
async function copyObjects(
  from: string,
  to: string,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<number> {
  const copied = new Set<string>();
  let bytes = 0;
  for (let look = 0; look < LOOKS_MAX; look += 1) {
    const names = (await objectFiles(join(from, 'objects'))).filter((name) => !copied.has(name));
    if (names.length === 0) return bytes;
    let gone = false;
    for (const [at, name] of names.entries()) {
      onProgress(at, names.length, 'files');
      try {
        bytes += await copyDurably(join(from, 'objects', name), join(to, 'objects', name));
        copied.add(name);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        gone = true; // combined meanwhile: the next look finds where its objects are
      }
    }
    if (!gone) return bytes;
  }
  throw new TownError('busy', 'The packs change faster than they can be copied.', 'Try again.');
}

/** Packs before their indexes; what git derives from them (midx, bitmaps, commit graphs) it can make anew. */
async function objectFiles(folder: string, name = '', depth = 0): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(folder, name), { withFileTypes: true })) {
    const child = name === '' ? entry.name : `${name}/${entry.name}`;
    if (entry.isDirectory() && depth < FOLDER_DEPTH_MAX && /^([0-9a-f]{2}|pack)$/.test(entry.name))
      found.push(...(await objectFiles(folder, child, depth + 1)));
    else if (/^(pack\/pack-[0-9a-f]{40}\.(pack|idx)|[0-9a-f]{2}\/[0-9a-f]{38})$/.test(child))
      found.push(child);
  }
  return found.sort((a, b) => Number(a.endsWith('.idx')) - Number(b.endsWith('.idx')));
}

async function copyDurably(from: string, to: string): Promise<number> {
  await makeFolderDurably(dirname(to));
  const temp = join(dirname(to), `tmp_${basename(to)}`);
  await copyFile(from, temp);
  const file = await open(temp, 'r');
  try {
    await file.sync();
    const { size } = await file.stat();
    await rename(temp, to);
    await syncFolder(dirname(to));
    return size;
  } finally {
    await file.close();
  }
}
