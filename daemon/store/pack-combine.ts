/**
 * Makes one pack of several, without git and without holding any of them in memory. The new pack and its index are durable
 * before anything says that the old ones are superseded; being killed anywhere leaves a clean repository.
 */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import type { PackDisk } from './pack-disk.js';
import {
  PackError,
  checksumBytes,
  crcOf,
  headBytesMax,
  readEntryHead,
  type EntryHead,
} from './pack-format.js';
import type { PackIndex } from './pack-index.js';
import { BaseCache, PackReader, type PackedObject, type Reading } from './pack-reader.js';
import { PackWriter, chainMax, type Written } from './pack-writer.js';
import { readIndex, readSuperseded, writeSuperseded, writeWhole } from './superseded.js';

/** Bytes of a pack read ahead, and gathered before they are written. */
const chunkBytes = 256 * 1024;
/** After so many bytes written they are brought to the disk, so that no other sync has to wait for much of them. */
const bytesPerSync = 1024 * 1024;
const baseBytesMax = 8 * 1024 * 1024;

/** A pack has objects that are not of a ledger (tags): somebody else's, left alone. */
export class ForeignPack extends Error {
  override readonly name = 'ForeignPack';
  constructor(readonly pack: string) {
    super(`pack-${pack} has tags, which the daemon never writes: it is left as it is.`);
  }
}

export interface CombineJob {
  readonly gitdir: string;
  /** Names without `pack-` and ending, the oldest first. */
  readonly packs: readonly string[];
}

export interface Combined {
  readonly name: string;
  readonly objects: number;
  /** Of the new pack and of all packs it was made from. */
  readonly bytes: number;
  readonly bytesBefore: number;
}

/**
 * Combines the packs into a new one and lists them as superseded (`removeSuperseded` takes them away).
 * Every entry read is held against its CRC, every object that is packed anew against its name; damage ends it, and
 * leaves all as it was.
 * @param rest called after each piece brought to the disk, with the milliseconds that took
 * @throws PackError, ForeignPack, and what the disk throws
 */
export function combinePacks(job: CombineJob, disk: PackDisk, rest: (ms: number) => void): Combined {
  const folder = join(job.gitdir, 'objects', 'pack');
  const sources: Source[] = [];
  const temp = randomBytes(8).toString('hex');
  const temps = { pack: join(folder, `tmp_pack_${temp}`), idx: join(folder, `tmp_idx_${temp}`) };
  try {
    for (const name of job.packs) sources.push(new Source(disk, folder, name));
    const made = new Sink(disk, temps.pack, rest).fill((put) => writeAll(sources, put));
    writeWhole(disk, temps.idx, made.idx, 0o444);
    const superseded = job.packs
      .filter((pack) => pack !== made.name)
      .map((pack) => ({ by: made.name, pack }));
    writeSuperseded(job.gitdir, [...readSuperseded(job.gitdir, disk), ...superseded], disk);
    disk.rename(temps.pack, join(folder, `pack-${made.name}.pack`));
    disk.syncFolder(folder);
    disk.rename(temps.idx, join(folder, `pack-${made.name}.idx`));
    disk.syncFolder(folder);
    const bytesBefore = sources.reduce((sum, { bytes }) => sum + bytes, 0);
    return { name: made.name, objects: made.objects, bytes: made.bytes, bytesBefore };
  } finally {
    for (const source of sources) source.close();
    for (const path of Object.values(temps)) disk.unlink(path);
  }
}

function writeAll(sources: readonly Source[], put: (bytes: Buffer) => void) {
  const before = (source: Source): readonly Source[] => sources.slice(0, sources.indexOf(source));
  let objects = 0;
  for (const source of sources) objects += source.countWithout(before(source));
  const writer = new PackWriter(objects, put);
  for (const source of sources) source.writeTo(writer, before(source));
  return { ...writer.end(), objects };
}

/** One of the packs that are combined. */
class Source {
  readonly bytes: number;
  readonly #disk: PackDisk;
  readonly #name: string;
  readonly #index: PackIndex;
  readonly #files: { readonly pack: number; readonly idx: number };
  readonly #reader: PackReader;
  readonly #cache = new BaseCache(baseBytesMax);
  /** By place in the index: where the entry went in the new pack (0: not yet), and its depth there. */
  readonly #offsets: Uint32Array;
  readonly #depths: Uint8Array;
  #ahead: { readonly at: number; readonly bytes: Buffer } = { at: 0, bytes: Buffer.alloc(0) };

  constructor(disk: PackDisk, folder: string, name: string) {
    const path = join(folder, `pack-${name}`);
    this.#disk = disk;
    this.#name = name;
    this.#index = readIndex(disk, `${path}.idx`);
    this.#offsets = new Uint32Array(this.#index.count);
    this.#depths = new Uint8Array(this.#index.count);
    const idx = disk.open(`${path}.idx`, 'r');
    let pack: number | null = null;
    try {
      pack = disk.open(`${path}.pack`, 'r');
      this.#files = { pack, idx };
      this.bytes = disk.size(pack);
      this.#reader = this.#answered(PackReader.open(name, this.bytes, disk.size(idx)));
    } catch (error) {
      if (pack !== null) disk.close(pack);
      disk.close(idx);
      throw error;
    }
  }

  close(): void {
    this.#disk.close(this.#files.pack);
    this.#disk.close(this.#files.idx);
  }

  /** How many of its objects are in none of the others. */
  countWithout(others: readonly Source[]): number {
    let count = 0;
    for (let position = 0; position < this.#index.count; position += 1)
      if (!others.some((other) => other.#index.find(this.#index.oid(position)) >= 0)) count += 1;
    return count;
  }

  /** Where an object of this pack went. */
  #writtenAs(oid: Buffer): Written | null {
    const position = this.#index.find(oid);
    return position < 0 ? null : this.#written(position);
  }

  #written(position: number): Written | null {
    const offset = this.#offsets[position]!;
    return offset === 0 ? null : { offset, depth: this.#depths[position]! };
  }

  #place(position: number, { offset, depth }: Written): void {
    this.#offsets[position] = offset;
    this.#depths[position] = depth;
  }

  /** Adds what `others`, which were written before, do not have. */
  writeTo(writer: PackWriter, others: readonly Source[]): void {
    const { positions, offsets } = this.#index.byOffset();
    const end = this.bytes - checksumBytes;
    const plain = !this.#hasDeltas(positions, offsets);
    for (const [order, position] of positions.entries()) {
      const oid = this.#index.oid(position);
      const there = others.map((other) => other.#writtenAs(oid)).find((written) => written !== null);
      if (there !== undefined) {
        this.#place(position, there);
        continue;
      }
      const at = offsets[position]!;
      const next = order + 1 < positions.length ? offsets[positions[order + 1]!]! : end;
      this.#place(position, this.#copy(writer, oid, position, { at, next, plain, positions, offsets }));
    }
  }

  #copy(
    writer: PackWriter,
    oid: Buffer,
    position: number,
    from: { at: number; next: number; plain: boolean; positions: Uint32Array; offsets: Float64Array },
  ): Written {
    const entry = this.#bytes(from.at, from.next);
    if (crcOf(entry) !== this.#index.crc(position)) throw this.#damaged(oid, 'its CRC is another');
    const head = readEntryHead(entry);
    if (head.type === 'tag') throw new ForeignPack(this.#name);
    const body = entry.subarray(head.length);
    if (head.type === null) {
      const base = this.#baseWritten(head, from);
      if (base !== null && base.depth < chainMax) return writer.copyDelta(oid, head.size, body, base);
      return this.#anew(writer, oid, this.#answered(this.#reader.object(from.at, this.#cache)));
    }
    // Where there are deltas already their bases must stay whole, or chains would grow with each combining.
    if (!from.plain) return writer.copyWhole(oid, entry);
    return this.#anew(writer, oid, { type: head.type, data: this.#inflated(oid, body, head) });
  }

  #anew(writer: PackWriter, oid: Buffer, { type, data }: PackedObject): Written {
    const name = createHash('sha1').update(`${type} ${data.length}\0`).update(data).digest();
    if (!name.equals(oid)) throw this.#damaged(oid, 'its bytes do not have this name');
    return writer.add(oid, type, data);
  }

  #inflated(oid: Buffer, body: Buffer, head: EntryHead): Buffer {
    try {
      return inflateSync(body, { maxOutputLength: head.size + 1 });
    } catch {
      throw this.#damaged(oid, 'it does not inflate');
    }
  }

  /** Where the base of a delta went; null where it comes later in this pack. */
  #baseWritten(
    head: EntryHead,
    from: { at: number; positions: Uint32Array; offsets: Float64Array },
  ): Written | null {
    const { base } = head;
    if (base === null) return null;
    if ('oid' in base) return this.#writtenAs(Buffer.from(base.oid, 'hex'));
    const position = positionAt(from.at - base.back, from.positions, from.offsets);
    if (position === null) throw new PackError(`pack-${this.#name} has a delta without a base`);
    return this.#written(position);
  }

  #hasDeltas(positions: Uint32Array, offsets: Float64Array): boolean {
    return positions.some((position) => {
      const at = offsets[position]!;
      return readEntryHead(this.#bytes(at, Math.min(at + headBytesMax, this.bytes))).type === null;
    });
  }

  /** Bytes of the pack, mostly in rising order. */
  #bytes(from: number, to: number): Buffer {
    const { at, bytes } = this.#ahead;
    if (from < at || to > at + bytes.length) {
      const length = Math.max(to - from, Math.min(chunkBytes, this.bytes - from));
      this.#ahead = { at: from, bytes: this.#disk.read(this.#files.pack, from, length) };
    }
    const found = this.#ahead.bytes.subarray(from - this.#ahead.at, to - this.#ahead.at);
    if (from >= to || found.length !== to - from) throw new PackError(`pack-${this.#name} is cut short`);
    return found;
  }

  #answered<T>(reading: Reading<T>): T {
    let step = reading.next();
    while (step.done !== true) {
      const { file, at, length } = step.value;
      step = reading.next(this.#disk.read(this.#files[file], at, length));
    }
    return step.value;
  }

  #damaged(oid: Buffer, what: string): PackError {
    return new PackError(`the git object ${oid.toString('hex')} in pack-${this.#name} is damaged: ${what}`);
  }
}

/** The place in the index of the entry at an offset. */
function positionAt(offset: number, positions: Uint32Array, offsets: Float64Array): number | null {
  let low = 0;
  let high = positions.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const found = offsets[positions[middle]!]!;
    if (found === offset) return positions[middle]!;
    if (found < offset) low = middle + 1;
    else high = middle;
  }
  return null;
}

/** Gathers what is written, and brings it to the disk piece by piece. */
class Sink {
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #unsynced = 0;

  constructor(
    private readonly disk: PackDisk,
    private readonly path: string,
    private readonly rest: (ms: number) => void,
  ) {}

  /** Makes the file, synced when it returns. */
  fill<T>(write: (put: (bytes: Buffer) => void) => T): T {
    const file = this.disk.open(this.path, 'wx', 0o444);
    try {
      const result = write((bytes) => {
        this.#gathered.push(bytes);
        this.#gatheredBytes += bytes.length;
        if (this.#gatheredBytes >= chunkBytes) this.#writeOut(file);
      });
      this.#writeOut(file);
      this.disk.sync(file);
      return result;
    } finally {
      this.disk.close(file);
    }
  }

  #writeOut(file: number): void {
    this.disk.write(file, Buffer.concat(this.#gathered));
    this.#unsynced += this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    if (this.#unsynced < bytesPerSync) return;
    this.#unsynced = 0;
    const began = performance.now();
    this.disk.sync(file);
    this.rest(performance.now() - began);
  }
}
