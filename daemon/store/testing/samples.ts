/** Entries, blocks and merges of the right shape for tests of the store; what they say means nothing. */
import { blobObject, signedCommit, treeObject, type GitObject } from '../../ledger/git-object.js';
import { sha256 } from '../../ledger/hash.js';
import type { EntryId, KeyId, Millis, NodeId, Oid, Sha256 } from '../../ledger/ids.js';
import type { EntryRow, NewEntry } from '../rows.js';
import type { Store } from '../store.js';

export const node = 'a1'.repeat(8) as NodeId;
export const seed = Buffer.alloc(32, 7);
const key = 'b2'.repeat(32) as KeyId;
const none = '0'.repeat(64) as Sha256;
export const branch = `refs/heads/nodes/${node}/main`;

export function sampleEntry(n: number, text = ''): NewEntry {
  const bytes = Buffer.from(JSON.stringify({ body: { text }, n, node, type: 'gigs.open' }));
  const id = sha256(bytes) as unknown as EntryId;
  return {
    id,
    node,
    line: 'main',
    n,
    type: 'gigs.open',
    kind: 'claim',
    by: key,
    member: null,
    at: n as Millis,
    bytes,
  };
}

const person = { name: node, email: `${node}@node`, seconds: 1_700_000_000 };

/** The commit stands last. */
function commitOf(
  files: { readonly [name: string]: string },
  parents: Oid[],
  message: string,
): readonly [commit: GitObject, all: GitObject[]] {
  const blobs = Object.entries(files).map(([name, text]) => ({ name, blob: blobObject(Buffer.from(text)) }));
  const tree = treeObject(blobs.map(({ name, blob }) => ({ name, oid: blob.oid, kind: 'file' })));
  const commit = signedCommit({ tree: tree.oid, parents, author: person, committer: person, message }, seed);
  return [commit, [...blobs.map(({ blob }) => blob), tree, commit]];
}

/** The next block of the sample branch, with these entries. */
export function sampleBlock(
  store: Store,
  entries: readonly (NewEntry | EntryRow)[],
): Parameters<Store['putBlock']>[0] {
  const prev = store.lastBlock(node, 'main');
  const seq = (prev?.seq ?? -1) + 1;
  const lines = entries.map(({ bytes }) => `${Buffer.from(bytes).toString()}\n`).join('');
  const parents = prev === null ? [] : [prev.oid];
  const [commit, objects] = commitOf({ 'entries.jsonl': lines }, parents, `block ${seq}`);
  return {
    block: {
      id: sha256(commit.data),
      oid: commit.oid,
      node,
      line: 'main',
      seq,
      prev: prev?.id ?? null,
      base: none,
      raw: commit.data,
      entries: entries.length,
    },
    entryIds: entries.map(({ id }) => id),
    objects,
    refs: [{ name: branch, oid: commit.oid }],
  };
}

/** The next merge of main: folds in every unmerged block, accepts every entry of them. */
export function sampleMerge(store: Store): Parameters<Store['adopt']>[0] {
  const last = store.lastMerge();
  const height = (last?.height ?? -1) + 1;
  const blocks = store.blocksUnmerged(node, 'main', 1000);
  const heads = blocks.slice(-1).map(({ oid }) => oid);
  const parents = last === null ? heads : [last.oid, ...heads];
  const value = JSON.stringify({ height });
  const entries = blocks.flatMap(({ id }) => store.blockEntries(id));
  // As the archive reads it.
  const receipt = JSON.stringify({
    entries: entries.map(({ id }) => ({ id, verdict: 'accepted', writes: none })),
  });
  const files = { 'charter.json': value, 'receipt.json': receipt };
  const [commit, objects] = commitOf(files, parents, `merge ${height}`);
  return {
    merge: {
      height,
      id: sha256(commit.data),
      oid: commit.oid,
      content: sha256(value),
      time: (1_700_000_000_000 + height) as Millis,
      node,
      raw: commit.data,
      counts: { accepted: entries.length, rejected: 0, irregular: 0 },
    },
    certificate: '{}',
    verdicts: entries.map(({ id }) => ({
      id,
      state: 'merged' as const,
      verdict: 'accepted' as const,
      code: null,
      reason: null,
      other: null,
      writes: none,
    })),
    blocks: blocks.map(({ id }) => id),
    state: [{ dapp: 'kernel', collection: 'heights', key: 'last', value: String(height) }],
    objects,
    refs: [{ name: 'refs/heads/main', oid: commit.oid }],
  };
}
