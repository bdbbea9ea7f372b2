/** Reads git objects of a bare repository without writing anything, each held against its name. */
import fs from 'node:fs';
import type { GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { gitHash } from './database.js';

/**
 * One object from the packs and loose files of a repository.
 * @param cache one object for all reads of a run: isomorphic-git keeps its packs in it
 * @throws TownError `no-such-object`, `repository-corrupt`
 */
export async function readGitObject(gitdir: string, oid: Oid, cache: object): Promise<GitObject> {
  // Loaded at the first read: a start needs none, and the library takes a while to load on a small board.
  const { default: git } = await import('isomorphic-git');
  const found = await git
    .readObject({ fs, gitdir, oid, format: 'content', cache })
    .catch((error: unknown) => {
      if ((error as { code?: unknown }).code === 'NotFoundError')
        throw new TownError('no-such-object', `There is no git object ${oid} here.`);
      throw unreadable(oid, error);
    });
  const data = found.object as Uint8Array;
  const type = found.type as GitObject['type'];
  if (gitHash(data, type) !== oid) throw unreadable(oid, new Error('its bytes do not have this name'));
  return { oid, type, data };
}

function unreadable(oid: Oid, cause: unknown): TownError {
  return new TownError(
    'repository-corrupt',
    `The git object ${oid} cannot be read: ${(cause as Error).message}.`,
    'The database may still have what it says: move ledger.git aside and see town verify, or take the object from a mirror.',
  );
}
