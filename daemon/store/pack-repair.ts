/** Repairs packs from what still checks out in them and from other copies of their objects. The daemon must not run. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { GitObject } from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import { gitHash } from './database.js';
import { writeFileDurably } from './durable-file.js';
import { PackInspection, type Inspected } from './pack-check.js';
import { packDisk } from './pack-disk.js';
import { PackWriter } from './pack-writer.js';
import { GitObjects } from './repository-reader.js';
import { setAside } from './set-aside.js';
import { writeWhole } from './superseded.js';

export interface RepairJob {
  /** Packs that `checkPacks` found damaged, in pack or index. Without `pack-` and ending. */
  readonly packs: readonly string[];
  /** Loose objects that it found damaged. */
  readonly loose?: readonly Oid[];
  /** Other copies of what is damaged, or of what is missing altogether. */
  readonly objects?: readonly GitObject[];
}

export interface Repaired {
  /** The new pack; null where none was needed. */
  readonly pack: string | null;
  /** Packs whose index alone was made anew. */
  readonly indexes: readonly string[];
  /** Objects that still were right in the damaged packs. */
  readonly salvaged: number;
  /** Objects of the damaged files that are nowhere now. */
  readonly lost: readonly Oid[];
}

/**
 * Writes the given objects and what is right in the damaged packs into a new pack, and moves the damaged files to
 * `<gitdir>/damaged`. A pack whose index alone is damaged gets it anew. Durable when it resolves; being killed anywhere
 * leaves what the next call does.
 * @throws TownError `wrong-object` where a given object does not have its name
 */
export async function repairPacks(gitdir: string, job: RepairJob): Promise<Repaired> {
  const folder = join(gitdir, 'objects', 'pack');
  const given = new Map<Oid, GitObject>();
  for (const object of job.objects ?? []) {
    if (gitHash(object.data, object.type) !== object.oid)
      throw new TownError('wrong-object', `The bytes given for ${object.oid} do not have this name.`);
    given.set(object.oid, object);
  }
  const indexes: string[] = [];
  const damaged: string[] = [];
  for (const pack of job.packs) {
    if (!existsSync(join(folder, `pack-${pack}.pack`))) continue;
    if (await mendIndex(gitdir, pack)) indexes.push(pack);
    else damaged.push(pack);
  }
  const known = new Set<Oid>(job.loose);
  const good = new Set<Oid>();
  for (const pack of damaged)
    inspect(gitdir, pack, ({ oid, found }) => {
      known.add(oid);
      if (found !== null && found.type !== 'tag') good.add(found.oid);
    });
  for (const oid of given.keys()) good.delete(oid);
  const made = good.size + given.size > 0 ? writeRepaired(gitdir, damaged, good, given) : null;
  // The same bytes have the same name: then the damaged file has to go first.
  const same = made !== null && damaged.includes(made.name);
  if (made !== null && !same) place(folder, made);
  const aside = damaged.flatMap((pack) =>
    ['pack', 'idx', 'rev', 'bitmap'].map((ending) => join(folder, `pack-${pack}.${ending}`)),
  );
  const loose = (job.loose ?? []).map((oid) => join(gitdir, 'objects', oid.slice(0, 2), oid.slice(2)));
  if (aside.length > 0) await setAside(gitdir, aside);
  for (const path of loose) if (existsSync(path)) await setAside(gitdir, [path]);
  if (made !== null && same) place(folder, made);
  const objects = new GitObjects(gitdir);
  const lost: Oid[] = [];
  for (const oid of known) if (!(await objects.read(oid).catch(() => null))) lost.push(oid);
  await objects.close();
  return { pack: made?.name ?? null, indexes, salvaged: good.size, lost };
}

/** Gives a whole pack its index back. False: the pack is damaged too. */
async function mendIndex(gitdir: string, pack: string): Promise<boolean> {
  const path = join(gitdir, 'objects', 'pack', `pack-${pack}.idx`);
  if (!existsSync(path)) await writeFileDurably(path, '', 0o444);
  const inspection = new PackInspection(gitdir, pack);
  try {
    if (inspection.rebuilt === null) return false;
    await setAside(gitdir, [path]);
    await writeFileDurably(path, inspection.rebuilt, 0o444);
    return true;
  } finally {
    inspection.close();
  }
}

function inspect(gitdir: string, pack: string, take: (object: Inspected) => void): void {
  const inspection = new PackInspection(gitdir, pack);
  try {
    for (const object of inspection.objects()) take(object);
  } finally {
    inspection.close();
  }
}

interface Made {
  readonly name: string;
  readonly idx: Buffer;
  readonly temp: string;
}

/** The new pack under a temporary name, synced. */
function writeRepaired(
  gitdir: string,
  damaged: readonly string[],
  good: ReadonlySet<Oid>,
  given: ReadonlyMap<Oid, GitObject>,
): Made {
  const temp = join(gitdir, 'objects', 'pack', `tmp_pack_${randomBytes(8).toString('hex')}`);
  const file = packDisk.open(temp, 'wx', 0o444);
  try {
    const writer = new PackWriter(good.size + given.size, (bytes) => packDisk.write(file, bytes));
    const left = new Set(good);
    const add = ({ found }: Inspected): void => {
      if (found !== null && left.delete(found.oid))
        writer.add(Buffer.from(found.oid, 'hex'), found.type, found.data);
    };
    for (const pack of damaged) inspect(gitdir, pack, add);
    for (const { oid, type, data } of given.values())
      writer.add(Buffer.from(oid, 'hex'), type, Buffer.from(data));
    const { name, idx } = writer.end();
    packDisk.sync(file);
    return { name, idx, temp };
  } finally {
    packDisk.close(file);
  }
}

/** Pack first, index second: git sees a pack by its index. */
function place(folder: string, { name, idx, temp }: Made): void {
  const tempIdx = temp.replace('tmp_pack_', 'tmp_idx_');
  writeWhole(packDisk, tempIdx, idx, 0o444);
  packDisk.rename(temp, join(folder, `pack-${name}.pack`));
  packDisk.syncFolder(folder);
  packDisk.rename(tempIdx, join(folder, `pack-${name}.idx`));
  packDisk.syncFolder(folder);
}
