/** Blocks and merges on their way between nodes: JSON lines, deflated, in base64; bounded on both ways. Pure. */
import { constants, deflateSync, inflateSync } from 'node:zlib';
import type { Json, JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { PACKED_CHARS_MAX, WANT_BLOCKS_MAX, WANT_MERGES_MAX } from './bodies.js';

/** A batch inflates to at most this many bytes, and to at most `RATIO_MAX` times its size. */
export const INFLATED_BYTES_MAX = 4 * 1024 * 1024;
export const RATIO_MAX = 100;
/**
 * A block whose entries' text stays within this always fits into a message, however badly it deflates (text that is valid
 * UTF-8 carries 6.6 bits a byte at most).
 */
export const BLOCK_TEXT_BYTES_SURE = 128 * 1024;

/** A block as it travels: the commit's bytes and the content of its one file. */
export interface RawBlock {
  readonly raw: Uint8Array;
  readonly entries: Uint8Array;
}

/** Bytes, roughly. */
export const sizeOfBlock = ({ raw, entries }: RawBlock): number => raw.length + entries.length;

/** A merge as it travels: the commit's bytes and its certificate's canonical text. */
export interface RawMerge {
  readonly raw: Uint8Array;
  readonly certificate: string;
}

/** A prefix of what was to be packed. */
export interface Packed {
  readonly packed: string;
  /** How many are in it. 0: not even the first fits. */
  readonly count: number;
}

const blockLine = ({ raw, entries }: RawBlock): string =>
  JSON.stringify({ raw: base64(raw), entries: Buffer.from(entries).toString('utf8') });
const mergeLine = ({ raw, certificate }: RawMerge): string =>
  JSON.stringify({ raw: base64(raw), certificate });

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/**
 * Packs as many blocks as fit into one message, from the first on.
 * @param charsMax of the resulting text; @returns count 0 where the first block alone is too large
 */
export const packBlocks = (blocks: Iterable<RawBlock>, charsMax = PACKED_CHARS_MAX): Packed =>
  pack(blocks, blockLine, WANT_BLOCKS_MAX, charsMax);

/** As `packBlocks`, with merges. */
export const packMerges = (merges: Iterable<RawMerge>, charsMax = PACKED_CHARS_MAX): Packed =>
  pack(merges, mergeLine, WANT_MERGES_MAX, charsMax);

function pack<T>(items: Iterable<T>, lineOf: (item: T) => string, most: number, charsMax: number): Packed {
  const lines: string[] = [];
  let inflated = 0;
  // Asked for one by one, and no more than will fit: who reads them from a store pays for each.
  const iterator = items[Symbol.iterator]();
  const fill = (bytes: number): boolean => {
    const before = lines.length;
    while (inflated < bytes && lines.length < most) {
      const next = iterator.next();
      if (next.done === true) break;
      const line = lineOf(next.value);
      inflated += Buffer.byteLength(line) + 1;
      if (inflated > INFLATED_BYTES_MAX) break;
      lines.push(line);
    }
    return lines.length > before;
  };
  const packedOf = (count: number): string =>
    deflated(Buffer.from(`${lines.slice(0, count).join('\n')}\n`)).toString('base64');

  // So much fits however badly it deflates; how well it does tells how much more there is room for.
  if (!fill(charsMax * 0.7)) return { packed: '', count: 0 };
  let count = lines.length;
  let packed = packedOf(count);
  if (packed.length <= charsMax) {
    const first = { packed, count };
    if (!fill((inflated * charsMax * 0.95) / packed.length)) return first;
    count = lines.length;
    packed = packedOf(count);
  }
  while (packed.length > charsMax) {
    // Fewer, in proportion: two or three attempts find nearly the longest prefix.
    count = Math.min(count - 1, Math.max(1, Math.floor((count * charsMax * 0.97) / packed.length)));
    if (count === 0) return { packed: '', count: 0 };
    packed = packedOf(count);
  }
  return { packed, count };
}

/** What deflates beyond the ratio that a receiver allows is packed less well, at 8 to 1 at most. */
export function deflated(bytes: Buffer): Buffer {
  const best = deflateSync(bytes);
  if (best.length * RATIO_MAX >= bytes.length) return best;
  return deflateSync(bytes, { strategy: constants.Z_HUFFMAN_ONLY });
}

/** What says that a batch is none. */
export function bad(what: string): TownError {
  return new TownError('bad-batch', `This is no batch of blocks, merges or objects: ${what}.`);
}

/** @throws TownError `bad-batch`, `batch-too-large` */
export const unpackBlocks = (packed: string): readonly RawBlock[] =>
  unpack(packed, 'entries', WANT_BLOCKS_MAX).map(({ raw, text }) => ({ raw, entries: Buffer.from(text) }));

/** @throws TownError `bad-batch`, `batch-too-large` */
export const unpackMerges = (packed: string): readonly RawMerge[] =>
  unpack(packed, 'certificate', WANT_MERGES_MAX).map(({ raw, text }) => ({ raw, certificate: text }));

function unpack(packed: string, name: string, most: number): { raw: Uint8Array; text: string }[] {
  const text = inflatedBytes(packed).toString('utf8');
  if (!text.endsWith('\n')) throw bad('its last line has no end');
  const lines = text.slice(0, -1).split('\n', most + 1);
  if (lines.length > most) throw bad(`it holds more than ${most}`);
  return lines.map((line) => readLine(line, name));
}

/** What a batch inflates to. @throws TownError `bad-batch`, `batch-too-large` */
export function inflatedBytes(packed: string): Buffer {
  if (packed.length > PACKED_CHARS_MAX) throw bad('its text is too long');
  const bytes = Buffer.from(packed, 'base64');
  if (bytes.toString('base64') !== packed) throw bad('it is not in base64');
  try {
    const maxOutputLength = Math.max(1, Math.min(INFLATED_BYTES_MAX, bytes.length * RATIO_MAX));
    return inflateSync(bytes, { maxOutputLength });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      throw new TownError(
        'batch-too-large',
        `A batch inflates to at most ${INFLATED_BYTES_MAX} bytes and ${RATIO_MAX} times its size; this one goes beyond.`,
      );
    throw bad('it does not inflate');
  }
}

function readLine(line: string, name: string): { raw: Uint8Array; text: string } {
  let value: Json;
  try {
    value = JSON.parse(line) as Json;
  } catch {
    throw bad('a line is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('a line is no object');
  const { raw, [name]: text, ...others } = value as JsonObject;
  if (typeof raw !== 'string' || typeof text !== 'string' || Object.keys(others).length > 0)
    throw bad(`a line holds other fields than raw and ${name}`);
  const bytes = Buffer.from(raw, 'base64');
  if (bytes.toString('base64') !== raw) throw bad('a commit is not in base64');
  return { raw: bytes, text };
}
