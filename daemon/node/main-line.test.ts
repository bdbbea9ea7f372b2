/** The tree that a node makes in small steps after its start is the tree that all of the state has at once. */
import fc from 'fast-check';
import t from 'tap';
import { SHARD_ABOVE, changeTree } from '../ledger/state-tree.js';
import type { StateWrite } from '../ledger/state.js';
import type { CoreStore } from './core-store.js';
import { MainLine } from './main-line.js';
import { genesisOf } from './testing/core-town.js';

t.setTimeout(600_000);
const genesis = genesisOf(['alpha']);

/** As much of a store as a line needs to load. */
function storeOf(rows: readonly StateWrite[]): CoreStore {
  const { height, id, oid, content, time } = genesis.merge;
  const merge = { height, id, oid, content, time };
  return {
    folder: 'nowhere',
    merge: () => merge,
    lastMerge: () => merge,
    mergeById: () => merge,
    allState: () => rows.values(),
    meta: () => null,
  } as unknown as CoreStore;
}

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/);
/** Collections of any size, some of them around and far above where they are sharded. */
const collection = fc.record({
  dapp: name.map((dapp) => `x${dapp}`),
  collection: name,
  keys: fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: SHARD_ABOVE - 3, max: SHARD_ABOVE + 3 }),
    fc.integer({ min: 1_000, max: 1_400 }),
  ),
  seed: fc.integer({ min: 0, max: 1_000_000 }),
});
const states = fc.array(collection, { maxLength: 4 }).map((collections) => {
  const rows = new Map<string, StateWrite>();
  for (const { dapp, collection, keys, seed } of collections)
    for (let i = 0; i < keys; i += 1) {
      const row = { dapp, collection, key: `k${seed + i * 7}`, value: JSON.stringify({ i, seed }) };
      rows.set(`${dapp}/${collection}/${row.key}`, row);
    }
  return [...rows.values()];
});

t.test('the tree made in small steps is the tree made at once, whatever the state', async (t) => {
  let most = 0;
  await fc.assert(
    fc.asyncProperty(states, async (rows) => {
      const all = [...genesis.writes, ...rows];
      most = Math.max(most, all.length);
      const atOnce = changeTree(null, all, {}).tree;
      const line = MainLine.load(storeOf(all));
      await line.prepare();
      const { oid, content } = line.tree;
      return oid === atOnce.oid && content === atOnce.content;
    }),
    { numRuns: 20 },
  );
  t.ok(most > SHARD_ABOVE, `up to ${most} values`);
  t.end();
});

t.test('who needs the tree while it is made, and who goes on, has the right one', async (t) => {
  await fc.assert(
    fc.asyncProperty(states, fc.nat({ max: 6 }), fc.boolean(), async (rows, turns, goesOn) => {
      const all = [...genesis.writes, ...rows];
      const line = MainLine.load(storeOf(all));
      const prepared = line.prepare();
      for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      const before = line.tree;
      const write = { dapp: 'xnew', collection: 'one', key: 'k', value: '"new"' };
      const { tree } = changeTree(before, [write], {});
      if (goesOn) line.advance({ ...line.head, height: line.head.height + 1 }, tree, [write]);
      await prepared;
      const now = goesOn ? [...all, write] : all;
      return line.tree.content === changeTree(null, now, {}).tree.content;
    }),
    { numRuns: 15 },
  );
  t.pass('in every order');
  t.end();
});
