/**
 * `town bundle create`: the ledger, or what is new of it, in one file that stock git reads (`git bundle verify`, `git clone FILE`,
 * `git fetch FILE`) and that other nodes of the town take in without a network. Made while the daemon runs or not. No secret is in
 * it, nor any key of sealed records.
 */
import { readSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { GitObject } from '../ledger/git-object.js';
import type { Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { adoptedForks } from '../ledger/kernel-forks.js';
import { State } from '../ledger/state.js';
import { openForReading } from '../store/database.js';
import { syncFolder } from '../store/durable-file.js';
import { packBytesMax } from '../store/pack.js';
import { packDisk } from '../store/pack-disk.js';
import { PackWriter } from '../store/pack-writer.js';
import { StoreReads } from '../store/reads.js';
import { GitObjects } from '../store/repository-reader.js';
import type { MergeRow, Ref } from '../store/rows.js';
import { branchRef } from './blocks.js';
import { BUNDLE_SIGNATURE, bundleHead } from './bundle-format.js';
import { makeNotes, noteOf } from './bundle-notes.js';
import { objectsBehind, type ReadObject } from './bundle-objects.js';
import { hasTown } from './init-town.js';
import { readNodeKeys } from './key-files.js';
import { MAIN } from './main-line.js';
import { NOTES_REF } from './proof-notes.js';

const FORKS_MAX = 10_000;
/** Bytes that are collected before they are written. */
const WRITE_BYTES = 1024 * 1024;
/** Lets other work in after so many objects. */
const OBJECTS_PER_TURN = 64;

export interface BundleMade {
  readonly file: string;
  readonly bytes: number;
  readonly objects: number;
  /** The last merge in it, and the merge that it builds on; null: it is the whole ledger. */
  readonly height: number;
  readonly since: number | null;
  readonly refs: number;
  /** Entries of this node that stand in no block yet: they are not in it. */
  readonly unblocked: number;
}

export interface BundleOptions {
  /** A merge that whoever takes the bundle has: its height, or the start of its id. */
  readonly since?: string | undefined;
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/** A ledger to read from: the database's moment, and objects wherever they are. */
export interface OpenedLedger {
  readonly store: StoreReads;
  readonly read: ReadObject;
  close(): Promise<void>;
}

/** Opens the ledger of a data folder for reading; a daemon may run on it. @throws TownError `no-town` */
export async function openLedger(folder: string): Promise<OpenedLedger> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const db = openForReading(folder);
  const store = new StoreReads(db);
  const git = new GitObjects(join(folder, 'ledger.git'));
  return {
    store,
    // What is staged goes to git before it leaves the database.
    read: async (oid) => store.stagedObject(oid) ?? git.read(oid),
    async close() {
      await git.close();
      db.close();
    },
  };
}

/**
 * Writes a bundle of the town in a data folder; the file is whole and durable when this resolves, and not there before (one that is
 * there is replaced then).
 * @throws TownError `no-town`, `no-such-merge`, `bundle-empty`, `bundle-too-large`, `not-a-bundle`
 */
export async function createBundle(
  folder: string,
  file: string,
  { since: word, onProgress = () => undefined }: BundleOptions = {},
): Promise<BundleMade> {
  const ledger = await openLedger(folder);
  const path = resolve(file);
  const half = join(dirname(path), `.${basename(path)}.${process.pid}.half`);
  try {
    await assertReplaceable(path);
    const { store, read } = ledger;
    const last = store.lastMerge() as MergeRow;
    const since = word === undefined ? null : mergeCalled(store, word);
    const refs = [{ name: 'refs/heads/main', oid: last.oid }, ...branchesOf(store)];
    const objects = await objectsBehind(refs, since, store, read, (count) =>
      onProgress(count, count, 'objects found'),
    );
    if (objects.length === 0)
      throw new TownError(
        'bundle-empty',
        `There is nothing after merge ${since?.height ?? 0} that could be put into a bundle.`,
      );
    const notes = await makeNotes(store, (since?.height ?? 0) + 1, last, await readNodeKeys(folder));
    const head = bundleHead({
      prerequisites: since === null ? [] : [{ oid: since.oid, comment: `merge ${since.height}` }],
      refs: [
        { name: 'HEAD', oid: last.oid },
        ...refs,
        ...(notes === null ? [] : [{ name: NOTES_REF, oid: notes.commit.oid }]),
      ],
    });
    const total = objects.length + (notes ? notes.heights.length + notes.folders.length + 1 : 0);
    async function* all(): AsyncGenerator<GitObject> {
      for (const oid of objects) yield await read(oid);
      if (notes === null) return;
      for (const height of notes.heights) yield noteOf(store, height) as GitObject;
      yield* notes.folders;
      yield notes.commit;
    }
    const bytes = await writeBundle(half, head, all(), total, onProgress);
    await rename(half, path);
    await syncFolder(dirname(path));
    const { unblocked } = store.counts();
    const { height } = last;
    return {
      ...{ file: path, bytes, objects: total, height, unblocked },
      since: since?.height ?? null,
      refs: refs.length,
    };
  } finally {
    await ledger.close();
    await rm(half, { force: true });
  }
}

/** Branches of `main`, and of drafts that the town adopted, as far as it did: the other drafts are their node's own. */
export function branchesOf(store: StoreReads): readonly Ref[] {
  const state = State.from(store.stateCollection('kernel', 'forks', FORKS_MAX));
  const drafts = [...adoptedForks(state)].flatMap(([line, { node, seq }]) => {
    const [last] = store.blocksFrom(node, line, seq, 1);
    return last ? [{ name: branchRef(node, line), oid: last.oid }] : [];
  });
  const branches = store.refs().filter(({ name }) => name.startsWith('refs/heads/nodes/'));
  return [...branches.filter(({ name }) => name.endsWith(`/${MAIN}`)), ...drafts];
}

/** @throws TownError `no-such-merge` */
export function mergeCalled(store: StoreReads, word: string): MergeRow {
  const found = /^[0-9]{1,7}$/.test(word)
    ? [store.merge(Number(word))]
    : /^[0-9a-f]{8,64}$/.test(word)
      ? [
          ...store.mergesByPrefix(word as Sha256),
          ...(word.length <= 40 ? store.mergesByOid(word as Oid) : []),
        ]
      : [];
  const [merge] = found;
  if (found.length === 1 && merge) return merge;
  throw new TownError(
    'no-such-merge',
    `Expected the height of a merge that is here, or 8 or more digits of its id; got "${word.slice(0, 80)}".`,
    '`town log --merges` lists them.',
  );
}

/** A slip of the pen must not cost anybody a file. */
async function assertReplaceable(path: string): Promise<void> {
  let start: Buffer;
  try {
    const handle = await open(path, 'r');
    start = Buffer.alloc(BUNDLE_SIGNATURE.length);
    try {
      readSync(handle.fd, start, 0, start.length, 0);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (start.toString('latin1') === BUNDLE_SIGNATURE) return;
  throw new TownError(
    'not-a-bundle',
    `${path} is there already, and no bundle.`,
    'Name a new file; one that is a bundle is replaced.',
  );
}

/** Writes head and pack, synced. @returns how many bytes @throws TownError `bundle-too-large` */
async function writeBundle(
  path: string,
  head: Buffer,
  objects: AsyncIterable<GitObject>,
  count: number,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<number> {
  await rm(path, { force: true });
  const file = packDisk.open(path, 'wx', 0o644);
  try {
    let waiting: Buffer[] = [];
    let waitingBytes = 0;
    let bytes = 0;
    const write = (): void => {
      packDisk.write(file, Buffer.concat(waiting));
      waiting = [];
      waitingBytes = 0;
    };
    const put = (part: Buffer): void => {
      waiting.push(part);
      waitingBytes += part.length;
      bytes += part.length;
      if (waitingBytes >= WRITE_BYTES) write();
    };
    put(head);
    const pack = new PackWriter(count, put);
    let done = 0;
    for await (const { oid, type, data } of objects) {
      // Well before the writer's own bound: it holds for a pack of ours that grew too large.
      if (bytes + data.length > packBytesMax - WRITE_BYTES)
        throw new TownError(
          'bundle-too-large',
          'The bundle would be larger than 2 GiB.',
          'Leave out what the others have: --since MERGE; or copy the ledger with `town export git`.',
        );
      pack.add(Buffer.from(oid, 'hex'), type, Buffer.from(data));
      done += 1;
      if (done % OBJECTS_PER_TURN !== 0) continue;
      onProgress(done, count, 'objects');
      await new Promise((turn) => setImmediate(turn));
    }
    pack.end();
    write();
    packDisk.sync(file);
    return bytes;
  } finally {
    packDisk.close(file);
  }
}
