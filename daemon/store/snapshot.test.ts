import fc from 'fast-check';
import t from 'tap';
import { signedCommit, treeObject, type GitObject } from '../ledger/git-object.js';
import { TownError, type Oid, type Sha256 } from '../ledger/ids.js';
import { changeTree, type StateTree } from '../ledger/state-tree.js';
import type { StateWrite } from '../ledger/state.js';
import type { ObjectSource } from './repository-reader.js';
import { readState } from './snapshot.js';
import { seed } from './testing/samples.js';

class Objects implements ObjectSource {
  readonly all = new Map<Oid, GitObject>();

  read(oid: Oid): Promise<GitObject> {
    const found = this.all.get(oid);
    return found ? Promise.resolve(found) : Promise.reject(new TownError('no-such-object', `No ${oid}.`));
  }

  add(objects: Iterable<GitObject>): void {
    for (const object of objects) this.all.set(object.oid, object);
  }

  merge(tree: Oid, content: Sha256): Oid {
    const person = { name: 'a', email: 'a@b', seconds: 1_700_000_000 };
    const message = `Merge\n\nHeight: 1\nContent-SHA256: ${content}`;
    const commit = signedCommit({ tree, parents: [], author: person, committer: person, message }, seed);
    this.add([commit]);
    return commit.oid;
  }
}

async function collected(source: ObjectSource, oid: Oid): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { dapp, collection, key, value } of readState(source, oid))
    found.set(`${dapp}/${collection}/${key}`, value!);
  return found;
}

const charter: StateWrite = { dapp: 'kernel', collection: 'charter', key: 'charter', value: '{"name":"x"}' };

t.test('any state of any merge is read back from git, spread over folders or not', async (t) => {
  const write = fc.record({
    dapp: fc.constantFrom('kernel', 'gigs', 'door-access'),
    collection: fc.constantFrom('accounts', 'jobs'),
    number: fc.nat(1500),
    value: fc.option(fc.nat(99).map(String)),
  });
  const batch = fc.oneof(
    fc.array(write, { maxLength: 60 }),
    // Enough to spread a collection, and to bring it back below the bound.
    fc.boolean().map((adds) =>
      Array.from({ length: 700 }, (_, number) => ({
        dapp: 'gigs',
        collection: 'jobs',
        number,
        value: adds ? `${number}` : null,
      })),
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { maxLength: 5 }), async (batches) => {
      const objects = new Objects();
      const merges: { oid: Oid; state: Map<string, string> }[] = [];
      let state = new Map([['kernel/charter/charter', charter.value!]]);
      let tree: StateTree | null = null;
      for (const writes of [[], ...batches]) {
        state = new Map(state);
        const byPlace = new Map<string, StateWrite>();
        for (const { dapp, collection, number, value } of writes) {
          const key = `k${number}`;
          const place = `${dapp}/${collection}/${key}`;
          byPlace.set(place, { dapp, collection, key, value });
        }
        for (const [place, { value }] of byPlace) {
          if (value === null) state.delete(place);
          else state.set(place, value);
        }
        const made = changeTree(tree, tree === null ? [charter] : [...byPlace.values()], {
          'receipt.json': `{"n":${merges.length}}`,
        });
        tree = made.tree;
        objects.add(made.objects);
        merges.push({ oid: objects.merge(tree.oid, tree.content), state });
      }
      for (const { oid, state: expected } of merges) {
        const found = await collected(objects, oid);
        if (found.size !== expected.size) return false;
        for (const [place, value] of expected) if (found.get(place) !== value) return false;
      }
      return true;
    }),
    { numRuns: 40 },
  );
  t.pass('each value, and no other');
});

t.test('a tree that is not the one the commit speaks of is refused', async (t) => {
  const objects = new Objects();
  const writes = ['a', 'b'].map((key) => ({ dapp: 'gigs', collection: 'jobs', key, value: `"${key}"` }));
  const { tree, objects: made } = changeTree(null, [charter, ...writes], { 'receipt.json': '{}' });
  objects.add(made);
  const other = changeTree(tree, [{ dapp: 'gigs', collection: 'jobs', key: 'a', value: '"z"' }], {});
  objects.add(other.objects);
  t.equal((await collected(objects, objects.merge(tree.oid, tree.content))).get('gigs/jobs/a'), '"a"');

  const swapped = objects.merge(other.tree.oid, tree.content);
  await t.rejects(collected(objects, swapped), { code: 'content-differs', message: /content is/ });
  await t.rejects(collected(objects, tree.oid), { code: 'content-differs' }, 'a tree is no merge');
  const receipt = [...objects.all.values()].find(({ data }) => Buffer.from(data).toString() === '{}')!;
  const wrapped = treeObject([{ name: 'more', oid: tree.oid, kind: 'folder' }]);
  const loose = treeObject([{ name: 'note.txt', oid: receipt.oid, kind: 'file' }]);
  objects.add([wrapped, loose]);
  await t.rejects(collected(objects, objects.merge(wrapped.oid, tree.content)), { code: 'content-differs' });
  await t.rejects(collected(objects, objects.merge(loose.oid, tree.content)), { code: 'content-differs' });

  objects.all.delete(receipt.oid);
  const holed = objects.merge(tree.oid, tree.content);
  await t.rejects(collected(objects, holed), { code: 'no-such-object' });
});
