/** Blocks of other nodes, once they are verified: durable, on their branch, and what they restrict in force. */
import { objectsOf, type Block } from '../ledger/block.js';
import type { Manifests } from '../ledger/judge.js';
import type { CoreStore } from './core-store.js';
import { branchRef } from './blocks.js';
import type { Equivocations } from './equivocations.js';
import { blockRow, foreignEntryRow } from './new-rows.js';
import type { View } from './view.js';

/** What the store refuses of a block that is sound by itself: an entry, or the number of one, that is there already. */
export const NOT_STORED: ReadonlySet<string> = new Set(['duplicate-entry', 'entry-not-free']);

/** Entries that are on their way to the disk together: bounds how long what else is recorded, such as a door's, waits for them. */
const ENTRIES_AT_ONCE = 1024;

export class PeerBlocks {
  constructor(
    private readonly store: CoreStore,
    private readonly view: View,
    private readonly manifests: Manifests,
    /** Of nodes that signed two blocks for one number. */
    readonly equivocations: Equivocations,
    /** Told after some blocks, which are durable now: what waited for them can go on. */
    private readonly changed: (blocks: readonly Block[]) => void,
  ) {}

  /**
   * Takes blocks that follow what is here of their branches, in order. One that is here already is passed over.
   * @throws what the store refuses the first of them for that it does not take; those before it are taken, none after it is
   */
  async take(blocks: readonly Block[]): Promise<void> {
    const fresh = blocks.filter(({ id }) => !this.store.block(id));
    for (let from = 0; from < fresh.length;) {
      const some = together(fresh, from);
      from += some.length;
      await this.takeTogether(some);
    }
  }

  private async takeTogether(blocks: readonly Block[]): Promise<void> {
    const writes = await Promise.allSettled(blocks.map((block) => this.put(block)));
    const failed = writes.findIndex(({ status }) => status === 'rejected');
    const taken = failed < 0 ? blocks : blocks.slice(0, failed);
    if (taken.length > 0) {
      await this.view.takeForeign(taken);
      this.changed(taken);
    }
    const first = writes[failed];
    if (first?.status === 'rejected') throw first.reason;
  }

  private put(block: Block): Promise<void> {
    return this.store.putBlock({
      block: blockRow(block),
      newEntries: block.entries.map((entry) => foreignEntryRow(entry, this.manifests, this.view.state)),
      entryIds: block.entries.map(({ id }) => id),
      objects: objectsOf(block),
      refs: [{ name: branchRef(block.node, block.line), oid: block.oid }],
    });
  }
}

/** As many blocks from there as hold so many entries; one at least. */
function together(blocks: readonly Block[], from: number): readonly Block[] {
  let entries = 0;
  const end = blocks.findIndex(
    (block, i) => i >= from && (entries += block.entries.length) > ENTRIES_AT_ONCE,
  );
  return blocks.slice(from, end < 0 ? undefined : Math.max(end, from + 1));
}
