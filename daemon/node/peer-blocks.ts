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

export class PeerBlocks {
  constructor(
    private readonly store: CoreStore,
    private readonly view: View,
    private readonly manifests: Manifests,
    /** Of nodes that signed two blocks for one number. */
    readonly equivocations: Equivocations,
    /** Told after each block: what waited for it can go on. */
    private readonly changed: () => void,
  ) {}

  /** Takes blocks that follow what is here of their branches, in order. One that is here already is passed over. */
  async take(blocks: readonly Block[]): Promise<void> {
    for (const block of blocks) {
      if (this.store.block(block.id)) continue;
      await this.store.putBlock({
        block: blockRow(block),
        newEntries: block.entries.map((entry) => foreignEntryRow(entry, this.manifests, this.view.state)),
        entryIds: block.entries.map(({ id }) => id),
        objects: objectsOf(block),
        refs: [{ name: branchRef(block.node, block.line), oid: block.oid }],
      });
      await this.view.takeForeign(block.entries);
      this.changed();
    }
  }
}
