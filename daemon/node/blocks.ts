/** Cuts this node's durable entries into blocks, and reads blocks back for the replay. */
import { BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX, NO_BLOCK, makeBlock, type Block } from '../ledger/block.js';
import { verifyEntry, type VerifiedEntry } from '../ledger/entry.js';
import type { Millis, NodeId } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import { resumptionOf, seqAfter } from '../ledger/kernel-evidence.js';
import { foldableTo, readFork } from '../ledger/kernel-forks.js';
import { readBranch, type BranchPart } from '../ledger/order.js';
import type { BlockRow, EntryRow } from '../store/rows.js';
import type { CoreStore } from './core-store.js';
import type { Clock } from './clock.js';
import { Serial } from './drive.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import { blockRow } from './new-rows.js';

const BRANCHES_MAX = 1000;
const BLOCKS_MAX = 4096;
/** Entries of blocks that came from others and are soon to be replayed: two merges' worth, 8 MiB or so. */
const REMEMBERED_MAX = 4096;
/** After so many blocks that found no room, and no merge, what is remembered is no use. */
const NOT_REMEMBERED_MAX = 256;

/** A block that this node has just made. */
export type MadeBlock = Pick<BlockRow, 'node' | 'seq' | 'id'>;

export const branchRef = (node: string, line: string = MAIN): string => `refs/heads/nodes/${node}/${line}`;

const textOf = (row: EntryRow): string => Buffer.from(row.bytes).toString('utf8');

export class Blocks {
  private readonly cuts = new Serial(64);
  /** Bytes of the entries of blocks that wait, by id. */
  private readonly sizes = new Map<string, number>();
  /** Entries by block: read when they came, and not again for the replay. */
  private readonly remembered = new Map<string, readonly VerifiedEntry[]>();
  private rememberedCount = 0;
  /** Blocks for which there was no room since the last merge. */
  private notRemembered = 0;
  private lastParts: { readonly of: string; readonly parts: readonly BranchPart[] } | null = null;

  constructor(
    private readonly store: CoreStore,
    private readonly main: MainLine,
    private readonly keys: NodeKeys,
    private readonly clock: Clock,
    private readonly settledBelow: () => number,
    /** A block is durable. */
    private readonly made: (block: MadeBlock) => void = () => undefined,
    /** Of whom nothing is offered for a merge: suspended, or about to be, as this node's view has it. */
    private readonly isSuspended: (node: NodeId) => boolean = () => false,
  ) {}

  /**
   * Puts every entry that is durable by now into a block. Resolves to how many blocks were made, durable. What comes meanwhile is left
   * for the next cut: where entries never cease, a merge would wait for its blocks for ever.
   */
  cut(): Promise<number> {
    return this.cuts.run(
      async () => {
        const limit = this.settledBelow();
        let made = 0;
        while (await this.cutOne(limit)) made += 1;
        return made;
      },
      () => new TownError('busy', 'Blocks are being cut already.'),
    );
  }

  /** One block of entries below this number. */
  private async cutOne(limit: number): Promise<boolean> {
    const { id: node, secretKey } = this.keys;
    const { base, town, line } = this.main;
    const rows = prefixOf(
      this.store.entriesOf(node, line, 'unblocked', BLOCK_ENTRIES_MAX).filter(({ n }) => n < limit),
      BLOCK_BYTES_MAX,
    );
    if (rows.length === 0) return false;
    const before = this.store.lastBlock(node, line);
    const resumes = resumptionOf(this.main.state, node, line);
    const seq = seqAfter(before ?? { id: NO_BLOCK, seq: 0 }, resumes);
    const { block, objects } = makeBlock(
      { town, line, node, seq, prev: before?.id ?? NO_BLOCK, base: base.id },
      { prev: before?.oid ?? null, main: before?.base === base.id ? null : base.oid },
      rows.map((row) => verifyEntry(textOf(row))),
      this.clock.now(),
      secretKey,
    );
    await this.store.putBlock({
      block: blockRow(block),
      entryIds: block.entries.map(({ id }) => id),
      objects,
      refs: [{ name: branchRef(node, line), oid: block.oid }],
    });
    this.made({ node, seq: block.seq, id: block.id });
    return true;
  }

  /** The blocks that a merge of these bounds folds in now: prefixes of all branches in equal shares. */
  choose(
    limits: { readonly mergeEntries: number; readonly mergeBytes: number },
    heldByQuorum: (node: NodeId, line: string) => number | undefined = () => undefined,
  ): readonly BlockRow[] {
    const branches = this.unmerged().map(({ node, line }) => {
      const held = heldByQuorum(node, line) ?? Infinity;
      const last = Math.min(held, this.foldableTo(node, line));
      return this.unmergedOf(node, line).filter(({ seq }) => seq <= last);
    });
    return chooseBlocks(branches, limits, (block) => this.bytesOf(block));
  }

  /** Whether anything waits for a merge, be it here alone. */
  areWaiting(): boolean {
    return this.store.hasUnblocked(this.main.line) || this.unmerged().length > 0;
  }

  /** Branches of the town's nodes. Who was taken out is merged no more: who comes late gets no blocks of theirs. */
  private unmerged() {
    const { nodes } = this.main.charter;
    return this.store
      .branches(BRANCHES_MAX)
      .filter(
        ({ node, line, seq, unmergedBlocks }) =>
          unmergedBlocks > 0 &&
          nodes[node] &&
          !this.isSuspended(node) &&
          Math.min(seq, this.foldableTo(node, line)) > (readBranch(this.main.state, node, line)?.seq ?? 0),
      );
  }

  /**
   * Up to which block a branch belongs to this line: `main` takes in the drafts that were adopted. Of a draft nothing
   * goes before the block that the stewards named is here: what it stands on is what they signed.
   */
  private foldableTo(node: NodeId, line: string): number {
    const { state } = this.main;
    if (this.main.line !== MAIN) return line === this.main.line ? Infinity : 0;
    const fork = line === MAIN ? undefined : readFork(state, line);
    return fork && !this.store.block(fork.head) ? 0 : foldableTo(state, node, line);
  }

  /** A branch's blocks that this line has not merged, oldest first. What a draft has merged is unmerged on `main`. */
  private unmergedOf(node: NodeId, line: string): readonly BlockRow[] {
    if (this.main.line === MAIN) return this.store.blocksUnmerged(node, line, BLOCKS_MAX);
    const merged = readBranch(this.main.state, node, line)?.seq ?? 0;
    return this.store.blocksFrom(node, line, merged + 1, BLOCKS_MAX);
  }

  /** Kept: each height asks several times, and reading all entries for it takes as long as replaying them. */
  private bytesOf({ id }: BlockRow): number {
    const known = this.sizes.get(id);
    if (known !== undefined) return known;
    const size = this.store.blockTexts(id).reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
    this.keepSize(id, size);
    return size;
  }

  private keepSize(id: string, size: number): void {
    if (this.sizes.size >= BLOCKS_MAX) this.sizes.clear();
    this.sizes.set(id, size);
  }

  /**
   * Every block of the heads back to what is merged, as the replay takes them. The last answer is kept: a merge asks when it is
   * replayed and again when it is adopted. @throws TownError `unknown-head`
   */
  partsOf(heads: readonly string[]): readonly BranchPart[] {
    // The store may be one merge ahead of `main`: then these blocks are merged already.
    const of = [this.main.head.id, this.store.lastMerge()?.id, ...heads].join();
    // And blocks of who signed two histories leave their branch, the last first.
    const isHere = this.lastParts?.of === of && heads.every((head) => this.store.block(head));
    if (!isHere || !this.lastParts) this.lastParts = { of, parts: this.readParts(heads) };
    return this.lastParts.parts;
  }

  private readParts(heads: readonly string[]): readonly BranchPart[] {
    return heads.map((head) => {
      const last = this.store.block(head);
      if (!last) throw new TownError('unknown-head', `The block ${head.slice(0, 12)}… is not here.`);
      const { line } = last;
      if (last.seq > this.foldableTo(last.node, line))
        throw new TownError('unknown-head', `The draft ${line} is not here as far as it was adopted.`);
      const mark = readBranch(this.main.state, last.node, line);
      const blocks = this.unmergedOf(last.node, line).filter(({ seq }) => seq <= last.seq);
      const first = blocks[0];
      if (
        !first ||
        blocks[blocks.length - 1]?.id !== head ||
        (first.prev ?? NO_BLOCK) !== (mark?.head ?? NO_BLOCK)
      )
        throw new TownError(
          'unknown-head',
          `The block ${head.slice(0, 12)}… does not follow what is merged.`,
        );
      return {
        node: last.node,
        line,
        tau: (mark?.tau ?? 0) as Millis,
        blocks: blocks.map(({ id, seq }) => ({ id, seq, entries: this.entriesOf(id) })),
      };
    });
  }

  /** Verified blocks that are durable by now: their entries need not be read from the store for a while. */
  remember(blocks: readonly Pick<Block, 'id' | 'entries'>[]): void {
    for (const { id, entries } of blocks) {
      if (this.remembered.has(id)) continue;
      this.keepSize(
        id,
        entries.reduce((sum, { text }) => sum + Buffer.byteLength(text) + 1, 0),
      );
      // The first to come are the first to be merged: where there is no room, the later ones are read when it is their turn.
      if (this.rememberedCount + entries.length > REMEMBERED_MAX) {
        if ((this.notRemembered += 1) > NOT_REMEMBERED_MAX) this.forgetAll();
        continue;
      }
      this.remembered.set(id, entries);
      this.rememberedCount += entries.length;
    }
  }

  /** They are merged. */
  forget(blocks: Iterable<string>): void {
    for (const id of blocks) {
      this.rememberedCount -= this.remembered.get(id)?.length ?? 0;
      this.remembered.delete(id);
      this.sizes.delete(id);
    }
    this.notRemembered = 0;
  }

  /** Blocks that nobody ever merges would keep others out for ever. */
  private forgetAll(): void {
    this.remembered.clear();
    this.rememberedCount = this.notRemembered = 0;
  }

  private entriesOf(block: string): readonly VerifiedEntry[] {
    const known = this.remembered.get(block);
    if (known) return known;
    return this.store.blockTexts(block).map((text) => verifyEntry(text));
  }
}

/** As many rows from the start as fit into so many bytes of text. */
function prefixOf(rows: readonly EntryRow[], bytesMax: number): readonly EntryRow[] {
  let bytes = 0;
  const end = rows.findIndex((row) => (bytes += row.bytes.length + 1) > bytesMax);
  return end < 0 ? rows : rows.slice(0, end);
}

/**
 * Takes blocks in turns, one of each branch, the longest branch first, until a bound is reached. Always at least one.
 * @param branches unmerged blocks of each branch, oldest first
 */
export function chooseBlocks<B extends { readonly entries: number }>(
  branches: readonly (readonly B[])[],
  limits: { readonly mergeEntries: number; readonly mergeBytes: number },
  bytesOf: (block: B) => number,
): readonly B[] {
  const queues = branches.filter((blocks) => blocks.length > 0).map((blocks) => [...blocks]);
  queues.sort((a, b) => b.length - a.length);
  const chosen: B[] = [];
  let entries = 0;
  let bytes = 0;
  for (let open = queues; open.length > 0;) {
    const next: B[][] = [];
    for (const queue of open) {
      const block = queue[0];
      invariant(block !== undefined, 'an open branch has a block');
      const size = bytesOf(block);
      const fits = entries + block.entries <= limits.mergeEntries && bytes + size <= limits.mergeBytes;
      if (!fits && chosen.length > 0) continue;
      chosen.push(block);
      entries += block.entries;
      bytes += size;
      queue.shift();
      if (queue.length > 0) next.push(queue);
    }
    open = next;
  }
  return chosen;
}
