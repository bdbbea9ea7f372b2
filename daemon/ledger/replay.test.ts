import fc from 'fast-check';
import t from 'tap';
import { accountOf, readAccount } from './accounts.js';
import { assertSupply, totalsOf } from './supply.js';
import { changeCharter } from './charter.js';
import type { FromContract, ToContract } from './contract-protocol.js';
import type { JsonObject } from './ids.js';
import { keyProofText, KEY_DOMAIN, readKey, readMember } from './kernel.js';
import { memberIdOf, publicKeyOf, signText } from './signature.js';
import { SmallTown, T0, notesContract, secretOf } from './testing/small-town.js';

const memberOf = (word: string) => memberIdOf(publicKeyOf(secretOf(word)));
const balance = (town: SmallTown, word: string) =>
  readAccount(town.state, accountOf(memberOf(word)))?.available;
const verdicts = (built: {
  receipt: { entries: readonly { type: string; verdict: string; code?: string }[] };
}) => built.receipt.entries.map(({ type, verdict, code }) => `${type} ${code ?? verdict}`);

t.test('a town is founded once, by a key that a node of the charter vouches for', async (t) => {
  const town = new SmallTown();
  town.block('alpha', [
    town.entry('alpha', 'eve', 'member.found', {}),
    town.entry('alpha', 'ada', 'member.found', {}, { cosigners: ['alpha'] }),
    town.entry('alpha', 'bob', 'member.found', {}, { cosigners: ['alpha'] }),
  ]);
  t.same(verdicts(town.merge()), [
    'member.found not-vouched-for',
    'member.found accepted',
    'member.found founded-already',
  ]);
  t.same(readMember(town.state, memberOf('ada'))?.roles, ['member', 'steward']);
  t.equal(balance(town, 'ada'), 500, 'the grant came from the vault');
});

t.test('an invitation admits one member, of this town, in its time, signed by who may invite', async (t) => {
  const town = new SmallTown().people();
  const join = (who: string, invitation: JsonObject) =>
    town.entry('alpha', who, 'member.join', { invitation });
  town.block('alpha', [
    join('bob', town.invitation('one')),
    join('carl', town.invitation('one')),
    join('dora', town.invitation('two', { until: T0 + 1 })),
    join('emil', { ...town.invitation('three'), nonce: 'f'.repeat(64) }),
    join('fay', town.invitation('four', { town: 'e'.repeat(64) })),
    join('gus', { ...town.invitation('five'), by: publicKeyOf(secretOf('gus')) }),
  ]);
  t.same(verdicts(town.merge()), [
    'member.join accepted',
    'member.join invitation-used',
    'member.join invitation-expired',
    'member.join bad-invitation',
    'member.join other-town',
    'member.join bad-invitation',
  ]);
});

t.test('credits move whole, only from their owner, never below zero', async (t) => {
  const town = new SmallTown().people('bob');
  const send = (who: string, to: string, amount: number) =>
    town.entry('alpha', who, 'credit.transfer', { to: memberOf(to), amount });
  town.block('alpha', [
    send('bob', 'ada', 500),
    send('bob', 'ada', 1),
    send('ada', 'ada', 1),
    send('ada', 'bob', -5),
  ]);
  t.same(verdicts(town.merge()), [
    'credit.transfer accepted',
    'credit.transfer not-enough-credits',
    'credit.transfer same-account',
    'credit.transfer bad-amount',
  ]);
  t.equal(balance(town, 'ada'), 1000);
  t.equal(balance(town, 'bob'), 0);
  town.block('alpha', [
    town.entry('alpha', 'bob', 'credit.grant', { to: memberOf('bob'), amount: 10 }),
    town.entry('alpha', 'ada', 'credit.grant', { to: memberOf('bob'), amount: 10 }),
  ]);
  t.same(
    verdicts(town.merge()),
    ['credit.grant not-allowed', 'credit.grant accepted'],
    'the vault opens to who may',
  );
});

t.test('a lock is resolved once, in parts, and the rest goes back', async (t) => {
  const town = new SmallTown().people('bob');
  const pay = (amount: number) =>
    town.entry('alpha', 'ada', 'notes.pay', { id: 'x', to: accountOf(memberOf('bob')), amount });
  town.block('alpha', [
    town.entry('alpha', 'ada', 'notes.hold', { id: 'x', amount: 100 }),
    pay(101),
    pay(60),
    pay(1),
  ]);
  t.same(verdicts(town.merge()), [
    'notes.hold accepted',
    'notes.pay overdrawn',
    'notes.pay accepted',
    'notes.pay no-such-lock',
  ]);
  t.equal(balance(town, 'ada'), 440);
  t.equal(balance(town, 'bob'), 560);
  t.equal(totalsOf(town.state).locked, 0);
});

t.test('restrictive entries go first, whatever their time, and are judged on the parent state', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob');
  const late = { at: (town.head.time + 900) as never };
  town.block('alpha', [town.entry('alpha', 'bob', 'notes.put', { key: 'a', value: 1 })]);
  town.block('beta', [town.entry('beta', 'ada', 'notes.forbid', { key: 'a' }, late)]);
  t.same(verdicts(town.merge()), ['notes.forbid accepted', 'notes.put forbidden']);

  const keyOf = (who: string) => publicKeyOf(secretOf(who));
  town.block('alpha', [town.entry('alpha', 'bob', 'member.revoke-key', { key: keyOf('bob') })]);
  town.block('beta', [
    town.entry('beta', 'bob', 'notes.put', { key: 'b', value: 1 }),
    town.entry('beta', 'ada', 'member.revoke-key', { key: keyOf('bob') }),
  ]);
  t.same(verdicts(town.merge()).sort(), [
    'member.revoke-key accepted',
    'member.revoke-key accepted',
    'notes.put key-revoked',
  ]);
});

t.test('a restriction by who joins in the same merge is judged in its own place', async (t) => {
  const town = new SmallTown();
  town.block('alpha', [
    town.entry('alpha', 'ada', 'member.found', {}, { cosigners: ['alpha'] }),
    town.entry('alpha', 'ada', 'notes.put', { key: 'a', value: 1 }),
    town.entry('alpha', 'ada', 'notes.forbid', { key: 'a' }),
    town.entry('alpha', 'ada', 'notes.put', { key: 'a', value: 2 }),
  ]);
  t.same(verdicts(town.merge()), [
    'member.found accepted',
    'notes.put accepted',
    'notes.forbid accepted',
    'notes.put forbidden',
  ]);
});

t.test('a further key proves itself and speaks for its member; a revoked one does not', async (t) => {
  const town = new SmallTown().people('bob');
  const key = publicKeyOf(secretOf('bob at home'));
  const proof = signText(secretOf('bob at home'), KEY_DOMAIN, keyProofText(town.town, memberOf('bob'), key));
  const wrong = signText(secretOf('bob at home'), KEY_DOMAIN, keyProofText(town.town, memberOf('ada'), key));
  town.block('alpha', [
    town.entry('alpha', 'bob', 'member.add-key', { key, proof: wrong }),
    town.entry('alpha', 'bob', 'member.add-key', { key, proof }),
    town.entry('alpha', 'bob at home', 'credit.transfer', { to: memberOf('ada'), amount: 1 }),
  ]);
  t.same(verdicts(town.merge()), [
    'member.add-key bad-proof',
    'member.add-key accepted',
    'credit.transfer accepted',
  ]);
  t.equal(balance(town, 'bob'), 499);
  t.equal(readKey(town.state, key)?.member, memberOf('bob'));
});

t.test('facts are recorded, irregular at worst; who is not the node cannot state them', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob');
  town.block('alpha', [
    town.entry('alpha', 'alpha', 'notes.seen', { key: 'fine' }),
    town.entry('alpha', 'alpha', 'notes.seen', { key: 'odd' }),
    town.entry('alpha', 'beta', 'notes.seen', { key: 'fine' }),
    town.entry('alpha', 'alpha', 'notes.put', { key: 'x', value: 1 }),
    town.entry('alpha', 'nobody', 'notes.put', { key: 'x', value: 1 }),
    town.entry('alpha', 'bob', 'notes.sing', { key: 'x' }),
  ]);
  t.same(verdicts(town.merge()), [
    'notes.seen accepted',
    'notes.seen odd',
    'notes.seen not-the-node',
    'notes.put members-only',
    'notes.put unknown-key',
    'notes.sing unknown-type',
  ]);
});

t.test('a fact whose changes are refused half way is recorded and leaves no trace', async (t) => {
  const town = new SmallTown().people('bob');
  const hold = town.entry('alpha', 'bob', 'notes.hold', { id: 'one', amount: 100 });
  town.block('alpha', [hold]);
  town.merge();
  town.block('alpha', [town.entry('alpha', 'alpha', 'notes.seen', { key: 'x' })]);
  const contract = notesContract();
  const lock = { op: 'post', id: 'one', parts: [{ to: 'member.m0000000000000000', amount: 100 }] } as const;
  const built = town.merge((message) => {
    const said = contract(message);
    return said.t === 'accept'
      ? { ...said, writes: [{ collection: 'notes', key: 'x', value: 1 }], postings: [lock] }
      : said;
  });
  t.match(built.receipt.entries, [{ verdict: 'irregular', code: 'no-such-account' }]);
  t.equal(town.state.get('notes', 'notes', 'x'), undefined);
  t.equal(readAccount(town.state, accountOf(memberOf('bob')))?.locked, 100);
  assertSupply(town.state, town.charter.supply);
});

t.test('an entry that stands in two blocks of one merge applies once', async (t) => {
  const town = new SmallTown().people('bob');
  const pay = town.entry('alpha', 'ada', 'credit.transfer', { to: memberOf('bob'), amount: 10 });
  town.block('alpha', [pay]);
  town.block('alpha', [pay]);
  t.same(verdicts(town.merge()), ['credit.transfer accepted', 'credit.transfer duplicate']);
  t.equal(balance(town, 'bob'), 510);
});

t.test('only a steward makes or unmakes a steward, and no role is made of thin air', async (t) => {
  const town = new SmallTown(['alpha'], (charter) => ({
    ...charter,
    roles: { ...charter.roles, host: { permissions: ['member.roles', 'member.invite'] } },
  })).people('bob');
  const roles = (who: string, of: string, list: string[]) =>
    town.entry('alpha', who, 'member.roles', { member: memberOf(of), roles: list });
  town.block('alpha', [
    roles('ada', 'bob', ['host', 'member']),
    roles('bob', 'bob', ['host', 'steward']),
    roles('bob', 'ada', ['member']),
    roles('ada', 'bob', ['host', 'constructor']),
    town.entry('alpha', 'carl', 'member.join', {
      invitation: town.invitation('one', { roles: ['toString'] }),
    }),
    roles('ada', 'bob', ['steward']),
  ]);
  t.same(verdicts(town.merge()), [
    'member.roles accepted',
    'member.roles stewards-only',
    'member.roles stewards-only',
    'member.roles no-such-role',
    'member.join bad-invitation',
    'member.roles accepted',
  ]);
});

t.test('a contract can write and read only where it may', async (t) => {
  const town = new SmallTown().people('bob');
  const answers =
    (result: FromContract): ((m: ToContract) => FromContract) =>
    (message) =>
      message.t === 'apply' ? result : { t: 'pass', id: 1 };
  const accept = { t: 'accept', id: 1, writes: [], postings: [], notices: [] } as const;
  const cases: [string, FromContract][] = [
    ['contract-error', { ...accept, writes: [{ collection: '../kernel', key: 'x', value: 1 }] }],
    ['contract-error', { ...accept, writes: [{ collection: 'notes', key: '../../x', value: 1 }] }],
    ['contract-error', { ...accept, writes: [{ collection: 'notes', key: 'x', value: 'y'.repeat(20_000) }] }],
    [
      'not-your-credits',
      { ...accept, postings: [{ op: 'transfer', from: 'vault', to: accountOf(memberOf('bob')), amount: 1 }] },
    ],
    [
      'not-your-credits',
      { ...accept, postings: [{ op: 'transfer', from: accountOf(memberOf('ada')), to: 'vault', amount: 1 }] },
    ],
    [
      'bad-amount',
      {
        ...accept,
        postings: [{ op: 'transfer', from: accountOf(memberOf('bob')), to: 'vault', amount: -1 }],
      },
    ],
    [
      'no-such-account',
      {
        ...accept,
        postings: [{ op: 'transfer', from: accountOf(memberOf('bob')), to: 'nowhere', amount: 1 }],
      },
    ],
    ['contract-error', { t: 'error', id: 1, message: 'broken' }],
    ['contract-error', { t: 'pass', id: 1 }],
  ];
  for (const [code, answer] of cases) {
    const before = [...town.state.rows()].filter(({ collection }) => collection !== 'branches');
    town.block('alpha', [town.entry('alpha', 'bob', 'notes.put', { key: 'k', value: 1 })]);
    t.same(verdicts(town.merge(answers(answer))), [`notes.put ${code}`]);
    t.same(
      [...town.state.rows()].filter(({ collection }) => collection !== 'branches'),
      before,
      'a rejected entry leaves no trace',
    );
  }
});

t.test(
  'the charter is changed by enough stewards, in places that may change, validators one at a time',
  async (t) => {
    const town = new SmallTown(['alpha', 'beta', 'gamma']).people('bob');
    const change = (who: string, set: JsonObject, remove: string[] = []) =>
      town.entry('alpha', who, 'charter.change', { set, remove });
    const [a, b, c] = [...town.branches.values()].map(({ node }) => node) as unknown as [
      string,
      string,
      string,
    ];
    town.block('alpha', [
      change('bob', { '/pace/factsMs': 1 }),
      change('ada', { '/supply': 2_000_000 }),
      change('ada', { '/nowhere/at/all': 1 }),
      change('ada', { '/validators': [a, b, c] }),
      change('ada', { '/validators': [a, b] }),
      change('ada', { '/validators': [a, b, c], '/quorum': 'two-thirds' }),
      change('ada', { '/validators': [a, b, c] }),
      change('ada', { '/amend': 2 }),
    ]);
    t.same(
      verdicts(town.merge()).map((line) => line.replace('charter.change ', '')),
      [
        'not-allowed',
        'bad-charter-change',
        'bad-charter-change',
        'bad-charter-change',
        'accepted',
        'bad-charter',
        'validator-moved',
        'too-few-stewards',
      ],
    );
    t.throws(() => changeCharter(town.charter, { set: { '/__proto__/x': 1 }, remove: [] }), {
      code: 'bad-charter-change',
    });
  },
);

// Laws ----------------------------------------------------------------------------------------------------------------

const words = ['ada', 'bob', 'carl'];
const arbitraryAct = fc.oneof(
  fc.record({
    type: fc.constant('credit.transfer'),
    who: fc.constantFrom(...words),
    to: fc.constantFrom(...words),
    amount: fc.integer({ min: -1, max: 700 }),
  }),
  fc.record({
    type: fc.constant('credit.grant'),
    who: fc.constantFrom(...words),
    to: fc.constantFrom(...words),
    amount: fc.integer({ min: 1, max: 600_000 }),
  }),
  fc.record({
    type: fc.constant('notes.hold'),
    who: fc.constantFrom(...words),
    to: fc.constantFrom('x', 'y'),
    amount: fc.integer({ min: 0, max: 600 }),
  }),
  fc.record({
    type: fc.constant('notes.pay'),
    who: fc.constantFrom(...words),
    to: fc.constantFrom(...words),
    amount: fc.integer({ min: 1, max: 600 }),
  }),
  fc.record({
    type: fc.constant('member.revoke-key'),
    who: fc.constantFrom(...words),
    to: fc.constantFrom('bob', 'carl'),
    amount: fc.constant(0),
  }),
);

function act(
  town: SmallTown,
  node: string,
  at: number,
  { type, who, to, amount }: { type: string; who: string; to: string; amount: number },
) {
  const body: { [type: string]: JsonObject } = {
    'credit.transfer': { to: words.includes(to) ? memberOf(to) : to, amount },
    'credit.grant': { to: memberOf(to), amount },
    'notes.hold': { id: to, amount },
    'notes.pay': { id: 'x', to: words.includes(to) ? accountOf(memberOf(to)) : 'vault', amount },
    'member.revoke-key': { key: publicKeyOf(secretOf(to)) },
  };
  return town.entry(node, who, type, body[type] as JsonObject, { at: (T0 + at) as never });
}

t.test('supply stays what it is, and the merge does not depend on which branch came first', async (t) => {
  const acts = fc.array(
    fc.tuple(fc.constantFrom('alpha', 'beta'), fc.integer({ min: 0, max: 5000 }), arbitraryAct),
    { minLength: 1, maxLength: 25 },
  );
  fc.assert(
    fc.property(acts, (list) => {
      const town = new SmallTown(['alpha', 'beta']).people('bob', 'carl');
      for (const node of ['alpha', 'beta']) {
        const entries = list
          .filter(([where]) => where === node)
          .map(([, at, what]) => act(town, node, at, what));
        if (entries.length > 0) town.block(node, entries);
      }
      const parts = town.parts();
      const one = town.replay(parts);
      const other = town.replay([...parts].reverse());
      t.strictSame(one.writes, other.writes);
      t.strictSame(one.receipt, other.receipt);
      town.merge();
      assertSupply(town.state, town.charter.supply);
    }),
    { numRuns: 60 },
  );
});
