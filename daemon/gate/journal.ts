/**
 * Records that the daemon has not confirmed, on disk: one JSON object a line, appended with fdatasync off the event loop.
 * Only what is before `size` is durable and is ever read back.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TownError } from '../ledger/ids.js';
import { syncFolder } from './durable-file.js';
import { lineBytesMax, parseJson, parseRecord } from './parse.js';
import type { GateRecord } from './shapes.js';

const newline = 0x0a;
const queueMax = 20_000;

export interface JournalPage {
  readonly records: readonly GateRecord[];
  /** Where the next page begins. */
  readonly next: number;
  /** Lines that are not records. */
  readonly bad: readonly string[];
}

/** Where an appended line stands in the file, in bytes. */
export interface Place {
  readonly start: number;
  readonly end: number;
}

interface Waiting {
  readonly bytes: Buffer;
  readonly done: (place: Place) => void;
  readonly failed: (error: Error) => void;
}

export class Journal {
  #size: number;
  #lines: number;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #work: Promise<void> | null = null;
  #failed: TownError | null = null;

  private constructor(
    readonly path: string,
    readonly sizeMax: number,
    private readonly handle: FileHandle,
    size: number,
    lines: number,
  ) {
    this.#size = size;
    this.#lines = lines;
  }

  /** Opens or makes the journal. A torn last line (never confirmed to anyone) is cut off silently. */
  static async open(path: string, sizeMax: number): Promise<Journal> {
    const handle = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
    const { size: found } = await handle.stat();
    const { size, lines } = await measure(handle, found);
    if (size < found) {
      await handle.truncate(size);
      await handle.datasync();
    }
    await syncFolder(dirname(path));
    return new Journal(path, sizeMax, handle, size, lines);
  }

  /** Durable bytes. */
  get size(): number {
    return this.#size;
  }

  /** Durable lines. */
  get lines(): number {
    return this.#lines;
  }

  get idle(): boolean {
    return this.#queue.length === 0 && this.#work === null;
  }

  /** Set once the disk has failed: from then on nothing is appended. */
  get failed(): TownError | null {
    return this.#failed;
  }

  /**
   * Appends a record; resolves when it is on disk. Those that wait together share one fdatasync.
   * Rejects with `journal-full` at the size bound, `journal-failed` when the disk does not take it.
   */
  append(record: GateRecord): Promise<Place> {
    if (this.#failed !== null) return Promise.reject(this.#failed);
    const bytes = Buffer.from(JSON.stringify(record) + '\n');
    if (this.#size + this.#queuedBytes + bytes.length > this.sizeMax || this.#queue.length >= queueMax)
      return Promise.reject(
        new TownError(
          'journal-full',
          `The gate's journal has reached ${this.sizeMax} bytes.`,
          'Start the daemon.',
        ),
      );
    this.#queuedBytes += bytes.length;
    const place = new Promise<Place>((done, failed) => this.#queue.push({ bytes, done, failed }));
    this.#kick();
    return place;
  }

  #kick(): void {
    this.#work ??= this.#drain().finally(() => {
      this.#work = null;
      if (this.#queue.length > 0) this.#kick();
    });
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      const bytes = Buffer.concat(batch.map((waiting) => waiting.bytes));
      const error = await this.#write(bytes);
      this.#queuedBytes -= bytes.length;
      if (error === null) this.#lines += batch.length;
      for (const waiting of batch) {
        if (error !== null) {
          waiting.failed(error);
          continue;
        }
        const start = this.#size;
        this.#size += waiting.bytes.length;
        waiting.done({ start, end: this.#size });
      }
    }
  }

  async #write(bytes: Buffer): Promise<TownError | null> {
    if (this.#failed !== null) return this.#failed;
    try {
      await this.handle.appendFile(bytes);
    } catch (error) {
      // A full disk may have space again later: back to the last whole line, and go on.
      const refused = new TownError('journal-failed', `The disk did not take a record: ${String(error)}`);
      await this.handle.truncate(this.#size).catch(() => (this.#failed = refused));
      return refused;
    }
    try {
      await this.handle.datasync();
      return null;
    } catch (error) {
      // After a failed fsync the kernel may call the lost pages clean: this file is not to be trusted again.
      this.#failed = new TownError(
        'journal-failed',
        `The disk failed: ${String(error)}`,
        'Replace the card or disk.',
      );
      return this.#failed;
    }
  }

  /** Up to `limit` records from the byte `from`, in the order they were written. */
  async read(from: number, limit: number): Promise<JournalPage> {
    const wanted = Math.min(this.#size - from, 1024 * 1024);
    const buffer = Buffer.allocUnsafe(wanted);
    const { bytesRead } = await this.handle.read(buffer, 0, wanted, from);
    if (wanted > 0 && bytesRead === 0) throw new TownError('journal-failed', 'The journal has shrunk.');
    const records: GateRecord[] = [];
    const bad: string[] = [];
    let at = 0;
    while (records.length < limit) {
      const end = buffer.subarray(0, bytesRead).indexOf(newline, at);
      if (end === -1) break;
      const line = buffer.toString('utf8', at, end);
      at = end + 1;
      try {
        if (line.length > lineBytesMax) throw new TownError('bad-message', 'too long');
        records.push(parseRecord(parseJson(line)));
      } catch {
        bad.push(line);
      }
    }
    if (at === 0 && bytesRead > 0) {
      // A megabyte without a newline is no record of ours: take it whole, as one corrupt line.
      bad.push(buffer.toString('latin1', 0, bytesRead));
      at = bytesRead;
    }
    return { records, next: from + at, bad };
  }

  /** Empties the journal, durably, unless something was appended behind `upTo`. Resolves to whether it did. */
  async clear(upTo: number): Promise<boolean> {
    if (!this.idle || this.#failed !== null || this.#size !== upTo) return false;
    let cleared = false;
    this.#work = (async () => {
      await this.handle.truncate(0);
      await this.handle.datasync();
      this.#size = 0;
      this.#lines = 0;
      cleared = true;
    })()
      .catch((error: unknown) => {
        this.#failed = new TownError('journal-failed', `The journal could not be emptied: ${String(error)}`);
      })
      .finally(() => {
        this.#work = null;
        if (this.#queue.length > 0) this.#kick();
      });
    await this.#work;
    return cleared;
  }

  /** Keeps corrupt lines beside the journal for people to look at; nothing is thrown away. */
  async setAside(lines: readonly string[], now: number): Promise<string> {
    const path = `${dirname(this.path)}/journal.bad-${now}`;
    const handle = await open(path, 'a', 0o600);
    try {
      await handle.appendFile(lines.map((line) => line + '\n').join(''));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncFolder(dirname(path));
    return path;
  }

  /** Resolves when nothing is being written; with appends coming without end, it waits as long. */
  async whenIdle(): Promise<void> {
    while (this.#work !== null) await this.#work;
  }

  /** Waits for what was accepted, then closes the file. */
  async close(): Promise<void> {
    await this.whenIdle();
    await this.handle.close();
  }
}

/** Counts lines and finds the end of the last whole one. */
async function measure(handle: FileHandle, found: number): Promise<{ size: number; lines: number }> {
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  let size = 0;
  let lines = 0;
  for (let at = 0; at < found;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) break;
    const part = buffer.subarray(0, bytesRead);
    for (let end = part.indexOf(newline); end !== -1; end = part.indexOf(newline, end + 1)) {
      lines += 1;
      size = at + end + 1;
    }
    at += bytesRead;
  }
  return { size, lines };
}
