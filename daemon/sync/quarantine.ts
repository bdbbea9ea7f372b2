/**
 * What came from a peer and is not yet believed. Blocks leave it only when signature, chain, base and every entry hold;
 * what waits for a merge or for other blocks waits here, within a bound for each peer. Pure.
 */
import { claimedPlace, NO_BLOCK, readBlock, type Block } from '../ledger/block.js';
import { parseCommit } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { invariant, TownError } from '../ledger/ids.js';
import { seqAfter, type Resumption } from '../ledger/kernel-evidence.js';
import { sshVerify } from '../ledger/sshsig.js';
import type { RawBlock } from './block-batch.js';

/** What one peer may have waiting here: bytes. */
export const QUARANTINE_BYTES_MAX = 64 * 1024 * 1024;

/** A block that is in the store. */
export interface HeldBlock {
  readonly seq: number;
  readonly id: Sha256;
  readonly oid: Oid;
  readonly base: Sha256;
}

/** What is known here of the branch that blocks are to continue. */
export interface BranchContext {
  readonly town: Sha256;
  readonly line: string;
  readonly node: NodeId;
  readonly keyOf: (node: NodeId) => KeyId | undefined;
  /** Its last block here; null where there is none. */
  readonly tip: HeldBlock | null;
  /** The block that is held at a number up to the tip's; null where it is not known any more. */
  readonly heldAt: (seq: number) => Sha256 | null;
  /** The git id of an adopted merge; null where it is not adopted (yet). */
  readonly mergeOid: (base: Sha256) => Oid | null;
  /** Where the branch goes on since its node was readmitted: other blocks below `next` are void. */
  readonly resumes?: Resumption | undefined;
}

/** Two different blocks that one node signed for one number. */
export interface Equivocation {
  readonly node: NodeId;
  readonly seq: number;
  readonly held: Sha256;
  /** The other one, as it came. */
  readonly other: RawBlock;
}

export interface BlockRefusal {
  readonly code: string;
  readonly reason: string;
  readonly equivocation?: Equivocation;
}

export interface Admission {
  /** Verified, each the successor of the one before, the first of the tip: for the store. */
  readonly admitted: readonly Block[];
  /** The rest, whose first is built on a merge that is not adopted here: to be tried again when it is. */
  readonly waiting: readonly RawBlock[];
  /** Why it ended before its end. Nothing after the refused block is looked at. */
  readonly refused: BlockRefusal | null;
}

/**
 * Takes blocks of one branch, in order. Those that are held already are left out.
 * Refusals: `bad-block`, `bad-commit`, `bad-signature`, those of entries, `unknown-base` (of an entry); `unknown-node`, `other-branch`; `gap` (not
 * contiguous); `other-predecessor` (signed, but it follows another block than the tip: the one before it is evidence);
 * `equivocation` (another block is held at its number); `void-block` (the stewards readmitted the node with another one).
 */
export function admitBlocks(batch: readonly RawBlock[], branch: BranchContext): Admission {
  const admitted: Block[] = [];
  let tip = branch.tip;
  for (const [index, item] of batch.entries()) {
    try {
      const block = admitBlock(item, { ...branch, tip });
      if (block === 'held') continue;
      if (block === 'waiting') return { admitted, waiting: batch.slice(index), refused: null };
      admitted.push(block);
      tip = block;
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      const refused = { code: error.code, reason: error.message };
      const evidence = error instanceof EquivocationError ? { equivocation: error.equivocation } : {};
      return { admitted, waiting: [], refused: { ...refused, ...evidence } };
    }
  }
  return { admitted, waiting: [], refused: null };
}

class EquivocationError extends TownError {
  constructor(readonly equivocation: Equivocation) {
    super(
      'equivocation',
      `Node ${equivocation.node} signed two different blocks with the number ${equivocation.seq}.`,
      'Both are kept as evidence; a steward decides about the node.',
    );
  }
}

/**
 * One block. `held`: it is here already; `waiting`: its base is not adopted.
 * @throws TownError as `admitBlocks` tells
 */
export function admitBlock(item: RawBlock, branch: BranchContext): Block | 'held' | 'waiting' {
  const { node, tip } = branch;
  const key = branch.keyOf(node);
  if (key === undefined)
    throw new TownError('unknown-node', `The branch's node ${node} is not in the charter.`);
  const place = claimedPlace(item.raw);
  if (place.town !== branch.town || place.line !== branch.line || place.node !== node)
    throw new TownError('other-branch', 'The block is of another town, line or node than was asked for.');
  const { resumes } = branch;
  const next = seqAfter(tip ?? { id: NO_BLOCK, seq: 0 }, resumes);
  const id = sha256(item.raw);
  if (place.seq > next)
    throw new TownError('gap', `Block ${next} of ${node} is missing before block ${place.seq}.`);
  if (place.seq < next) {
    const held = branch.heldAt(place.seq);
    const isVoid = resumes !== undefined && place.seq < resumes.next;
    if (held === null || held === id || isVoid) return 'held';
    assertSigned(item.raw, key);
    throw new EquivocationError({ node, seq: place.seq, held, other: item });
  }
  if (place.seq === resumes?.seq && id !== resumes.head)
    throw new TownError(
      'void-block',
      `Block ${place.seq} of ${node} is not the one that the stewards readmitted the node with.`,
    );
  if (place.prev !== (tip?.id ?? NO_BLOCK)) {
    assertSigned(item.raw, key);
    throw new TownError(
      'other-predecessor',
      `Block ${place.seq} of ${node} follows another block ${place.seq - 1} than the one here.`,
    );
  }
  const main = branch.mergeOid(place.base);
  if (main === null) {
    // Else anybody could make us wait for a block that nobody signed, and keep the true one out.
    assertSigned(item.raw, key);
    return 'waiting';
  }
  const block = readBlock(item.raw, item.entries, key, {
    prev: tip?.oid ?? null,
    main: tip?.base === place.base ? null : main,
  });
  // The replay takes times from there: one that nobody knows would stop every merge with this block in it.
  const bases = new Set(block.entries.map(({ base }) => base));
  for (const base of bases)
    if (base !== place.base && branch.mergeOid(base) === null)
      throw new TownError(
        'unknown-base',
        `An entry of block ${place.seq} of ${node} is made on ${base.slice(0, 12)}…, which is no merge before it.`,
      );
  return block;
}

function assertSigned(raw: Uint8Array, key: KeyId): void {
  const { payload, signature } = parseCommit(raw);
  if (signature === null || !sshVerify(signature, payload, key))
    throw new TownError('bad-signature', 'The signature of the block is not that of its node.');
}

interface Waiting<T> {
  readonly peer: NodeId;
  readonly batch: readonly T[];
  readonly bytes: number;
}

/** Batches that wait, in the order they came, of each item that is fetched (a branch, or the merges); bounded for each peer. */
export class Quarantine<T> {
  readonly #items = new Map<string, readonly Waiting<T>[]>();

  constructor(
    private readonly sizeOf: (part: T) => number,
    private readonly bytesMax = QUARANTINE_BYTES_MAX,
  ) {}

  /** Keeps a batch in place of what waited for that item. @throws TownError `quarantine-full` */
  put(item: string, peer: NodeId, batch: readonly T[]): void {
    this.discard(item);
    this.append(item, peer, batch);
  }

  /** Keeps a batch behind what waits for that item. @throws TownError `quarantine-full` */
  append(item: string, peer: NodeId, batch: readonly T[]): void {
    const bytes = this.#bytesOfBatch(batch);
    if (this.bytesOf(peer) + bytes > this.bytesMax)
      throw new TownError(
        'quarantine-full',
        `What came from ${peer} and waits has reached ${this.bytesMax} bytes.`,
      );
    if (batch.length > 0) this.#items.set(item, [...(this.#items.get(item) ?? []), { peer, batch, bytes }]);
  }

  #bytesOfBatch(batch: readonly T[]): number {
    return batch.reduce((sum, part) => sum + this.sizeOf(part), 0);
  }

  /** The first batch that waits for an item. */
  get(item: string): { readonly peer: NodeId; readonly batch: readonly T[] } | null {
    return this.#items.get(item)?.[0] ?? null;
  }

  /** All that wait for an item, the first first. */
  batches(item: string): readonly (readonly T[])[] {
    return (this.#items.get(item) ?? []).map(({ batch }) => batch);
  }

  /** The last batch that waits for an item, and how many do. */
  last(item: string): { readonly peer: NodeId; readonly batch: readonly T[]; readonly count: number } | null {
    const all = this.#items.get(item) ?? [];
    const last = all[all.length - 1];
    return last === undefined ? null : { ...last, count: all.length };
  }

  /** Leaves the last of the first batch waiting: those that were not taken. The item goes behind the others. */
  keepRest(item: string, rest: readonly T[]): void {
    const [first, ...others] = this.#items.get(item) ?? [];
    invariant(first !== undefined && rest.length <= first.batch.length, 'a rest is of what waited');
    const kept = { ...first, batch: rest, bytes: this.#bytesOfBatch(rest) };
    const left = rest.length > 0 ? [kept, ...others] : others;
    this.discard(item);
    if (left.length > 0) this.#items.set(item, left);
  }

  discard(item: string): void {
    this.#items.delete(item);
  }

  items(): readonly string[] {
    return [...this.#items.keys()];
  }

  bytesOf(peer: NodeId): number {
    let bytes = 0;
    for (const all of this.#items.values())
      for (const waiting of all) if (waiting.peer === peer) bytes += waiting.bytes;
    return bytes;
  }
}
