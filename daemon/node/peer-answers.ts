/** What peers ask for, read from the store as far as it fits into a message; old entries from git. */
import { entriesText } from '../ledger/block.js';
import type { BlockRow } from '../store/rows.js';
import { packBlocks, packMerges, type RawBlock, type RawMerge } from '../sync/block-batch.js';
import { placeOf, type HaveBody, type WantBody } from '../sync/bodies.js';
import type { PeeringStore } from './core-store.js';

/** Text of old entries that is read for one answer: deflated it is more than fits. */
const READ_AHEAD_BYTES = 1024 * 1024;

export class PeerAnswers {
  constructor(private readonly store: PeeringStore) {}

  /**
   * As much of what is wanted as fits into one message; null where there is nothing of it. A promise where git has to be read:
   * it rejects with what `Archive.blockText` throws.
   */
  to(what: WantBody): HaveBody | null | Promise<HaveBody | null> {
    if ('merges' in what) {
      const { from, to } = what.merges;
      const { packed, count } = packMerges(this.mergesFrom(from, to));
      return count === 0 ? null : { merges: { from, packed } };
    }
    const { node, from, to } = what.blocks;
    const branch = placeOf(node);
    const blocks = this.store.blocksFrom(branch.node, branch.line, from, to - from + 1);
    const answer = (raw: Iterable<RawBlock>): HaveBody | null => {
      const { packed, count } = packBlocks(raw);
      return count === 0 ? null : { blocks: { node, from, packed } };
    };
    const [first] = blocks;
    // A branch goes to the archive from its beginning on.
    if (first === undefined || this.store.blockEntries(first.id).length > 0) return answer(this.hot(blocks));
    return this.old(blocks).then(answer);
  }

  private *mergesFrom(from: number, to: number): Generator<RawMerge> {
    for (let height = from; height <= to; height += 1) {
      const merge = this.store.merge(height);
      if (merge === null) return;
      yield { raw: merge.raw, certificate: this.store.certificate(height) ?? '' };
    }
  }

  private *hot(blocks: readonly BlockRow[]): Generator<RawBlock> {
    for (const { id, raw, entries } of blocks) {
      const rows = this.store.blockEntries(id);
      // It went to the archive this moment: who asked gets what stands before it, and asks again.
      if (rows.length !== entries) return;
      const texts = rows.map(({ bytes }) => ({ text: Buffer.from(bytes).toString('utf8') }));
      yield { raw, entries: Buffer.from(entriesText(texts)) };
    }
  }

  private async old(blocks: readonly BlockRow[]): Promise<RawBlock[]> {
    const read: RawBlock[] = [];
    let bytes = 0;
    for (const { id, raw } of blocks) {
      const text = await this.store.archive.blockText(id);
      if (text === null || bytes > READ_AHEAD_BYTES) break;
      read.push({ raw, entries: Buffer.from(text) });
      bytes += text.length;
    }
    return read;
  }
}
