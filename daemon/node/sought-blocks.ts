/**
 * Blocks that a quorum stands behind, fetched by the id of the last one. Where they contradict what is held here of their branch,
 * their node signed two histories: the proof is recorded, ours leaves the branch (git keeps it), and theirs takes its place. So
 * nobody who was told the other history waits for ever. Only blocks go that no merge has, of a node that is proven to lie.
 */
import { claimedPlace, type Block } from '../ledger/block.js';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { invariant, TownError } from '../ledger/ids.js';
import { resumptionOf } from '../ledger/kernel-evidence.js';
import { readFork } from '../ledger/kernel-forks.js';
import { readMerge } from '../ledger/merge.js';
import { readBranch } from '../ledger/order.js';
import { unpackBlocks, sizeOfBlock, type RawBlock } from '../sync/block-batch.js';
import { branchOf, type Branch, type HeadWanted, type Tip } from '../sync/bodies.js';
import { admitBlocks, Quarantine } from '../sync/quarantine.js';
import type { PeeringStore } from './core-store.js';
import { MAIN, type MainLine } from './main-line.js';
import type { Merger } from './merger.js';
import { NOT_STORED, type PeerBlocks } from './peer-blocks.js';

/** A branch as it is after blocks were put in place of others. */
export interface Replaced {
  readonly branch: Branch;
  readonly tip: Tip | null;
  /** Whether blocks of ours went. */
  readonly isCut: boolean;
  /** Why not all of the others could be stored. */
  readonly refused: TownError | null;
}

/** Unmerged blocks of one branch; facts are bounded by the disk alone. */
const UNMERGED_MAX = 1_000_000;

export interface SoughtBlocksParts {
  readonly self: NodeId;
  readonly store: PeeringStore;
  readonly main: MainLine;
  readonly merger: Merger;
  readonly peerBlocks: PeerBlocks;
  readonly keyOf: (node: NodeId) => KeyId | undefined;
}

/** The blocks that a merge folds in and that are not here. @throws TownError where these bytes are none of the next merge */
export function missingHeads(
  store: Pick<PeeringStore, 'block'>,
  raw: Uint8Array,
  keyOf: (node: NodeId) => KeyId | undefined,
): readonly Sha256[] {
  return readMerge(raw, keyOf).heads.filter((head) => store.block(head) === null);
}

interface Collected {
  /** The last number that has come, more is to be asked for; null: it is here. */
  readonly upTo: number | null;
  /** Null: nothing was changed, for it is not all there, or came from elsewhere meanwhile. */
  readonly replaced: Replaced | null;
}

export class SoughtBlocks {
  private readonly waiting = new Quarantine<RawBlock>(sizeOfBlock);
  private readonly fresh = new Set<Sha256>();

  constructor(private readonly parts: SoughtBlocksParts) {}

  /** Takes what a peer sent, after what it sent before. @throws TownError `bad-batch`, `batch-too-large`, `quarantine-full` */
  put(from: NodeId, head: HeadWanted & { readonly packed: string }): void {
    const before = head.from === 0 ? null : this.waiting.get(head.id);
    const parts = unpackBlocks(head.packed);
    this.waiting.put(head.id, from, before?.peer === from ? [...before.batch, ...parts] : parts);
    this.fresh.add(head.id);
  }

  discard(head: Sha256): void {
    this.waiting.discard(head);
    this.fresh.delete(head);
  }

  /** What has come and was not looked at. */
  heads(): readonly Sha256[] {
    return [...this.fresh];
  }

  givenBy(head: Sha256): NodeId | null {
    return this.waiting.get(head)?.peer ?? null;
  }

  /**
   * Looks at what has come of one.
   * @throws TownError `not-that-head`, `own-branch`, those of `admitBlocks`
   */
  async take(head: Sha256): Promise<Collected> {
    this.fresh.delete(head);
    const batch = this.waiting.get(head)?.batch ?? [];
    const last = batch[batch.length - 1];
    if (last === undefined) return { upTo: null, replaced: null };
    if (batch.length > this.parts.main.charter.limits.mergeEntries)
      throw new TownError('not-that-head', 'These are more blocks than a merge folds in.');
    if (sha256(last.raw) !== head) return { upTo: claimedPlace(last.raw).seq, replaced: null };
    // No merge is adopted meanwhile: it might fold in what goes.
    return this.parts.merger.undisturbed(async () => {
      if (this.parts.store.block(head)) return { upTo: null, replaced: null };
      const { node, line } = claimedPlace(last.raw);
      return { upTo: null, replaced: await this.replace(node, line, this.verified(node, line, batch)) };
    });
  }

  /** All of them follow what is merged of their branch, each the one before. */
  private verified(node: NodeId, line: string, batch: readonly RawBlock[]): readonly Block[] {
    const { store, main, keyOf, self } = this.parts;
    if (node === self)
      throw new TownError(
        'own-branch',
        'The others merged a block by the key of this node that it has not: its card was copied, or its key is in other hands.',
      );
    if (line !== MAIN && !readFork(main.state, line))
      throw new TownError('not-that-head', `The line ${line} is no part of this one.`);
    const mark = readBranch(main.state, node, line);
    const { admitted, waiting, refused } = admitBlocks(batch, {
      ...{ town: main.town, line, node, keyOf },
      tip: mark ? store.block(mark.head) : null,
      heldAt: () => null,
      mergeOid: (base) => (base === main.head.id ? main.head.oid : (store.mergeById(base)?.oid ?? null)),
      resumes: resumptionOf(main.state, node, line),
    });
    if (refused) throw new TownError(refused.code, refused.reason);
    if (waiting.length > 0 || admitted.length < batch.length)
      throw new TownError('not-that-head', 'These blocks do not follow what is merged of their branch.');
    return admitted;
  }

  private async replace(node: NodeId, line: string, blocks: readonly Block[]): Promise<Replaced> {
    const { store, peerBlocks } = this.parts;
    const ours = store.blocksUnmerged(node, line, UNMERGED_MAX);
    const same = blocks.findIndex(({ id }, i) => id !== ours[i]?.id);
    const other = blocks[same];
    invariant(other !== undefined, 'the last of them is not here');
    const gone = ours.slice(same);
    if (gone.length > 0) await peerBlocks.equivocations.supersede(gone, other);
    const refused = await stored(peerBlocks.take(blocks.slice(same)));
    const last = store.lastBlock(node, line);
    const tip = last && { seq: last.seq, head: last.id };
    return { branch: branchOf(node, line), tip, isCut: gone.length > 0, refused };
  }
}

async function stored(taking: Promise<void>): Promise<TownError | null> {
  try {
    await taking;
    return null;
  } catch (error) {
    if (error instanceof TownError && NOT_STORED.has(error.code)) return error;
    throw error;
  }
}
