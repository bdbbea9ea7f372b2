/**
 * Packs whose objects are all in another pack by now. They stay for a while, for who reads with stock git at this moment,
 * and are then removed. The list is written before the pack that replaces them has its name: it counts once that is there.
 */
import { join } from 'node:path';
import { PackIndex } from './pack-index.js';
import type { PackDisk } from './pack-disk.js';

/** `by` has every object of `pack`. Names without `pack-` and ending. */
export interface Superseded {
  readonly by: string;
  readonly pack: string;
}

/** In the repository. */
export const supersededFile = 'objects/info/superseded-packs';
const fileOf = (gitdir: string): string => join(gitdir, supersededFile);
const packFile = (gitdir: string, name: string, ending: string): string =>
  join(gitdir, 'objects', 'pack', `pack-${name}.${ending}`);
/** Files beside a pack that git made for it, and that mean nothing without it. */
const companions = ['rev', 'bitmap'];
const multiPackIndex = /^multi-pack-index(-[0-9a-f]+\.(bitmap|rev))?$/;
/** Who made such a file wants the pack to stay. */
export const wantedBy = ['keep', 'promisor', 'mtimes'];

/** What the text of the list says. */
export function supersededIn(text: string): Superseded[] {
  return [...text.matchAll(/^([0-9a-f]{40}) ([0-9a-f]{40})$/gm)].map(([, by, pack]) => ({
    by: by!,
    pack: pack!,
  }));
}

/** What the list says of packs that are replaced indeed. */
export function readSuperseded(gitdir: string, disk: PackDisk): Superseded[] {
  const here = new Set(disk.list(join(gitdir, 'objects', 'pack')));
  return supersededIn(disk.text(fileOf(gitdir))).filter(
    ({ by, pack }) =>
      by !== pack &&
      here.has(`pack-${by}.pack`) &&
      here.has(`pack-${by}.idx`) &&
      here.has(`pack-${pack}.pack`),
  );
}

/** Puts the list in place of the one before. Durable when it returns. */
export function writeSuperseded(gitdir: string, list: readonly Superseded[], disk: PackDisk): void {
  const file = fileOf(gitdir);
  const temp = `${file}.tmp`;
  disk.unlink(temp);
  if (list.length === 0) disk.unlink(file);
  else {
    writeWhole(disk, temp, Buffer.from(list.map(({ by, pack }) => `${by} ${pack}\n`).join('')), 0o644);
    disk.rename(temp, file);
  }
  disk.syncFolder(join(gitdir, 'objects', 'info'));
}

/**
 * Removes the superseded packs, each only after its every object was found in the index of the pack that replaces it.
 * Being killed anywhere leaves what the next call removes.
 * @returns the names of the packs that are gone
 */
export function removeSuperseded(gitdir: string, disk: PackDisk): string[] {
  const folder = join(gitdir, 'objects', 'pack');
  const gone: string[] = [];
  const indexes = new Map<string, PackIndex>();
  const indexOf = (name: string): PackIndex => {
    let index = indexes.get(name);
    if (index === undefined) indexes.set(name, (index = readIndex(disk, packFile(gitdir, name, 'idx'))));
    return index;
  };
  const files = new Set(disk.list(folder));
  const list = readSuperseded(gitdir, disk).filter(
    ({ pack }) => !wantedBy.some((ending) => files.has(`pack-${pack}.${ending}`)),
  );
  for (const { by, pack } of list) {
    // Without its index it was half-removed already.
    if (files.has(`pack-${pack}.idx`) && !hasAll(indexOf(by), indexOf(pack))) continue;
    // It may name this pack; git does without it, and makes it anew when it is asked to.
    for (const file of files) if (multiPackIndex.test(file)) disk.unlink(join(folder, file));
    // Git sees a pack by its index: that goes first.
    for (const ending of ['idx', 'pack', ...companions]) disk.unlink(packFile(gitdir, pack, ending));
    gone.push(pack);
    indexes.delete(pack);
  }
  if (gone.length > 0) disk.syncFolder(folder);
  writeSuperseded(gitdir, [], disk);
  return gone;
}

function hasAll(whole: PackIndex, part: PackIndex): boolean {
  for (let position = 0; position < part.count; position += 1)
    if (whole.find(part.oid(position)) < 0) return false;
  return true;
}

/** A whole index. @throws PackError */
export function readIndex(disk: PackDisk, path: string): PackIndex {
  const file = disk.open(path, 'r');
  try {
    return new PackIndex(disk.read(file, 0, disk.size(file)));
  } finally {
    disk.close(file);
  }
}

/** Writes and syncs a new file, and takes it away again where that fails. Not yet durable in its folder. */
export function writeWhole(disk: PackDisk, path: string, bytes: Buffer, mode: number): void {
  const file = disk.open(path, 'wx', mode);
  try {
    disk.write(file, bytes);
    disk.sync(file);
  } catch (error) {
    disk.close(file);
    disk.unlink(path);
    throw error;
  }
  disk.close(file);
}
