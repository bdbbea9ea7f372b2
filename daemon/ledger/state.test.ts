/** The state as a tree and as overlays: however it came about, it is the same. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { contentHash } from './content-hash.js';
import { changeTree, SHARD_ABOVE, type StateTree } from './state-tree.js';
import { Overlay, State, type StateWrite } from './state.js';

const filesOf = (state: State): Map<string, Uint8Array> => {
  const files = new Map<string, Uint8Array>();
  const sizes = new Map<string, number>();
  for (const { dapp, collection } of state.rows())
    sizes.set(`${dapp}/${collection}`, (sizes.get(`${dapp}/${collection}`) ?? 0) + 1);
  for (const { dapp, collection, key, value } of state.rows()) {
    const shard = (sizes.get(`${dapp}/${collection}`) ?? 0) > SHARD_ABOVE ? `${sha(key).slice(0, 2)}/` : '';
    files.set(`state/${dapp}/${collection}/${shard}${key}.json`, Buffer.from(value));
  }
  return files;
};

const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

t.test(
  'a tree changed step by step is the tree made at once, across the bound where collections are sharded',
  async (t) => {
    const write = fc.record({
      dapp: fc.constantFrom('a', 'b'),
      collection: fc.constantFrom('c', 'd'),
      key: fc.integer({ min: 0, max: 900 }).map(String),
      value: fc.option(fc.integer({ min: 0, max: 9 }).map(String), { nil: null }),
    });
    const filled: StateWrite[] = Array.from({ length: SHARD_ABOVE - 3 }, (_, i) => ({
      dapp: 'a',
      collection: 'c',
      key: String(i),
      value: '0',
    }));
    fc.assert(
      fc.property(fc.array(fc.array(write, { maxLength: 20 }), { maxLength: 6 }), (steps) => {
        const state = new State();
        let tree: StateTree | null = null;
        for (const list of [filled, ...steps]) {
          const overlay = new Overlay(state);
          for (const { dapp, collection, key, value } of list) overlay.put(dapp, collection, key, value);
          const writes = overlay.writes();
          tree = changeTree(tree, writes, { 'receipt.json': '{}' }).tree;
          state.apply(writes);
        }
        const files = filesOf(state).set('receipt.json', Buffer.from('{}'));
        t.equal(tree?.content, contentHash(files));
        t.equal(tree?.oid, changeTree(null, [...state.rows()], { 'receipt.json': '{}' }).tree.oid);
      }),
      { numRuns: 25 },
    );
  },
);

t.test('an overlay lists its keys as if everything had been written below', async (t) => {
  const key = fc.integer({ min: 0, max: 30 }).map((n) => `k${n}`);
  fc.assert(
    fc.property(
      fc.uniqueArray(key),
      fc.array(fc.tuple(key, fc.boolean())),
      fc.integer({ min: 1, max: 8 }),
      fc.option(key),
      (below, changes, limit, after) => {
        const state = new State();
        state.apply(below.map((k) => ({ dapp: 'a', collection: 'c', key: k, value: '1' })));
        const overlay = new Overlay(state);
        for (const [k, set] of changes) overlay.put('a', 'c', k, set ? '2' : null);
        const flat = new State();
        flat.apply(state.rows());
        flat.apply(overlay.writes());
        t.same(overlay.keys('a', 'c', after ?? '', limit), flat.keys('a', 'c', after ?? '', limit));
      },
    ),
  );
});
