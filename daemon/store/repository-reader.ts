/**
 * Reads git objects of a bare repository without writing anything, each held against its name: packs with our own reader,
 * loose objects with isomorphic-git, which is also the second, independent reader.
 */
import fs from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { gitHash } from './database.js';
import { PackError } from './pack-format.js';
import { PackSet } from './pack-set.js';

/** Whoever gives objects by their names, each checked against its name. */
export interface ObjectSource {
  /** @throws TownError `no-such-object`, `repository-corrupt` */
  read(oid: Oid): Promise<GitObject>;
}

/** The objects of one repository. Packs may come and go while it reads; no object is ever missed for that. */
export class GitObjects implements ObjectSource {
  readonly #gitdir: string;
  readonly #packs: PackSet;

  /** @param gitdir the bare repository */
  constructor(gitdir: string) {
    this.#gitdir = gitdir;
    this.#packs = new PackSet(join(gitdir, 'objects', 'pack'));
  }

  async read(oid: Oid): Promise<GitObject> {
    let damage: unknown = null;
    try {
      const found = await this.#packs.read(oid, ({ type, data }) => gitHash(data, type) === oid);
      if (found !== null) return { oid, type: found.type as GitObject['type'], data: found.data };
    } catch (error) {
      if (!(error instanceof PackError)) throw error;
      damage = error;
    }
    if (await isLoose(this.#gitdir, oid)) return readWithIsomorphicGit(this.#gitdir, oid, {});
    if (damage !== null) throw unreadable(oid, damage);
    throw missing(oid);
  }

  /** Closes the files; waits for none of the reads under way. */
  close(): Promise<void> {
    return this.#packs.close();
  }
}

const ofRuns = new WeakMap<object, GitObjects>();

/**
 * One object from the packs and loose files of a repository.
 * @param cache one object for all reads of a run: the open packs are kept with it
 * @throws TownError `no-such-object`, `repository-corrupt`
 */
export function readGitObject(gitdir: string, oid: Oid, cache: object): Promise<GitObject> {
  let objects = ofRuns.get(cache);
  if (objects === undefined) ofRuns.set(cache, (objects = new GitObjects(gitdir)));
  return objects.read(oid);
}

/**
 * The same by isomorphic-git alone, which shares no code with our reader. It holds whole packs in memory.
 * @param cache one object for all reads of a run
 * @throws TownError `no-such-object`, `repository-corrupt`
 */
export async function readWithIsomorphicGit(gitdir: string, oid: Oid, cache: object): Promise<GitObject> {
  // Loaded at the first read: a start needs none, and the library takes a while to load on a small board.
  const { default: git } = await import('isomorphic-git');
  const found = await git
    .readObject({ fs, gitdir, oid, format: 'content', cache })
    .catch((error: unknown) => {
      if ((error as { code?: unknown }).code === 'NotFoundError') throw missing(oid);
      throw unreadable(oid, error);
    });
  const data = found.object as Uint8Array;
  const type = found.type as GitObject['type'];
  if (gitHash(data, type) !== oid) throw unreadable(oid, new Error('its bytes do not have this name'));
  return { oid, type, data };
}

const isLoose = (gitdir: string, oid: string): Promise<boolean> =>
  access(join(gitdir, 'objects', oid.slice(0, 2), oid.slice(2))).then(
    () => true,
    () => false,
  );

const missing = (oid: Oid): TownError =>
  new TownError('no-such-object', `There is no git object ${oid} here.`);

function unreadable(oid: Oid, cause: unknown): TownError {
  return new TownError(
    'repository-corrupt',
    `The git object ${oid} cannot be read: ${(cause as Error).message}.`,
    'The database may still have what it says: move ledger.git aside and see town verify, or take the object from a mirror.',
  );
}
