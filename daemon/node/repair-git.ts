/**
 * Repairs the repository of a stopped town: what is right in damaged packs stays, the rest comes from the database or from a replay
 * of the history; indexes from their packs, refs from the database, HEAD and configuration as they are in every town.
 * What was damaged is moved to `ledger.git/damaged`.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { objectsOf } from '../ledger/block.js';
import { blobObject, parseCommit, treeObject, type GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { BuiltMerge, Genesis } from '../ledger/merge.js';
import type { DappPackage } from '../dapps/package.js';
import type { LedgerRows } from '../store/ledger-rows.js';
import { isConfigSound } from '../store/git-config.js';
import { gitHash } from '../store/database.js';
import { checkPacks } from '../store/pack-check.js';
import { repairPacks } from '../store/pack-repair.js';
import { RepositoryFiles } from '../store/repository-files.js';
import { GitObjects } from '../store/repository-reader.js';
import { setAside } from '../store/set-aside.js';
import { LedgerSource } from './ledger-source.js';
import type { SignaturePool } from './signature-pool.js';
import { walkHistory, type FoldedPart, type HistorySink } from './verify-history.js';

/** Objects that are gathered before they are written as one pack. */
const GATHERED_BYTES = 32 * 1024 * 1024;
const DEPTH_MAX = 8;

export interface GitRepair {
  readonly folder: string;
  readonly rows: LedgerRows | null;
  readonly head: Oid;
  readonly packages: readonly DappPackage[];
  readonly driver?: 'container' | 'process' | undefined;
  readonly pool: SignaturePool;
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/**
 * Gives the repository back what it lacks, as far as this node has it. Whether it is whole then, a verification tells.
 * @returns what was done, in words
 */
export async function repairObjects(repair: GitRepair): Promise<readonly string[]> {
  const gitdir = join(repair.folder, 'ledger.git');
  const said: string[] = [];
  await setDerivedAside(gitdir, said);
  const problems = await checkPacks(gitdir);
  const packs = [...new Set(problems.flatMap(({ pack }) => (pack === null ? [] : [pack])))];
  const loose = problems.flatMap(({ pack, file }) => (pack === null ? [looseOid(file)] : []));
  if (packs.length > 0 || loose.length > 0) {
    const done = await repairPacks(gitdir, { packs, loose: loose.filter((oid) => oid !== null) });
    for (const pack of done.indexes)
      said.push(`The index of pack ${pack.slice(0, 12)}… was made anew from the pack.`);
    if (done.salvaged > 0) said.push(`${done.salvaged} objects of damaged packs stand in a new one.`);
  }
  const { given, ended } = await missingOf(repair);
  if (given > 0) said.push(`${given} git objects came from the database or from replaying the history.`);
  if (ended !== null) said.push(`The history could not be followed to its end: ${ended}`);
  return said;
}

const looseOid = (file: string): Oid | null =>
  (/objects\/([0-9a-f]{2})\/([0-9a-f]{38})$/.exec(file)?.slice(1).join('') as Oid | undefined) ?? null;

/** What stock git derives from the objects it can derive again. */
async function setDerivedAside(gitdir: string, said: string[]): Promise<void> {
  const packs = join(gitdir, 'objects', 'pack');
  const info = join(gitdir, 'objects', 'info');
  const derived = [
    ...(await namesOf(packs))
      .filter((name) => /\.(rev|bitmap|mtimes)$|^multi-pack-index/.test(name))
      .map((name) => join(packs, name)),
    ...(await namesOf(info)).filter((name) => /^commit-graph/.test(name)).map((name) => join(info, name)),
  ];
  if (derived.length === 0) return;
  await setAside(gitdir, derived);
  said.push(`${derived.length} files that git makes by itself were moved aside.`);
}

const namesOf = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

/** Walks the history and writes every object of it that git does not have. `ended`: why it came to no end, where it did not. */
async function missingOf({
  folder,
  rows,
  head,
  packages,
  driver,
  pool,
  onProgress,
}: GitRepair): Promise<{ readonly given: number; readonly ended: string | null }> {
  const gitdir = join(folder, 'ledger.git');
  const source = new LedgerSource(folder, rows);
  let ended: string | null = null;
  let count = 0;
  let bytes = 0;
  let gathered: GitObject[] = [];
  const write = async (): Promise<void> => {
    if (gathered.length === 0) return;
    await repairPacks(gitdir, { packs: [], objects: gathered });
    count += gathered.length;
    gathered = [];
    bytes = 0;
  };
  let objects = new GitObjects(gitdir);
  const need = async (all: readonly GitObject[]): Promise<void> => {
    for (const object of all) {
      if (await objects.read(object.oid).catch(() => null)) continue;
      gathered.push(object);
      bytes += object.data.byteLength;
      if (bytes < GATHERED_BYTES) continue;
      await write();
      await objects.close();
      objects = new GitObjects(gitdir);
    }
  };
  const sink: HistorySink = {
    problem: () => undefined,
    genesis: (genesis: Genesis) => need(genesis.objects),
    async merge(built: BuiltMerge, parts: readonly FoldedPart[]) {
      for (const { blocks } of parts) for (const block of blocks) await need(objectsOf(block));
      await need(built.objects);
    },
  };
  try {
    await walkHistory({
      ...{ source, head, packages, driver, pool, sink },
      onProgress: ({ merges, mergesTotal }) =>
        onProgress?.(merges, mergesTotal, `repairing: merge ${merges}`),
    });
  } catch (error) {
    if (!(error instanceof TownError)) throw error; // as far as it goes; the verification afterwards tells where it ends
    ended = error.message;
  }
  try {
    for (const { oid, raw } of rows?.unmergedBlocks() ?? [])
      await need(await blockObjects(source, { oid, type: 'commit', data: raw }));
  } catch (error) {
    if (!(error instanceof TownError)) throw error; // a damaged row: told by the verification
  } finally {
    await write();
    await objects.close();
  }
  return { given: count, ended };
}

/** A block that no merge has folded in yet, with its tree and its entries; only what has the names that it says. */
async function blockObjects(source: LedgerSource, commit: GitObject): Promise<readonly GitObject[]> {
  const file = blobObject(await source.entriesOf(commit));
  const tree = treeObject([{ name: 'entries.jsonl', oid: file.oid, kind: 'file' }]);
  const named =
    gitHash(commit.data, 'commit') === commit.oid && parseCommit(commit.data).fields.tree === tree.oid;
  return named ? [file, tree, commit] : [];
}

/** Refs, HEAD and the configuration, by what the database says. @returns what was done */
export async function repairRefs(folder: string, rows: LedgerRows): Promise<readonly string[]> {
  const gitdir = join(folder, 'ledger.git');
  const said: string[] = [];
  const known = new Map(rows.refs().map(({ name, oid }) => [name, oid]));
  const objects = new GitObjects(gitdir);
  try {
    for (const name of await refFiles(gitdir)) {
      const path = join(gitdir, name);
      const text = await readFile(path, 'utf8').catch(() => '');
      const oid = /^([0-9a-f]{40})\n$/.exec(text)?.[1] as Oid | undefined;
      const isOurs = /^refs\/(heads|notes|evidence)\//.test(name);
      // A ref to nothing would be in the way of fetching: git holds what it gets against every ref.
      const leadsSomewhere = oid !== undefined && (await isThere(objects, oid));
      if (leadsSomewhere && (!isOurs || known.get(name) === oid)) continue;
      await setAside(gitdir, [path]);
      const ours = known.get(name);
      const now =
        ours === undefined
          ? ': the database does not know it'
          : (await isThere(objects, ours))
            ? ' and written anew'
            : ': what it should lead to is not here yet';
      said.push(`${name} was moved aside${now}.`);
    }
    for (const name of ['HEAD', 'description', 'config', 'packed-refs'])
      if (await isWrong(gitdir, name, objects)) {
        await setAside(gitdir, [join(gitdir, name)]);
        said.push(`${name} was moved aside${name === 'packed-refs' ? '' : ' and written anew'}.`);
      }
    const files = new RepositoryFiles(gitdir);
    await files.prepare(join(folder, 'allowed_signers'));
    const sound = [];
    for (const [name, oid] of known) if (await isThere(objects, oid)) sound.push({ name, oid });
    await files.putRefs(sound);
  } finally {
    await objects.close();
  }
  return said;
}

const isThere = (objects: GitObjects, oid: Oid): Promise<boolean> =>
  objects.read(oid).then(
    () => true,
    () => false,
  );

async function isWrong(gitdir: string, name: string, objects: GitObjects): Promise<boolean> {
  const text = await readFile(join(gitdir, name), 'utf8').catch(() => '');
  if (name === 'HEAD') return text !== 'ref: refs/heads/main\n';
  if (name === 'description') return !text.startsWith('The ledger of a town');
  if (name === 'config') return !isConfigSound(text);
  for (const line of text.split('\n')) {
    if (line === '' || /^(# pack-refs with:[ a-z-]*|\^[0-9a-f]{40})$/.test(line)) continue;
    const oid = /^([0-9a-f]{40}) refs\/\S+$/.exec(line)?.[1] as Oid | undefined;
    if (oid === undefined || !(await isThere(objects, oid))) return true;
  }
  return false;
}

async function refFiles(gitdir: string, name = 'refs', depth = 0): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(gitdir, name), { withFileTypes: true }).catch(() => [])) {
    const child = `${name}/${entry.name}`;
    if (entry.isDirectory() && depth < DEPTH_MAX) found.push(...(await refFiles(gitdir, child, depth + 1)));
    else if (entry.isFile()) found.push(child);
  }
  return found;
}
