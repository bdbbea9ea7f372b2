/**
 * What came from elsewhere as files of git and is not yet believed: it lies apart from the ledger, is read within bounds, and goes
 * away whatever comes of it.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rm, statfs, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { lockFolder } from '../store/folder-lock.js';
import { packBytesMax } from '../store/pack.js';
import { packDisk } from '../store/pack-disk.js';
import { PackError } from '../store/pack-format.js';
import { PackTooLarge, rebuiltIndex, type PackLimits } from '../store/pack-rebuild.js';
import { GitObjects } from '../store/repository-reader.js';
import type { Ref } from '../store/rows.js';
import { BUNDLE_HEAD_BYTES_MAX, damaged, readBundleHead, type Prerequisite } from './bundle-format.js';
import type { ReadObject } from './bundle-objects.js';

/** In the data folder. */
const QUARANTINE = 'quarantine';
const CHUNK_BYTES = 1024 * 1024;
const CHECKSUM_BYTES = 20;
/** What may be made of a pack, for each of its bytes: trees of a long history are deltas of a few bytes each. */
const MADE_RATIO_MAX = 2_000;
const MADE_BYTES_SURE = 256 * 1024 * 1024;

/** Bounds of what is taken in from elsewhere; a test sets them lower. */
export interface QuarantineBounds {
  /** Of a pack. */
  readonly bytesMax: number;
  readonly objectsMax: number;
  /** Of one object: the largest of a ledger is the receipt of a merge, some MiB. */
  readonly objectBytesMax: number;
}

export const quarantineBounds: QuarantineBounds = {
  bytesMax: packBytesMax,
  objectsMax: 2_000_000,
  objectBytesMax: 32 * 1024 * 1024,
};

/** A history from elsewhere: its refs, and its objects, each held against its name. */
export interface ForeignHistory {
  readonly prerequisites: readonly Prerequisite[];
  readonly refs: readonly Ref[];
  /** @throws TownError `no-such-object`, `repository-corrupt` */
  readonly read: ReadObject;
}

/**
 * Runs a task with an empty folder in the data folder, which is not there any more when this resolves. One at a time.
 * @throws TownError `quarantine-in-use`
 */
export async function inQuarantine<T>(folder: string, task: (work: string) => Promise<T>): Promise<T> {
  const place = join(folder, QUARANTINE);
  let release: () => Promise<void>;
  try {
    release = await lockFolder(place);
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    throw new TownError(
      'quarantine-in-use',
      'Another bundle or mirror is being taken in or brought out just now.',
      'Wait until that has ended.',
    );
  }
  const work = join(place, 'work');
  try {
    // What a killed one left.
    await rm(work, { recursive: true, force: true });
    await mkdir(work, { mode: 0o700 });
    return await task(work);
  } finally {
    await rm(work, { recursive: true, force: true });
    await release();
  }
}

/**
 * Reads a bundle file into a folder of the quarantine, checks the pack byte by byte, and gives what it says to a task.
 * @throws TownError `no-such-file`, `bundle-damaged`, `bundle-too-large`, `bundle-thin`, `disk-full`
 */
export async function withBundle<T>(
  file: string,
  work: string,
  task: (history: ForeignHistory) => Promise<T>,
  bounds: QuarantineBounds = quarantineBounds,
  onProgress: (done: number, total: number, what: string) => void = () => undefined,
): Promise<T> {
  const handle = await opened(file);
  try {
    const { size } = await handle.stat();
    const first = Buffer.alloc(Math.min(size, BUNDLE_HEAD_BYTES_MAX));
    await readFully(handle, first, 0);
    const { length, ...head } = readBundleHead(first);
    const packBytes = size - length;
    if (packBytes > bounds.bytesMax)
      throw tooLarge(`its pack has ${packBytes} bytes, ${bounds.bytesMax} are allowed`);
    await assertRoom(work, packBytes);
    const name = await copyPack(handle, length, packBytes, work, (done) =>
      onProgress(done, packBytes, 'bytes'),
    );
    await indexPack(work, name, bounds);
    const objects = new GitObjects(work);
    try {
      return await task({ ...head, read: (oid) => objects.read(oid) });
    } finally {
      await objects.close();
    }
  } finally {
    await handle.close();
  }
}

/** Checks every pack of a repository that git filled from elsewhere. @throws TownError as `withBundle` */
export async function checkForeignPacks(gitdir: string, bounds = quarantineBounds): Promise<void> {
  const folder = join(gitdir, 'objects', 'pack');
  for (const name of await readdir(folder)) if (name.endsWith('.pack')) checked(join(folder, name), bounds);
}

async function opened(file: string): Promise<FileHandle> {
  try {
    const handle = await open(file, 'r');
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  throw new TownError('no-such-file', `There is no file ${file}.`, 'Name what `town bundle create` made.');
}

async function readFully(handle: FileHandle, into: Buffer, at: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await handle.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) throw damaged('it became shorter while it was read');
    done += bytesRead;
  }
}

async function assertRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize > bytes + CHUNK_BYTES) return;
  throw new TownError(
    'disk-full',
    `The bundle needs ${bytes} bytes while it is checked, and the disk has ${bavail * bsize} left.`,
    'Make room on the disk of the data folder.',
  );
}

/** Copies the pack and holds it against its checksum. @returns its name: the checksum in hex */
async function copyPack(
  from: FileHandle,
  start: number,
  bytes: number,
  work: string,
  onProgress: (done: number) => void,
): Promise<string> {
  if (bytes <= CHECKSUM_BYTES) throw damaged('it has no pack');
  const folder = join(work, 'objects', 'pack');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const end = Buffer.alloc(CHECKSUM_BYTES);
  await readFully(from, end, start + bytes - CHECKSUM_BYTES);
  const name = end.toString('hex');
  const to = await open(join(folder, `pack-${name}.pack`), 'wx', 0o600);
  const hash = createHash('sha1');
  try {
    for (let at = 0; at < bytes;) {
      const part = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, bytes - at));
      await readFully(from, part, start + at);
      await to.writeFile(part);
      hash.update(part.subarray(0, Math.max(0, bytes - CHECKSUM_BYTES - at)));
      at += part.length;
      onProgress(at);
    }
  } finally {
    await to.close();
  }
  if (hash.digest('hex') !== name)
    throw damaged('its pack does not have its checksum: it was cut or changed');
  return name;
}

async function indexPack(work: string, name: string, bounds: QuarantineBounds): Promise<void> {
  const path = join(work, 'objects', 'pack', `pack-${name}`);
  await writeFile(`${path}.idx`, checked(`${path}.pack`, bounds), { mode: 0o600 });
}

/** Inflates every object of a pack, one at a time. @returns its index @throws TownError as `withBundle` */
function checked(path: string, { objectsMax, objectBytesMax }: QuarantineBounds): Buffer {
  const file = packDisk.open(path, 'r');
  const bytes = packDisk.size(file);
  packDisk.close(file);
  const limits: PackLimits = {
    ...{ objectsMax, objectBytesMax },
    madeBytesMax: Math.max(MADE_BYTES_SURE, bytes * MADE_RATIO_MAX),
  };
  try {
    return rebuiltIndex(packDisk, path, limits);
  } catch (error) {
    if (error instanceof PackTooLarge) throw tooLarge(error.message);
    if (!(error instanceof PackError)) throw error;
    if (/base of a delta is not in it/.test(error.message))
      throw new TownError(
        'bundle-thin',
        'Objects of this bundle are deltas of others that it does not hold, as stock git makes it when something is left out.',
        'Make it with `town bundle create --since MERGE`, or with stock git as a whole (`git bundle create FILE --all`).',
      );
    throw damaged(error.message);
  }
}

const tooLarge = (what: string): TownError =>
  new TownError(
    'bundle-too-large',
    `This is larger than anything that is taken in: ${what}.`,
    'Bring a long history in several bundles: `town bundle create --since MERGE`.',
  );

/** The refs of a history by name; the head of `main` and the notes among them. */
export const oidOf = ({ refs }: Pick<ForeignHistory, 'refs'>, name: string): Oid | null =>
  refs.find((ref) => ref.name === name)?.oid ?? null;
