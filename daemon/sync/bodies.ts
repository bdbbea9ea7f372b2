/** The bodies of the sync messages (`heads`, `want`, `have`): shapes, bounds and strict reading. */
import type { Json, JsonObject, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { isNodeId, isSha256, TownError } from '../ledger/ids.js';

/** Branches in one `heads`; 100 bytes each. */
export const TIPS_MAX = 1_000;
/** Blocks and merges that one `want` may ask for. */
export const WANT_BLOCKS_MAX = 256;
export const WANT_MERGES_MAX = 64;
/** And objects of a state: 40 bytes each. */
export const WANT_OBJECTS_MAX = 1_000;
/** Characters of packed blocks or merges in one `have`, so that the sealed message stays within 256 KiB. */
export const PACKED_CHARS_MAX = 190_000;

/** A branch on the wire: on `main` its node, of an adopted draft `<node>.<line>`. */
export type Branch = NodeId | `${string}.${string}`;

export const branchOf = (node: NodeId, line: string): Branch => (line === 'main' ? node : `${node}.${line}`);

/** The node and the line of a branch. */
export function placeOf(branch: Branch): { readonly node: NodeId; readonly line: string } {
  const [node, line = 'main'] = branch.split('.');
  return { node: node as NodeId, line };
}

const isBranch = (value: unknown): value is Branch =>
  isNodeId(value) ||
  (typeof value === 'string' &&
    /^[0-9a-f]{16}\.[a-z0-9][a-z0-9-]{0,63}$/.test(value) &&
    !value.endsWith('.main'));

/** How far a branch goes: the sequence number of its last block and that block's id. */
export interface Tip {
  readonly seq: number;
  readonly head: Sha256;
}

/** What the sender holds. */
export interface HeadsBody {
  readonly height: number;
  /** The merge at that height. */
  readonly main: Sha256;
  readonly tips: { readonly [branch: string]: Tip };
}

/** Numbers `from` to `to`, both included. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Blocks of one branch. */
export type BlocksWanted = Range & { readonly node: Branch };

/**
 * The run of blocks that ends in this one, on whatever branch, from the number `from` on; 0: from the first that one merge folds
 * in together with it, or that no merge has as none has it.
 */
export interface HeadWanted {
  readonly id: Sha256;
  readonly from: number;
}

/** Git objects of the state at some merge (blobs and trees), in this order; of the first from the byte `at` on. */
export interface ObjectsWanted {
  readonly ids: readonly Oid[];
  readonly at: number;
}

/** `merge`: one alone, by its height, to stand on before the history is here. */
export type WantBody =
  | { readonly blocks: BlocksWanted }
  | { readonly merges: Range }
  | { readonly head: HeadWanted }
  | { readonly merge: { readonly height: number } }
  | { readonly objects: ObjectsWanted };

/** The answer: as many as fit, from the first that was asked for. `packed` as block-batch.ts or object-batch.ts makes it. */
export type HaveBody =
  | { readonly blocks: { readonly node: Branch; readonly from: number; readonly packed: string } }
  | { readonly merges: { readonly from: number; readonly packed: string } }
  | { readonly head: HeadWanted & { readonly packed: string } }
  | { readonly merge: { readonly height: number; readonly packed: string } }
  | { readonly objects: { readonly id: Oid; readonly at: number; readonly packed: string } };

function bad(what: string): TownError {
  return new TownError('malformed', `Not a message of this protocol: ${what}.`);
}

const isOid = (value: unknown): value is Oid => typeof value === 'string' && /^[0-9a-f]{40}$/.test(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function objectOf(value: Json | undefined, fields: readonly string[]): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('an object is missing');
  if (Object.keys(value).sort().join() !== [...fields].sort().join())
    throw bad(`the fields ${fields.join(', ')} are expected`);
  return value as JsonObject;
}

/** @throws TownError `malformed` */
export function readHeads(body: JsonObject): HeadsBody {
  const { height, main, tips } = objectOf(body, ['height', 'main', 'tips']);
  if (!isCount(height) || !isSha256(main)) throw bad('height or main are out of range');
  if (typeof tips !== 'object' || tips === null || Array.isArray(tips)) throw bad('the tips are missing');
  const list = Object.entries(tips as JsonObject);
  if (list.length > TIPS_MAX) throw bad(`there are ${list.length} tips, not at most ${TIPS_MAX}`);
  for (const [node, tip] of list) {
    const { seq, head } = objectOf(tip, ['seq', 'head']);
    if (!isBranch(node) || !isCount(seq) || seq === 0 || !isSha256(head)) throw bad('a tip is out of range');
  }
  return body as unknown as HeadsBody;
}

function readRange({ from, to }: JsonObject, max: number): void {
  if (!isCount(from) || !isCount(to) || from < 1 || to < from || to - from >= max)
    throw bad(`a range of 1 to ${max} is expected`);
}

/** @throws TownError `malformed` */
export function readWant(body: JsonObject): WantBody {
  if ('blocks' in body) {
    const blocks = objectOf(objectOf(body, ['blocks'])['blocks'], ['node', 'from', 'to']);
    if (!isBranch(blocks['node'])) throw bad('the branch is none');
    readRange(blocks, WANT_BLOCKS_MAX);
  } else if ('head' in body) {
    const { id, from } = objectOf(objectOf(body, ['head'])['head'], ['id', 'from']);
    if (!isSha256(id) || !isCount(from)) throw bad('the head is out of range');
  } else if ('merge' in body) {
    const { height } = objectOf(objectOf(body, ['merge'])['merge'], ['height']);
    if (!isCount(height) || height < 1) throw bad('the height is out of range');
  } else if ('objects' in body) {
    const { ids, at } = objectOf(objectOf(body, ['objects'])['objects'], ['ids', 'at']);
    const isList = Array.isArray(ids) && ids.length > 0 && ids.length <= WANT_OBJECTS_MAX && ids.every(isOid);
    if (!isList || !isCount(at)) throw bad(`1 to ${WANT_OBJECTS_MAX} objects are expected`);
  } else {
    readRange(objectOf(objectOf(body, ['merges'])['merges'], ['from', 'to']), WANT_MERGES_MAX);
  }
  return body as unknown as WantBody;
}

const HAVE_FIELDS = {
  blocks: ['node', 'from', 'packed'],
  merges: ['from', 'packed'],
  head: ['id', 'from', 'packed'],
  merge: ['height', 'packed'],
  objects: ['id', 'at', 'packed'],
} as const;

/** @throws TownError `malformed` */
export function readHave(body: JsonObject): HaveBody {
  const names = Object.keys(HAVE_FIELDS) as (keyof typeof HAVE_FIELDS)[];
  const name = names.find((one) => one in body) ?? 'merges';
  const part = objectOf(objectOf(body, [name])[name], HAVE_FIELDS[name]);
  if (name === 'blocks' && !isBranch(part['node'])) throw bad('the branch is none');
  if (name === 'head' && !isSha256(part['id'])) throw bad('the head is none');
  if (name === 'objects' && !isOid(part['id'])) throw bad('the object is none');
  const first = part[name === 'merge' ? 'height' : name === 'objects' ? 'at' : 'from'];
  const isFromZero = name === 'head' || name === 'objects';
  if (!isCount(first) || (first < 1 && !isFromZero)) throw bad('the first number is out of range');
  const { packed } = part;
  if (typeof packed !== 'string' || packed.length > PACKED_CHARS_MAX) throw bad('the pack is out of range');
  return body as unknown as HaveBody;
}
