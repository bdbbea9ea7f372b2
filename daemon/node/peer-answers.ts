/** What peers ask for, read from the store as far as it fits into a message. */
import { entriesText } from '../ledger/block.js';
import type { NodeId } from '../ledger/ids.js';
import type { BlockRow } from '../store/rows.js';
import { packBlocks, packMerges, type RawBlock, type RawMerge } from '../sync/block-batch.js';
import type { HaveBody, WantBody } from '../sync/bodies.js';
import type { PeeringStore } from './core-store.js';
import { MAIN } from './main-line.js';

export class PeerAnswers {
  constructor(private readonly store: PeeringStore) {}

  /** As much of what is wanted as fits into one message; null where there is nothing of it. */
  to(what: WantBody): HaveBody | null {
    if ('merges' in what) {
      const { from, to } = what.merges;
      const { packed, count } = packMerges(this.mergesFrom(from, to));
      return count === 0 ? null : { merges: { from, packed } };
    }
    const { node, from, to } = what.blocks;
    const { packed, count } = packBlocks(this.blocksFrom(node, from, to));
    return count === 0 ? null : { blocks: { node, from, packed } };
  }

  private *mergesFrom(from: number, to: number): Generator<RawMerge> {
    for (let height = from; height <= to; height += 1) {
      const merge = this.store.merge(height);
      if (merge === null) return;
      yield { raw: merge.raw, certificate: this.store.certificate(height) ?? '' };
    }
  }

  private *blocksFrom(node: NodeId, from: number, to: number): Generator<RawBlock> {
    for (const block of this.store.blocksFrom(node, MAIN, from, to - from + 1)) yield this.rawOf(block);
  }

  private rawOf({ id, raw }: BlockRow): RawBlock {
    const texts = this.store
      .blockEntries(id)
      .map(({ bytes }) => ({ text: Buffer.from(bytes).toString('utf8') }));
    return { raw, entries: Buffer.from(entriesText(texts)) };
  }
}
