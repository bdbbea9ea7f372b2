/**
 * A merge: the commit on `main` that folds heads in. Its bytes are the value that the validators agree on.
 * Genesis is the merge of height 0: the charter and a nonce; of a town that split from another, that town's state too.
 */
import { VAULT } from './accounts.js';
import { commitOid, personOf } from './block.js';
import { canonicalize } from './canonical.js';
import { charterText, type Charter } from './charter.js';
import { parseCommit, parseTrailers, signedCommit, type GitObject } from './git-object.js';
import { sha256 } from './hash.js';
import type { KeyId, Millis, NodeId, Oid, Sha256 } from './ids.js';
import { TownError, isNodeId, isSha256 } from './ids.js';
import type { Receipt, ReplayResult } from './replay.js';
import { sshVerify } from './sshsig.js';
import { changeTree, type StateTree } from './state-tree.js';
import { State, type StateWrite } from './state.js';
import { assertSupply } from './supply.js';

/** What a merge is about, apart from what the replay makes of it. */
export interface MergePlace {
  readonly town: Sha256;
  readonly line: string;
  readonly height: number;
  readonly time: Millis;
  readonly parent: Sha256;
  /** The last block folded in of each branch, in the order of their nodes. */
  readonly heads: readonly Sha256[];
  /** The validator that originated it. */
  readonly node: NodeId;
}

export interface MergeCommit extends MergePlace {
  /** SHA-256 of the raw commit. */
  readonly id: Sha256;
  readonly oid: Oid;
  readonly content: Sha256;
  readonly raw: Uint8Array;
}

export interface BuiltMerge {
  readonly merge: MergeCommit;
  readonly tree: StateTree;
  readonly writes: readonly StateWrite[];
  readonly receipt: Receipt;
  readonly testedBy: readonly string[];
  /** Git objects that the parent's tree did not have; the commit last. */
  readonly objects: readonly GitObject[];
}

export interface MergeParents {
  readonly main: Oid;
  /** The git ids of `heads`, in their order. */
  readonly heads: readonly Oid[];
}

function subjectOf(height: number, receipt: Receipt): string {
  const count = (verdict: string): number =>
    receipt.entries.filter((entry) => entry.verdict === verdict).length;
  const parts = [`${count('accepted')} accepted`];
  if (count('rejected') > 0) parts.push(`${count('rejected')} rejected`);
  if (count('irregular') > 0) parts.push(`${count('irregular')} irregular`);
  return `Merge ${height}: ${parts.join(', ')}`;
}

function messageOf(
  place: MergePlace,
  content: Sha256,
  result: Pick<ReplayResult, 'receipt' | 'testedBy'>,
): string {
  return [
    subjectOf(place.height, result.receipt),
    '',
    `Town: ${place.town}`,
    `Line: ${place.line}`,
    `Height: ${place.height}`,
    `Time: ${place.time}`,
    `Parent-SHA256: ${place.parent}`,
    ...place.heads.map((head) => `Head-SHA256: ${head}`),
    `Content-SHA256: ${content}`,
    ...result.testedBy.map((dapp) => `Tested-by: ${dapp}`),
  ].join('\n');
}

/** The tree and message that a replay leads to: what every validator must arrive at. */
function derive(place: MergePlace, before: StateTree, result: ReplayResult) {
  const { tree, objects } = changeTree(before, result.writes, {
    'receipt.json': canonicalize(result.receipt),
    'genesis.json': null,
  });
  return { tree, objects, message: messageOf(place, tree.content, result) };
}

/** Makes the merge commit that a replay leads to, signed by the originator. */
export function makeMerge(
  place: MergePlace,
  parents: MergeParents,
  before: StateTree,
  result: ReplayResult,
  secretKey: Uint8Array,
): BuiltMerge {
  const { tree, objects, message } = derive(place, before, result);
  const person = personOf(place.node, place.time);
  const commit = signedCommit(
    { tree: tree.oid, parents: [parents.main, ...parents.heads], author: person, committer: person, message },
    secretKey,
  );
  const merge: MergeCommit = {
    ...place,
    id: sha256(commit.data),
    oid: commit.oid,
    content: tree.content,
    raw: commit.data,
  };
  const { writes, receipt, testedBy } = result;
  return { merge, tree, writes, receipt, testedBy, objects: [...objects, commit] };
}

/** A merge as its bytes claim it: signature and form checked, content not yet. */
export interface ClaimedMerge extends MergePlace {
  readonly id: Sha256;
  readonly oid: Oid;
  readonly content: Sha256;
  readonly raw: Uint8Array;
}

function badMerge(what: string): TownError {
  return new TownError('bad-merge', `This is no merge of this ledger: ${what}.`);
}

/**
 * Reads the bytes of a merge commit (not of genesis).
 * @param keyOf the key of a node in the charter of the parent
 * @throws TownError `bad-merge`, `bad-commit`, `bad-signature`
 */
export function readMerge(raw: Uint8Array, keyOf: (node: NodeId) => KeyId | undefined): ClaimedMerge {
  const { fields, payload, signature } = parseCommit(raw);
  const node = fields.author.name;
  const key = isNodeId(node) ? keyOf(node) : undefined;
  if (!isNodeId(node) || key === undefined) throw badMerge(`its author ${node} is not a node of the charter`);
  if (signature === null || !sshVerify(signature, payload, key))
    throw new TownError('bad-signature', 'The signature of the merge is not that of its originator.');
  const trailers = parseTrailers(fields.message);
  const hash = (name: string): Sha256 => {
    const value = one(trailers, name);
    if (!isSha256(value)) throw badMerge(`"${name}" is not 64 hex digits`);
    return value;
  };
  const heads = trailers.get('Head-SHA256') ?? [];
  if (!heads.every(isSha256)) throw badMerge('a "Head-SHA256" is not 64 hex digits');
  return {
    town: hash('Town'),
    line: one(trailers, 'Line'),
    height: numberIn(trailers, 'Height'),
    time: numberIn(trailers, 'Time') as Millis,
    parent: hash('Parent-SHA256'),
    heads: heads as Sha256[],
    node,
    id: sha256(raw),
    oid: commitOid(raw),
    content: hash('Content-SHA256'),
    raw,
  };
}

function one(trailers: ReadonlyMap<string, readonly string[]>, name: string): string {
  const values = trailers.get(name) ?? [];
  if (values.length !== 1) throw badMerge(`it must have one trailer "${name}"`);
  return values[0] as string;
}

function numberIn(trailers: ReadonlyMap<string, readonly string[]>, name: string): number {
  const value = one(trailers, name);
  if (!/^(0|[1-9][0-9]{0,14})$/.test(value)) throw badMerge(`"${name}" is not a whole number`);
  return Number(value);
}

/**
 * Holds a claimed merge against my own replay of it: every byte apart from the signature must be what I arrive at.
 * @throws TownError `content-differs`
 */
export function confirmMerge(
  claimed: ClaimedMerge,
  parents: MergeParents,
  before: StateTree,
  result: ReplayResult,
): BuiltMerge {
  const { tree, objects, message } = derive(claimed, before, result);
  const { fields } = parseCommit(claimed.raw);
  const differs = (what: string): never => {
    throw new TownError(
      'content-differs',
      `Merge ${claimed.height} does not replay to what it says: ${what}.`,
      'The receipts name, entry by entry, what each wrote: compare them with `town show`.',
    );
  };
  if (fields.parents.join() !== [parents.main, ...parents.heads].join()) differs('its parents are others');
  if (claimed.content !== tree.content)
    differs(`its content is ${claimed.content}, the replay gives ${tree.content}`);
  if (fields.tree !== tree.oid) differs('its git tree is another');
  if (fields.message !== message) differs('its message is another');
  const person = JSON.stringify(personOf(claimed.node, claimed.time));
  if (JSON.stringify(fields.author) !== person || JSON.stringify(fields.committer) !== person)
    differs('its author, committer or date is another');
  const commit: GitObject = { oid: claimed.oid, type: 'commit', data: claimed.raw };
  const { writes, receipt, testedBy } = result;
  return { merge: claimed, tree, writes, receipt, testedBy, objects: [...objects, commit] };
}

/** The state a town starts from: the charter, and the whole supply in the vault. */
export function genesisWrites(charter: Charter): readonly StateWrite[] {
  return [
    {
      dapp: 'kernel',
      collection: 'accounts',
      key: VAULT,
      value: canonicalize({ available: charter.supply, locked: 0 }),
    },
    { dapp: 'kernel', collection: 'charter', key: 'charter', value: charterText(charter) },
  ];
}

export interface Genesis {
  readonly merge: MergeCommit;
  readonly tree: StateTree;
  readonly writes: readonly StateWrite[];
  readonly objects: readonly GitObject[];
}

const NO_PARENT = '0'.repeat(64) as Sha256;

/** The merge that a town split off at. */
export interface Origin {
  readonly town: Sha256;
  readonly merge: Sha256;
  readonly height: number;
}

/** What a town that splits from another begins with. */
export interface Split {
  readonly origin: Origin;
  /** The state at that merge, as `stateForSplit` leaves it. */
  readonly state: readonly StateWrite[];
}

/** Of the kernel's state what is about the other town's nodes, lines and epochs, or its charter. */
const NOT_TAKEN = new Set(['branches', 'charter', 'forks', 'nodes', 'recovery']);

/** What of a town's state goes into one that splits from it: all but how far branches are merged, nodes, and drafts. */
export const stateForSplit = (rows: readonly StateWrite[]): readonly StateWrite[] =>
  rows.filter(({ dapp, collection }) => dapp !== 'kernel' || !NOT_TAKEN.has(collection));

function genesisTree(charter: Charter, nonce: Sha256, split: Split | undefined) {
  const own = genesisWrites(charter);
  const writes = split ? [...stateForSplit(split.state), ...own.filter(({ key }) => key === 'charter')] : own;
  const json = split ? { nonce, origin: { ...split.origin } } : { nonce };
  return { writes, ...changeTree(null, writes, { 'genesis.json': canonicalize(json) }) };
}

const genesisMessage = (charter: Charter, time: Millis, content: Sha256): string =>
  [`Genesis of ${charter.name}`, '', 'Height: 0', `Time: ${time}`, `Content-SHA256: ${content}`].join('\n');

/** Founds a town. Its id is the `Content-SHA256` of the genesis. @param split of a town that splits from another */
export function makeGenesis(
  charter: Charter,
  nonce: Sha256,
  node: NodeId,
  time: Millis,
  secretKey: Uint8Array,
  split?: Split,
): Genesis {
  const { writes, tree, objects } = genesisTree(charter, nonce, split);
  assertSupply(State.from(writes), charter.supply);
  const person = personOf(node, time);
  const commit = signedCommit(
    {
      tree: tree.oid,
      parents: [],
      author: person,
      committer: person,
      message: genesisMessage(charter, time, tree.content),
    },
    secretKey,
  );
  return { ...genesisOf(commit.data, tree, node, time), tree, writes, objects: [...objects, commit] };
}

function genesisOf(raw: Uint8Array, tree: StateTree, node: NodeId, time: Millis): { merge: MergeCommit } {
  const town = tree.content;
  const place: MergePlace = { town, line: 'main', height: 0, time, parent: NO_PARENT, heads: [], node };
  return { merge: { ...place, id: sha256(raw), oid: commitOid(raw), content: tree.content, raw } };
}

/**
 * Reads a genesis commit and checks it against charter and nonce, and what the town took along where it split from another.
 * @throws TownError `bad-genesis`
 */
export function readGenesis(raw: Uint8Array, charter: Charter, nonce: Sha256, split?: Split): Genesis {
  const bad = (what: string): never => {
    throw new TownError('bad-genesis', `This is no genesis: ${what}.`);
  };
  const { fields, payload, signature } = parseCommit(raw);
  const { writes, tree, objects } = genesisTree(charter, nonce, split);
  const node = fields.author.name;
  const key = isNodeId(node) ? (charter.nodes[node]?.key as KeyId | undefined) : undefined;
  if (!isNodeId(node) || key === undefined) return bad('its author is not a node of its charter');
  if (signature === null || !sshVerify(signature, payload, key)) bad('its signature is not that of its node');
  const time = numberIn(parseTrailers(fields.message), 'Time') as Millis;
  if (fields.parents.length > 0) bad('it has parents');
  if (fields.tree !== tree.oid) bad('its tree is not its charter and nonce');
  if (fields.message !== genesisMessage(charter, time, tree.content)) bad('its message does not fit');
  if (JSON.stringify(fields.author) !== JSON.stringify(personOf(node, time))) bad('its author does not fit');
  const commit: GitObject = { oid: commitOid(raw), type: 'commit', data: raw };
  return { ...genesisOf(raw, tree, node, time), tree, writes, objects: [...objects, commit] };
}
