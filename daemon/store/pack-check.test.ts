import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { blobObject, type GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { checkPacks } from './pack-check.js';
import { combinePacks } from './pack-combine.js';
import { packDisk } from './pack-disk.js';
import { repairPacks } from './pack-repair.js';
import { GitObjects } from './repository-reader.js';
import { removeSuperseded } from './superseded.js';
import {
  addPack,
  bareRepository,
  commitAll,
  git,
  packsOf,
  unreadable,
  versions,
} from './testing/pack-folders.js';

t.setTimeout(900_000);

const nameOf = (idx: string): string => /pack-([0-9a-f]{40})\.idx$/.exec(idx)![1]!;

/** A combined pack with deltas, a pack as a flush leaves it, what fast-import made, and a loose object. */
async function repository(t: Test): Promise<{ gitdir: string; objects: GitObject[] }> {
  const gitdir = bareRepository(t);
  const { blobs, trees } = versions(40);
  const all = [...blobs, ...trees];
  await addPack(gitdir, all.slice(0, 90));
  await addPack(gitdir, all.slice(90));
  combinePacks({ gitdir, packs: packsOf(gitdir).map(nameOf) }, packDisk, () => undefined);
  removeSuperseded(gitdir, packDisk);
  commitAll(gitdir, trees.slice(0, 5));
  const more = [blobObject(Buffer.from('one')), blobObject(Buffer.from('two '.repeat(500)))];
  await addPack(gitdir, more);
  const loose = blobObject(Buffer.from('loose'));
  const folder = join(gitdir, 'objects', loose.oid.slice(0, 2));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, loose.oid.slice(2)), deflateSync(Buffer.from(`blob 5\0loose`)), { mode: 0o444 });
  const source = new GitObjects(gitdir);
  const commits = git(gitdir, ['rev-list', '--all']).trim().split('\n') as Oid[];
  const made = await Promise.all(commits.map((oid) => source.read(oid)));
  await source.close();
  return { gitdir, objects: [...all, ...more, loose, ...made] };
}

function write(path: string, bytes: Buffer): void {
  rmSync(path, { force: true });
  writeFileSync(path, bytes);
}

function objectFiles(gitdir: string): string[] {
  const files = readdirSync(join(gitdir, 'objects'), { recursive: true, withFileTypes: true });
  return files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
}

async function allRead(gitdir: string, objects: Iterable<GitObject>): Promise<string[]> {
  const source = new GitObjects(gitdir);
  const bad = await unreadable(source, objects);
  await source.close();
  return bad;
}

t.test('a bit that is flipped anywhere in packs, indexes or loose objects is found', async (t) => {
  const { gitdir, objects } = await repository(t);
  const shares: number[] = [];
  t.same(await checkPacks(gitdir, (done, total) => shares.push(done / total)), []);
  t.equal(shares.at(-1), 1);
  t.same(
    shares,
    shares.toSorted((a, b) => a - b),
    'progress only rises',
  );
  const files = objectFiles(gitdir).filter((file) => !/\.(rev|bitmap)$/.test(file));
  t.ok(files.length >= 7);
  let flips = 0;
  for (const file of files) {
    const whole = readFileSync(file);
    const bits = whole.length * 8;
    // Every part of a file, with a step that meets every bit of a byte.
    const step = Math.max(1, Math.floor(bits / 24)) | 1;
    for (let bit = flips % step; bit < bits; bit += step) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      write(file, flipped);
      const problems = await checkPacks(gitdir);
      const told = problems.some(({ pack, oid }) => file.includes(pack ?? oid!.slice(2)));
      // A few bits at the end of a zlib stream mean nothing; those of a pack have a CRC, those of a loose object do not.
      if (
        !told &&
        (file.endsWith('.pack') || file.endsWith('.idx') || (await allRead(gitdir, objects)).length > 0)
      )
        t.fail(`bit ${bit} of ${file} is not found: ${JSON.stringify(problems)}`);
      flips += 1;
    }
    write(file, whole.subarray(0, whole.length - 3));
    if ((await checkPacks(gitdir)).length === 0) t.fail(`${file}, cut short, is not found`);
    write(file, whole);
  }
  t.ok(flips > 100, `${flips} flips`);
  t.same(await checkPacks(gitdir), []);
  const [first] = packsOf(gitdir);
  rmSync(first!, { force: true });
  t.match(await checkPacks(gitdir), [{ file: /idx$/, what: /missing/ }]);
});

t.test('damage is repaired from what is right and from other copies; what is nowhere is named', async (t) => {
  const { gitdir: whole, objects } = await repository(t);
  const byOid = new Map<Oid, GitObject>(objects.map((object) => [object.oid, object]));
  const files = objectFiles(whole).filter((file) => !/\.(rev|bitmap)$/.test(file));
  let rounds = 0;
  for (const [number, file] of [...files, ...files].entries()) {
    const gitdir = bareRepository(t);
    cpSync(whole, gitdir, { recursive: true });
    const path = file.replace(whole, gitdir);
    const bytes = readFileSync(path);
    const at = Math.floor(bytes.length * (number < files.length ? 0.4 : 0.9));
    bytes[at]! ^= 0x10;
    write(path, bytes);
    const problems = await checkPacks(gitdir);
    const packs = [...new Set(problems.map(({ pack }) => pack).filter((pack) => pack !== null))];
    const loose = problems.filter(({ pack }) => pack === null).map(({ oid }) => oid!);
    const first = await repairPacks(gitdir, { packs, loose });
    t.same(await checkPacks(gitdir), [], `what is left is sound: ${path.slice(gitdir.length)}`);
    if (!existsSync(join(gitdir, 'damaged'))) t.fail('the damaged file is not kept');
    if (path.endsWith('.idx')) t.same(first.lost, [], 'an index costs nothing');
    const copies = first.lost.map((oid) => byOid.get(oid)!);
    const second = await repairPacks(gitdir, { packs: [], objects: copies });
    t.same(second.lost, []);
    const bad = await allRead(gitdir, objects);
    t.same(bad, []);
    git(gitdir, ['fsck', '--strict', '--full']);
    if (first.lost.length > 0) rounds += 1;
    rmSync(gitdir, { recursive: true });
  }
  t.ok(rounds > 0, `${rounds} rounds had lost something`);
  const wrong = { ...objects[0]!, data: Buffer.from('other') };
  await t.rejects(repairPacks(whole, { packs: [], objects: [wrong] }), { code: 'wrong-object' });
  t.ok(statSync(whole).isDirectory());
});
