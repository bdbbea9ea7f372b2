/**
 * Git objects of a state that is fetched before the history behind it: a file of its own beside the repository, since nothing of it is
 * proven until all of it is here. Bounded; what a power cut leaves of it is used again, each object by its name.
 */
import { open, rm, type FileHandle } from 'node:fs/promises';
import type { GitObject } from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import { gitHash } from './database.js';
import type { ObjectSource } from './repository-reader.js';

/** What such a state may take on the disk. */
export const LATE_BYTES_MAX = 256 * 1024 * 1024;
/** A line: type, name, size. */
const HEADER_BYTES = 64;
const HEADER = /^(blob|tree|commit) ([0-9a-f]{40}) (\d{1,9}) *\n$/;

interface Place {
  readonly type: GitObject['type'];
  readonly at: number;
  readonly size: number;
}

export class LateObjects implements ObjectSource {
  private readonly places = new Map<Oid, Place>();
  private file: FileHandle | null = null;
  private isClosed = false;
  private end = 0;

  /** @param path of the file; it is there only while there is something in it */
  constructor(
    private readonly path: string,
    private readonly bytesMax = LATE_BYTES_MAX,
  ) {}

  /** Finds what an earlier start left. Once, before anything else. */
  async prepare(): Promise<void> {
    try {
      this.file = await open(this.path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    await this.find(this.file);
  }

  has(oid: Oid): boolean {
    return this.places.has(oid);
  }

  /** @throws TownError `no-such-object` where it is not here, or not whole */
  async read(oid: Oid): Promise<GitObject> {
    const place = this.places.get(oid);
    if (place !== undefined) {
      const data = await this.bytes(place.at, place.size);
      if (data.length === place.size && gitHash(data, place.type) === oid)
        return { oid, type: place.type, data };
      this.places.delete(oid);
    }
    throw new TownError('no-such-object', `There is no git object ${oid} here.`);
  }

  /** Keeps objects whose names were checked. @throws TownError `state-too-large`, `stopping` */
  async put(objects: readonly GitObject[]): Promise<void> {
    const parts: Uint8Array[] = [];
    let { end } = this;
    const fresh: [Oid, Place][] = [];
    for (const { oid, type, data } of objects) {
      const header = `${type} ${oid} ${data.length}`.padEnd(HEADER_BYTES - 1);
      parts.push(Buffer.from(`${header}\n`), data);
      fresh.push([oid, { type, at: end + HEADER_BYTES, size: data.length }]);
      end += HEADER_BYTES + data.length;
    }
    if (end > this.bytesMax)
      throw new TownError(
        'state-too-large',
        `The state of the town takes more than ${this.bytesMax} bytes: it is not fetched ahead of its history.`,
        'The node goes through the history, which takes longer.',
      );
    if (this.isClosed) throw new TownError('stopping', 'The node is stopping.');
    this.file ??= await open(this.path, 'w+', 0o600);
    const bytes = Buffer.concat(parts);
    await this.file.write(bytes, 0, bytes.length, this.end);
    this.end = end;
    for (const [oid, place] of fresh) this.places.set(oid, place);
  }

  /** Forgets all of it. */
  async clear(): Promise<void> {
    this.places.clear();
    this.end = 0;
    await this.letGo();
    await rm(this.path, { force: true });
  }

  /** What is here stays on the disk. */
  close(): Promise<void> {
    this.isClosed = true;
    return this.letGo();
  }

  private async letGo(): Promise<void> {
    const { file } = this;
    this.file = null;
    await file?.close();
  }

  /** Up to the first object that was cut short: it is written over. */
  private async find(file: FileHandle): Promise<void> {
    const { size: all } = await file.stat();
    for (;;) {
      const header = (await this.bytes(this.end, HEADER_BYTES)).toString('latin1');
      const [, type, oid, digits] = HEADER.exec(header) ?? [];
      const next = this.end + HEADER_BYTES + Number(digits);
      if (type === undefined || next > all) break;
      const place = { type: type as GitObject['type'], at: this.end + HEADER_BYTES, size: Number(digits) };
      this.places.set(oid as Oid, place);
      this.end = next;
    }
    if (this.end < all) await file.truncate(this.end);
  }

  private async bytes(at: number, size: number): Promise<Buffer> {
    if (this.file === null) return Buffer.alloc(0);
    const { bytesRead, buffer } = await this.file.read(Buffer.alloc(size), 0, size, at);
    return buffer.subarray(0, bytesRead);
  }
}
