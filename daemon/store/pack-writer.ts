/** Writes one pack as a stream: whole objects, deltas of what came before, and entries copied from other packs. */
import { createHash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { invariant } from '../ledger/ids.js';
import { backBytes, crcOf, entryHead, packHeader, packType, type PackedType } from './pack-format.js';
import { IndexTable } from './pack-index.js';
import { packBytesMax } from './pack.js';
import { Similar, deltaBytesMax, deltaBytesMin } from './pack-similar.js';

/** As git has it: a chain costs its reader so many steps at most. */
export const chainMax = 50;
/** A log reads every commit: their chains are kept short. */
const commitChainMax = 12;

/** Where an entry stands, and how many deltas it stands on. */
export interface Written {
  readonly offset: number;
  readonly depth: number;
}

export class PackWriter {
  readonly #sink: (bytes: Buffer) => void;
  readonly #table: IndexTable;
  readonly #hash = createHash('sha1');
  readonly #similar = new Similar();
  readonly #count: number;
  #written = 0;
  #offset = 0;

  /**
   * @param count how many entries there will be: it stands at the beginning of a pack
   * @param sink takes the pack's bytes in their order
   */
  constructor(count: number, sink: (bytes: Buffer) => void) {
    this.#count = count;
    this.#sink = sink;
    this.#table = new IndexTable(count);
    this.#put(packHeader(count));
  }

  /** Adds an object, as a delta of an earlier one where that is smaller. */
  add(oid: Buffer, type: PackedType, data: Buffer): Written {
    const small = data.length >= deltaBytesMin && data.length <= deltaBytesMax;
    const whole = deflateSync(data);
    if (!small) return this.#entry(oid, entryHead(packType[type], data.length), whole, 0);
    let best = { head: entryHead(packType[type], data.length), body: whole, depth: 0 };
    for (const { base, offset, depth } of this.#similar.candidates(type, data)) {
      const most = type === 'commit' ? commitChainMax : chainMax;
      const delta = depth < most ? base.deltaTo(data, data.length) : null;
      if (delta === null) continue;
      const body = deflateSync(delta);
      const head = this.#deltaHead(offset, delta.length);
      if (head.length + body.length < best.head.length + best.body.length)
        best = { head, body, depth: depth + 1 };
    }
    const written = this.#entry(oid, best.head, best.body, best.depth);
    this.#similar.remember(type, data, written.offset, written.depth);
    return written;
  }

  /** Adds a whole object by its entry in another pack: head and deflated data as they are. */
  copyWhole(oid: Buffer, entry: Buffer): Written {
    return this.#entry(oid, entry, Buffer.alloc(0), 0);
  }

  /**
   * Adds a delta by its deflated data in another pack.
   * @param size of the inflated delta
   * @param base what it is a delta of, in this pack
   */
  copyDelta(oid: Buffer, size: number, body: Buffer, base: Written): Written {
    return this.#entry(oid, this.#deltaHead(base.offset, size), body, base.depth + 1);
  }

  /** Ends the pack. @returns its checksum, and its index */
  end(): { name: string; idx: Buffer; bytes: number } {
    invariant(this.#written === this.#count, 'a pack has as many entries as it says');
    const checksum = this.#hash.digest();
    this.#sink(checksum);
    return {
      name: checksum.toString('hex'),
      idx: this.#table.bytes(checksum),
      bytes: this.#offset + checksum.length,
    };
  }

  #deltaHead(base: number, size: number): Buffer {
    return Buffer.concat([entryHead(packType.ofsDelta, size), backBytes(this.#offset - base)]);
  }

  #entry(oid: Buffer, head: Buffer, body: Buffer, depth: number): Written {
    const offset = this.#offset;
    this.#table.add({ oid, offset, crc: crcOf(head, body) });
    this.#written += 1;
    this.#put(head);
    this.#put(body);
    invariant(this.#offset < packBytesMax, 'a pack stays below 2 GiB');
    return { offset, depth };
  }

  #put(bytes: Buffer): void {
    this.#hash.update(bytes);
    this.#offset += bytes.length;
    this.#sink(bytes);
  }
}
