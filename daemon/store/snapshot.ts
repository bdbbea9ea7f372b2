/** The state of a town at any merge, read from git: what forks start from, and what a restored or late node adopts. */
import { hashFile, hashFolder } from '../ledger/content-hash.js';
import {
  parseCommit,
  parseTrailers,
  parseTree,
  type GitObject,
  type TreeEntry,
} from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import { TownError, type Oid, type Sha256 } from '../ledger/ids.js';
import { SHARD_ABOVE } from '../ledger/state-tree.js';
import { VALUE_BYTES_MAX, assertPlace, type StateWrite } from '../ledger/state.js';
import type { ObjectSource } from './repository-reader.js';

/** Files of one folder that are asked for at once. */
const readsAtOnce = 16;
const ending = '.json';

/** Files that stand at the root beside the charter and the state. */
const rootFiles = new Set(['receipt.json', 'genesis.json']);

function bad(mergeOid: Oid, what: string): TownError {
  return new TownError(
    'content-differs',
    `The tree of ${mergeOid} is not that of a merge: ${what}.`,
    'Run `town verify`; another node has the same merge.',
  );
}

/**
 * Every value of the state at a merge (of `main` or of a fork), `kernel/charter` among them, in the order of the tree.
 * Holds as many objects as a folder has, never the whole state.
 * What came is the state of that merge only if the iteration ends by itself: at its end the content hash is compared.
 * @param mergeOid the git id of the merge commit, whose signature and place are for the caller to check
 * @throws TownError `content-differs`, `bad-commit`, `bad-tree`, `no-such-object`, `repository-corrupt`
 */
export async function* readState(
  source: ObjectSource,
  mergeOid: Oid,
): AsyncGenerator<StateWrite, void, void> {
  const { fields } = parseCommit((await ofType(source, mergeOid, 'commit')).data);
  const [content, ...more] = parseTrailers(fields.message).get('Content-SHA256') ?? [];
  if (content === undefined || more.length > 0) throw bad(mergeOid, 'it has no trailer "Content-SHA256"');
  const walk = new Walk(source, mergeOid);
  const hash = yield* walk.root(fields.tree);
  if (hash !== content) throw bad(mergeOid, `its content is ${hash}, the commit says ${content}`);
}

type Child = readonly [name: string, hash: Sha256];

class Walk {
  constructor(
    private readonly source: ObjectSource,
    private readonly mergeOid: Oid,
  ) {}

  async *root(oid: Oid): AsyncGenerator<StateWrite, Sha256, void> {
    const children: Child[] = [];
    for (const entry of await this.entries(oid)) {
      if (entry.kind === 'folder') {
        if (entry.name !== 'state') throw bad(this.mergeOid, `it has a folder "${entry.name}"`);
        children.push(['state', yield* this.state(entry.oid)]);
        continue;
      }
      const { data } = await ofType(this.source, entry.oid, 'blob');
      children.push([entry.name, hashFile(data)]);
      if (entry.name === 'charter.json')
        yield { dapp: 'kernel', collection: 'charter', key: 'charter', value: textOf(data) };
      else if (!rootFiles.has(entry.name)) throw bad(this.mergeOid, `it has a file "${entry.name}"`);
    }
    return hashFolder(children);
  }

  private async *state(oid: Oid): AsyncGenerator<StateWrite, Sha256, void> {
    const dapps: Child[] = [];
    for (const dapp of await this.folders(oid)) {
      const collections: Child[] = [];
      for (const collection of await this.folders(dapp.oid)) {
        const hash = yield* this.collection(dapp.name, collection.name, collection.oid);
        collections.push([collection.name, hash]);
      }
      dapps.push([dapp.name, hashFolder(collections)]);
    }
    return hashFolder(dapps);
  }

  private async *collection(
    dapp: string,
    collection: string,
    oid: Oid,
  ): AsyncGenerator<StateWrite, Sha256, void> {
    const entries = await this.entries(oid);
    const where = `${dapp}/${collection}`;
    if (entries[0]?.kind !== 'folder') {
      if (entries.length > SHARD_ABOVE) throw bad(this.mergeOid, `${where} should be spread over folders`);
      return yield* this.files(dapp, collection, entries, null);
    }
    const children: Child[] = [];
    let keys = 0;
    for (const shard of entries) {
      const files = shard.kind === 'folder' ? await this.entries(shard.oid) : [];
      keys += files.length;
      children.push([shard.name, yield* this.files(dapp, collection, files, shard.name)]);
    }
    if (keys <= SHARD_ABOVE) throw bad(this.mergeOid, `${where} should not be spread over folders`);
    return hashFolder(children);
  }

  /** Values of one folder. @param shard the two hex digits that all of its keys begin with in SHA-256; null: no shard */
  private async *files(
    dapp: string,
    collection: string,
    entries: readonly TreeEntry[],
    shard: string | null,
  ): AsyncGenerator<StateWrite, Sha256, void> {
    if (entries.length === 0) throw bad(this.mergeOid, `${dapp}/${collection} has an empty folder`);
    const children: Child[] = [];
    for (let at = 0; at < entries.length; at += readsAtOnce) {
      const some = entries.slice(at, at + readsAtOnce);
      const blobs = await Promise.all(some.map((entry) => ofType(this.source, entry.oid, 'blob')));
      for (const [index, { name, kind }] of some.entries()) {
        const { data } = blobs[index]!;
        const key = name.slice(0, -ending.length);
        const right =
          kind === 'file' && name.endsWith(ending) && (shard === null || sha256(key).slice(0, 2) === shard);
        if (!right || data.length > VALUE_BYTES_MAX)
          throw bad(
            this.mergeOid,
            `${dapp}/${collection} has "${name}" in a place that is not its own, or too large`,
          );
        assertPlace(dapp, collection, key);
        children.push([name, hashFile(data)]);
        yield { dapp, collection, key, value: textOf(data) };
      }
    }
    return hashFolder(children);
  }

  private async entries(oid: Oid): Promise<TreeEntry[]> {
    return parseTree((await ofType(this.source, oid, 'tree')).data);
  }

  private async folders(oid: Oid): Promise<TreeEntry[]> {
    const entries = await this.entries(oid);
    const file = entries.find(({ kind }) => kind !== 'folder');
    if (file !== undefined) throw bad(this.mergeOid, `a file "${file.name}" stands where folders are`);
    return entries;
  }
}

async function ofType(source: ObjectSource, oid: Oid, type: GitObject['type']): Promise<GitObject> {
  const object = await source.read(oid);
  if (object.type !== type)
    throw new TownError(
      'content-differs',
      `The git object ${oid} is a ${object.type} where a ${type} must be.`,
    );
  return object;
}

function textOf(data: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
}
