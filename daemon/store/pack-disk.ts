/** The few calls on files that combining makes, at once and one by one, so that a test can fail each of them. */
import fs from 'node:fs';

export interface PackDisk {
  open(path: string, flags: 'r' | 'wx', mode?: number): number;
  /** Bytes from `at`; fewer at the end of the file. */
  read(file: number, at: number, length: number): Buffer;
  write(file: number, bytes: Buffer): void;
  sync(file: number): void;
  close(file: number): void;
  rename(from: string, to: string): void;
  /** Does nothing where there is no such file. */
  unlink(path: string): void;
  syncFolder(path: string): void;
  size(file: number): number;
  /** Text of a small file; empty where there is none. */
  text(path: string): string;
  list(folder: string): string[];
}

const unlessMissing = <T>(call: () => T, otherwise: T): T => {
  try {
    return call();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw error;
  }
};

export const packDisk: PackDisk = {
  open: (path, flags, mode) => fs.openSync(path, flags, mode),
  read(file, at, length) {
    const bytes = Buffer.allocUnsafe(Math.max(0, length));
    let done = 0;
    for (let got = -1; got !== 0 && done < bytes.length; done += got)
      got = fs.readSync(file, bytes, done, bytes.length - done, Math.max(0, at) + done);
    return bytes.subarray(0, done);
  },
  write(file, bytes) {
    for (let done = 0; done < bytes.length;) done += fs.writeSync(file, bytes, done);
  },
  sync: (file) => fs.fsyncSync(file),
  close: (file) => fs.closeSync(file),
  rename: (from, to) => fs.renameSync(from, to),
  unlink: (path) => unlessMissing(() => fs.unlinkSync(path), undefined),
  syncFolder(path) {
    const folder = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(folder);
    } finally {
      fs.closeSync(folder);
    }
  },
  size: (file) => fs.fstatSync(file).size,
  text: (path) => unlessMissing(() => fs.readFileSync(path, 'utf8'), ''),
  list: (folder) => unlessMissing(() => fs.readdirSync(folder), []),
};
