/** Holds every byte of a repository's packs and loose objects against what they should be. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import type { Oid } from '../ledger/ids.js';
import { gitHash } from './database.js';
import { packDisk, type PackDisk } from './pack-disk.js';
import {
  PackError,
  checksumBytes,
  crcOf,
  objectBytesMax,
  packHeaderBytes,
  readPackHeader,
} from './pack-format.js';
import { PackIndex } from './pack-index.js';
import { BaseCache, PackReader, type PackedObject, type Reading } from './pack-reader.js';
import { rebuiltIndex } from './pack-rebuild.js';

export interface PackProblem {
  /** The file, from the repository on: `objects/pack/pack-….pack`. */
  readonly file: string;
  /** Without `pack-` and ending; null for a loose object. */
  readonly pack: string | null;
  /** The object that cannot be read; null where it is about the file itself. */
  readonly oid: Oid | null;
  /** What is wrong, as the end of a sentence about the file. */
  readonly what: string;
}

/** Problems told of one pack: more say nothing new. */
const problemsMax = 1_000;
const chunkBytes = 256 * 1024;
const baseBytesMax = 16 * 1024 * 1024;
/** Lets other work in after so many objects. */
const objectsPerTurn = 64;
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Checks each pack (its checksum, each entry's CRC, each object by its name, nothing between the entries), each index
 * and each loose object. Reads only; packs that go away meanwhile are left out.
 * @param onProgress bytes checked so far, and of how many
 */
export async function checkPacks(
  gitdir: string,
  onProgress: (done: number, total: number) => void = () => undefined,
): Promise<PackProblem[]> {
  const folder = join(gitdir, 'objects', 'pack');
  const files = new Set(packDisk.list(folder));
  const names = [...files].map((file) => /^pack-([0-9a-f]{40})\.(pack|idx)$/.exec(file)?.[1]);
  const packs = [...new Set(names.filter((name) => name !== undefined))];
  const total = packs.reduce((sum, name) => sum + sizeOf(join(folder, `pack-${name}.pack`)), 0);
  const problems: PackProblem[] = [];
  let done = 0;
  for (const pack of packs) {
    const told: PackProblem[] = [];
    const problem = (ending: 'pack' | 'idx', oid: Oid | null, what: string): void => {
      if (told.length < problemsMax)
        told.push({ file: `objects/pack/pack-${pack}.${ending}`, pack, oid, what });
    };
    const bytes = sizeOf(join(folder, `pack-${pack}.pack`));
    if (!files.has(`pack-${pack}.pack`)) problem('pack', null, 'is missing, and its index is there');
    else if (!files.has(`pack-${pack}.idx`)) problem('idx', null, 'is missing, and its pack is there');
    else {
      const progress = (at: number): void => onProgress(done + at, total);
      await checkPack(gitdir, pack, problem, progress).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
        told.length = 0;
      });
    }
    problems.push(...told);
    onProgress((done += bytes), total);
  }
  return [...problems, ...(await checkLoose(gitdir))];
}

async function checkPack(
  gitdir: string,
  name: string,
  problem: (ending: 'pack' | 'idx', oid: Oid | null, what: string) => void,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const inspection = new PackInspection(gitdir, name);
  try {
    const { indexTrouble } = inspection;
    if (indexTrouble !== null) problem('idx', null, indexTrouble);
    const packTrouble = await inspection.packTrouble();
    if (packTrouble !== null) problem('pack', null, packTrouble);
    let count = 0;
    for (const { oid, end, found, what, crcRight } of inspection.objects()) {
      if (what !== null) problem('pack', oid, what);
      else if (found !== null && found.oid !== oid)
        problem('pack', oid, `has an object at its place whose name is ${found.oid}`);
      else if (!crcRight) problem('idx', oid, 'has another CRC for it than the pack');
      count += 1;
      if (count % objectsPerTurn !== 0) continue;
      onProgress(end);
      await nextTurn();
    }
  } finally {
    inspection.close();
  }
}

/** One object of a pack, as far as it can be read. */
export interface Inspected {
  /** The name it has in the index. */
  readonly oid: Oid;
  /** Where its entry ends. */
  readonly end: number;
  readonly found: (PackedObject & { readonly oid: Oid }) | null;
  /** Why it cannot be read. */
  readonly what: string | null;
  readonly crcRight: boolean;
}

/** A pack that may be damaged, in pack and index. Reads on the caller's thread. */
export class PackInspection {
  /** What is wrong with the index; null: nothing. */
  readonly indexTrouble: string | null;
  /** The index made anew where that was possible and needed. */
  readonly rebuilt: Buffer | null = null;
  readonly #file: number;
  readonly #bytes: number;
  readonly #name: string;
  readonly #idx: Buffer;
  readonly #index: PackIndex | null;
  readonly #cache = new BaseCache(baseBytesMax);

  constructor(
    gitdir: string,
    name: string,
    private readonly disk: PackDisk = packDisk,
  ) {
    const path = join(gitdir, 'objects', 'pack', `pack-${name}`);
    this.#name = name;
    this.#file = disk.open(`${path}.pack`, 'r');
    this.#bytes = disk.size(this.#file);
    let idx = wholeFile(disk, `${path}.idx`);
    let trouble: string | null = null;
    try {
      const index = new PackIndex(idx);
      const own = this.#checksum().toString('hex');
      if (index.packChecksum !== own) trouble = 'is that of another pack';
    } catch (error) {
      if (!(error instanceof PackError)) throw error;
      trouble = `is damaged: ${error.message}`;
    }
    this.indexTrouble = trouble;
    if (trouble !== null) {
      const rebuilt = unlessDamaged(() => rebuiltIndex(disk, `${path}.pack`));
      if (rebuilt !== null) this.rebuilt = idx = rebuilt;
    }
    this.#idx = idx;
    // A damaged index is better than none: what it leads to is named by its own bytes.
    this.#index = unlessDamaged(() => new PackIndex(idx, true));
  }

  close(): void {
    this.disk.close(this.#file);
  }

  /** What is wrong with the pack as a file; null: nothing. */
  async packTrouble(): Promise<string | null> {
    const end = this.#bytes - checksumBytes;
    if (end < packHeaderBytes) return 'is cut short';
    const hash = createHash('sha1');
    for (let at = 0; at < end; at += chunkBytes) {
      hash.update(this.disk.read(this.#file, at, Math.min(chunkBytes, end - at)));
      await nextTurn();
    }
    if (!hash.digest().equals(this.#checksum())) return 'does not have its checksum';
    try {
      const count = readPackHeader(this.disk.read(this.#file, 0, packHeaderBytes));
      return count === this.#index?.count ? null : 'has another number of objects than its index';
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** The objects in the order of the pack, each read and named by its bytes. */
  *objects(): Generator<Inspected, void, void> {
    const index = this.#index;
    if (index === null) return;
    const order = unlessDamaged(() => index.byOffset());
    const reader = unlessDamaged(() => PackReader.trusting(this.#name, this.#bytes, this.#idx));
    if (order === null || reader === null) return;
    const { positions, offsets } = order;
    for (const [place, position] of positions.entries()) {
      const at = offsets[position]!;
      const next =
        place + 1 < positions.length ? offsets[positions[place + 1]!]! : this.#bytes - checksumBytes;
      const oid = index.oid(position).toString('hex') as Oid;
      // Entries of git stand close together; what is larger than any is no entry.
      const length = Math.min(Math.max(0, next - at), objectBytesMax);
      const crcRight = crcOf(this.disk.read(this.#file, at, length)) === index.crc(position);
      try {
        const object = this.#answered(reader.object(at, this.#cache));
        const found = { ...object, oid: gitHash(object.data, object.type) as Oid };
        yield { oid, end: next, found, what: null, crcRight };
      } catch (error) {
        if (!(error instanceof PackError)) throw error;
        yield { oid, end: next, found: null, what: `is damaged there: ${error.message}`, crcRight };
      }
    }
  }

  #checksum(): Buffer {
    return this.disk.read(this.#file, Math.max(0, this.#bytes - checksumBytes), checksumBytes);
  }

  #answered<T>(reading: Reading<T>): T {
    let step = reading.next();
    while (step.done !== true) {
      const { file, at, length } = step.value;
      step = reading.next(
        file === 'idx' ? this.#idx.subarray(at, at + length) : this.disk.read(this.#file, at, length),
      );
    }
    return step.value;
  }
}

async function checkLoose(gitdir: string): Promise<PackProblem[]> {
  const problems: PackProblem[] = [];
  const folders = packDisk.list(join(gitdir, 'objects')).filter((name) => /^[0-9a-f]{2}$/.test(name));
  for (const folder of folders) {
    for (const rest of packDisk.list(join(gitdir, 'objects', folder))) {
      if (!/^[0-9a-f]{38}$/.test(rest) || problems.length >= problemsMax) continue;
      const file = `objects/${folder}/${rest}`;
      const oid = `${folder}${rest}` as Oid;
      const right = looseHash(join(gitdir, file)) === oid;
      if (!right)
        problems.push({ file, pack: null, oid, what: 'is damaged: its bytes do not have this name' });
    }
    await nextTurn();
  }
  return problems;
}

/** The name of a loose object by its bytes; null where it does not inflate. Gone meanwhile: its own name. */
function looseHash(path: string): string | null {
  try {
    return createHash('sha1')
      .update(inflateSync(wholeFile(packDisk, path), { maxOutputLength: objectBytesMax }))
      .digest('hex');
  } catch (error) {
    return isMissing(error) ? path.slice(-41).replace('/', '') : null;
  }
}

function wholeFile(disk: PackDisk, path: string): Buffer {
  const file = disk.open(path, 'r');
  try {
    return disk.read(file, 0, disk.size(file));
  } finally {
    disk.close(file);
  }
}

function sizeOf(path: string): number {
  try {
    const file = packDisk.open(path, 'r');
    const size = packDisk.size(file);
    packDisk.close(file);
    return size;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}

function unlessDamaged<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    // A count or an offset that is damaged may also lead outside of a buffer.
    if (error instanceof PackError || error instanceof RangeError) return null;
    throw error;
  }
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
