/** However many nodes change the town's key, in whatever order they hear of it: all come to hold one, and it is the best. */
import fc from 'fast-check';
import t from 'tap';
import { hexOf } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import {
  changedTo,
  given,
  isBetter,
  isSameKey,
  knownTo,
  newRing,
  openingKeys,
  risen,
  strangersTo,
  type KeyRing,
  type RingPlace,
} from './key-ring.js';
import type { HeldKey } from './town-key-gift.js';

const nodeAt = (index: number): NodeId => index.toString(16).padStart(16, '0') as NodeId;

/** A key of 32 bytes from a number: no two numbers have one. */
function keyOf(n: number, generation: number, knownBy: readonly NodeId[] = []): HeldKey {
  const key = Buffer.alloc(32);
  key.writeUInt32BE(n);
  return { key, generation, knownBy };
}

/** Nodes of one town, each at its own height, that make keys and give theirs to each other as the test says. */
class Nodes {
  readonly rings: KeyRing[];
  readonly heights: number[];
  readonly all: ReadonlySet<NodeId>;
  /** Every key there ever was. */
  readonly made: HeldKey[];

  constructor(readonly count: number) {
    const first = keyOf(0, 0);
    this.made = [first];
    this.rings = Array.from({ length: count }, () => newRing(first));
    this.heights = Array.from({ length: count }, () => 1);
    this.all = new Set(this.rings.map((_, index) => nodeAt(index)));
  }

  place(index: number): RingPlace {
    return { height: this.heights[index] as number, nodes: this.all };
  }

  ring(index: number): KeyRing {
    return this.rings[index] as KeyRing;
  }

  /** As a keeper does: drawn until it is better than the one that is held. */
  make(index: number): void {
    const { held } = this.ring(index);
    const generation = Math.max(this.heights[index] as number, held.generation);
    let key: HeldKey;
    do key = keyOf(this.made.length, generation);
    while (this.made.push(key) > 0 && !isBetter(key, held));
    this.rings[index] = changedTo(this.ring(index), key);
  }

  /** One gives the key that it holds to another. */
  give(from: number, to: number): void {
    this.rings[to] = given(this.ring(to), nodeAt(from), this.ring(from).held, this.place(to)).ring;
  }

  rise(index: number, by: number): void {
    this.heights[index] = (this.heights[index] as number) + by;
    this.rings[index] = risen(this.ring(index), this.place(index));
  }
}

const COUNT_MAX = 9;
const node = fc.nat(COUNT_MAX - 1);
const act = fc.oneof(
  fc.record({ t: fc.constant('make' as const), a: node }),
  fc.record({ t: fc.constant('give' as const), a: node, b: node }),
  fc.record({ t: fc.constant('rise' as const), a: node, by: fc.integer({ min: 1, max: 3 }) }),
);

t.test('any number of nodes that change the key at once, in any order, come to hold one', async (t) => {
  const holds = fc.property(
    fc.integer({ min: 2, max: COUNT_MAX }),
    fc.array(act, { maxLength: 60 }),
    fc.infiniteStream(fc.nat(1_000_000)),
    (count, acts, order) => {
      const nodes = new Nodes(count);
      for (const each of acts) {
        const a = each.a % count;
        const before = nodes.ring(a).held;
        if (each.t === 'make') nodes.make(a);
        if (each.t === 'rise') nodes.rise(a, each.by);
        if (each.t === 'give') nodes.give(a, each.b % count);
        // Nobody ever goes back to a worse one, nor takes one from ahead of its main.
        if (isBetter(before, nodes.ring(a).held)) return false;
        for (const [index, { held }] of nodes.rings.entries())
          if (held.generation > (nodes.heights[index] as number)) return false;
      }
      const top = Math.max(...nodes.heights);
      const best = nodes.rings.map(({ held }) => held).reduce((a, b) => (isBetter(b, a) ? b : a));
      // Each pair hears of each other once, in any order; some before they have caught up, some after.
      const pairs = Array.from(
        { length: count * count },
        (_, i) => [Math.floor(i / count), i % count] as const,
      );
      const shuffled = pairs
        .map((pair) => ({ pair, at: order.next().value as number }))
        .sort((a, b) => a.at - b.at)
        .map(({ pair }) => pair);
      for (const [i, [from, to]] of shuffled.entries()) {
        nodes.give(from, to);
        if (i === Math.floor(shuffled.length / 2))
          for (let each = 0; each < count; each += 1) nodes.rise(each, top - (nodes.heights[each] as number));
      }
      // Those who gave theirs before they had the best are heard once more: what they send is sealed with a lesser one.
      for (const [from, to] of pairs) nodes.give(from, to);
      return nodes.rings.every(({ held, early }) => isSameKey(held.key, best.key) && early.size === 0);
    },
  );
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 2_000 }));
});

t.test('keys have one order, whoever asks', async (t) => {
  const keys = fc
    .record({ n: fc.nat(9), generation: fc.nat(3) })
    .map(({ n, generation }) => keyOf(n, generation));
  const holds = fc.property(keys, keys, keys, (a, b, c) => {
    const same = a.generation === b.generation && isSameKey(a.key, b.key);
    const total = same ? !isBetter(a, b) && !isBetter(b, a) : isBetter(a, b) !== isBetter(b, a);
    return total && (!(isBetter(a, b) && isBetter(b, c)) || isBetter(a, c));
  });
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 1_000 }));
});

t.test('a key of which it was not known how old it is comes back when that is said', async (t) => {
  const nodes = new Set([nodeAt(1), nodeAt(2)]);
  const place = { height: 12, nodes };
  // Welcomed with a key of height 12, as one of height 0; then somebody who lags gives one of height 8.
  const welcomed = newRing(keyOf(12, 0));
  const misled = given(welcomed, nodeAt(1), keyOf(8, 8), place);
  t.equal(misled.fate, 'used');
  const mended = given(misled.ring, nodeAt(2), keyOf(12, 12), place);
  t.equal(mended.fate, 'used');
  t.equal(mended.ring.held.generation, 12);
  t.notOk(openingKeys(mended.ring).some(({ key, retired }) => retired && isSameKey(key, keyOf(12, 0).key)));
  t.equal(given(mended.ring, nodeAt(1), keyOf(8, 8), place).fate, 'worse');
});

t.test('who is not of the town has no say, and what is from ahead waits', async (t) => {
  const place = { height: 5, nodes: new Set([nodeAt(1)]) };
  const ring = newRing(keyOf(1, 3));
  t.equal(given(ring, nodeAt(9), keyOf(2, 4), place).fate, 'refused');
  const early = given(ring, nodeAt(9), keyOf(3, 7), place);
  t.equal(early.fate, 'kept', 'it may be of the town by then');
  t.equal(given(early.ring, nodeAt(9), keyOf(3, 7), place).fate, 'known');
  t.ok(
    openingKeys(early.ring).some(({ key }) => isSameKey(key, keyOf(3, 7).key)),
    'and opens what that one says',
  );
  t.same(
    risen(early.ring, { ...place, height: 6 }),
    ring,
    'as soon as it is seen not to be, its key is dropped',
  );
  const both = { height: 7, nodes: new Set([nodeAt(1), nodeAt(9)]) };
  t.equal(hexOf(risen(early.ring, both).held.key), hexOf(keyOf(3, 7).key));
  let full = ring;
  for (let n = 0; n < 100; n += 1) full = given(full, nodeAt(100 + n), keyOf(100 + n, 50), place).ring;
  t.ok(openingKeys(full).length <= 40, 'they are bounded');
});

t.test('a new one is due when somebody knows it who is not there any more', async (t) => {
  const nodes = [nodeAt(1), nodeAt(2)];
  const ring = knownTo(newRing(keyOf(1, 0)), nodes);
  t.equal(knownTo(ring, nodes), ring);
  t.same(strangersTo(ring, new Set(nodes)), []);
  t.same(strangersTo(ring, new Set([nodeAt(1)])), [nodeAt(2)]);
  const next = changedTo(ring, keyOf(2, 4, [nodeAt(1)]));
  t.same(strangersTo(next, new Set([nodeAt(1)])), []);
  t.same(
    openingKeys(next).map(({ retired }) => retired),
    [false, true],
  );
});
