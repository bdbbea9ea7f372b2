/**
 * What a merge is made of: choosing blocks, replaying them, holding another's merge against my own replay, adopting.
 */
import { makeMerge, confirmMerge, readMerge, type BuiltMerge } from '../ledger/merge.js';
import { keyOfNode } from '../ledger/charter.js';
import type { EntryId, Millis, NodeId } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import { branchName, type BranchPart } from '../ledger/order.js';
import { replay, type ReplayInput, type ReplayResult } from '../ledger/replay.js';
import type { BlockRow, EntryVerdict, MergeRow } from '../store/rows.js';
import type { CoreStore } from './core-store.js';
import type { Blocks } from './blocks.js';
import type { Clock } from './clock.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import { noticesOf } from './merge-notices.js';
import { assertFoldable, assertFollows } from './merge-rules.js';
import { NOTES_REF, proofNote } from './proof-notes.js';
import type { View } from './view.js';

export interface MergeWorkshopParts {
  readonly store: CoreStore;
  readonly main: MainLine;
  readonly view: View;
  readonly blocks: Blocks;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  readonly manifests: Manifests;
  /** Up to which block of a branch a quorum says it holds it; undefined: nobody else is needed. */
  readonly heldByQuorum: (node: NodeId, line: string) => number | undefined;
  /** Merges up to this height tell members nothing: they are of before this node was in the town. Undefined: all tell. */
  readonly silentUpTo?: number | undefined;
  /** Holds a merge against the own replay; the simulation puts in one that believes. */
  readonly confirm?: typeof confirmMerge | undefined;
  /** A merge became `main`. */
  readonly adopted: (merge: MergeRow, entries: readonly EntryId[]) => void;
  /** Reads a git object that is staged or in the repository. */
  readonly readObject: Parameters<typeof proofNote>[0];
}

export class MergeWorkshop {
  constructor(private readonly parts: MergeWorkshopParts) {}

  /** The blocks that a merge folds in now; none: there is nothing to merge. */
  choose(): readonly BlockRow[] {
    const { blocks, main, heldByQuorum } = this.parts;
    return blocks.choose(main.charter.limits, heldByQuorum);
  }

  private replayInput(time: Millis, parts: readonly BranchPart[]): ReplayInput {
    const { main, manifests } = this.parts;
    const { head, town, line } = main;
    return {
      town,
      line,
      height: head.height + 1,
      time,
      parent: head.id,
      state: main.state,
      parts,
      baseTime: (base) => main.timeOf(base),
      manifests,
      recovery: main.recovery?.statement,
    };
  }

  /** @throws TownError `moved-on` where another merge was adopted meanwhile, or an epoch began: what was replayed is of no use then */
  private async replayed(time: Millis, parts: readonly BranchPart[]): Promise<ReplayResult> {
    const { main, view } = this.parts;
    const { epoch } = main;
    const { id } = main.head;
    const run = view.conversations.run(replay(this.replayInput(time, parts)));
    // Where the state moved on below it, a replay may as well have failed: it read some of it before, and some after.
    const [replayed] = await Promise.allSettled([run]);
    if (main.head.id !== id || main.epoch !== epoch) throw movedOn();
    if (replayed.status === 'rejected') throw replayed.reason;
    return replayed.value;
  }

  /**
   * The branches up to these heads, as the replay takes them.
   * @throws TownError `unknown-head`; `moved-on` where the store has the next merge already, which is about to be `main`
   */
  private partsOf(heads: readonly string[]): readonly BranchPart[] {
    const { blocks, store, main } = this.parts;
    try {
      return blocks.partsOf(heads);
    } catch (error) {
      throw (store.lastMerge()?.height ?? 0) > main.head.height ? movedOn() : error;
    }
  }

  /** A merge of what is known here, by the bounds of the charter. */
  async propose(): Promise<BuiltMerge> {
    const { main, keys, clock } = this.parts;
    const { head, town, tree } = main;
    const heads = headsOf(this.choose());
    // There was something a moment ago: a merge that is durable and not yet `main` has it.
    if (heads.length === 0) throw movedOn();
    const time = Math.max(clock.now(), main.head.time + 1) as Millis;
    const result = await this.replayed(time, this.partsOf(heads.map(({ id }) => id)));
    return makeMerge(
      {
        town,
        line: MAIN,
        height: head.height + 1,
        time,
        parent: head.id,
        heads: heads.map(({ id }) => id),
        node: keys.id,
      },
      { main: head.oid, heads: heads.map(({ oid }) => oid) },
      tree,
      result,
      keys.secretKey,
    );
  }

  /** My own replay of a merge that somebody proposed. @throws TownError `bad-merge`, `content-differs`, … */
  async replayOf(bytes: Uint8Array): Promise<BuiltMerge> {
    const { main, store, confirm = confirmMerge } = this.parts;
    const claimed = readMerge(bytes, (node) => keyOfNode(main.charter, node));
    const { head, town, charter } = main;
    assertFollows(claimed, head, town, charter);
    const parts = this.partsOf(claimed.heads);
    assertFoldable(parts, charter, main.state);
    // Asked now: blocks may leave their branch while this is replayed.
    const oids = claimed.heads.map((id) => store.block(id)?.oid);
    invariant(
      oids.every((oid) => oid !== undefined),
      'the head of what is replayed is in the store',
    );
    const result = await this.replayed(claimed.time, parts);
    return confirm(claimed, { main: head.oid, heads: oids }, main.tree, result);
  }

  /** Makes a decided merge `main`: durable, then the view, then told. */
  async adopt(built: BuiltMerge, certificate: string): Promise<void> {
    const { store, main, view, keys, readObject, silentUpTo = -1 } = this.parts;
    const { merge, receipt, writes, objects, tree } = built;
    const verdicts = receipt.entries.map(
      ({ id, verdict, code, reason, other, writes: hash }): EntryVerdict => ({
        id,
        state: verdict === 'rejected' ? 'rejected' : 'merged',
        verdict,
        code: code ?? null,
        reason: reason ?? null,
        other: other ?? null,
        writes: hash,
      }),
    );
    const count = (verdict: string): number =>
      receipt.entries.filter((entry) => entry.verdict === verdict).length;
    const row: MergeRow = {
      height: merge.height,
      id: merge.id,
      oid: merge.oid,
      content: merge.content,
      time: merge.time,
      node: merge.node,
      raw: merge.raw,
      counts: { accepted: count('accepted'), rejected: count('rejected'), irregular: count('irregular') },
    };
    const blocks = this.parts.blocks.partsOf(merge.heads).flatMap((part) => part.blocks);
    const folded = blocks.flatMap(({ entries }) => entries);
    const note = await proofNote(readObject, store.ref(NOTES_REF), merge, certificate, keys);
    await view.rebuild(async () => {
      await store.adopt({
        merge: row,
        certificate,
        verdicts,
        blocks: blocks.map(({ id }) => id),
        state: writes,
        objects: [...objects, ...note.objects],
        refs: [{ name: 'refs/heads/main', oid: merge.oid }, note.ref],
        notices: merge.height <= silentUpTo ? [] : noticesOf(built, folded, main.state, keys.id),
      });
      this.parts.blocks.forget(blocks.map(({ id }) => id));
      main.advance({ height: merge.height, id: merge.id, oid: merge.oid, time: merge.time }, tree, writes);
    });
    await store.forgetConsensus(merge.height + 1);
    this.parts.adopted(
      row,
      receipt.entries.map(({ id }) => id),
    );
  }
}

const movedOn = (): TownError =>
  new TownError('moved-on', 'Another merge was adopted while this one was replayed.');

/** The last chosen block of each branch, in the order of the branches' names. */
export function headsOf(chosen: readonly BlockRow[]): readonly BlockRow[] {
  const last = new Map<string, BlockRow>();
  for (const block of chosen) last.set(branchName(block.node, block.line), block);
  return [...last].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, block]) => block);
}
