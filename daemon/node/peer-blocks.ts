/** Blocks of other nodes, once they are verified: durable, on their branch, and what they restrict in force. */
import { objectsOf, NO_BLOCK, type Block } from '../ledger/block.js';
import type { VerifiedEntry } from '../ledger/entry.js';
import type { MemberId } from '../ledger/ids.js';
import { kindOf, type Manifests } from '../ledger/judge.js';
import { readKey } from '../ledger/kernel.js';
import type { NewEntry } from '../store/rows.js';
import type { CoreStore } from './core-store.js';
import { branchRef } from './blocks.js';
import type { Equivocations } from './equivocations.js';
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
      const { id, oid, node, line, seq, prev, base, raw, entries } = block;
      await this.store.putBlock({
        block: {
          id,
          oid,
          node,
          line,
          seq,
          prev: prev === NO_BLOCK ? null : prev,
          base,
          raw,
          entries: entries.length,
        },
        newEntries: entries.map((entry) => this.rowOf(entry)),
        entryIds: entries.map((entry) => entry.id),
        objects: objectsOf(block),
        refs: [{ name: branchRef(node, line), oid }],
      });
      await this.view.takeForeign(entries);
      this.changed();
    }
  }

  private rowOf(entry: VerifiedEntry): NewEntry {
    const { id, node, line, n, type, by, at, text } = entry;
    const member: MemberId | null = readKey(this.view.state, by)?.member ?? null;
    // A type that nobody here knows is treated as a claim: the merge will say what it is.
    const kind = kindOf(type, this.manifests) ?? 'claim';
    return { id, node, line, n, type, kind, by, member, at, bytes: Buffer.from(text) };
  }
}
