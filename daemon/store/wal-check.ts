/**
 * Reads SQLite's write-ahead log by itself (fileformat2.html, section 4): SQLite takes a frame whose checksum does not hold for the
 * end of the log, and drops what follows without a word. After a power cut that is right; in the middle of a log it is damage.
 */
import { open, type FileHandle } from 'node:fs/promises';
import {
  frameHeaderBytes,
  frameSums,
  headerBytes,
  headerProblem,
  headerSums,
  holds,
  isLittleEndian,
  isOfRound,
  mendedFrame,
  storedSums,
} from './wal-frame.js';

export type WalFinding =
  /** No log, an empty one, or all frames hold. */
  | { readonly t: 'whole'; readonly frames: number }
  /** The last frame does not hold and nothing follows it: a write that the power cut off. */
  | { readonly t: 'torn'; readonly frames: number }
  /** A frame does not hold though others follow it, or one flipped bit is why it does not; or the header does not. */
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

async function check(file: FileHandle): Promise<WalFinding> {
  const { size } = await file.stat();
  if (size === 0) return { t: 'whole', frames: 0 };
  const header = await bytesAt(file, 0, headerBytes);
  if (header.length < headerBytes) return { t: 'torn', frames: 0 };
  const problem = headerProblem(header);
  if (problem !== null) return { t: 'damaged', frame: 0, what: problem };
  const isLittle = isLittleEndian(header);
  let sums = headerSums(header);
  const frameBytes = frameHeaderBytes + header.readUInt32BE(8);
  const frames = Math.floor((size - headerBytes) / frameBytes);
  for (let at = 0; at < frames; at += 1) {
    const frame = await bytesAt(file, headerBytes + at * frameBytes, frameBytes);
    if (frame.length < frameBytes) return { t: 'torn', frames: at };
    const expected = frameSums(frame, sums, isLittle);
    const isOurs = isOfRound(frame, header);
    if (isOurs && holds(frame, expected)) {
      sums = expected;
      continue;
    }
    // Salts of before: the rest is what an earlier round left. One flipped bit in a salt looks so too: then the next frames tell.
    const follow = await follows(file, header, frame, at + 1, frames, frameBytes, isLittle);
    if (follow)
      return { t: 'damaged', frame: at + 1, what: 'a frame does not hold, and sound ones follow it' };
    // No write that was cut off looks like that.
    if (mendedFrame(frame, header, sums) !== null)
      return { t: 'damaged', frame: at + 1, what: 'a bit of its last frame was flipped' };
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
  let stored = storedSums(before);
  for (let at = from; at < frames; at += 1) {
    const frame = await bytesAt(file, headerBytes + at * frameBytes, frameBytes);
    if (frame.length < frameBytes) return false;
    if (isOfRound(frame, header) && holds(frame, frameSums(frame, stored, isLittle))) return true;
    stored = storedSums(frame);
  }
  return false;
}

/** Fewer where the file ends. */
export async function bytesAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, at);
  return bytes.subarray(0, bytesRead);
}
