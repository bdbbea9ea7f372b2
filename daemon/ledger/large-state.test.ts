/** What is carried along beside a state, so that a merge need not look through all of it, is what looking through all of it gives. */
import fc from 'fast-check';
import t from 'tap';
import { SUSPENSE, VAULT, type Account } from './accounts.js';
import { canonicalize } from './canonical.js';
import { expire } from './expiries.js';
import type { Json } from './ids.js';
import { Overlay, State, type StateReader, type StateWrite } from './state.js';
import { totalsAfter, totalsOf } from './supply.js';

const kernel = (collection: string, key: string, value: Json): StateWrite => ({
  ...{ dapp: 'kernel', collection, key },
  value: value === null ? null : canonicalize(value),
});

t.test('keys are in bytewise order after any changes, whenever they were asked for before', async (t) => {
  const key = fc.integer({ min: 0, max: 400 }).map((n) => `k${n}`);
  const step = fc.record({
    sets: fc.array(key, { maxLength: 12 }),
    deletes: fc.array(key, { maxLength: 12 }),
    isAsked: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(key, { maxLength: 200 }), fc.array(step, { maxLength: 12 }), (first, steps) => {
      const state = new State();
      const model = new Set<string>();
      for (const { sets, deletes, isAsked } of [{ sets: first, deletes: [], isAsked: true }, ...steps]) {
        state.apply(sets.map((k) => ({ dapp: 'a', collection: 'c', key: k, value: '1' })));
        state.apply(deletes.map((k) => ({ dapp: 'a', collection: 'c', key: k, value: null })));
        for (const k of sets) model.add(k);
        for (const k of deletes) model.delete(k);
        if (isAsked) t.strictSame(state.keys('a', 'c', '', 1000), [...model].sort());
      }
      t.strictSame(state.keys('a', 'c', '', 1000), [...model].sort());
      t.strictSame(
        [...state.rows()].map(({ key: k }) => k),
        [...model].sort(),
      );
    }),
  );
});

/** As the rule says it: every lock and every fence is looked at. */
function dueByScan(state: StateReader, time: number): string[] {
  return (['locks', 'fences'] as const)
    .flatMap((collection) =>
      state.keys('kernel', collection, '', 10_000).map((key) => {
        const { deadline, until } = JSON.parse(state.get('kernel', collection, key) as string) as {
          [name: string]: number | undefined;
        };
        return { place: `${collection}/${key}`, at: deadline ?? until };
      }),
    )
    .filter(({ at }) => at !== undefined && at <= time)
    .map(({ place }) => place)
    .sort();
}

t.test(
  'what is due is what a look at every lock and fence finds, in a state and in what is changed above it',
  async (t) => {
    const change = fc.record({
      collection: fc.constantFrom('locks', 'fences', 'notes'),
      key: fc.integer({ min: 0, max: 12 }).map((n) => `k${n}`),
      what: fc.constantFrom('due', 'open', 'gone'),
      at: fc.integer({ min: 0, max: 50 }),
    });
    type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;
    const writeOf = ({ collection, key, what, at }: Change): StateWrite => {
      if (what === 'gone') return kernel(collection, key, null);
      if (collection === 'fences') return kernel(collection, key, { until: at });
      return kernel(collection, key, what === 'due' ? { amount: 1, deadline: at } : { amount: 1 });
    };
    const steps = fc.array(fc.tuple(fc.array(change, { maxLength: 8 }), fc.integer({ min: -1, max: 55 })));
    fc.assert(
      fc.property(steps, fc.array(change), fc.integer({ min: -1, max: 55 }), (below, above, time) => {
        const placesOf = (state: StateReader, at: number): string[] =>
          state
            .due(at)
            .map(({ collection, key }) => `${collection}/${key}`)
            .sort();
        const state = new State();
        for (const [changes, at] of below) {
          state.apply(changes.map(writeOf));
          t.strictSame(placesOf(state, at), dueByScan(state, at));
        }
        const overlay = new Overlay(new Overlay(state));
        for (const { dapp, collection, key, value } of above.map(writeOf))
          overlay.put(dapp, collection, key, value);
        t.strictSame(placesOf(overlay, time), dueByScan(overlay, time));
        overlay.settle();
        t.strictSame(placesOf(overlay.below, time), dueByScan(overlay.below, time));
      }),
    );
  },
);

t.test('locks end by (deadline, id), whatever way they came to be there', async (t) => {
  const order = fc.shuffledSubarray(Array.from({ length: 12 }, (_, n) => n));
  fc.assert(
    fc.property(order, fc.integer({ min: 0, max: 8 }), (numbers, time) => {
      const state = new State();
      state.apply([kernel('accounts', 'member.a', { available: 0, locked: numbers.length })]);
      for (const n of numbers) {
        const lock = { dapp: 'notes', id: `l${n}`, from: 'member.a', amount: 1, deadline: n % 5 };
        state.apply([kernel('locks', `notes.l${n}`, lock)]);
      }
      const overlay = new Overlay(state);
      const due = numbers.filter((n) => n % 5 <= time).map((n) => ({ n, id: `notes.l${n}` }));
      due.sort((a, b) => (a.n % 5) - (b.n % 5) || (a.id < b.id ? -1 : 1));
      t.strictSame(
        expire(overlay, time),
        due.map(({ id }) => id),
      );
      t.strictSame(JSON.parse(overlay.get('kernel', 'accounts', 'member.a') as string), {
        ...{ available: due.length, locked: numbers.length - due.length },
      });
      state.apply(overlay.writes());
      t.strictSame(expire(new Overlay(state), time), [], 'and once');
    }),
  );
});

t.test(
  'where the credits are, carried along from write to write, is what summing up all of it gives',
  async (t) => {
    const step = fc.record({
      what: fc.constantFrom('available', 'lock', 'unlock', 'allowance', 'incoming', 'gone', 'other'),
      account: fc.constantFrom(VAULT, SUSPENSE, 'member.a', 'member.b', 'member.c'),
      n: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 6 }), { maxLength: 10 }), (batches) => {
        const state = new State();
        let totals = totalsOf(state);
        for (const batch of batches) {
          const overlay = new Overlay(state);
          const put = ({ dapp, collection, key, value }: StateWrite): void =>
            overlay.put(dapp, collection, key, value);
          for (const { what, account, n } of batch) {
            const { available, locked } = JSON.parse(
              overlay.get('kernel', 'accounts', account) ?? '{"available":0,"locked":0}',
            ) as Account;
            const lock = overlay.get('kernel', 'locks', `x.${account}`);
            if (what === 'available') put(kernel('accounts', account, { available: n, locked }));
            else if (what === 'lock' && lock === undefined) {
              put(kernel('locks', `x.${account}`, { amount: n }));
              put(kernel('accounts', account, { available, locked: locked + n }));
            } else if (what === 'unlock' && lock !== undefined) {
              put(kernel('locks', `x.${account}`, null));
              const { amount } = JSON.parse(lock) as { amount: number };
              put(kernel('accounts', account, { available, locked: locked - amount }));
            } else if (what === 'allowance') put(kernel('allowances', account, { amount: n }));
            else if (what === 'incoming') put(kernel('incoming', account, { amount: n }));
            else if (what === 'gone') {
              put(kernel('allowances', account, null));
              put(kernel('incoming', account, null));
              if (locked === 0) put(kernel('accounts', account, null));
            } else put(kernel('members', account, { available: n, amount: n }));
          }
          const writes = overlay.writes();
          totals = totalsAfter(totals, state, writes);
          state.apply(writes);
          t.strictSame(totals, totalsOf(state));
        }
      }),
    );
  },
);
