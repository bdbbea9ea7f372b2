import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { blobObject, treeObject, type GitObject } from '../ledger/git-object.js';
import { combinePacks } from './pack-combine.js';
import { packDisk, type PackDisk } from './pack-disk.js';
import { PackMaintenance } from './pack-maintenance.js';
import { fullPackBytes, packsBeforeCombining, packsToCombine, type PackSize } from './pack-plan.js';
import { PackWriter, chainMax } from './pack-writer.js';
import { RepositoryFiles } from './repository-files.js';
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

// Hundreds of rounds, each with git: on a slow board they take their time.
t.setTimeout(900_000);

const noRest = (): void => undefined;
const nameOf = (idx: string): string => /pack-([0-9a-f]{40})\.idx$/.exec(idx)![1]!;
const sizeOf = (idx: string): number => statSync(idx.replace(/idx$/, 'pack')).size;
const depths = (gitdir: string): number[] =>
  [...git(gitdir, ['verify-pack', '-v', ...packsOf(gitdir)]).matchAll(/^chain length = (\d+)/gm)].map(
    ([, n]) => Number(n),
  );

async function allRead(gitdir: string, objects: Iterable<GitObject>): Promise<string[]> {
  const source = new GitObjects(gitdir);
  const bad = await unreadable(source, objects);
  await source.close();
  return bad;
}

t.test('the plan: few packs, each byte written anew seldom, full packs left alone', (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2 * fullPackBytes }), { maxLength: 40 }), (sizes) => {
      const packs = sizes.map((bytes, index) => ({ name: String(index), bytes }));
      const taken = new Set(packsToCombine(packs));
      const largest = Math.max(0, ...packs.filter(({ name }) => taken.has(name)).map(({ bytes }) => bytes));
      const sum = packs.reduce((bytes, pack) => bytes + (taken.has(pack.name) ? pack.bytes : 0), 0);
      return (
        taken.size !== 1 &&
        largest < fullPackBytes &&
        sum <= 2 * fullPackBytes &&
        packs.every(({ name, bytes }) => taken.has(name) || taken.size === 0 || bytes >= largest)
      );
    }),
  );
  let packs: PackSize[] = [];
  let written = 0;
  let most = 0;
  const flushes = 70_000;
  for (let flush = 0; flush < flushes; flush += 1) {
    packs.push({ name: `f${flush}`, bytes: 4_000 });
    for (let taken = packsToCombine(packs); taken.length > 0; taken = packsToCombine(packs)) {
      const bytes = packs.reduce((sum, pack) => sum + (taken.includes(pack.name) ? pack.bytes : 0), 0);
      packs = [...packs.filter(({ name }) => !taken.includes(name)), { name: `c${flush}`, bytes }];
      written += bytes;
    }
    most = Math.max(most, packs.length);
  }
  t.ok(most < packsBeforeCombining, `${most} packs at most after a year of flushes`);
  t.ok(
    written < 12 * flushes * 4_000,
    `each byte is written ${(written / flushes / 4_000).toFixed(1)} times more`,
  );
  t.same(packsToCombine(packs.slice(0, 3)), []);
  t.equal(packsToCombine(packs.slice(0, 3), true).length, 3);
  t.end();
});

t.test('any objects, written with deltas, are what git index-pack and fsck say they are', async (t) => {
  const gitdir = bareRepository(t);
  const text = fc.array(
    fc.constantFrom('{"available":', '"locked":0}', ' of member ', 'x'.repeat(40), '7', '\n'),
    {
      maxLength: 60,
    },
  );
  const file = join(gitdir, 'objects', 'pack', 'made.pack');
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 40 }), async (texts) => {
      const blobs = texts.map((words, index) => blobObject(Buffer.from(`"begin"${words.join('')}${index}`)));
      const trees = blobs.map((_, index) =>
        treeObject(
          blobs
            .slice(0, index + 1)
            .map(({ oid }, place) => ({ name: `f${place}`, oid, kind: 'file' as const })),
        ),
      );
      const parts: Buffer[] = [];
      const objects = [...blobs, ...trees];
      const writer = new PackWriter(objects.length, (bytes) => parts.push(Buffer.from(bytes)));
      for (const { oid, type, data } of objects) writer.add(Buffer.from(oid, 'hex'), type, Buffer.from(data));
      const { name, idx } = writer.end();
      writeFileSync(file, Buffer.concat(parts));
      rmSync(file.replace(/pack$/, 'idx'), { force: true });
      t.equal(git(gitdir, ['index-pack', '--strict', '--index-version=2', file]).trim(), name);
      return (
        readFileSync(file.replace(/pack$/, 'idx')).equals(idx) && (await allRead(gitdir, [])).length === 0
      );
    }),
    { numRuns: 40 },
  );
});

t.test(
  'packs are combined to one with deltas; then to one again; stock git and we read all of it',
  async (t) => {
    const gitdir = bareRepository(t);
    const { blobs, trees } = versions(300);
    const all = [...blobs, ...trees];
    for (let at = 0; at < all.length; at += 40) await addPack(gitdir, all.slice(at, at + 40));
    // The same objects twice, in packs of their own.
    await addPack(gitdir, all.slice(20, 70));
    commitAll(gitdir, trees);
    const first = packsOf(gitdir);
    const before = first.reduce((bytes, idx) => bytes + sizeOf(idx), 0);
    const combine = (packs: readonly string[]) =>
      combinePacks({ gitdir, packs: packs.map(nameOf) }, packDisk, noRest);
    const made = combine(first);
    t.same(await allRead(gitdir, all), []);
    t.equal(packsOf(gitdir).length, first.length + 1, 'the old ones stay for now');
    t.equal(removeSuperseded(gitdir, packDisk).length, first.length);
    t.same(packsOf(gitdir).map(nameOf), [made.name]);
    t.ok(made.bytes < before / 3, `${before} bytes are ${made.bytes} now`);
    t.ok(Math.max(...depths(gitdir)) <= chainMax, `chains of ${Math.max(...depths(gitdir))}`);
    t.ok(Math.max(...depths(gitdir)) > 5);
    t.same(await allRead(gitdir, all), []);
    git(gitdir, ['fsck', '--strict', '--full']);

    const more = versions(340);
    const fresh = [...more.blobs, ...more.trees].filter(
      ({ oid }) => !all.some((object) => object.oid === oid),
    );
    for (let at = 0; at < fresh.length; at += 10) await addPack(gitdir, fresh.slice(at, at + 10));
    commitAll(gitdir, more.trees);
    combine(packsOf(gitdir).sort((a, b) => sizeOf(b) - sizeOf(a)));
    removeSuperseded(gitdir, packDisk);
    t.equal(packsOf(gitdir).length, 1);
    t.ok(Math.max(...depths(gitdir)) <= chainMax);
    git(gitdir, ['fsck', '--strict', '--full']);
    t.same(await allRead(gitdir, [...all, ...fresh]), []);

    // What git packed itself, bases behind and chains far beyond ours.
    git(gitdir, ['-c', 'repack.useDeltaBaseOffset=false', 'repack', '-adfq', '--depth=200', '--window=50']);
    await addPack(gitdir, [blobObject(Buffer.from('one more'))]);
    combine(packsOf(gitdir));
    removeSuperseded(gitdir, packDisk);
    t.equal(packsOf(gitdir).length, 1);
    t.ok(Math.max(...depths(gitdir)) <= chainMax);
    git(gitdir, ['fsck', '--strict', '--full']);
    t.same(await allRead(gitdir, [...all, ...fresh]), []);
  },
);

t.test('packs that somebody wants kept, packs with tags and a multi-pack-index are respected', async (t) => {
  const gitdir = bareRepository(t);
  const { blobs, trees } = versions(40);
  const all = [...blobs, ...trees];
  const kept = await addPack(gitdir, all.slice(0, 10));
  writeFileSync(join(gitdir, 'objects', 'pack', `pack-${kept}.keep`), 'mine\n');
  for (let at = 10; at < all.length; at += 8) await addPack(gitdir, all.slice(at, at + 8));
  commitAll(gitdir, trees);
  const tagged = git(
    gitdir,
    ['mktag'],
    `object ${trees[0]!.oid}\ntype tree\ntag v1\ntagger a <a@b> 1 +0000\n\nx\n`,
  ).trim();
  git(gitdir, ['update-ref', 'refs/tags/v1', tagged]);
  const foreign = git(
    gitdir,
    ['pack-objects', '-q', join(gitdir, 'objects', 'pack', 'pack')],
    `${tagged}\n`,
  ).trim();
  git(gitdir, ['multi-pack-index', 'write']);
  const maintenance = new PackMaintenance(gitdir, {
    onTrouble: (error) => t.fail(error.message),
    onSyncFailed: (error) => t.fail(error.message),
  });
  const made = await maintenance.combine();
  t.equal(made.length, 1);
  git(gitdir, ['fsck', '--strict', '--full']);
  t.ok((await maintenance.remove()).length >= packsBeforeCombining - 2);
  t.notOk(existsSync(join(gitdir, 'objects', 'pack', 'multi-pack-index')));
  const left = packsOf(gitdir).map(nameOf);
  t.ok(left.includes(kept), 'the one to keep stays');
  t.ok(left.includes(foreign), 'the one with a tag stays');
  t.ok(left.includes(made[0]!.name));
  git(gitdir, ['fsck', '--strict', '--full']);
  git(gitdir, ['multi-pack-index', 'write']);
  t.same(await allRead(gitdir, all), []);
  t.same(await maintenance.combine(), [], 'few packs are left as they are');
  await maintenance.close();
  await t.rejects(maintenance.combine(), { code: 'closing' });
});

t.test('a damaged pack is not combined: nothing is changed, and what is wrong is told', async (t) => {
  const gitdir = bareRepository(t);
  const { blobs, trees } = versions(30);
  const all = [...blobs, ...trees];
  for (let at = 0; at < all.length; at += 8) await addPack(gitdir, all.slice(at, at + 8));
  const packs = packsOf(gitdir);
  const path = packs[3]!.replace(/idx$/, 'pack');
  const whole = readFileSync(path);
  const before = readdirSync(join(gitdir, 'objects', 'pack')).sort();
  for (const at of [13, 40, whole.length - 30, whole.length - 5]) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 1;
    rmSync(path, { force: true });
    writeFileSync(path, damaged);
    t.throws(() => combinePacks({ gitdir, packs: packs.map(nameOf) }, packDisk, noRest), {
      name: 'PackError',
    });
    t.same(readdirSync(join(gitdir, 'objects', 'pack')).sort(), before);
  }
  t.equal(packDisk.text(join(gitdir, 'objects', 'info', 'superseded-packs')), '');
});

/** A disk on which the Nth call fails; `dead`: and every one after it, as if the process had been killed there. */
function failing(nth: number, dead: boolean): { disk: PackDisk; calls: () => number } {
  let calls = 0;
  const counted = <A extends unknown[], R>(call: (...args: A) => R, counts: boolean): ((...args: A) => R) => {
    return (...args) => {
      if (counts || (dead && calls >= nth)) {
        calls += 1;
        if (calls === nth || (dead && calls > nth))
          throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      }
      return call(...args);
    };
  };
  const disk: PackDisk = {
    ...packDisk,
    open: counted(packDisk.open, true),
    read: counted(packDisk.read, true),
    write: counted((file, bytes) => packDisk.write(file, bytes), true),
    sync: counted(packDisk.sync, true),
    rename: counted(packDisk.rename, true),
    unlink: counted(packDisk.unlink, true),
    syncFolder: counted(packDisk.syncFolder, true),
  };
  return { disk, calls: () => calls };
}

t.test(
  'failed or killed at any call on the disk, a combining leaves a clean repository and no object less',
  async (t) => {
    const from = bareRepository(t);
    const { blobs, trees } = versions(24);
    const all = [...blobs, ...trees];
    for (let at = 0; at < all.length; at += 36) await addPack(from, all.slice(at, at + 36));
    commitAll(from, trees);
    const packs = packsOf(from).map(nameOf);
    for (const dead of [false, true]) {
      let nth = 1;
      for (let over = false; !over; nth += 1) {
        const gitdir = bareRepository(t);
        rmSync(gitdir, { recursive: true });
        cpSync(from, gitdir, { recursive: true });
        const { disk, calls } = failing(nth, dead);
        try {
          combinePacks({ gitdir, packs }, disk, noRest);
          removeSuperseded(gitdir, disk);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        }
        over = calls() < nth;
        const at = `${dead ? 'killed' : 'failed'} at call ${nth}`;
        const bad = await allRead(gitdir, all);
        if (bad.length > 0) t.fail(`${at}: ${bad[0]}`);
        if (nth % 8 === 0 || over) git(gitdir, ['fsck', '--strict', '--full']);
        await new RepositoryFiles(gitdir).prepare('/allowed_signers');
        const left = readdirSync(join(gitdir, 'objects', 'pack'));
        if (left.some((name) => name.startsWith('tmp_'))) t.fail(`${at}: temporary files stay`);
        removeSuperseded(gitdir, packDisk);
        if (packsOf(gitdir).length > 1) {
          combinePacks({ gitdir, packs: packsOf(gitdir).map(nameOf) }, packDisk, noRest);
          removeSuperseded(gitdir, packDisk);
        }
        if (packsOf(gitdir).length !== 1) t.fail(`${at}: ${packsOf(gitdir).length} packs stay`);
        if ((await allRead(gitdir, all)).length > 0) t.fail(`${at}: lost when it is done again`);
        rmSync(gitdir, { recursive: true });
      }
      t.ok(nth > 30, `${nth - 1} calls`);
    }
  },
);

t.test('a process that is killed outright at any step leaves the same', async (t) => {
  const program = fileURLToPath(new URL('./testing/combine-until-killed.js', import.meta.url));
  const gitdir = bareRepository(t);
  const { blobs, trees } = versions(40);
  const all = [...blobs, ...trees];
  for (let at = 0; at < all.length; at += 12) await addPack(gitdir, all.slice(at, at + 12));
  commitAll(gitdir, trees);
  let ended = false;
  // Each round goes on in what the last one left.
  for (let nth = 3; !ended && nth < 400; nth += 9) {
    try {
      execFileSync(process.execPath, [program, gitdir, String(nth)], { stdio: 'pipe' });
      ended = true;
    } catch (error) {
      if ((error as { signal?: unknown }).signal !== 'SIGKILL') throw error;
    }
    git(gitdir, ['fsck', '--strict', '--full']);
    const bad = await allRead(gitdir, all);
    if (bad.length > 0) t.fail(`killed at ${nth}: ${bad[0]}`);
    await new RepositoryFiles(gitdir).prepare('/allowed_signers');
  }
  t.ok(ended);
  t.equal(packsOf(gitdir).length, 1);
  git(gitdir, ['fsck', '--strict', '--full']);
});

t.test(
  'a lost index is made anew, byte for byte as git makes it; a pack that is not whole is put aside',
  async (t) => {
    const gitdir = bareRepository(t);
    const { blobs, trees } = versions(60);
    await addPack(gitdir, [...blobs, ...trees]);
    commitAll(gitdir, trees);
    for (const offsets of [true, false]) {
      git(gitdir, ['-c', `repack.useDeltaBaseOffset=${offsets}`, 'repack', '-adfq', '--depth=30']);
      const idx = packsOf(gitdir)[0]!;
      const whole = readFileSync(idx);
      rmSync(idx, { force: true });
      await new RepositoryFiles(gitdir).prepare('/allowed_signers');
      t.ok(readFileSync(idx).equals(whole));
    }
    const idx = packsOf(gitdir)[0]!;
    const pack = idx.replace(/idx$/, 'pack');
    const bytes = readFileSync(pack);
    bytes[bytes.length >> 1]! ^= 4;
    rmSync(pack, { force: true });
    writeFileSync(pack, bytes);
    rmSync(idx, { force: true });
    await new RepositoryFiles(gitdir).prepare('/allowed_signers');
    t.notOk(existsSync(pack));
    const aside = readdirSync(join(gitdir, 'damaged'));
    t.equal(aside.length, 1);
    t.ok(readFileSync(join(gitdir, 'damaged', aside[0]!)).equals(bytes), 'nothing is thrown away');
  },
);
