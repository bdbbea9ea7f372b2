/** The files of a bare git repository, written so that no power cut leaves one half-written. */
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Oid } from '../ledger/ids.js';
import { configText } from './git-config.js';
import { makeFolderDurably, syncFolder, writeFileDurably, writeSynced } from './durable-file.js';
import type { PackFiles } from './pack.js';
import { packDisk } from './pack-disk.js';
import { PackError } from './pack-format.js';
import { rebuiltIndex } from './pack-rebuild.js';
import { setAside } from './set-aside.js';
import { supersededFile, supersededIn } from './superseded.js';
import type { Ref } from './rows.js';

/** A stock git that holds the lock of a ref is waited for this long; a longer one is dead. */
const lockWaitMs = 2_000;
const lockStepMs = 50;
/** Folders of refs are walked no deeper. */
const refDepthMax = 8;

export class RepositoryFiles {
  readonly #folder: string;
  readonly #packs: string;
  /** What the loose refs say, by name; so that only moved ones are written. */
  #loose = new Map<string, string>();

  constructor(folder: string) {
    this.#folder = folder;
    this.#packs = join(folder, 'objects', 'pack');
  }

  /** Makes the repository or what is missing of it, and clears away what a killed process left half-written. */
  async prepare(allowedSigners: string): Promise<void> {
    for (const folder of ['objects/pack', 'objects/info', 'refs/heads', 'refs/tags', 'info']) {
      await makeFolderDurably(join(this.#folder, folder));
    }
    await this.#keep('config', configText(await this.#text('config'), allowedSigners));
    await this.#keep('description', 'The ledger of a town: every block and merge, signed.\n');
    await this.#clearPacks();
    await this.#walkRefs();
    // Git takes a folder for a repository once it has a HEAD: last, so that there is never half of one.
    await this.#keep('HEAD', 'ref: refs/heads/main\n');
  }

  /** Pack first, index second: git sees a pack by its index. Durable when it resolves. */
  async addPack({ pack, idx, name }: PackFiles): Promise<void> {
    // Names of git's own temporary packs: its gc removes them too.
    const temps = { pack: join(this.#packs, `tmp_pack_${name}`), idx: join(this.#packs, `tmp_idx_${name}`) };
    for (const temp of Object.values(temps)) await unlink(temp).catch(() => undefined);
    await writeSynced(temps.pack, pack, 0o444);
    await writeSynced(temps.idx, idx, 0o444);
    await rename(temps.pack, join(this.#packs, `pack-${name}.pack`));
    await syncFolder(this.#packs);
    await rename(temps.idx, join(this.#packs, `pack-${name}.idx`));
    await syncFolder(this.#packs);
  }

  /** Moves the refs that are elsewhere. What they point to must be durable. Durable when it resolves. */
  async putRefs(refs: readonly Ref[]): Promise<void> {
    const folders = new Set<string>();
    for (const { name, oid } of refs) {
      if (this.#loose.get(name) === oid) continue;
      const path = join(this.#folder, name);
      await makeFolderDurably(dirname(path));
      // Git's own lock file of this ref: a `git gc` beside us cannot take the old value for the current one.
      await writeLock(`${path}.lock`, `${oid}\n`);
      await rename(`${path}.lock`, path);
      folders.add(dirname(path));
      this.#loose.delete(name);
    }
    for (const folder of folders) await syncFolder(folder);
    for (const { name, oid } of refs) this.#loose.set(name, oid);
  }

  /** Every ref the repository has, loose or packed. */
  async refs(): Promise<Ref[]> {
    await this.#walkRefs();
    const all = new Map<string, string>();
    const packed = await this.#text('packed-refs');
    for (const [, oid, name] of packed.matchAll(/^([0-9a-f]{40}) (refs\/\S+)$/gm)) all.set(name!, oid!);
    for (const [name, oid] of this.#loose) all.set(name, oid);
    return [...all].map(([name, oid]) => ({ name, oid: oid as Oid }));
  }

  async #text(name: string): Promise<string> {
    return readFile(join(this.#folder, name), 'utf8').catch(() => '');
  }

  async #keep(name: string, text: string): Promise<void> {
    if ((await this.#text(name)) !== text) await writeFileDurably(join(this.#folder, name), text, 0o644);
  }

  /** Removes temporary files, superseded packs that are half gone, and indexes without a pack; gives a pack its index back. */
  async #clearPacks(): Promise<void> {
    const names = await readdir(this.#packs);
    const here = new Set(names);
    const superseded = new Set(supersededIn(await this.#text(supersededFile)).map(({ pack }) => pack));
    for (const name of names) {
      const path = join(this.#packs, name);
      const of = /^pack-([0-9a-f]{40})\.(pack|idx|rev|bitmap)$/.exec(name);
      if (name.startsWith('tmp_')) await unlink(path);
      else if (of === null) continue;
      else if (of[2] === 'pack') {
        if (!here.has(`pack-${of[1]}.idx`)) await this.#withoutIndex(of[1]!, superseded.has(of[1]!));
      } else if (!here.has(`pack-${of[1]}.pack`)) await unlink(path);
    }
  }

  /** What an interrupted flush leaves, or what somebody lost: its objects may be nowhere else. */
  async #withoutIndex(name: string, superseded: boolean): Promise<void> {
    const path = join(this.#packs, `pack-${name}.pack`);
    if (superseded) return unlink(path);
    try {
      const idx = rebuiltIndex(packDisk, path);
      await writeFileDurably(path.replace(/pack$/, 'idx'), idx, 0o444);
    } catch (error) {
      if (!(error instanceof PackError)) throw error;
      await setAside(this.#folder, [path]);
    }
  }

  /** Reads the loose refs anew; removes locks and torn files, which only a process that is gone can have left. */
  async #walkRefs(): Promise<void> {
    this.#loose = new Map();
    const walk = async (name: string, depth: number): Promise<void> => {
      for (const entry of await readdir(join(this.#folder, name), { withFileTypes: true })) {
        const child = `${name}/${entry.name}`;
        const path = join(this.#folder, child);
        if (entry.isDirectory() && depth < refDepthMax) await walk(child, depth + 1);
        if (!entry.isFile()) continue;
        const text = await readFile(path, 'utf8');
        const oid = /^([0-9a-f]{40})\n?$/.exec(text)?.[1];
        if (oid !== undefined && !child.endsWith('.lock')) this.#loose.set(child, oid);
        else if (!text.startsWith('ref: ')) await unlink(path);
      }
    };
    await walk('refs', 0);
  }
}

async function writeLock(path: string, text: string): Promise<void> {
  const deadline = performance.now() + lockWaitMs;
  for (;;) {
    try {
      return await writeSynced(path, text, 0o644);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, lockStepMs));
      else if (existsSync(path)) await unlink(path).catch(() => undefined);
    }
  }
}
