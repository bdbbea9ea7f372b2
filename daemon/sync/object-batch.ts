/**
 * Git objects of a state on their way between nodes: pieces of blobs and trees, deflated, in base64; bounded on both ways. One that
 * is larger than a message comes in several. Pure.
 */
import type { GitObject } from '../ledger/git-object.js';
import { TownError } from '../ledger/ids.js';
import { bad, deflated, inflatedBytes, INFLATED_BYTES_MAX } from './block-batch.js';
import { PACKED_CHARS_MAX } from './bodies.js';

/** No blob or tree of a state is larger: the receipt of the largest merge is a few MiB. */
export const OBJECT_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes that are tried first for each character there is room for: trees and hashes deflate to about a half. */
const BYTES_PER_CHAR = 3;
/** What a piece's header takes, at most. */
const HEADER_BYTES = 40;

/** Part of an object: its bytes from `at` on. */
export interface ObjectPiece {
  readonly type: 'blob' | 'tree';
  /** Of the whole object. */
  readonly size: number;
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** How many bytes of objects are worth reading for one answer: more never fits. */
export const bytesToRead = (charsMax: number): number =>
  Math.min(INFLATED_BYTES_MAX, BYTES_PER_CHAR * charsMax);

/**
 * Packs as much of these objects as fits, in their order, the first from the byte `at` on.
 * @param objects blobs and trees; @param charsMax of the resulting text
 * @returns null where there is nothing
 */
export function packObjects(
  objects: readonly GitObject[],
  at: number,
  charsMax = PACKED_CHARS_MAX,
): string | null {
  let room = bytesToRead(charsMax);
  for (;;) {
    const bytes = framed(objects, at, room);
    if (bytes === null) return null;
    const packed = deflated(bytes).toString('base64');
    if (packed.length <= charsMax) return packed;
    room = Math.max(
      HEADER_BYTES + 1,
      Math.floor((Math.min(room, bytes.length) * charsMax * 0.95) / packed.length),
    );
  }
}

/** Pieces up to so many bytes, the last one cut where they end. */
function framed(objects: readonly GitObject[], at: number, room: number): Buffer | null {
  const parts: Uint8Array[] = [];
  let left = room;
  for (const [index, { type, data }] of objects.entries()) {
    const from = index === 0 ? at : 0;
    if (from > data.length || left <= HEADER_BYTES) break;
    const bytes = data.subarray(from, from + left - HEADER_BYTES);
    parts.push(Buffer.from(`${type} ${data.length} ${from} ${bytes.length}\n`), bytes);
    left -= HEADER_BYTES + bytes.length;
  }
  return parts.length === 0 ? null : Buffer.concat(parts);
}

/** @throws TownError `bad-batch`, `batch-too-large` */
export function unpackObjects(packed: string): readonly ObjectPiece[] {
  const bytes = inflatedBytes(packed);
  const pieces: ObjectPiece[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf('\n', at);
    const header = end < 0 ? '' : bytes.toString('latin1', at, end);
    const [, type, ...numbers] = /^(blob|tree) (\d{1,9}) (\d{1,9}) (\d{1,9})$/.exec(header) ?? [];
    const [size = 0, from = 0, length = 0] = numbers.map(Number);
    if (type === undefined) throw bad('a piece has no header');
    if (size > OBJECT_BYTES_MAX)
      throw new TownError('batch-too-large', `No object of a state has ${size} bytes.`);
    if (from + length > size || (length === 0 && size > 0) || end + 1 + length > bytes.length)
      throw bad('a piece is not where it says');
    pieces.push({
      type: type as 'blob' | 'tree',
      ...{ size, at: from },
      bytes: bytes.subarray(end + 1, end + 1 + length),
    });
    at = end + 1 + length;
  }
  if (pieces.length === 0) throw bad('it is empty');
  return pieces;
}
