/**
 * A block: a signed commit on a node's own branch whose tree holds just `entries.jsonl`.
 * Blocks chain by SHA-256; the SHA-1 ids inside git objects are never trusted.
 */
import { createHash } from 'node:crypto';
import { isSignedBy } from './commit-signature.js';
import { verifyEntry, type VerifiedEntry } from './entry.js';
import {
  blobObject,
  parseCommit,
  parseTrailers,
  signedCommit,
  treeObject,
  type GitObject,
} from './git-object.js';
import { sha256 } from './hash.js';
import type { KeyId, Millis, NodeId, Oid, Sha256 } from './ids.js';
import { TownError, isSha256 } from './ids.js';

/** A block holds at most this many entries. */
export const BLOCK_ENTRIES_MAX = 256;
/** And at most this many bytes of entries, so that one always fits into a message between nodes. */
export const BLOCK_BYTES_MAX = 128 * 1024;
/** Types of entries that a block's subject names: two blocks with one number must fit into an entry, as evidence. */
const SUBJECT_TYPES_MAX = 8;
/** What stands where there is no previous block. */
export const NO_BLOCK = '0'.repeat(64) as Sha256;

/** Where a block stands: its branch, its place there, and the merge its node had adopted. */
export interface BlockPlace {
  readonly town: Sha256;
  readonly line: string;
  readonly node: NodeId;
  /** From 1. */
  readonly seq: number;
  /** The previous block, or `NO_BLOCK`. */
  readonly prev: Sha256;
  readonly base: Sha256;
}

export interface Block extends BlockPlace {
  /** SHA-256 of the raw commit. */
  readonly id: Sha256;
  readonly oid: Oid;
  readonly raw: Uint8Array;
  readonly entries: readonly VerifiedEntry[];
}

export const entriesText = (entries: readonly { readonly text: string }[]): string =>
  entries.map(({ text }) => `${text}\n`).join('');

const emailOf = (node: NodeId): string => `${node}@node.invalid`;
/** How a node signs as author and committer of its commits. */
export const personOf = (node: NodeId, at: Millis) => ({
  name: node,
  email: emailOf(node),
  seconds: Math.floor(at / 1000),
});

function subjectOf(entries: readonly VerifiedEntry[]): string {
  const counts = new Map<string, number>();
  for (const { type } of entries) counts.set(type, (counts.get(type) ?? 0) + 1);
  const list = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([type, count]) => `${count} ${type}`);
  const more = list.length > SUBJECT_TYPES_MAX ? ', …' : '';
  const kinds = `${list.slice(0, SUBJECT_TYPES_MAX).join(', ')}${more}`;
  return `${entries.length} ${entries.length === 1 ? 'entry' : 'entries'}: ${kinds}`;
}

function messageOf(place: BlockPlace, entries: readonly VerifiedEntry[], file: Uint8Array): string {
  return [
    subjectOf(entries),
    '',
    `Town: ${place.town}`,
    `Line: ${place.line}`,
    `Seq: ${place.seq}`,
    `Prev-SHA256: ${place.prev}`,
    `Base: ${place.base}`,
    `Entries-SHA256: ${sha256(file)}`,
  ].join('\n');
}

/** The git ids that a block's parents must have: the previous block, and `main` where its base is another than before. */
export interface BlockParents {
  readonly prev: Oid | null;
  /** The merge commit of `base`; null where the previous block had the same base. */
  readonly main: Oid | null;
}

/**
 * Makes a block of 1–256 entries. `at` gives the git dates (floored to seconds).
 * @returns the block and its three git objects
 */
export function makeBlock(
  place: BlockPlace,
  parents: BlockParents,
  entries: readonly VerifiedEntry[],
  at: Millis,
  secretKey: Uint8Array,
): { readonly block: Block; readonly objects: readonly GitObject[] } {
  const [blob, tree] = filesOf(entries);
  assertEntries(place, entries, blob.data.length);
  const person = personOf(place.node, at);
  const commit = signedCommit(
    {
      tree: tree.oid,
      parents: [parents.prev, parents.main].filter((oid) => oid !== null),
      author: person,
      committer: person,
      message: messageOf(place, entries, blob.data),
    },
    secretKey,
  );
  const block: Block = { ...place, id: sha256(commit.data), oid: commit.oid, raw: commit.data, entries };
  return { block, objects: [blob, tree, commit] };
}

/** The git objects below a block's commit: its one file, and the tree that holds it. */
function filesOf(entries: readonly { readonly text: string }[]): readonly [GitObject, GitObject] {
  return filesWith(Buffer.from(entriesText(entries)));
}

function filesWith(entriesJsonl: Uint8Array): readonly [GitObject, GitObject] {
  const blob = blobObject(entriesJsonl);
  return [blob, treeObject([{ name: 'entries.jsonl', oid: blob.oid, kind: 'file' }])];
}

/** Of blocks that were read: what was made to check them is what is stored. */
const filesRead = new WeakMap<Block, readonly [GitObject, GitObject]>();

/** The three git objects of a block. */
export const objectsOf = (block: Block): readonly GitObject[] => [
  ...(filesRead.get(block) ?? filesOf(block.entries)),
  { oid: block.oid, type: 'commit', data: block.raw },
];

function badBlock(what: string): TownError {
  return new TownError('bad-block', `This is no block of this ledger: ${what}.`);
}

function assertEntries(place: BlockPlace, entries: readonly VerifiedEntry[], bytes: number): void {
  if (entries.length === 0 || entries.length > BLOCK_ENTRIES_MAX)
    throw badBlock(`it holds ${entries.length} entries, not 1 to ${BLOCK_ENTRIES_MAX}`);
  if (bytes > BLOCK_BYTES_MAX)
    throw badBlock(`its entries have ${bytes} bytes, more than ${BLOCK_BYTES_MAX}`);
  let last = 0;
  for (const entry of entries) {
    if (entry.node !== place.node)
      throw badBlock(`an entry of node ${entry.node} stands in a block of ${place.node}`);
    if (entry.town !== place.town || entry.line !== place.line)
      throw badBlock('an entry is of another town or line');
    if (entry.n <= last)
      throw badBlock(`the running numbers of its entries do not grow (${entry.n} after ${last})`);
    last = entry.n;
  }
}

/**
 * Reads a block strictly: shape, signature of the node, every entry's signatures.
 * That it follows its predecessor and that its base is known, the caller checks (`parents` tells which git ids it must have).
 * @param raw the commit's bytes; `entriesJsonl` the content of its one file
 * @throws TownError `bad-block`, `bad-commit`, `bad-signature`, and those of entries
 */
export function readBlock(
  raw: Uint8Array,
  entriesJsonl: Uint8Array,
  nodeKey: KeyId,
  parents: BlockParents,
): Block {
  const commit = parseCommit(raw);
  const { fields } = commit;
  if (!isSignedBy(raw, commit, nodeKey))
    throw new TownError('bad-signature', 'The signature of the block is not that of its node.');
  const place = placeOf(fields.author.name as NodeId, parseTrailers(fields.message));
  const text = Buffer.from(entriesJsonl).toString('utf8');
  // What is hashed below is the text: bytes that are none would have a second spelling.
  if (!Buffer.from(text).equals(entriesJsonl)) throw badBlock('entries.jsonl is not UTF-8');
  if (!text.endsWith('\n')) throw badBlock('entries.jsonl does not end with a line feed');
  const entries = text.slice(0, -1).split('\n').map(verifyEntry);
  assertEntries(place, entries, entriesJsonl.length);
  const files = filesWith(entriesJsonl);
  const [, tree] = files;
  if (fields.tree !== tree.oid) throw badBlock('its tree holds something else than its entries');
  if (fields.message !== messageOf(place, entries, entriesJsonl))
    throw badBlock('its message does not fit its entries');
  const expected = [parents.prev, parents.main].filter((oid) => oid !== null);
  if (fields.parents.join() !== expected.join())
    throw badBlock('its parents are not its predecessor and base');
  const person = JSON.stringify(personOf(place.node, (fields.author.seconds * 1000) as Millis));
  if (JSON.stringify(fields.author) !== person || JSON.stringify(fields.committer) !== person)
    throw badBlock('author and committer are not its node');
  const block: Block = { ...place, id: sha256(raw), oid: commitOid(raw), raw, entries };
  filesRead.set(block, files);
  return block;
}

/** The place that a block's bytes claim, before anything is verified: to find its predecessor and base. */
export function claimedPlace(raw: Uint8Array): BlockPlace {
  const { fields } = parseCommit(raw);
  return placeOf(fields.author.name as NodeId, parseTrailers(fields.message));
}

function placeOf(node: NodeId, trailers: ReadonlyMap<string, readonly string[]>): BlockPlace {
  const one = (name: string): string => {
    const values = trailers.get(name) ?? [];
    if (values.length !== 1) throw badBlock(`it must have one trailer "${name}"`);
    return values[0] as string;
  };
  const hash = (name: string): Sha256 => {
    const value = one(name);
    if (!isSha256(value)) throw badBlock(`"${name}" is not 64 hex digits`);
    return value;
  };
  const seq = one('Seq');
  if (!/^[1-9][0-9]{0,14}$/.test(seq)) throw badBlock('"Seq" is not a number from 1');
  return {
    town: hash('Town'),
    line: one('Line'),
    node,
    seq: Number(seq),
    prev: hash('Prev-SHA256'),
    base: hash('Base'),
  };
}

/** The git id of a commit's bytes. */
export const commitOid = (raw: Uint8Array): Oid =>
  createHash('sha1').update(`commit ${raw.length}\0`).update(raw).digest('hex') as Oid;
