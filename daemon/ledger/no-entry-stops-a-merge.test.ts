/** Whatever somebody signs, or a dapp answers, the merge goes on: an entry is refused, never the whole of the history after it. */
import t from 'tap';
import { accountOf } from './accounts.js';
import { makeBlock, NO_BLOCK, readBlock } from './block.js';
import type { FromContract, ToContract } from './contract-protocol.js';
import { sha256 } from './hash.js';
import type { Json, JsonObject, NodeId } from './ids.js';
import { readAllowance } from './allowances.js';
import { readMember } from './kernel.js';
import { nodeIdOf } from './signature.js';
import { Overlay, writeJson } from './state.js';
import { assertSupply } from './supply.js';
import { keyOf, memberOf, settledTown } from './testing/paper-town.js';
import { MANIFESTS, SmallTown, notesContract, secretOf } from './testing/small-town.js';

type Built = ReturnType<SmallTown['merge']>;
const codes = ({ receipt }: Built): readonly string[] =>
  receipt.entries.map(({ verdict, code }) => code ?? verdict);
const say = (
  town: SmallTown,
  who: string,
  type: string,
  body: JsonObject,
  cosigners: string[] = [],
): Built => {
  town.block('alpha', [town.entry('alpha', who, type, body, { cosigners })]);
  return town.merge();
};
const change = (town: SmallTown, set: JsonObject): readonly string[] =>
  codes(say(town, 'ada', 'charter.change', { set, remove: [] }));

t.test('a charter holds nothing but what it knows, below every name', async (t) => {
  const key = keyOf('delta');
  const wrong: { readonly [what: string]: JsonObject } = {
    'a node by no id, of null': { '/nodes/evil': null },
    'a node by no id': { '/nodes/constructor': { name: 'x', key, roles: [] } },
    'a role by no name': { '/roles/X': { permissions: 5 } },
    'a role of null': { '/roles/X': null },
    'a node by the id of another key': { [`/nodes/${'c'.repeat(16)}`]: { name: 'x', key, roles: [] } },
    'stewards who may not change it': { '/roles/steward/permissions': ['credit.*'] },
  };
  for (const [what, set] of Object.entries(wrong)) t.same(change(settledTown(), set), ['bad-charter'], what);
  const { receipt } = say(settledTown(), 'ada', 'charter.change', { set: { '/name': '' }, remove: [] });
  const reason = 'The charter would not hold then.';
  t.match(receipt.entries, [{ reason }], 'in the same words whatever library finds it so');
  t.same(change(settledTown(), { [`/nodes/${nodeIdOf(key)}`]: { name: 'x', key, roles: [] } }), ['accepted']);
});

t.test('nobody takes the say of a node by revoking its key as a member’s', async (t) => {
  const town = settledTown();
  const beta = town.branches.get('beta')?.node as NodeId;
  say(town, 'cid', 'allowance.open', { node: beta, amount: 100 });
  const revoke = town.entry('alpha', 'ada', 'member.revoke-key', { key: keyOf('beta') });
  const pay = town.entry('beta', 'beta', 'allowance.pay', {
    member: memberOf('cid'),
    to: memberOf('dan'),
    amount: 60,
  });
  town.block('alpha', [revoke]);
  town.block('beta', [pay, town.entry('beta', 'beta', 'notes.seen', { key: 'k' })]);
  t.same(codes(town.merge()), ['accepted', 'accepted', 'accepted'], 'what it saw and paid counts');
  t.equal(readAllowance(town.state, memberOf('cid'), beta)?.amount, 40);
  // Also of one that was revoked before it was a node's.
  say(town, 'ada', 'member.revoke-key', { key: keyOf('delta') });
  t.same(
    change(town, { [`/nodes/${nodeIdOf(keyOf('delta'))}`]: { name: 'd', key: keyOf('delta'), roles: [] } }),
    ['accepted'],
  );
});

t.test(
  'the keys of the stewards whom the next change of the charter needs cannot all be revoked',
  async (t) => {
    const town = new SmallTown().people('cid');
    t.same(codes(say(town, 'ada', 'member.revoke-key', { key: keyOf('ada') })), ['last-steward']);
    const two = settledTown();
    two.block('alpha', [two.entry('alpha', 'ada', 'member.revoke-key', { key: keyOf('bob') })]);
    two.block('beta', [two.entry('beta', 'bob', 'member.revoke-key', { key: keyOf('ada') })]);
    t.same([...codes(two.merge())].sort(), ['accepted', 'last-steward'], 'nor each other’s in one merge');
    const left = settledTown();
    say(left, 'ada', 'member.revoke-key', { key: keyOf('bob') });
    t.same(
      codes(say(left, 'ada', 'member.leave', {})),
      ['last-steward'],
      'who has no key left is none to count on',
    );
  },
);

t.test('two keys whose member ids are the same: the second is refused', async (t) => {
  const town = new SmallTown().people('cid');
  const overlay = new Overlay(town.state);
  // As if the first 64 bits of the hash of another member's key were those of dora's: 2^32 keys give such a pair.
  const cid = readMember(town.state, memberOf('cid'));
  writeJson(overlay, 'kernel', 'members', memberOf('dora'), { ...cid, id: memberOf('dora') });
  writeJson(overlay, 'kernel', 'accounts', accountOf(memberOf('dora')), { available: 0, locked: 0 });
  town.state.apply(overlay.writes());
  const built = say(town, 'dora', 'member.join', { invitation: town.invitation('one') });
  t.same(codes(built), ['member-known']);
});

t.test('words of a dapp that are cut for their length stay text', async (t) => {
  const long = `${'x'.repeat(499)}😀`;
  const answers: { readonly [t: string]: FromContract } = {
    reject: { t: 'reject', id: 1, code: 'no', reason: long },
    notice: {
      t: 'accept',
      id: 1,
      writes: [],
      postings: [],
      notices: [{ member: memberOf('cid'), text: long }],
    },
    irregular: {
      t: 'accept',
      id: 1,
      writes: [],
      postings: [],
      notices: [],
      irregular: { code: 'odd', reason: long },
    },
    error: { t: 'error', id: 1, message: long },
  };
  for (const [what, answer] of Object.entries(answers)) {
    const town = new SmallTown().people('cid');
    const usual = notesContract();
    const contract = (message: ToContract): FromContract =>
      message.t === 'apply' || message.t === 'value' ? answer : usual(message);
    const type = what === 'irregular' ? 'notes.seen' : 'notes.put';
    town.block('alpha', [town.entry('alpha', what === 'irregular' ? 'alpha' : 'cid', type, { key: 'k' })]);
    t.ok(town.merge(contract).receipt.entries.length === 1, what);
  }
  const town = new SmallTown().people('cid');
  town.block('alpha', [town.entry('alpha', 'cid', 'notes.put', { key: 'k', value: 1 })]);
  let vetoed = false;
  const usual = notesContract();
  const built = town.merge((message) => {
    if (message.t !== 'test' || vetoed) return usual(message);
    vetoed = true;
    return { t: 'veto', id: 1, entries: [...message.entries], code: 'no', reason: long };
  });
  t.same(codes(built), ['veto']);
});

t.test('entries that are not UTF-8 are no block, whatever they would read as', async (t) => {
  const town = new SmallTown().people();
  const entry = town.entry('alpha', 'ada', 'notes.put', { key: 'k', value: '\ufffd' });
  const branch = town.branches.get('alpha');
  const place = {
    town: town.town,
    line: 'main',
    node: branch?.node as NodeId,
    seq: 1,
    prev: NO_BLOCK,
    base: town.head.id,
  };
  const parents = { prev: null, main: town.head.oid };
  const { block } = makeBlock(place, parents, [entry], town.head.time, secretOf('alpha'));
  const good = Buffer.from(`${entry.text}\n`);
  const at = good.indexOf('\ufffd');
  const bad = Buffer.concat([good.subarray(0, at), Buffer.from([0xff]), good.subarray(at + 3)]);
  t.equal(readBlock(block.raw, good, keyOf('alpha'), parents).id, block.id);
  t.throws(() => readBlock(block.raw, bad, keyOf('alpha'), parents), { code: 'bad-block' });
});

t.test('whatever JSON stands in a kernel entry, it is judged', async (t) => {
  const values: Json[] = [
    null,
    0,
    -1,
    Number.MAX_SAFE_INTEGER,
    '',
    'x',
    true,
    [],
    {},
    [null],
    { __proto__: null },
    '😀',
  ];
  const town = settledTown();
  const beta = town.branches.get('beta')?.node as NodeId;
  const good: JsonObject = {
    member: memberOf('cid'),
    to: memberOf('dan'),
    amount: 1,
    key: keyOf('new'),
    node: beta,
    line: 'draft',
    head: town.head.id,
    seq: 1,
    next: 2,
    base: town.head.id,
    n: 1,
    due: town.head.id,
    subject: memberOf('cid'),
    set: {},
    remove: [],
    roles: ['member'],
    kind: 'votes',
    a: 'a',
    b: 'b',
    proof: '',
  };
  let judged = 0;
  for (const [type, names] of Object.entries(FIELDS))
    for (const field of names)
      for (const value of values) {
        const body = Object.fromEntries(
          names.flatMap((name) => (name in good ? [[name, good[name] as Json]] : [])),
        );
        town.block('alpha', [town.entry('alpha', 'ada', type, { ...body, [field]: value })]);
        judged += town.merge().receipt.entries.length;
      }
  t.ok(judged > 200, `${judged}`);
  assertSupply(town.state, town.charter.supply);
});

const FIELDS: { readonly [type: string]: readonly string[] } = {
  'member.join': ['invitation'],
  'member.add-key': ['key', 'proof'],
  'member.revoke-key': ['key'],
  'member.roles': ['member', 'roles'],
  'member.suspend': ['member', 'reason'],
  'member.reinstate': ['member'],
  'credit.transfer': ['to', 'amount', 'memo'],
  'credit.grant': ['to', 'amount', 'from', 'memo'],
  'allowance.open': ['node', 'amount'],
  'allowance.fence': ['member', 'node', 'n'],
  'due.pay': ['due', 'amount'],
  'due.waive': ['due'],
  'charter.change': ['set', 'remove'],
  'fork.adopt': ['line', 'node', 'head', 'seq', 'base'],
  'record.erase': ['subject'],
  'node.readmit': ['node', 'line', 'head', 'seq', 'next'],
};

t.test('what would end in ".lock" in git is refused by name', async (t) => {
  const town = settledTown();
  t.same(codes(say(town, 'cid', 'notes.hold', { id: 'lock', amount: 5 })), ['bad-lock']);
  const { head } = town;
  const draft = town.draft('beta', 'lock');
  const { id } = town.block(draft, [
    town.entry(draft, 'cid', 'credit.transfer', { to: memberOf('dan'), amount: 1 }),
  ]);
  const node = town.branches.get('beta')?.node as NodeId;
  const adopted = { line: 'lock', node, head: id, seq: 1, base: head.id };
  t.same(codes(say(town, 'ada', 'fork.adopt', adopted, ['bob'])), ['bad-line']);
  t.same(codes(say(town, 'cid', 'credit.transfer', { to: memberOf('dan'), amount: 1 })), ['accepted']);
});

t.test('a draft that begins nowhere does not come home, in the same words at every node', async (t) => {
  const town = settledTown();
  const node = town.branches.get('beta')?.node as NodeId;
  const adopted = { line: 'plan', node, head: sha256('head'), seq: 1, base: sha256('nowhere') };
  const { receipt } = say(town, 'ada', 'fork.adopt', adopted, ['bob']);
  t.match(receipt.entries, [
    {
      code: 'unknown-base',
      reason: /^The draft begins at [0-9a-f]{12}…, which is no merge before this one\.$/,
    },
  ]);
});

t.test(
  'a dapp that is not enabled is judged alike by nodes that have it and by nodes that have not',
  async (t) => {
    const town = new SmallTown(['alpha'], (charter) => ({
      ...charter,
      dapps: charter.dapps.map((dapp) => ({ ...dapp, enabled: false })),
    })).people('bob');
    town.block('alpha', [
      town.entry('alpha', 'bob', 'credit.transfer', { to: 'x' }),
      town.entry('alpha', 'bob', 'notes.forbid', { key: 'a' }),
    ]);
    const [withIt, without] = [MANIFESTS, new Map()].map(
      (manifests) => town.replay(town.parts(), undefined, notesContract(), manifests).receipt,
    );
    t.same(withIt, without);
    t.match(
      withIt?.entries.map(({ type }) => type),
      ['credit.transfer', 'notes.forbid'],
      'nothing of it goes first',
    );
  },
);

t.test('who lacks a dapp that is enabled does not judge, rather than judge otherwise', async (t) => {
  const town = settledTown();
  town.block('alpha', [town.entry('alpha', 'cid', 'notes.put', { key: 'a', value: 1 })]);
  t.throws(() => town.replay(town.parts(), undefined, notesContract(), new Map()), { code: 'dapp-missing' });
});
