/**
 * `town mirror push` and `pull`: the ledger on a plain git remote. What goes there is what a bundle holds, never forced: what the
 * mirror has and this node does not, stays. What comes from there is believed no more than a bundle is.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { writePack } from '../store/pack.js';
import { RepositoryFiles } from '../store/repository-files.js';
import { GitObjects } from '../store/repository-reader.js';
import type { MergeRow, Ref } from '../store/rows.js';
import { bringHistory, type BringOptions, type Brought } from './bring-history.js';
import { branchesOf, openLedger, type OpenedLedger } from './bundle-create.js';
import { makeNotes, noteOf } from './bundle-notes.js';
import { checkForeignPacks, inQuarantine } from './bundle-quarantine.js';
import type { GitObject } from '../ledger/git-object.js';
import { readNodeKeys } from './key-files.js';
import { mirrorCalled, type Mirror } from './mirrors.js';
import { NOTES_REF } from './proof-notes.js';
import { gitFailed, runGit } from './stock-git.js';

const MAIN_REF = 'refs/heads/main';
const OBJECTS_PER_PACK = 50_000;
const BYTES_PER_PACK = 64 * 1024 * 1024;

export interface Pushed {
  readonly mirror: string;
  /** Refs that were moved there. */
  readonly moved: readonly string[];
  /** Refs of which the mirror has more than this node. */
  readonly ahead: readonly string[];
  readonly height: number;
}

/**
 * Pushes main, the branches and the certificates.
 * @throws TownError `no-town`, `no-such-mirror`, `no-git`, `mirror-not-reached`, `mirror-ahead`, `mirror-of-another`, `mirror-refused`
 */
export async function pushMirror(folder: string, name: string): Promise<Pushed> {
  const mirror = await mirrorCalled(folder, name);
  const ledger = await openLedger(folder);
  try {
    return await inQuarantine(folder, async (work) => {
      const gitdir = await besideLedger(folder, work);
      const { store } = ledger;
      const last = store.lastMerge() as MergeRow;
      const ours = [{ name: MAIN_REF, oid: last.oid }, ...branchesOf(store)];
      // After the refs: what they need is in git by then, or staged.
      await putStaged(gitdir, ledger);
      const there = await refsThere(gitdir, mirror);
      assertOurs(ledger, there, mirror);
      const isAhead = ({ name: ref }: Ref): boolean => {
        const oid = there.get(ref);
        return oid !== undefined && !store.knowsCommit(oid);
      };
      const ahead = ours.filter(isAhead).map(({ name: ref }) => ref);
      const notes = await notesFor(folder, gitdir, ledger, mirror, there.get(NOTES_REF) ?? null, last);
      const moving = [...ours.filter((ref) => !isAhead(ref) && there.get(ref.name) !== ref.oid), ...notes];
      if (moving.length > 0) await push(gitdir, mirror, moving);
      return { mirror: name, moved: moving.map((ref) => ref.name), ahead, height: last.height };
    });
  } finally {
    await ledger.close();
  }
}

/**
 * Takes in what the mirror has and this node has not, as a bundle is taken in.
 * @throws TownError as `pushMirror` and `applyBundle`
 */
export async function pullMirror(folder: string, name: string, options: BringOptions): Promise<Brought> {
  const mirror = await mirrorCalled(folder, name);
  return inQuarantine(folder, async (work) => {
    const gitdir = await besideLedger(folder, work);
    const ledger = await openLedger(folder);
    // Closed before the node itself is put together: it looks at the files of its database first.
    await putStaged(gitdir, ledger).finally(() => ledger.close());
    await fetch(gitdir, mirror, ['refs/heads/*', `${NOTES_REF}*`]);
    await checkForeignPacks(gitdir, options.bounds);
    const foreign = new GitObjects(gitdir);
    const own = new GitObjects(join(folder, 'ledger.git'));
    const read = async (oid: Oid): Promise<GitObject> => {
      try {
        return await foreign.read(oid);
      } catch (error) {
        if (!(error instanceof TownError) || error.code !== 'no-such-object') throw error;
        return own.read(oid); // git does not fetch what the ledger has
      }
    };
    try {
      const refs = await new RepositoryFiles(gitdir).refs();
      return await bringHistory(folder, { prerequisites: [], refs, read }, options);
    } finally {
      await foreign.close();
      await own.close();
    }
  });
}

/** A bare repository that reads the ledger's objects and keeps its own apart. */
async function besideLedger(folder: string, work: string): Promise<string> {
  const gitdir = join(work, 'mirror.git');
  await mkdir(join(gitdir, 'objects', 'info'), { recursive: true, mode: 0o700 });
  await mkdir(join(gitdir, 'objects', 'pack'));
  await mkdir(join(gitdir, 'refs', 'heads'), { recursive: true });
  await writeFile(join(gitdir, 'config'), '[core]\n\tbare = true\n\trepositoryformatversion = 0\n');
  await writeFile(
    join(gitdir, 'objects', 'info', 'alternates'),
    `${join(folder, 'ledger.git', 'objects')}\n`,
  );
  await writeFile(join(gitdir, 'HEAD'), `ref: ${MAIN_REF}\n`);
  return gitdir;
}

/** What the database has and git does not yet. */
async function putStaged(gitdir: string, { store }: OpenedLedger): Promise<void> {
  const files = new RepositoryFiles(gitdir);
  const { lastStaged } = store.gitSnapshot();
  for (let after = 0; after < lastStaged;) {
    const objects = store.stagedObjects(OBJECTS_PER_PACK, after, lastStaged, BYTES_PER_PACK);
    const last = objects.at(-1);
    if (last === undefined) return;
    await files.addPack(await writePack(objects));
    after = last.seq;
  }
}

/** @throws TownError `mirror-not-reached` */
async function refsThere(gitdir: string, mirror: Mirror): Promise<ReadonlyMap<string, Oid>> {
  const said = await runGit(gitdir, ['ls-remote', '--quiet', '--', mirror.url]);
  if (said.code !== 0) throw gitFailed(mirror.name, said);
  const lines = said.stdout.matchAll(/^([0-9a-f]{40})\t(refs\/\S+)$/gm);
  return new Map([...lines].map(([, oid, ref]) => [ref as string, oid as Oid]));
}

/** Nothing is put beside the history of somebody else. @throws TownError `mirror-of-another`, `mirror-ahead` */
function assertOurs({ store }: OpenedLedger, there: ReadonlyMap<string, Oid>, { name }: Mirror): void {
  const main = there.get(MAIN_REF);
  const heads = [...there.keys()].filter((ref) => ref.startsWith('refs/heads/'));
  if (main === undefined && heads.length > 0)
    throw new TownError(
      'mirror-of-another',
      `The repository of the mirror ${name} has branches, and no main of a town.`,
      'A mirror is a repository of its own: git init --bare',
    );
  if (main !== undefined && !store.knowsCommit(main))
    throw new TownError(
      'mirror-ahead',
      `The main of the mirror ${name} is not known here: it is ahead of this node, or of another town.`,
      `town mirror pull ${name} takes it in, or says which.`,
    );
}

/** Certificates that the mirror lacks, upon those that it has. @throws TownError `mirror-of-another` */
async function notesFor(
  folder: string,
  gitdir: string,
  { store }: OpenedLedger,
  mirror: Mirror,
  there: Oid | null,
  last: MergeRow,
): Promise<readonly Ref[]> {
  if (there !== null) await fetch(gitdir, mirror, [NOTES_REF]);
  const objects = new GitObjects(gitdir);
  const keys = await readNodeKeys(folder);
  const upon = there === null ? null : { oid: there, read: (oid: Oid) => objects.read(oid) };
  try {
    const notes = await makeNotes(store, 1, last, keys, upon);
    if (notes === null) return [];
    const files = new RepositoryFiles(gitdir);
    for (let at = 0; at < notes.heights.length; at += OBJECTS_PER_PACK)
      await files.addPack(
        await writePack(
          notes.heights.slice(at, at + OBJECTS_PER_PACK).map((height) => noteOf(store, height) as GitObject),
        ),
      );
    await files.addPack(await writePack([...notes.folders, notes.commit]));
    return [{ name: NOTES_REF, oid: notes.commit.oid }];
  } catch (error) {
    if (!(error instanceof TownError) || !/^bad-(tree|notes)$/.test(error.code)) throw error;
    throw new TownError(
      'mirror-of-another',
      `The notes of the mirror ${mirror.name} are not those of a ledger: ${error.message}`,
      `Remove ${NOTES_REF} there, and push again.`,
    );
  } finally {
    await objects.close();
  }
}

/** Refs of the mirror, as they are called there. @throws TownError `mirror-not-reached` */
async function fetch(gitdir: string, mirror: Mirror, refs: readonly string[]): Promise<void> {
  const wanted = refs.map((ref) => `+${ref}:${ref}`);
  const words = ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--', mirror.url, ...wanted];
  const said = await runGit(gitdir, words);
  if (said.code !== 0) throw gitFailed(mirror.name, said);
}

/** @throws TownError `mirror-refused`, `mirror-not-reached` */
async function push(gitdir: string, mirror: Mirror, refs: readonly Ref[]): Promise<void> {
  const said = await runGit(gitdir, [
    ...['push', '--porcelain', '--no-verify', '--', mirror.url],
    ...refs.map(({ name, oid }) => `${oid}:${name}`),
  ]);
  const refused = [...said.stdout.matchAll(/^!\t[^\t]*:(refs\/[^\t]+)\t(.*)$/gm)];
  const [first] = refused;
  if (first)
    throw new TownError(
      'mirror-refused',
      `The mirror ${mirror.name} did not take ${first[1]}${refused.length > 1 ? ` and ${refused.length - 1} more` : ''}: ${first[2]?.slice(0, 200)}.`,
      `Another node may have pushed just now: town mirror pull ${mirror.name}, then push again. Nothing is ever forced.`,
    );
  if (said.code !== 0) throw gitFailed(mirror.name, said);
}
