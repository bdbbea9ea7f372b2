/** The dapps' own tests of a merge: what they refuse goes, and no dapp stops the town. */
import fc from 'fast-check';
import t from 'tap';
import type { FromContract } from './contract-protocol.js';
import { sha256 } from './hash.js';
import type { Json, JsonObject } from './ids.js';
import { readCharter } from './kernel.js';
import { assertSupply } from './supply.js';
import { suspensionOf } from './suspended-dapps.js';
import { notesContract, SmallTown, type PlayedContract } from './testing/small-town.js';

type Built = ReturnType<SmallTown['merge']>;

const verdicts = ({ receipt }: Built): readonly string[] =>
  receipt.entries.map(({ type, verdict, code }) => `${type} ${code ?? verdict}`);

const put = (town: SmallTown, key: string, value: Json = 1): ReturnType<SmallTown['entry']> =>
  town.entry('alpha', 'bob', 'notes.put', { key, value });
const change = (town: SmallTown, set: JsonObject): ReturnType<SmallTown['entry']> =>
  town.entry('alpha', 'ada', 'charter.change', { set, remove: [] });

const veto = (entries: readonly string[] = [], reason = 'It is not sound.'): FromContract => ({
  t: 'veto',
  id: 1,
  entries: [...entries] as never,
  code: 'unsound',
  reason,
});

/** The contract of notes, but for the tests, which `test` answers; null: they pass. */
function tested(test: (entries: readonly string[], dapp: string) => FromContract | null): PlayedContract {
  const contract = notesContract();
  return (message, dapp) =>
    message.t === 'test' ? (test(message.entries, dapp) ?? { t: 'pass', id: 1 }) : contract(message);
}
const never = tested(() => veto());
const suspended = (town: SmallTown, dapp = 'notes') =>
  suspensionOf(town.state, readCharter(town.state), dapp);

/** What the charter says of the dapps, with one more. */
const withWatch = (town: SmallTown): JsonObject => {
  const { dapps } = readCharter(town.state);
  return { '/dapps': [...dapps, { ...dapps[0], name: 'watch', digest: sha256('watch') }] } as JsonObject;
};

t.test("what a dapp's test vetoes is rejected with its reason, and the rest stands", async (t) => {
  const town = new SmallTown().people('bob');
  const [bad, good] = [put(town, 'bad'), put(town, 'good')];
  town.block('alpha', [bad, good]);
  const built = town.merge(
    tested((entries) => (entries.includes(bad.id) ? veto([bad.id], 'Not this one.') : null)),
  );
  t.same(verdicts(built), ['notes.put veto', 'notes.put accepted']);
  t.equal(built.receipt.entries[0]?.reason, 'The tests of notes refused it: Not this one.');
  t.equal(town.state.get('notes', 'notes', 'bad'), undefined);
});

t.test('who names one after another in vain loses all of the merge at the third time', async (t) => {
  const town = new SmallTown().people('bob');
  const entries = ['a', 'b', 'c', 'd', 'e'].map((key) => put(town, key));
  town.block('alpha', entries);
  const passes: number[] = [];
  const built = town.merge(
    tested((left) => {
      passes.push(left.length);
      return left.length > 0 ? veto([left[0] as string]) : null;
    }),
  );
  t.same(passes, [5, 4, 3, 0]);
  t.same(new Set(verdicts(built)), new Set(['notes.put veto']));
  t.equal(suspended(town), undefined);
});

t.test('a dapp whose tests nothing satisfies is suspended, and the town goes on without it', async (t) => {
  const town = new SmallTown().people('bob', 'eve');
  const transfer = () => town.entry('alpha', 'bob', 'credit.transfer', { to: eve, amount: 1 } as JsonObject);
  const eve = town.state.keys('kernel', 'members', '', 9)[0] as string;
  town.block('alpha', [put(town, 'a'), town.entry('alpha', 'alpha', 'notes.seen', { key: 'b' }), transfer()]);
  const built = town.merge(never);
  t.same(verdicts(built).slice(0, 2), ['notes.put veto', 'notes.seen veto']);
  t.equal(built.receipt.entries[1]?.verdict, 'irregular', 'a fact stays on record');
  t.match(suspended(town), { height: built.receipt.height, reason: 'It is not sound.' });
  t.same(built.testedBy ?? [], [], 'it is not among the tests that passed');

  town.block('alpha', [put(town, 'c'), transfer()]);
  const next = town.merge(never);
  t.match(next.receipt.entries[0], {
    verdict: 'rejected',
    code: 'dapp-suspended',
    reason:
      /^The dapp notes is suspended since merge 3, until the charter says otherwise of it: It is not sound\.$/,
  });
  t.notMatch(next.receipt.entries[1], { code: 'dapp-suspended' }, 'who needs no dapp goes on');
});

/** Changes what the charter says of notes. */
const changeNotes = (town: SmallTown, more: JsonObject): ReturnType<SmallTown['entry']> => {
  const dapps = readCharter(town.state).dapps.map((dapp) =>
    dapp.name === 'notes' ? { ...dapp, ...more } : dapp,
  );
  return change(town, { '/dapps': dapps as unknown as Json });
};

t.test(
  'a suspension ends when the charter says otherwise of the dapp, and comes again for the same fault',
  async (t) => {
    const town = new SmallTown().people('bob');
    town.block('alpha', [put(town, 'a')]);
    town.merge(never);
    town.block('alpha', [changeNotes(town, { enabled: false })]);
    t.same(verdicts(town.merge(never)), ['charter.change accepted']);
    t.equal(town.state.get('kernel', 'suspended', 'notes'), undefined, 'it is forgotten');
    town.block('alpha', [changeNotes(town, { enabled: true })]);
    t.same(verdicts(town.merge(never)), ['charter.change dapp-tests-fail'], 'not before its tests pass');
    town.block('alpha', [changeNotes(town, { enabled: true })]);
    t.same(verdicts(town.merge()), ['charter.change accepted']);
    town.block('alpha', [put(town, 'b')]);
    t.same(verdicts(town.merge()), ['notes.put accepted']);
  },
);

t.test(
  'a change of the charter under which a dapp’s tests do not pass is refused, and no other entry suffers',
  async (t) => {
    const town = new SmallTown().people('bob');
    const before = town.state.get('kernel', 'charter', 'charter');
    town.block('alpha', [
      changeNotes(town, { version: '2.0.0', digest: sha256('newer'), parameters: { strict: true } }),
      put(town, 'a'),
    ]);
    const contract = notesContract();
    const built = town.merge((message) =>
      message.t === 'test' && message.ctx.parameters['strict'] === true
        ? veto([], 'The newer one is broken.')
        : contract(message),
    );
    t.match(built.receipt.entries, [
      {
        type: 'charter.change',
        verdict: 'rejected',
        code: 'dapp-tests-fail',
        reason: 'With this charter the tests of notes do not pass: The newer one is broken.',
      },
      { type: 'notes.put', verdict: 'accepted' },
    ]);
    t.equal(town.state.get('kernel', 'charter', 'charter'), before);
  },
);

t.test(
  'a test may refuse what changed the state that its dapp says it reads, and nothing of others',
  async (t) => {
    const town = new SmallTown().people('bob');
    town.block('alpha', [change(town, withWatch(town))]);
    t.same(verdicts(town.merge()), ['charter.change accepted']);
    const [mine, other] = [
      put(town, 'a'),
      town.entry('alpha', 'ada', 'member.roles', { member: 'm0', roles: [] }),
    ];
    const rename = change(town, { '/name': 'Elsewhere' });
    town.block('alpha', [mine, other, rename]);
    const seen: (readonly string[])[] = [];
    const built = town.merge(
      tested((entries, dapp) => {
        if (dapp !== 'watch') return null;
        seen.push(entries);
        return entries.length > 0 ? veto([mine.id, other.id, rename.id], 'Not while I watch.') : null;
      }),
    );
    t.same(seen, [[mine.id], []], 'of what the kernel judges it is not even told');
    t.match(
      built.receipt.entries.find(({ id }) => id === mine.id),
      { code: 'veto', reason: 'The tests of watch refused it: Not while I watch.' },
    );
    t.equal(readCharter(town.state).name, 'Elsewhere');
  },
);

t.test('whatever tests answer, a merge comes to its end, and conserves the credits', async () => {
  const answers = fc.array(
    fc.record({
      t: fc.constantFrom('pass', 'veto', 'error'),
      named: fc.array(fc.nat(11), { maxLength: 4 }),
    }),
    { minLength: 1, maxLength: 40 },
  );
  fc.assert(
    fc.property(answers, fc.boolean(), fc.boolean(), (list, watched, upgraded) => {
      const town = new SmallTown().people('bob');
      if (watched) {
        town.block('alpha', [change(town, withWatch(town))]);
        town.merge();
      }
      const entries = Array.from({ length: 12 }, (_, i) =>
        i % 3 === 0 ? town.entry('alpha', 'alpha', 'notes.seen', { key: `k${i}` }) : put(town, `k${i}`),
      );
      town.block('alpha', upgraded ? [...entries, changeNotes(town, { version: '1.0.1' })] : entries);
      let turn = 0;
      const built = town.merge(
        tested(() => {
          const answer = list[(turn += 1) % list.length] as (typeof list)[0];
          if (answer.t === 'pass') return null;
          if (answer.t === 'error') return { t: 'error', id: 1, message: 'broken' };
          return veto(answer.named.map((i) => entries[i]?.id as string));
        }),
      );
      assertSupply(town.state, readCharter(town.state).supply);
      return built.receipt.entries.length === entries.length + Number(upgraded) && turn <= 40;
    }),
    { numRuns: 150 },
  );
});
