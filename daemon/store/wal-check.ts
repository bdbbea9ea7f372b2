/**
 * Reads SQLite's write-ahead log by itself (fileformat2.html, section 4): SQLite takes a frame whose checksum does not hold for the
 * end of the log, and drops what follows without a word. After a power cut that is right; in the middle of a log it is damage.
 */
import { open, type FileHandle } from 'node:fs/promises';

const headerBytes = 32;
const frameHeaderBytes = 24;

export type WalFinding =
  /** No log, an empty one, or all frames hold. */
  | { readonly t: 'whole'; readonly frames: number }
  /** The last frame does not hold and nothing follows it: a write that the power cut off. */
  | { readonly t: 'torn'; readonly frames: number }
  /** A frame does not hold though others follow it; or the header does not. */
  | { readonly t: 'damaged'; readonly frame: number; readonly what: string };

/** Checks the log file of a database. Whole frames that belong to an earlier round of the log are passed over. */
export async function checkWal(path: string): Promise<WalFinding> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { t: 'whole', frames: 0 };
    throw error;
  }
  try {
    return await check(file);
  } finally {
    await file.close();
  }
}

type Sums = readonly [number, number];

async function check(file: FileHandle): Promise<WalFinding> {
  const { size } = await file.stat();
  if (size === 0) return { t: 'whole', frames: 0 };
  const header = await bytesAt(file, 0, headerBytes);
  if (header.length < headerBytes) return { t: 'torn', frames: 0 };
  const magic = header.readUInt32BE(0);
  const isLittle = magic === 0x377f0682;
  if (!isLittle && magic !== 0x377f0683) return { t: 'damaged', frame: 0, what: 'its header is none' };
  const pageBytes = header.readUInt32BE(8);
  const sound = pageBytes >= 512 && pageBytes <= 65_536 && (pageBytes & (pageBytes - 1)) === 0;
  let sums = checksum(header.subarray(0, 24), [0, 0], isLittle);
  if (!sound || header.readUInt32BE(4) !== 3_007_000 || !isAt(header, 24, sums))
    return { t: 'damaged', frame: 0, what: 'the checksum of its header does not hold' };
  const frameBytes = frameHeaderBytes + pageBytes;
  const frames = Math.floor((size - headerBytes) / frameBytes);
  for (let at = 0; at < frames; at += 1) {
    const frame = await bytesAt(file, headerBytes + at * frameBytes, frameBytes);
    if (frame.length < frameBytes) return { t: 'torn', frames: at };
    const expected = frameSums(frame, sums, isLittle);
    const isOurs = isOfRound(frame, header);
    if (isOurs && isAt(frame, 16, expected)) {
      sums = expected;
      continue;
    }
    // Salts of before: the rest is what an earlier round left. One flipped bit in a salt looks so too: then the next frames tell.
    const follow = await follows(file, header, frame, at + 1, frames, frameBytes, isLittle);
    if (follow)
      return { t: 'damaged', frame: at + 1, what: 'a frame does not hold, and sound ones follow it' };
    if (!isOurs) return { t: 'whole', frames: at };
    return { t: 'torn', frames: at };
  }
  return { t: 'whole', frames };
}

/** Whether a frame of this round that goes on from `before` (its stored sums) or any sound pair of this round comes later. */
async function follows(
  file: FileHandle,
  header: Buffer,
  before: Buffer,
  from: number,
  frames: number,
  frameBytes: number,
  isLittle: boolean,
): Promise<boolean> {
  let stored: Sums = [before.readUInt32BE(16), before.readUInt32BE(20)];
  for (let at = from; at < frames; at += 1) {
    const frame = await bytesAt(file, headerBytes + at * frameBytes, frameBytes);
    if (frame.length < frameBytes) return false;
    if (isOfRound(frame, header) && isAt(frame, 16, frameSums(frame, stored, isLittle))) return true;
    stored = [frame.readUInt32BE(16), frame.readUInt32BE(20)];
  }
  return false;
}

const isOfRound = (frame: Buffer, header: Buffer): boolean =>
  frame.subarray(8, 16).equals(header.subarray(16, 24));

function frameSums(frame: Buffer, before: Sums, isLittle: boolean): Sums {
  return checksum(
    frame.subarray(frameHeaderBytes),
    checksum(frame.subarray(0, 8), before, isLittle),
    isLittle,
  );
}

const isAt = (bytes: Buffer, at: number, [first, second]: Sums): boolean =>
  bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second;

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

async function bytesAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, at);
  return bytes.subarray(0, bytesRead);
}
