import { execFile } from 'node:child_process';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { blobObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { DeltaBase, applyDelta } from './pack-delta.js';
import { backBytes, entryHead, readEntryHead } from './pack-format.js';
import { GitObjects, readWithIsomorphicGit } from './repository-reader.js';
import {
  addPack,
  bareRepository,
  bytesEqual,
  commitAll,
  git,
  packsOf,
  versions,
} from './testing/pack-folders.js';

t.test('a delta makes of its base exactly the target, whatever both are', (t) => {
  const byte = fc.integer({ min: 0, max: 255 });
  const piece = fc.uint8Array({ minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 12 }),
      fc.array(fc.nat(11), { maxLength: 20 }),
      piece,
      byte,
      (pieces, order, own, at) => {
        const base = Buffer.concat(pieces);
        // Pieces of the base in another order, with something of its own among them.
        const parts: Uint8Array[] = order.map((index) => pieces[index % Math.max(1, pieces.length)] ?? own);
        parts.splice(at % (parts.length + 1), 0, own);
        const target = Buffer.concat(parts);
        const delta = new DeltaBase(base).deltaTo(target, Infinity);
        return delta !== null && bytesEqual(applyDelta(base, delta), target);
      },
    ),
    { numRuns: 500 },
  );
  const long = Buffer.alloc(0x1_0000 + 200, 'abcdefghijklmnopqrstuvwxyz0123456789');
  for (const length of [0, 1, 15, 16, 17, 127, 128, 0xffff, 0x10000, 0x10001]) {
    const target = Buffer.concat([Buffer.from('!'), long.subarray(0, length)]);
    const delta = new DeltaBase(long).deltaTo(target, Infinity)!;
    t.ok(bytesEqual(applyDelta(long, delta), target), `${length} bytes`);
    if (length > 1000) t.ok(delta.length < 100, 'and it is small');
  }
  t.equal(
    new DeltaBase(Buffer.alloc(1000, 1)).deltaTo(Buffer.alloc(1000, 2), 100),
    null,
    'none beyond the limit',
  );
  t.end();
});

t.test(
  'a delta that lies is refused: sizes, pieces outside, cut short at any byte, any byte changed',
  (t) => {
    const base = Buffer.from('a sentence that is long enough to be copied from, twice over');
    const target = Buffer.concat([base.subarray(10, 50), Buffer.from('own'), base.subarray(0, 30)]);
    const delta = new DeltaBase(base).deltaTo(target, Infinity)!;
    const result = (bytes: Uint8Array): Buffer | 'refused' => {
      try {
        return applyDelta(base, bytes);
      } catch (error) {
        return (error as Error).name === 'PackError' ? 'refused' : Buffer.alloc(0);
      }
    };
    for (let cut = 0; cut < delta.length; cut += 1) t.equal(result(delta.subarray(0, cut)), 'refused');
    for (let bit = 0; bit < delta.length * 8; bit += 1) {
      const flipped = Buffer.from(delta);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const made = result(flipped);
      t.ok(made === 'refused' || made.length === target.length);
    }
    t.throws(() => applyDelta(base.subarray(1), delta), { name: 'PackError' });
    t.end();
  },
);

t.test('heads of entries are read as they are written', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3 }),
      fc.nat(256 * 1024 * 1024),
      fc.integer({ min: 1, max: 2 ** 40 }),
      (type, size, back) => {
        const whole = readEntryHead(Buffer.concat([entryHead(type, size), Buffer.alloc(30)]));
        const delta = readEntryHead(Buffer.concat([entryHead(6, size), backBytes(back), Buffer.alloc(9)]));
        const base = delta.base as { back: number };
        return whole.size === size && whole.type !== null && delta.size === size && base.back === back;
      },
    ),
  );
  t.throws(() => readEntryHead(Buffer.alloc(40, 0xff)), { name: 'PackError' });
  t.throws(() => readEntryHead(Buffer.from([0x50])), { name: 'PackError' });
  t.end();
});

for (const offsets of [true, false]) {
  t.test(
    `what git packs with ${offsets ? 'OFS' : 'REF'}_DELTA is read as git and isomorphic-git read it`,
    async (t) => {
      const gitdir = bareRepository(t);
      const { blobs, trees } = versions(130);
      const large = blobObject(Buffer.alloc(3_000_000, 'the same again and again, and large'));
      const random = blobObject(
        Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * index * 7919) >> 5)),
      );
      await addPack(gitdir, [...blobs, ...trees, large, random]);
      commitAll(gitdir, trees);
      git(gitdir, ['update-ref', 'refs/tags/large', large.oid]);
      git(gitdir, ['update-ref', 'refs/tags/random', random.oid]);
      git(gitdir, ['-c', `repack.useDeltaBaseOffset=${offsets}`, 'repack', '-adfq', '--depth=250']);
      const kinds = git(gitdir, ['verify-pack', '-v', ...packsOf(gitdir)]);
      t.match(kinds, /chain length = [3-9]:/, 'there are chains');
      const objects = new GitObjects(gitdir);
      const cache = {};
      for (const { oid, type, data } of [...blobs, ...trees, large, random]) {
        const found = await objects.read(oid);
        const second = await readWithIsomorphicGit(gitdir, oid, cache);
        if (found.type === type && bytesEqual(found.data, data) && bytesEqual(second.data, data)) continue;
        t.fail(`${oid} is read as something else`);
      }
      await t.rejects(objects.read('0'.repeat(40) as Oid), { code: 'no-such-object' });
      await t.rejects(objects.read('f'.repeat(40) as Oid), { code: 'no-such-object' });
      const loose = git(gitdir, ['hash-object', '-w', '--stdin'], 'loose').trim() as Oid;
      t.equal(Buffer.from((await objects.read(loose)).data).toString(), 'loose');
      await objects.close();
    },
  );
}

t.test('a reader never sees a hole while packs are replaced under it', async (t) => {
  const gitdir = bareRepository(t);
  const { blobs, trees } = versions(60);
  const all = [...blobs, ...trees];
  for (let at = 0; at < all.length; at += 20) await addPack(gitdir, all.slice(at, at + 20));
  commitAll(gitdir, trees);
  const objects = new GitObjects(gitdir);
  let reads = 0;
  let stop = false;
  const readers = Array.from({ length: 4 }, async (_, first) => {
    for (let index = first; !stop || reads < all.length; index += 7) {
      const { oid, data } = all[index % all.length]!;
      const found = await objects.read(oid);
      if (!bytesEqual(found.data, data)) t.fail(oid);
      reads += 1;
    }
  });
  for (const depth of [1, 10, 50, 3, 20]) {
    await new Promise<void>((resolve, reject) =>
      execFile('git', ['-C', gitdir, 'repack', '-adfq', `--depth=${depth}`], (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
  }
  stop = true;
  await Promise.all(readers);
  t.ok(reads >= all.length, `${reads} reads`);
  t.equal(packsOf(gitdir).length, 1);
  await objects.close();
});

t.test(
  'of two copies the good one is read; where there is none the damage is told with its pack',
  async (t) => {
    const gitdir = bareRepository(t);
    const { blobs } = versions(5);
    const name = await addPack(gitdir, blobs);
    const path = join(gitdir, 'objects', 'pack', `pack-${name}.pack`);
    const whole = readFileSync(path);
    const damaged = Buffer.from(whole);
    for (let at = 14; at < damaged.length - 20; at += 3) damaged[at]! ^= 0x55;
    rmSync(path, { force: true });
    writeFileSync(path, damaged);
    const first = new GitObjects(gitdir);
    const { oid, data } = blobs[62]!;
    await t.rejects(first.read(oid), { code: 'repository-corrupt', message: new RegExp(name) });
    await addPack(gitdir, [...blobs].reverse());
    t.ok(bytesEqual((await first.read(oid)).data, data), 'another pack is found that has it');
    await first.close();
    renameSync(path.replace(/pack$/, 'idx'), `${path}.gone`);
    const second = new GitObjects(gitdir);
    t.ok(bytesEqual((await second.read(oid)).data, data), 'a pack without index is none');
    await second.close();
  },
);
