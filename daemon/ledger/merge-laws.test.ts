/** Laws of merging, tried on small towns with random entries, branches and ways of cutting them into merges. */
import fc from 'fast-check';
import t from 'tap';
import { accountOf } from './accounts.js';
import type { Block } from './block.js';
import { validatorsMoved } from './charter.js';
import type { EntryId, JsonObject, Millis } from './ids.js';
import { isRestrictive } from './judge.js';
import { readFork } from './kernel-forks.js';
import { branchName, orderEntries, readBranch, type BranchPart } from './order.js';
import type { Receipt } from './replay.js';
import { readCharter } from './kernel.js';
import { memberIdOf, nodeIdOf, publicKeyOf } from './signature.js';
import { changeTree } from './state-tree.js';
import { State } from './state.js';
import { assertSupply } from './supply.js';
import { MANIFESTS, SmallTown, T0, secretOf } from './testing/small-town.js';

const keyOf = (word: string) => publicKeyOf(secretOf(word));
const memberOf = (word: string) => memberIdOf(keyOf(word));

const NODES = ['alpha', 'beta', 'gamma'];
const WORDS = ['ada', 'bob', 'carl'];

interface Act {
  readonly node: string;
  readonly who: string;
  readonly to: string;
  readonly what: string;
  readonly number: number;
  /** Its own clock, from the start: may be wrong. */
  readonly at: number;
}

const act: fc.Arbitrary<Act> = fc.record({
  node: fc.constantFrom(...NODES),
  who: fc.constantFrom(...WORDS),
  to: fc.constantFrom(...WORDS),
  what: fc.constantFrom(
    ...['transfer', 'transfer', 'transfer', 'grant', 'hold', 'pay', 'put', 'put', 'forbid', 'seen'],
    ...['roles', 'revoke', 'suspend', 'join'],
  ),
  number: fc.integer({ min: 0, max: 600 }),
  at: fc.integer({ min: 0, max: 9000 }),
});

function saying(town: SmallTown, { who, to, what, number }: Act): [who: string, type: string, JsonObject] {
  const key = `k${number % 3}`;
  const member = memberOf(to);
  switch (what) {
    case 'transfer':
      return [who, 'credit.transfer', { to: member, amount: number }];
    case 'grant':
      return [who, 'credit.grant', { to: member, amount: number }];
    case 'hold':
      return [who, 'notes.hold', { id: key, amount: number }];
    case 'pay':
      return [who, 'notes.pay', { id: key, to: accountOf(member), amount: number }];
    case 'put':
      return [who, 'notes.put', { key, value: number }];
    case 'forbid':
      return [who, 'notes.forbid', { key }];
    case 'roles':
      return [who, 'member.roles', { member, roles: number % 2 === 0 ? ['member'] : [] }];
    case 'revoke':
      return [who, 'member.revoke-key', { key: keyOf(to) }];
    case 'suspend':
      return [who, 'member.suspend', { member }];
    case 'join':
      return [`new ${number % 3}`, 'member.join', { invitation: town.invitation(key) }];
    default:
      return ['', 'notes.seen', { key }];
  }
}

/** Says all of it, each node in blocks of up to three entries; `drafts`: some of beta's stand on a draft of its own. */
function say(town: SmallTown, acts: readonly Act[], drafts = false): readonly EntryId[] {
  const ids: EntryId[] = [];
  const draft = drafts ? town.draft('beta', 'plan') : '';
  const where = ({ node, number, what }: Act): string =>
    drafts && node === 'beta' && number % 2 === 0 && what !== 'seen' ? draft : node;
  for (const branch of [...NODES, ...(drafts ? [draft] : [])]) {
    const mine = acts.filter((one) => where(one) === branch);
    for (let from = 0; from < mine.length; from += 3) {
      const entries = mine.slice(from, from + 3).map((one) => {
        const [who, type, body] = saying(town, one);
        return town.entry(branch, who || one.node, type, body, { at: (T0 + one.at) as Millis });
      });
      town.block(branch, entries);
      ids.push(...entries.map(({ id }) => id));
    }
  }
  return ids;
}

const fresh = (): SmallTown => new SmallTown(NODES).people('bob', 'carl');
const rowsOf = (town: SmallTown) => [...town.state.rows()];

/** A prefix of each part, by a list of lengths: what one merge takes. */
function prefixes(parts: readonly BranchPart[], lengths: readonly number[]): readonly BranchPart[] {
  return parts.flatMap((part, i) => {
    const blocks = part.blocks.slice(0, lengths[i % lengths.length]);
    return blocks.length === 0 ? [] : [{ ...part, blocks }];
  });
}

/** Merges all there is, so many blocks of each branch at a time as the lists say. */
function mergeAll(town: SmallTown, cuts: readonly (readonly number[])[]): readonly Receipt[] {
  const receipts: Receipt[] = [];
  for (const cut of [...cuts, [Infinity]]) {
    const parts = prefixes(town.parts(), cut);
    if (parts.length > 0) receipts.push(town.merge(undefined, parts).receipt);
  }
  return receipts;
}

const acts = fc.array(act, { minLength: 1, maxLength: 24 });
const cuts = fc.array(fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 4 }), {
  maxLength: 4,
});

t.test('a merge does not depend on what came first to whom', async (t) => {
  fc.assert(
    fc.property(acts, fc.infiniteStream(fc.nat()), (list, keys) => {
      const town = fresh();
      say(town, list);
      const parts = town.parts();
      const shuffled = parts
        .map((part) => ({ part, key: keys.next().value as number }))
        .sort((a, b) => a.key - b.key)
        .map(({ part }) => part);
      const one = town.replay(parts);
      const other = town.replay(shuffled);
      t.strictSame(other.writes, one.writes);
      t.strictSame(other.receipt, one.receipt);
    }),
    { numRuns: 50 },
  );
});

t.test('to replay the first merges and the rest from the stored state is to replay all', async (t) => {
  fc.assert(
    fc.property(acts, cuts, (list, how) => {
      const [whole, parted] = [fresh(), fresh()];
      say(whole, list);
      say(parted, list);
      const receipts = mergeAll(whole, how);
      const again = [...how, [Infinity]].flatMap((cut) => {
        const parts = prefixes(parted.parts(), cut);
        if (parts.length === 0) return [];
        // As after a restart: all there is comes out of the stored rows.
        const rows = rowsOf(parted);
        parted.restart(State.from(rows), changeTree(null, rows, {}).tree);
        return [parted.merge(undefined, parts).receipt];
      });
      t.strictSame(again, receipts);
      t.strictSame(rowsOf(parted), rowsOf(whole));
      t.equal(parted.head.id, whole.head.id);
      assertSupply(whole.state, whole.charter.supply);
    }),
    { numRuns: 30 },
  );
});

t.test(
  'however branches are cut into merges, every entry is judged once, on every line, and none is lost',
  async (t) => {
    fc.assert(
      fc.property(acts, cuts, (list, how) => {
        const town = fresh();
        const base = town.head.id;
        const ids = say(town, list, true);
        const draft = town.branches.get('beta/plan');
        const last = draft?.blocks.at(-1);
        if (last) {
          const home = { line: 'plan', node: last.node, head: last.id, seq: last.seq, base };
          town.block('gamma', [town.entry('gamma', 'ada', 'fork.adopt', home)]);
        }
        const receipts = [...mergeAll(town, how), ...mergeAll(town, [])];
        const judged = receipts.flatMap(({ entries }) => entries.map(({ id }) => id));
        t.equal(new Set(judged).size, judged.length, 'none twice');
        const isHome = readFork(town.state, 'plan') !== undefined;
        const drafted = new Set(draft?.blocks.flatMap(({ entries }) => entries.map(({ id }) => id)));
        const expected = ids.filter((id) => isHome || !drafted.has(id));
        t.same(
          expected.filter((id) => !judged.includes(id)),
          [],
          'none lost',
        );
        t.same(town.parts(), []);
        // The same blocks once more, from the start: nothing of them is taken.
        for (const { node, line, blocks } of town.branches.values())
          if (blocks.length > 0 && readBranch(town.state, node, line))
            t.throws(() => town.replay([{ node, line, tau: T0, blocks }]), { code: 'bad-merge' });
      }),
      { numRuns: 40 },
    );
  },
);

t.test('an entry that stands in two blocks is judged in one of them', async (t) => {
  fc.assert(
    fc.property(acts, cuts, (list, how) => {
      const town = fresh();
      say(town, list);
      const { blocks } = town.branches.get('alpha') as { blocks: Block[] };
      const merged = readBranch(town.state, blocks[0]?.node ?? '', 'main')?.seq ?? 0;
      const open = blocks.filter(({ seq }) => seq > merged);
      const copied = open.slice(-2).flatMap(({ entries }) => [...entries]);
      if (copied.length === 0) return;
      town.block('alpha', copied);
      const receipts = mergeAll(town, how);
      for (const { id } of copied) {
        const verdicts = receipts
          .flatMap(({ entries }) => entries.filter((entry) => entry.id === id))
          .map(({ code }) => code === 'duplicate');
        t.same(verdicts, [false, true]);
      }
    }),
    { numRuns: 20 },
  );
});

t.test(
  'what restricts goes first in its merge; the entry that is to blame is of this merge or an earlier one',
  async (t) => {
    fc.assert(
      fc.property(acts, cuts, (list, how) => {
        const town = fresh();
        const known = new Set<string>();
        for (const { blocks } of town.branches.values())
          for (const { entries } of blocks) for (const { id } of entries) known.add(id);
        say(town, list);
        for (const { entries } of mergeAll(town, how)) {
          for (const { id } of entries) known.add(id);
          for (const { id, other } of entries)
            if (other !== undefined) t.ok(known.has(other) && other !== id, 'it is known, and another');
          const order = entries
            .filter(({ code }) => code === undefined)
            .map((entry) => isRestrictive(entry, MANIFESTS));
          t.notOk(
            order.lastIndexOf(true) > order.indexOf(false) && order.includes(false) && order.includes(true),
          );
        }
      }),
      { numRuns: 40 },
    );
  },
);

t.test('τ never falls within a branch, and stays between what is known to be before and after', async (t) => {
  fc.assert(
    fc.property(acts, cuts, (list, how) => {
      const town = fresh();
      say(town, list);
      const last = new Map<string, number>();
      for (const cut of [...how, [Infinity]]) {
        const parts = prefixes(town.parts(), cut);
        if (parts.length === 0) continue;
        const time = (town.head.time + 1000) as Millis;
        for (const { entry, line, tau } of orderEntries(parts, town.head.id, time, (base) =>
          town.timeOf(base),
        )) {
          const branch = branchName(entry.node, line);
          t.ok(tau >= (last.get(branch) ?? 0) && tau <= time);
          last.set(branch, tau);
        }
        town.merge(undefined, parts);
        for (const { node, line } of parts)
          t.equal(readBranch(town.state, node, line)?.tau, last.get(branchName(node, line)));
      }
    }),
    { numRuns: 30 },
  );
});

const HOUSES = ['alpha', 'beta', 'gamma', 'delta', 'epsilon'];
const idsOf = (bits: number) =>
  HOUSES.filter((_, i) => (bits & (1 << i)) !== 0).map((name) => nodeIdOf(keyOf(name)));

/** Whole sets of validators, as bits, said in turn at one node or another; `true`: a merge in between. */
const wishes = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ node: fc.constantFrom(...NODES), bits: fc.integer({ min: 1, max: 31 }) }),
    },
    // Steps by one, from a set near the one there is, so that some are taken.
    {
      weight: 8,
      arbitrary: fc.record({ node: fc.constantFrom(...NODES), flip: fc.integer({ min: 0, max: 4 }) }),
    },
    { weight: 2, arbitrary: fc.constant(true as const) },
  ),
  { minLength: 4, maxLength: 24 },
);

t.test('from merge to merge one validator moves at most, whatever changes a merge folds in', async (t) => {
  const codes = new Map<string, number>();
  fc.assert(
    fc.property(wishes, (list) => {
      const town = new SmallTown(HOUSES).people();
      const validators = (): readonly string[] => readCharter(town.state).validators;
      let guess = 1;
      const merge = (): void => {
        const before = validators();
        if (town.parts().length === 0) return;
        for (const { code = 'accepted' } of town.merge().receipt.entries)
          codes.set(code, (codes.get(code) ?? 0) + 1);
        t.ok(validatorsMoved(before, validators()) <= 1, 'one moved at most');
        guess = HOUSES.reduce(
          (bits, name, i) => (validators().includes(nodeIdOf(keyOf(name))) ? bits | (1 << i) : bits),
          0,
        );
      };
      for (const wish of list) {
        if (wish === true) {
          merge();
          continue;
        }
        const bits = 'bits' in wish ? wish.bits : guess ^ (1 << wish.flip);
        if (bits === 0) continue;
        guess = bits;
        const body = { set: { '/validators': idsOf(bits) }, remove: [] };
        town.block(wish.node, [town.entry(wish.node, 'ada', 'charter.change', body)]);
      }
      merge();
    }),
    { numRuns: 60 },
  );
  for (const code of ['accepted', 'validator-moved', 'bad-charter-change'])
    t.ok((codes.get(code) ?? 0) > 0, `${code} is among what was tried`);
});
