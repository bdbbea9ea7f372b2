/**
 * The frames of SQLite's write-ahead log and their sums (fileformat2.html, section 4.1 and 4.2). The sums are linear, so that they say
 * which bit of a frame was flipped: pure.
 */

export const headerBytes = 32;
export const frameHeaderBytes = 24;
const littleMagic = 0x377f0682;
const bigMagic = 0x377f0683;

/** Running sums over the log, both of 32 bits. */
export type Sums = readonly [number, number];

/** What is wrong with the log's header, in words; null: nothing. */
export function headerProblem(header: Buffer): string | null {
  const magic = header.readUInt32BE(0);
  if (magic !== littleMagic && magic !== bigMagic) return 'its header is none';
  const pageBytes = header.readUInt32BE(8);
  const sound = pageBytes >= 512 && pageBytes <= 65_536 && (pageBytes & (pageBytes - 1)) === 0;
  const sums = checksum(header.subarray(0, 24), [0, 0], isLittleEndian(header));
  if (sound && header.readUInt32BE(4) === 3_007_000 && isAt(header, 24, sums)) return null;
  return 'the checksum of its header does not hold';
}

/** How the sums read words; the numbers of the headers are big-endian always. */
export const isLittleEndian = (header: Buffer): boolean => header.readUInt32BE(0) === littleMagic;

/** The sums that the header stores, which those of the first frame go on from; and those that a frame stores. */
export const headerSums = (header: Buffer): Sums => sumsAt(header, 24);
export const storedSums = (frame: Buffer): Sums => sumsAt(frame, 16);

/** Whether the frame has the salts of this round of the log. */
export const isOfRound = (frame: Buffer, header: Buffer): boolean =>
  frame.subarray(8, 16).equals(header.subarray(16, 24));

/** The sums after a frame; `before`: those before it. */
export function frameSums(frame: Buffer, before: Sums, isLittle: boolean): Sums {
  return checksum(
    frame.subarray(frameHeaderBytes),
    checksum(frame.subarray(0, 8), before, isLittle),
    isLittle,
  );
}

/** Whether a frame stores these sums. */
export const holds = (frame: Buffer, sums: Sums): boolean => isAt(frame, 16, sums);

/**
 * The header as it was before one of its bits was flipped; null: it is not that.
 * @param first the log's first frame, which has its salts and goes on from its sums
 */
export function mendedHeader(header: Buffer, first: Buffer): Buffer | null {
  for (let bit = 0; bit < headerBytes * 8; bit += 1) {
    const other = flipped(header, bit);
    if (headerProblem(other) !== null || !isOfRound(first, other)) continue;
    if (holds(first, frameSums(first, headerSums(other), isLittleEndian(other)))) return other;
  }
  return null;
}

/**
 * A frame that does not hold as it was before one of its bits was flipped; null: it is not that. The sums tell one high bit of a word from
 * another only in part: `ambiguous` where more than one bit could be it.
 * @param before the sums before it
 */
export function mendedFrame(frame: Buffer, header: Buffer, before: Sums): Buffer | 'ambiguous' | null {
  const isLittle = isLittleEndian(header);
  const sums = frameSums(frame, before, isLittle);
  const other = Buffer.from(frame);
  if (!isOfRound(frame, header)) {
    // The salts are no part of the sums.
    header.copy(other, 8, 16, 24);
    return holds(frame, sums) ? other : null;
  }
  writeSums(other, sums);
  const isOfSums = bitsBetween(frame.subarray(16, 24), other.subarray(16, 24)) === 1;
  const bits = wrongBits(frame, sums, isLittle);
  if (bits.length + (isOfSums ? 1 : 0) > 1) return 'ambiguous';
  if (isOfSums) return other;
  return bits[0] === undefined ? null : flipped(frame, bits[0]);
}

/** Stores the sums in a frame. */
export function writeSums(frame: Buffer, [first, second]: Sums): void {
  frame.writeUInt32BE(first, 16);
  frame.writeUInt32BE(second, 20);
}

/**
 * The bits of what a frame's sums are over (its first 8 bytes and its page) without whose flip they would hold; two at most. What 1 more
 * in a word adds to the sums depends on how many words follow alone.
 */
function wrongBits(frame: Buffer, found: Sums, isLittle: boolean): number[] {
  const stored = storedSums(frame);
  const missing = [(stored[0] - found[0]) >>> 0, (stored[1] - found[1]) >>> 0];
  const bits: number[] = [];
  // Of the first and of the second word of a pair.
  let gains: readonly [Sums, Sums] = [
    [1, 1],
    [0, 1],
  ];
  const pairs = [0];
  for (let at = frameHeaderBytes; at < frame.length; at += 8) pairs.push(at);
  for (const at of pairs.reverse()) {
    for (const [i, gain] of gains.entries()) {
      const offset = at + 4 * i;
      const word = isLittle ? frame.readUInt32LE(offset) : frame.readUInt32BE(offset);
      for (let power = 0; power < 32; power += 1) {
        const change = (word >>> power) & 1 ? -(2 ** power) : 2 ** power;
        if (Math.imul(gain[0], change) >>> 0 !== missing[0]) continue;
        if (Math.imul(gain[1], change) >>> 0 !== missing[1]) continue;
        const byte = power >> 3;
        bits.push((offset + (isLittle ? byte : 3 - byte)) * 8 + (power & 7));
        if (bits.length > 1) return bits;
      }
    }
    gains = [afterZeros(gains[0]), afterZeros(gains[1])];
  }
  return bits;
}

/** One more pair of words after it, of zeros. */
function afterZeros([first, second]: Sums): Sums {
  const next = (first + second) >>> 0;
  return [next, (second + next) >>> 0];
}

/** Section 4.2: Fibonacci-weighted sums over pairs of 32-bit words. */
function checksum(bytes: Buffer, [first, second]: Sums, isLittle: boolean): Sums {
  let [s0, s1] = [first, second];
  for (let i = 0; i < bytes.length; i += 8) {
    const x0 = isLittle ? bytes.readUInt32LE(i) : bytes.readUInt32BE(i);
    const x1 = isLittle ? bytes.readUInt32LE(i + 4) : bytes.readUInt32BE(i + 4);
    s0 = (s0 + x0 + s1) >>> 0;
    s1 = (s1 + x1 + s0) >>> 0;
  }
  return [s0, s1];
}

const sumsAt = (bytes: Buffer, at: number): Sums => [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)];

const isAt = (bytes: Buffer, at: number, [first, second]: Sums): boolean =>
  bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second;

/** Bits of a byte are counted from the lowest. */
function flipped(bytes: Buffer, bit: number): Buffer {
  const other = Buffer.from(bytes);
  other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
  return other;
}

function bitsBetween(one: Buffer, other: Buffer): number {
  let count = 0;
  for (const [i, byte] of one.entries())
    for (let rest = byte ^ (other[i] as number); rest > 0; rest >>= 1) count += rest & 1;
  return count;
}
