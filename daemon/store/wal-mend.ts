/**
 * Sets a flipped bit in SQLite's log right. Without that SQLite drops the frame and everything after it, which is what was recorded last.
 * Where the sums do not tell which bit it was, the page stays as it is, and the sums are made anew from there on: what follows is read
 * again, and the page is one damaged page of a database.
 */
import { copyFile, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from './durable-file.js';
import { setAside } from './set-aside.js';
import { bytesAt, checkWal } from './wal-check.js';
import {
  frameHeaderBytes,
  frameSums,
  headerBytes,
  headerSums,
  holds,
  isLittleEndian,
  isOfRound,
  mendedFrame,
  mendedHeader,
  storedSums,
  writeSums,
} from './wal-frame.js';

/** Flipped bits of one log, in different frames. */
const mendsMax = 16;

export interface MendedWal {
  /** Bits that were set right: the log is there as it was written. */
  readonly bits: number;
  /** Pages with a flipped bit that nobody knows. */
  readonly pages: number;
}

/**
 * Mends the log of a database that nobody has open; the damaged one is kept in `damaged/` beside it.
 * @param path of the log @returns null, and nothing is changed, where the log is whole or more than bits is wrong with it
 */
export async function mendWal(path: string): Promise<MendedWal | null> {
  const temp = `${path}.mending`;
  await rm(temp, { force: true });
  let bits = 0;
  let pages = 0;
  try {
    for (;;) {
      const mends = bits + pages;
      const found = await checkWal(mends === 0 ? path : temp);
      if (found.t !== 'damaged') break;
      if (mends === 0) await copyFile(path, temp);
      const done = mends === mendsMax ? null : await mendIn(temp, found.frame);
      if (done === null) return null;
      if (done === 'bit') bits += 1;
      else pages += 1;
    }
    if (bits + pages === 0) return null;
    const file = await open(temp, 'r+');
    await file.sync().finally(() => file.close());
    await setAside(dirname(path), [path]);
    // The index of the log is made from it anew.
    await rm(path.replace(/-wal$/, '-shm'), { force: true });
    await rename(temp, path);
    await syncFolder(dirname(path));
    return { bits, pages };
  } finally {
    await rm(temp, { force: true });
  }
}

/** @param number of the frame, from 1; 0: the header. Null where it is not a bit. */
async function mendIn(path: string, number: number): Promise<'bit' | 'page' | null> {
  const file = await open(path, 'r+');
  try {
    const header = await bytesAt(file, 0, headerBytes);
    // Where the header is damaged its size of a page may be too; SQLite's is 4096 unless somebody asked for another.
    const frameBytes = frameHeaderBytes + (number === 0 ? 4096 : header.readUInt32BE(8));
    const frame = (n: number): Promise<Buffer> =>
      bytesAt(file, headerBytes + (n - 1) * frameBytes, frameBytes);
    if (number === 0) {
      const mended = mendedHeader(header, await frame(1));
      if (mended !== null) await file.write(mended, 0, headerBytes, 0);
      return mended === null ? null : 'bit';
    }
    const before = number === 1 ? headerSums(header) : storedSums(await frame(number - 1));
    const mended = mendedFrame(await frame(number), header, before);
    if (mended === null) return null;
    if (mended === 'ambiguous') {
      await sumAnew(file, header, { number, before, frame });
      return 'page';
    }
    await file.write(mended, 0, frameBytes, headerBytes + (number - 1) * frameBytes);
    return 'bit';
  } finally {
    await file.close();
  }
}

/** Makes the sums anew from a frame on, as far as the frames after it held by theirs. */
async function sumAnew(
  file: FileHandle,
  header: Buffer,
  {
    number,
    before,
    frame,
  }: { number: number; before: readonly [number, number]; frame: (n: number) => Promise<Buffer> },
): Promise<void> {
  const isLittle = isLittleEndian(header);
  let sums = before;
  let stored: readonly [number, number] | null = null;
  for (let n = number; ; n += 1) {
    const bytes = await frame(n);
    const isNext =
      stored === null || (isOfRound(bytes, header) && holds(bytes, frameSums(bytes, stored, isLittle)));
    if (bytes.length < frameHeaderBytes + header.readUInt32BE(8) || !isNext) return;
    stored = storedSums(bytes);
    sums = frameSums(bytes, sums, isLittle);
    writeSums(bytes, sums);
    await file.write(bytes, 0, bytes.length, headerBytes + (n - 1) * bytes.length);
  }
}
