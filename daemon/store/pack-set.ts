/**
 * The packs of a repository as one place to read from, while others add packs, combine them and take them away:
 * what is open stays readable when it is unlinked, and a miss looks for new packs before it says so.
 */
import fs from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PackError } from './pack-format.js';
import { BaseCache, PackReader, type PackedObject, type ReadRequest, type Reading } from './pack-reader.js';

const openFile = promisify(fs.open);
const closeFile = promisify(fs.close);

/** Bytes of bases kept for further deltas. */
const baseBytesMax = 4 * 1024 * 1024;
/** Packs held open; others are opened when they are asked. */
const openMax = 24;
/** Packs of a repository that are looked through; a repository that has more was not made by us and needs a `git gc`. */
const packsMax = 4096;
/** A folder that changes at each look is looked at no more often. */
const looksMax = 20;

interface OpenPack {
  readonly reader: PackReader;
  readonly pack: number;
  readonly idx: number;
  users: number;
}

/** Closes what a forgotten set left open: sets are also made for one run and dropped. */
const leftOpen = new FinalizationRegistry<Map<string, OpenPack>>((packs) => {
  for (const { pack, idx } of packs.values()) {
    fs.close(pack, () => undefined);
    fs.close(idx, () => undefined);
  }
});

export class PackSet {
  readonly #folder: string;
  readonly #cache = new BaseCache(baseBytesMax);
  /** The one used last comes last. */
  readonly #open = new Map<string, OpenPack>();
  readonly #opening = new Map<string, Promise<OpenPack>>();
  #names: readonly string[] | null = null;
  #closed = false;

  /** @param folder `objects/pack` of a repository */
  constructor(folder: string) {
    this.#folder = folder;
    leftOpen.register(this, this.#open);
  }

  /**
   * One object of any pack; null where none has it. Its name is for the caller to check: `good` says whether the bytes
   * are the right ones, and where they are not the other packs are asked.
   * @throws PackError where packs have it, or may have had it, and none of them can be read
   */
  async read(oid: string, good: (found: PackedObject) => boolean): Promise<PackedObject | null> {
    const name = Buffer.from(oid, 'hex');
    let trouble: PackError | null = null;
    const asked = new Set<string>();
    for (let look = 0; look < looksMax; look += 1) {
      const names = look === 0 && this.#names !== null ? this.#names : await this.#look();
      const fresh = names.filter((pack) => !asked.has(pack));
      if (fresh.length === 0 && look > 0) break;
      for (const pack of this.#usedLastFirst(fresh)) {
        try {
          const found = await this.#ask(pack, (open) => object(open.reader, name, this.#cache));
          asked.add(pack);
          if (found !== null && good(found)) return found;
          if (found !== null) throw new PackError('its bytes do not have this name');
        } catch (error) {
          // Combined or collected since the last look: what it had is in a pack that the next look finds.
          if (isMissing(error)) continue;
          asked.add(pack);
          if (!(error instanceof PackError)) throw error;
          trouble ??= new PackError(`in pack-${pack}: ${error.message}`);
        }
      }
    }
    if (trouble !== null) throw trouble;
    return null;
  }

  /** The names of the packs there are now, without `pack-` and ending. */
  async names(): Promise<readonly string[]> {
    return this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#opening.values());
    for (const [name, { users }] of [...this.#open]) if (users === 0) await this.#shut(name);
  }

  async #look(): Promise<readonly string[]> {
    const files = new Set(await readdir(this.#folder).catch(() => []));
    const names = [...files]
      .filter((file) => /^pack-[0-9a-f]{40}\.idx$/.test(file) && files.has(file.replace(/idx$/, 'pack')))
      .map((file) => file.slice('pack-'.length, -'.idx'.length));
    if (names.length > packsMax)
      throw new PackError(`there are more than ${packsMax} packs in ${this.#folder}`);
    this.#names = names;
    for (const [name, { users }] of [...this.#open])
      if (users === 0 && !files.has(`pack-${name}.idx`)) await this.#shut(name);
    return names;
  }

  #usedLastFirst(names: readonly string[]): string[] {
    const some = new Set(names);
    const open = [...this.#open.keys()].filter((name) => some.delete(name));
    return [...open.reverse(), ...some];
  }

  async #ask<T>(name: string, question: (open: OpenPack) => Reading<T>): Promise<T> {
    let open = await this.#opened(name);
    // Closed for want of room in the moment since: open again.
    for (let tries = 0; this.#open.get(name) !== open && tries < openMax; tries += 1)
      open = await this.#opened(name);
    open.users += 1;
    try {
      const answer = await answered(question(open), open);
      this.#open.delete(name);
      this.#open.set(name, open);
      return answer;
    } finally {
      open.users -= 1;
      if (this.#closed && open.users === 0) await this.#shut(name);
    }
  }

  async #opened(name: string): Promise<OpenPack> {
    const here = this.#open.get(name);
    if (here !== undefined) return here;
    let opening = this.#opening.get(name);
    if (opening === undefined) {
      opening = openPack(this.#folder, name)
        .then((open) => {
          this.#open.set(name, open);
          return open;
        })
        .finally(() => this.#opening.delete(name));
      this.#opening.set(name, opening);
      // Whoever asks is told; until then files are closed to make room.
      opening.catch(() => undefined);
      for (const [oldest, { users }] of [...this.#open]) {
        if (this.#open.size < openMax) break;
        if (users === 0) await this.#shut(oldest);
      }
    }
    return opening;
  }

  async #shut(name: string): Promise<void> {
    const open = this.#open.get(name);
    if (open === undefined) return;
    this.#open.delete(name);
    await closeFile(open.pack);
    await closeFile(open.idx);
  }
}

function* object(reader: PackReader, oid: Buffer, cache: BaseCache): Reading<PackedObject | null> {
  const offset = yield* reader.find(oid);
  return offset === null ? null : yield* reader.object(offset, cache);
}

async function openPack(folder: string, name: string): Promise<OpenPack> {
  const path = join(folder, `pack-${name}`);
  const idx = await openFile(`${path}.idx`, 'r');
  let pack: number | null = null;
  try {
    pack = await openFile(`${path}.pack`, 'r');
    const files = { pack, idx };
    const [packBytes, idxBytes] = [fs.fstatSync(pack).size, fs.fstatSync(idx).size];
    const reader = await answered(PackReader.open(name, packBytes, idxBytes), files);
    return { reader, ...files, users: 0 };
  } catch (error) {
    await closeFile(idx);
    if (pack !== null) await closeFile(pack);
    throw error;
  }
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Runs a reading on open files, off this thread. */
async function answered<T>(reading: Reading<T>, files: { pack: number; idx: number }): Promise<T> {
  let step = reading.next();
  while (step.done !== true) step = reading.next(await bytesOf(files[step.value.file], step.value));
  return step.value;
}

function bytesOf(file: number, { at, length }: ReadRequest): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(Math.max(0, length));
  return new Promise((resolve, reject) => {
    fs.read(file, bytes, 0, bytes.length, Math.max(0, at), (error, count) => {
      if (error === null) resolve(bytes.subarray(0, count));
      else reject(error);
    });
  });
}
