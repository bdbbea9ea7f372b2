/**
 * A backup of a town as one node has it: one portable encrypted file, made while the daemon runs or not. The keys that are the node
 * itself (signing, sealing) are never in it: a copy of a board that signed again what the first has signed would be two nodes in one.
 */
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import Database from 'better-sqlite3';
import { readCharter } from '../ledger/kernel.js';
import type { MergeRow } from '../store/rows.js';
import { TownError } from '../ledger/ids.js';
import { State } from '../ledger/state.js';
import { followFromLast, noteCut } from '../store/arrivals.js';
import { copyDatabase } from '../store/database-snapshot.js';
import { StoreReads } from '../store/reads.js';
import { Tables } from '../store/tables.js';
import { writeBackup, type BackupHead, type BackupLock, type PackedFile } from './backup-file.js';
import type { Clock } from './clock.js';
import { BACKUP_WORK } from './erased-files.js';
import { hasTown } from './init-town.js';
import { readNodeKeys } from './key-files.js';

/** Packs may be combined while their folder is read: it is read again then, at most so often. */
const LOOKS_MAX = 10;
/** Entries that a node told people are recorded and that stand in no block yet: more waits only where blocks cannot be made. */
export const PENDING = 'pending.jsonl';

export interface BackupOptions {
  readonly lock: BackupLock;
  readonly clock: Clock;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface BackupResult extends BackupHead {
  readonly file: string;
  /** Bytes of the backup itself. */
  readonly size: number;
  /** Entries that were in no block yet: they are in it as text, and their node's branch goes without them. */
  readonly unblocked: number;
}

/**
 * Backs up the town in a data folder.
 * @throws TownError `no-town`, `disk-full`, `bad-recipient`
 */
export async function backUp(folder: string, file: string, options: BackupOptions): Promise<BackupResult> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const work = join(folder, BACKUP_WORK);
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { mode: 0o700 });
  const packs: FileHandle[] = [];
  try {
    // First the database, then the packs: every object that its refs need is in it, or was in git before.
    const copy = join(work, 'town.db');
    await copyDatabase(folder, copy);
    const { unblocked, ...about } = await takeOut(copy, join(work, PENDING));
    const files = [
      await plainFile('town.db', copy),
      await plainFile(PENDING, join(work, PENDING)),
      ...(await settings(folder)),
      ...(await ledger(join(folder, 'ledger.git'), packs)),
    ];
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const { id: node } = await readNodeKeys(folder);
    const head: BackupHead = { v: 1, ...about, node, at: options.clock.now(), bytes };
    const size = await writeBackup(file, options.lock, head, files, (done) =>
      options.onProgress?.(done, bytes),
    );
    return { ...head, file, size, unblocked };
  } finally {
    for (const pack of packs) await pack.close();
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Takes out of a copy of the database what only this very node may go on from: its votes, the invitations that it has given, and
 * entries that stand in no block, which nobody else could put into one.
 * @returns those entries' canonical bytes, in their nodes' order
 */
export function takeOutOwn(db: Database.Database): readonly Buffer[] {
  db.pragma('secure_delete = ON');
  db.pragma('foreign_keys = OFF');
  const free = 'SELECT id FROM entries WHERE block IS NULL';
  const rows = db
    .prepare<[], Buffer>('SELECT bytes FROM entries WHERE block IS NULL ORDER BY node, line, n')
    .pluck()
    .all();
  const tables = new Tables(db);
  db.transaction(() => {
    noteCut(db.prepare<[], number>('SELECT row FROM entries WHERE block IS NULL').pluck().all(), tables);
    db.exec(`DELETE FROM gate_records WHERE entry IN (${free})`);
    db.exec('DELETE FROM entries WHERE block IS NULL');
    followFromLast(tables);
    db.exec('DELETE FROM consensus_log');
    db.exec('DELETE FROM node_invitations');
  })();
  return rows;
}

/** Takes that out of the copy; the entries are kept as text, for people. */
async function takeOut(
  copy: string,
  pending: string,
): Promise<Pick<BackupHead, 'town' | 'name' | 'height'> & { unblocked: number }> {
  const db = new Database(copy);
  try {
    const rows = takeOutOwn(db);
    await writeFile(pending, Buffer.concat(rows.flatMap((bytes) => [bytes, Buffer.from('\n')])), {
      mode: 0o600,
    });
    const reads = new StoreReads(db);
    const genesis = reads.merge(0) as MergeRow;
    const charter = readCharter(State.from(reads.stateCollection('kernel', 'charter', 1)));
    return {
      town: genesis.content,
      name: charter.name,
      height: reads.lastMerge()?.height ?? 0,
      unblocked: rows.length,
    };
  } finally {
    db.close();
  }
}

async function plainFile(name: string, path: string): Promise<PackedFile> {
  const { size } = await stat(path);
  return { name, size, open: () => Readable.from(pieces(path, size)) };
}

/** So many bytes and not one more: a file that grows meanwhile would not fit its place in the archive. */
async function* pieces(path: string, size: number): AsyncGenerator<Buffer> {
  const handle = await open(path, 'r');
  try {
    yield* piecesOf(handle, size);
  } finally {
    await handle.close();
  }
}

async function* piecesOf(handle: FileHandle, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < size;) {
    const { bytesRead, buffer } = await handle.read(
      Buffer.alloc(Math.min(size - at, 64 * 1024)),
      0,
      null,
      at,
    );
    if (bytesRead === 0)
      throw new TownError('file-changed', 'A file became shorter while it was backed up.', 'Try again.');
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Config and keys, but for those that are the node itself. */
async function settings(folder: string): Promise<PackedFile[]> {
  const members = (await namesIn(join(folder, 'keys', 'members'))).filter((name) => name.endsWith('.json'));
  const names = [
    'config.json',
    'allowed_signers',
    'keys/town.key',
    'keys/badge.key',
    ...members.sort().map((name) => `keys/members/${name}`),
  ];
  const files: PackedFile[] = [];
  for (const name of names) {
    // Small, and replaced by renames: what is read is one whole file.
    const bytes = await readFile(join(folder, name)).catch(missing);
    if (bytes !== null) files.push({ name, size: bytes.length, open: () => Readable.from([bytes]) });
  }
  return files;
}

function missing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

/** Nothing where there is no such folder: a town that was founded and never started has no repository yet. */
const namesIn = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder).catch(missing)) ?? [];

/** The objects of the repository. Its refs are those of the database; whoever restores writes them anew from there. */
async function ledger(gitdir: string, packs: FileHandle[]): Promise<PackedFile[]> {
  const files: PackedFile[] = [];
  for (const name of ['HEAD', 'config']) {
    const bytes = await readFile(join(gitdir, name)).catch(missing);
    if (bytes !== null)
      files.push({ name: `ledger.git/${name}`, size: bytes.length, open: () => Readable.from([bytes]) });
  }
  for (const name of (await namesIn(join(gitdir, 'objects'))).filter((folder) =>
    /^[0-9a-f]{2}$/.test(folder),
  ))
    for (const object of await namesIn(join(gitdir, 'objects', name)))
      if (/^[0-9a-f]{38}$/.test(object))
        files.push(
          await plainFile(`ledger.git/objects/${name}/${object}`, join(gitdir, 'objects', name, object)),
        );
  for (const { name, handle, size } of await openPacks(join(gitdir, 'objects', 'pack'), packs))
    files.push({
      name: `ledger.git/objects/pack/${name}`,
      size,
      open: () => Readable.from(piecesOf(handle, size)),
    });
  return files;
}

/** All packs with their indexes, open: one that is combined into another meanwhile can still be read. */
async function openPacks(
  folder: string,
  packs: FileHandle[],
): Promise<{ name: string; handle: FileHandle; size: number }[]> {
  for (let look = 1; ; look += 1) {
    const opened: { name: string; handle: FileHandle; size: number }[] = [];
    try {
      const names = (await namesIn(folder)).filter((name) => /^pack-[0-9a-f]{40}\.(pack|idx)$/.test(name));
      for (const name of names.sort()) {
        const handle = await open(join(folder, name), constants.O_RDONLY);
        packs.push(handle);
        opened.push({ name, handle, size: (await handle.stat()).size });
      }
      const stems = new Set(names.map((name) => name.replace(/\.\w+$/, '')));
      if (names.length === 2 * stems.size) return opened;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    if (look === LOOKS_MAX)
      throw new TownError(
        'packs-moving',
        'The packs of the repository changed again and again.',
        'Try again.',
      );
    for (const { handle } of opened) await handle.close();
    packs.length -= opened.length;
  }
}
