/** What peers ask for, read from the store as far as it fits into a message; old entries from git. */
import type { GitObject } from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import type { BlockRow } from '../store/rows.js';
import { packBlocks, packMerges, type RawBlock, type RawMerge } from '../sync/block-batch.js';
import {
  PACKED_CHARS_MAX,
  placeOf,
  WANT_BLOCKS_MAX,
  type BlocksWanted,
  type HaveBody,
  type ObjectsWanted,
  type HeadWanted,
  type WantBody,
} from '../sync/bodies.js';
import { bytesToRead, packObjects } from '../sync/object-batch.js';
import type { PeeringStore } from './core-store.js';

/** Text of old entries that is read for one answer: deflated it is more than fits. */
const READ_AHEAD_BYTES = 1024 * 1024;

/** As many blocks as a charter may let a merge fold in: none holds fewer than one entry. */
const MERGE_BLOCKS_MAX = 10_000;

export class PeerAnswers {
  constructor(
    private readonly store: PeeringStore,
    private readonly readObject: (oid: Oid) => Promise<GitObject>,
  ) {}

  /**
   * As much of what is wanted as fits into one message; null where there is nothing of it. A promise where git has to be read:
   * it rejects with what `Archive.blockText` throws.
   * @param charsMax of what is packed
   */
  to(what: WantBody, charsMax = PACKED_CHARS_MAX): HaveBody | null | Promise<HaveBody | null> {
    if ('merges' in what) {
      const { from, to } = what.merges;
      const { packed, count } = packMerges(this.mergesFrom(from, to), charsMax);
      return count === 0 ? null : { merges: { from, packed } };
    }
    if ('merge' in what) {
      const { height } = what.merge;
      const { packed, count } = packMerges(this.mergesFrom(height, height));
      return count === 0 ? null : { merge: { height, packed } };
    }
    if ('objects' in what) return this.objects(what.objects, charsMax);
    const blocks = 'head' in what ? this.upTo(what.head) : this.ofBranch(what.blocks);
    const answer = (raw: Iterable<RawBlock>): HaveBody | null => {
      const { packed, count } = packBlocks(raw, charsMax);
      if (count === 0) return null;
      if ('head' in what) return { head: { ...what.head, packed } };
      const { node, from } = what.blocks;
      return { blocks: { node, from, packed } };
    };
    const [first] = blocks;
    // A branch goes to the archive from its beginning on.
    if (first === undefined || this.store.blockTexts(first.id).length > 0) return answer(this.hot(blocks));
    return this.old(blocks).then(answer);
  }

  /** Blobs and trees, as far as they are here and fit. */
  private async objects({ ids, at }: ObjectsWanted, charsMax: number): Promise<HaveBody | null> {
    const read: GitObject[] = [];
    let bytes = -at;
    for (const oid of ids) {
      const object = await this.readObject(oid).catch((error: unknown) => {
        if (error instanceof TownError && error.code === 'no-such-object') return null;
        throw error;
      });
      if (object === null || object.type === 'commit') break;
      read.push(object);
      bytes += object.data.length;
      if (bytes >= bytesToRead(charsMax)) break;
    }
    const packed = packObjects(read, at, charsMax);
    return packed === null ? null : { objects: { id: ids[0] as Oid, at, packed } };
  }

  private ofBranch({ node: name, from, to }: BlocksWanted): readonly BlockRow[] {
    const { node, line } = placeOf(name);
    return this.store.blocksFrom(node, line, from, to - from + 1);
  }

  /** The blocks of a branch up to this one; from the beginning: those that stand in one merge with it, or in none as it does. */
  private upTo({ id, from }: HeadWanted): readonly BlockRow[] {
    const last = this.store.block(id);
    if (last === null || last.seq < from) return [];
    const { node, line, height, seq } = last;
    const first = (): BlockRow | undefined =>
      height === null
        ? this.store.blocksUnmerged(node, line, 1)[0]
        : this.store
            .blocksOfMerge(height, MERGE_BLOCKS_MAX)
            .find((block) => block.node === node && block.line === line);
    const start = from > 0 ? from : (first()?.seq ?? seq);
    return this.store.blocksFrom(node, line, start, WANT_BLOCKS_MAX).filter((block) => block.seq <= seq);
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
      const texts = this.store.blockTexts(id);
      // It went to the archive this moment: who asked gets what stands before it, and asks again.
      if (texts.length !== entries) return;
      yield { raw, entries: Buffer.from(texts.map((text) => `${text}\n`).join('')) };
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
