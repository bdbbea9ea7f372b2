/** The parts of catching up: pieces of objects, the file they wait in, and merges trusted by their certificate. */
import { randomBytes } from 'node:crypto';
import { appendFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { certificateOf, certificateText } from '../consensus/certificate.js';
import { signVote, valueIdOf } from '../consensus/vote.js';
import type { Charter } from '../ledger/charter.js';
import { blobObject, treeObject, type GitObject } from '../ledger/git-object.js';
import { signedCommit } from '../ledger/git-object.js';
import type { Millis, NodeId, Sha256 } from '../ledger/ids.js';
import { LateObjects } from '../store/late-objects.js';
import { packObjects, unpackObjects } from '../sync/object-batch.js';
import { readCertified } from './certified-merge.js';
import { Piecemeal } from './piecemeal.js';
import { genesisOf, keysOf } from './testing/core-town.js';

const objectsOf = (sizes: readonly number[]): GitObject[] =>
  sizes.map((size) => blobObject(randomBytes(size)));

t.test('objects of any size come over in pieces of any size, and are the same', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9_000 }), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 400, max: 20_000 }),
      (sizes, charsMax) => {
        const objects = objectsOf(sizes);
        const pieces = new Piecemeal();
        const come: GitObject[] = [];
        for (let turns = 0; come.length < objects.length; turns += 1) {
          if (turns > 2_000) return false;
          const rest = objects.slice(come.length);
          const asked = rest.map(({ oid }) => oid);
          const packed = packObjects(rest, pieces.have(asked[0]), charsMax);
          if (packed === null || packed.length > charsMax) return false;
          come.push(...pieces.take(unpackObjects(packed), asked));
        }
        return come.every(
          ({ oid, data }, i) => oid === objects[i]?.oid && Buffer.compare(objects[i].data, data) === 0,
        );
      },
    ),
    { numRuns: 60 },
  );
});

t.test('what is not what was asked for is refused, and forgotten', async (t) => {
  const [one, two] = objectsOf([5_000, 100]) as [GitObject, GitObject];
  const bad = { code: 'bad-object' };
  const take = (objects: readonly GitObject[], asked: readonly GitObject[], at = 0) => {
    const packed = packObjects(objects, at) as string;
    return new Piecemeal().take(
      unpackObjects(packed),
      asked.map(({ oid }) => oid),
    );
  };
  t.throws(() => take([two], [one]), bad, 'another object');
  t.throws(() => take([one, two], [one]), bad, 'more than was asked for');
  t.throws(() => take([one], [one], 10), bad, 'a piece that does not follow');
  t.throws(() => unpackObjects(Buffer.from('junk').toString('base64')), { code: 'bad-batch' });
  const pieces = new Piecemeal();
  const packed = packObjects([one], 0, 2_000) as string;
  t.same(pieces.take(unpackObjects(packed), [one.oid]), []);
  t.ok(pieces.have(one.oid) > 0);
  t.throws(() => pieces.take(unpackObjects(packed), [one.oid]), bad, 'the same piece twice');
  t.equal(pieces.have(one.oid), 0);
});

t.test('what a power cut leaves of the file is used, each object by its name', async (t) => {
  const path = join(t.testdir(), 'ahead.objects');
  const objects = [...objectsOf([10, 0, 3_000]), treeObject([])];
  const first = new LateObjects(path);
  await first.prepare();
  await first.put(objects.slice(0, 2));
  await first.put(objects.slice(2));
  await first.close();
  await appendFile(path, 'blob 00');
  const second = new LateObjects(path);
  await second.prepare();
  for (const { oid, data } of objects) t.same((await second.read(oid)).data, data);
  const [more] = objectsOf([50]) as [GitObject];
  await second.put([more]);
  await second.close();
  await truncate(path, 64 + 10 + 64 + 64 + 5);
  const third = new LateObjects(path);
  await third.prepare();
  t.ok(third.has(objects[0]!.oid));
  t.notOk(third.has(objects[2]!.oid), 'cut short');
  await third.put(objects.slice(2));
  t.same((await third.read(objects[2]!.oid)).data, objects[2]!.data);
  await third.clear();
  t.notOk(third.has(objects[0]!.oid));
  const small = new LateObjects(path, 100);
  await t.rejects(small.put(objects), { code: 'state-too-large' });
});

t.test('a merge is trusted where a quorum of those trusted before signed it, whoever else did', async (t) => {
  const names = ['alpha', 'beta', 'gamma', 'delta'];
  const genesis = genesisOf(names, (charter) => ({ ...charter, quorum: 'two-thirds' }));
  const town = genesis.merge.content;
  const charter = JSON.parse(
    genesis.writes.find(({ collection }) => collection === 'charter')?.value ?? '',
  ) as Charter;
  const trusted = { town, line: 'main', height: 0, id: genesis.merge.id, epoch: 0, charter };
  const height = 40;
  const person = { name: keysOf('alpha').id, email: `${keysOf('alpha').id}@node.invalid`, seconds: 1 };
  const commitFor = (place: { town: Sha256; height: number }) =>
    signedCommit(
      {
        tree: treeObject([]).oid,
        parents: [genesis.merge.oid],
        author: person,
        committer: person,
        message: `Merge\n\nTown: ${place.town}\nHeight: ${place.height}\nTime: ${1_000 as Millis}`,
      },
      keysOf('alpha').secretKey,
    ).data;
  const raw = commitFor({ town, height });
  const place = { town, line: 'main', epoch: 0, height, round: 0, parent: genesis.merge.id };
  const signedBy = (signers: readonly string[], value = valueIdOf(raw)): string =>
    certificateText(
      certificateOf(
        signers.map((name) =>
          signVote({ ...place, step: 'precommit', value }, keysOf(name).id as NodeId, keysOf(name).secretKey),
        ),
      ),
    );
  const read = (certificate: string, at = { town, height }, bytes: Uint8Array = raw) =>
    readCertified({ raw: bytes, certificate }, at, trusted);
  t.equal(read(signedBy(['alpha', 'beta', 'gamma']))?.height, height);
  t.equal(
    read(signedBy(['alpha', 'beta', 'gamma', 'nobody-before']))?.height,
    height,
    'later validators beside',
  );
  t.equal(read(signedBy(['alpha', 'beta', 'nobody-before', 'stranger'])), null, 'too few of those trusted');
  t.throws(() => read(signedBy(['alpha', 'beta', 'gamma']), { town, height: height + 1 }), {
    code: 'bad-certificate',
  });
  t.throws(
    () => read(signedBy(['alpha', 'beta', 'gamma']), { town, height }, commitFor({ town, height: 41 })),
    {
      code: 'bad-certificate',
    },
  );
  const elsewhere = commitFor({ town, height: 41 });
  t.throws(
    () => read(signedBy(['alpha', 'beta', 'gamma'], valueIdOf(elsewhere)), { town, height }, elsewhere),
    {
      code: 'bad-merge',
    },
  );
});
