import t from 'tap';
import { SUSPENSE, VAULT, accountOf, readAccount } from './accounts.js';
import { readAllowance, readFence } from './allowances.js';
import { dueId, readDue } from './dues.js';
import type { JsonObject } from './ids.js';
import { readMember } from './kernel.js';
import { PaperTown, memberOf, settledTown } from './testing/paper-town.js';

const paper = () => new PaperTown(settledTown());
const DAY = 86_400_000;

/** What the merge made of its entries, in the order of the replay. */
const verdicts = ({ receipt }: ReturnType<PaperTown['merge']>) =>
  receipt.entries.map(({ type, verdict, code }) => `${type} ${verdict}${code ? ` ${code}` : ''}`);
const available = (town: PaperTown, account: string) => readAccount(town.state, account)?.available;
const balance = (town: PaperTown, word: string) => available(town, accountOf(memberOf(word)));
const idOf = (town: PaperTown, node: string) => town.nodes.get(node)?.id as string;
const allowance = (town: PaperTown, word: string, node: string) =>
  readAllowance(town.state, memberOf(word), idOf(town, node))?.amount;

/** Cid puts credits at a node, and the node adopts the merge. */
function opened(town: PaperTown, node: string, amount: number): PaperTown {
  town.record('alpha', 'cid', 'allowance.open', { node: idOf(town, node), amount });
  town.merge();
  town.adopt(node);
  town.adopt('alpha');
  return town;
}
const pay = (town: PaperTown, node: string, to: string, amount: number) =>
  town.record(node, node, 'allowance.pay', { member: memberOf('cid'), to: memberOf(to), amount });

t.test('an allowance takes credits aside, pays at its node alone, and gives back the rest', async (t) => {
  const town = paper();
  const { judged } = town.record('beta', 'cid', 'allowance.open', { node: idOf(town, 'beta'), amount: 100 });
  t.equal(judged.verdict.verdict, 'accepted');
  t.notOk(
    readAllowance(town.view('beta'), memberOf('cid'), idOf(town, 'beta')),
    'it cannot be spent before it is merged',
  );
  town.merge();
  town.adopt('beta');
  t.equal(balance(town, 'cid'), 400);
  pay(town, 'beta', 'dan', 60);
  pay(town, 'gamma', 'dan', 1);
  t.same(verdicts(town.merge()).sort(), [
    'allowance.pay accepted',
    'allowance.pay irregular allowance-short',
  ]);
  t.equal(balance(town, 'dan'), 560, 'credits that were put at one node are not paid by another');
  town.record('beta', 'beta', 'allowance.return', { member: memberOf('cid') });
  town.merge();
  t.equal(balance(town, 'cid'), 440);
  t.equal(allowance(town, 'cid', 'beta'), undefined);
  town.record('beta', 'beta', 'allowance.return', { member: memberOf('cid') });
  t.same(
    verdicts(town.merge()),
    ['allowance.return irregular no-allowance'],
    'there is nothing left to return',
  );
});

t.test('an allowance is bounded by the charter and by what its member has', async (t) => {
  const town = paper();
  const open = (who: string, node: string, amount: number) =>
    town.record('alpha', who, 'allowance.open', { node, amount }).judged.verdict.code;
  t.equal(open('cid', idOf(town, 'beta'), 201), 'allowance-too-large');
  t.equal(open('cid', '0'.repeat(16), 10), 'no-such-node');
  t.equal(open('cid', idOf(town, 'beta'), 150), undefined);
  t.equal(open('cid', idOf(town, 'beta'), 51), 'allowance-too-large', 'what is on its way counts');
  t.equal(open('cid', idOf(town, 'alpha'), 200), undefined);
  t.equal(open('cid', idOf(town, 'gamma'), 200), 'not-enough-credits');
  t.equal(open('cid', idOf(town, 'gamma'), -1), 'bad-body');
});

const events: { readonly [what: string]: (town: PaperTown) => void } = {
  'the member’s key is revoked': (town) =>
    void town.record('gamma', 'ada', 'member.revoke-key', {
      key: readMember(town.state, memberOf('cid'))?.keys[0] as string,
    }),
  'the member is suspended': (town) =>
    void town.record('gamma', 'ada', 'member.suspend', { member: memberOf('cid') }),
  'the member leaves': (town) => void town.record('gamma', 'cid', 'member.leave', {}),
  'who is paid leaves': (town) => void town.record('gamma', 'dan', 'member.leave', {}),
  'the charter forbids allowances': (town) =>
    void town.record('gamma', 'ada', 'charter.change', {
      set: { '/allowances/most': 0, '/roles/member/permissions': [] },
      remove: [],
    }),
};
for (const [what, happen] of Object.entries(events))
  t.test(`a payment within the allowance stands although ${what}`, async (t) => {
    const town = opened(paper(), 'beta', 100);
    happen(town);
    pay(town, 'beta', 'dan', 30);
    t.ok(verdicts(town.merge()).includes('allowance.pay accepted'), 'in the same merge');
    pay(town, 'beta', 'dan', 70);
    t.same(verdicts(town.merge()), ['allowance.pay accepted'], 'and in a later one');
    const paid = what.startsWith('who is paid') ? available(town, SUSPENSE) : balance(town, 'dan');
    t.equal(paid, what.startsWith('who is paid') ? 100 : 600);
  });

t.test('what an allowance does not cover is a due, not a negative balance', async (t) => {
  const town = opened(paper(), 'beta', 100);
  const { entry } = pay(town, 'beta', 'dan', 130);
  t.same(verdicts(town.merge()), ['allowance.pay irregular allowance-short']);
  t.equal(balance(town, 'dan'), 600);
  t.match(readDue(town.state, dueId(entry.id, 0)), {
    member: memberOf('cid'),
    to: accountOf(memberOf('dan')),
    amount: 30,
    entry: entry.id,
  });
  town.adopt('alpha');
  const say = (who: string, type: string, body: JsonObject) =>
    town.record('alpha', who, type, body).judged.verdict.code;
  t.equal(say('dan', 'due.pay', { due: entry.id }), 'not-your-due');
  t.equal(say('cid', 'due.waive', { due: entry.id }), 'not-your-due');
  t.equal(say('cid', 'due.pay', { due: entry.id, amount: 31 }), 'more-than-due');
  t.equal(say('cid', 'due.pay', { due: entry.id, amount: 10 }), undefined);
  t.equal(say('dan', 'due.waive', { due: entry.id }), undefined);
  t.equal(say('cid', 'due.pay', { due: entry.id }), 'no-such-due');
  town.merge();
  t.equal(readDue(town.state, entry.id), undefined);
  t.equal(balance(town, 'cid'), 390);
});

t.test('malformed payments and payments of nobody change nothing and are on record', async (t) => {
  const town = opened(paper(), 'beta', 100);
  const say = (body: JsonObject) => town.record('beta', 'beta', 'allowance.pay', body).judged.verdict;
  const cid = memberOf('cid');
  t.match(say({ member: cid, to: memberOf('dan'), amount: 0 }), { verdict: 'irregular', code: 'bad-body' });
  t.match(say({ member: cid, to: memberOf('dan'), amount: 1_000_001 }), { code: 'bad-body' });
  t.match(say({ member: cid, to: SUSPENSE, amount: 1 }), { code: 'bad-body' });
  t.match(say({ member: 'm0123456789abcdef', to: memberOf('dan'), amount: 1 }), {
    verdict: 'irregular',
    code: 'no-such-member',
  });
  t.match(say({ member: cid, to: VAULT, amount: 1 }), { verdict: 'accepted' }, 'the town itself can be paid');
  t.match(say({ member: cid, to: 'm0123456789abcdef', amount: 5 }), { code: 'no-such-account' });
  town.merge();
  t.equal(available(town, SUSPENSE), 5, 'nothing is lost');
  t.equal(allowance(town, 'cid', 'beta'), 94);
  const claim = town.record('alpha', 'cid', 'allowance.pay', { member: cid, to: memberOf('dan'), amount: 1 });
  t.match(claim.judged.verdict, { verdict: 'rejected', code: 'not-the-node' }, 'only the node itself pays');
});

t.test('a fence ends an allowance whose node is lost, after the wait that the charter states', async (t) => {
  const town = opened(paper(), 'beta', 100);
  const node = idOf(town, 'beta');
  const n = pay(town, 'beta', 'dan', 10).entry.n;
  pay(town, 'beta', 'dan', 20);
  const fence = { member: memberOf('cid'), node, n };
  t.match(town.record('alpha', 'cid', 'allowance.fence', fence).judged.verdict, { code: 'not-allowed' });
  t.match(
    town.record('alpha', 'ada', 'charter.change', { set: {}, remove: [`/nodes/${node}`] }).judged.verdict,
    {
      code: 'allowances-open',
    },
  );
  t.match(town.record('alpha', 'ada', 'allowance.fence', fence).judged.verdict, { verdict: 'accepted' });
  t.match(town.record('alpha', 'ada', 'allowance.fence', fence).judged.verdict, { code: 'allowance-fenced' });
  town.merge((name, open) => (name === 'alpha' ? open : 0));
  t.equal(readFence(town.state, memberOf('cid'), node)?.n, n);
  town.adopt('alpha');
  t.match(town.record('alpha', 'cid', 'allowance.open', { node, amount: 1 }).judged.verdict, {
    code: 'allowance-fenced',
  });
  t.same(
    verdicts(town.merge()).filter((verdict) => verdict.startsWith('allowance.pay')),
    ['allowance.pay accepted', 'allowance.pay irregular allowance-short'],
  );
  t.equal(balance(town, 'cid'), 400, 'the wait is not over');
  const late = pay(town, 'beta', 'dan', 5);
  town.pass(8 * DAY);
  const merge = town.merge();
  t.same(merge.receipt.expired, [`allowance.${memberOf('cid')}.${node}`]);
  t.equal(balance(town, 'cid'), 490);
  t.equal(allowance(town, 'cid', 'beta'), undefined);
  t.equal(readDue(town.state, late.entry.id)?.amount, 5, 'what came too late is owed');
  town.adopt('alpha');
  t.match(
    town.record('alpha', 'ada', 'charter.change', { set: {}, remove: [`/nodes/${node}`] }).judged.verdict,
    {
      verdict: 'accepted',
    },
  );
});

t.test('metered use takes from the allowance first; only a fact can charge', async (t) => {
  const town = opened(paper(), 'beta', 100);
  const meter = (to: string, amount: number) =>
    town.record('beta', 'beta', 'notes.meter', { member: memberOf('cid'), to, amount });
  const first = meter(VAULT, 40);
  const second = meter(accountOf(memberOf('dan')), 80);
  const wrong = meter(accountOf('m0123456789abcdef'), 1);
  t.match(wrong.judged.verdict, { verdict: 'irregular', code: 'no-such-account' });
  t.match(meter(accountOf(memberOf('cid')), 1).judged.verdict, { code: 'same-account' });
  const charge = { member: memberOf('cid'), to: VAULT, amount: 1 };
  t.match(town.record('beta', 'cid', 'notes.bill', charge).judged.verdict, { code: 'facts-only' });
  t.match(town.record('beta', 'beta', 'notes.alarm', charge).judged.verdict, { code: 'facts-only' });
  town.merge();
  t.equal(balance(town, 'dan'), 560);
  t.equal(readDue(town.state, first.entry.id), undefined);
  t.equal(readDue(town.state, second.entry.id)?.amount, 20);
});

t.test(
  'a suspended member has no say and still receives; who left neither, and nothing of theirs is lost',
  async (t) => {
    const town = opened(paper(), 'beta', 100);
    const say = (who: string, type: string, body: JsonObject) => {
      const { verdict } = town.record('alpha', who, type, body).judged;
      return verdict.code ?? verdict.verdict;
    };
    const give = { to: memberOf('cid'), amount: 10 };
    t.equal(say('cid', 'member.suspend', { member: memberOf('dan') }), 'not-allowed');
    t.equal(say('ada', 'member.suspend', { member: memberOf('cid') }), 'accepted');
    t.equal(say('cid', 'credit.transfer', { to: memberOf('dan'), amount: 1 }), 'member-suspended');
    t.equal(say('dan', 'credit.transfer', give), 'accepted');
    town.merge();
    town.adopt('alpha');
    t.equal(balance(town, 'cid'), 410);
    t.equal(say('ada', 'member.reinstate', { member: memberOf('cid') }), 'accepted');
    t.equal(say('ada', 'member.reinstate', { member: memberOf('cid') }), 'not-suspended');
    t.equal(say('cid', 'notes.hold', { id: 'one', amount: 50 }), 'accepted');
    t.equal(say('cid', 'member.leave', {}), 'accepted');
    t.equal(say('cid', 'credit.transfer', { to: memberOf('dan'), amount: 1 }), 'member-left');
    t.equal(say('dan', 'credit.transfer', give), 'accepted');
    t.equal(say('ada', 'member.suspend', { member: memberOf('cid') }), 'member-left');
    t.equal(say('dan', 'notes.pay', { id: 'one', to: accountOf(memberOf('dan')), amount: 20 }), 'accepted');
    town.merge();
    t.equal(balance(town, 'cid'), 0);
    t.equal(available(town, SUSPENSE), 10 + 30, 'the transfer, and what was left of the lock');
    town.record('beta', 'beta', 'allowance.return', { member: memberOf('cid') });
    town.merge();
    t.equal(available(town, SUSPENSE), 140);
    town.adopt('alpha');
    t.equal(
      say('ada', 'credit.grant', { to: memberOf('dan'), amount: 141, from: 'suspense' }),
      'not-enough-credits',
    );
    t.equal(say('ada', 'credit.grant', { to: memberOf('dan'), amount: 140, from: 'suspense' }), 'accepted');
    t.equal(say('ada', 'credit.grant', { to: memberOf('dan'), amount: 1, from: 'vault' }), 'bad-body');
    town.merge();
    t.equal(available(town, SUSPENSE), 0);
  },
);

t.test('the stewards whom a change of the charter needs can neither be suspended nor leave', async (t) => {
  const town = paper();
  const say = (who: string, type: string, body: JsonObject) =>
    town.record('alpha', who, type, body).judged.verdict.code;
  t.equal(say('ada', 'member.suspend', { member: memberOf('bob') }), undefined);
  t.equal(say('ada', 'member.suspend', { member: memberOf('ada') }), 'last-steward');
  t.equal(say('ada', 'member.leave', {}), 'last-steward');
  t.equal(say('ada', 'member.roles', { member: memberOf('ada'), roles: ['member'] }), 'last-steward');
  const both = paper();
  both.record('alpha', 'ada', 'member.suspend', { member: memberOf('bob') });
  both.record('beta', 'bob', 'member.suspend', { member: memberOf('ada') });
  t.same(verdicts(both.merge()).sort(), ['member.suspend accepted', 'member.suspend rejected last-steward']);
});

t.test('a suspension that comes before its member holds when they appear', async (t) => {
  const town = settledTown();
  const eve = memberOf('eve');
  town.block('beta', [town.entry('beta', 'ada', 'member.suspend', { member: eve })]);
  town.merge();
  town.block('alpha', [town.entry('alpha', 'eve', 'member.join', { invitation: town.invitation('eve') })]);
  town.merge();
  t.match(readMember(town.state, eve), { status: 'suspended' });
  t.equal(readAccount(town.state, accountOf(eve))?.available, 500, 'who is suspended receives');
  town.block('alpha', [
    town.entry('alpha', 'eve', 'credit.transfer', { to: memberOf('ada'), amount: 1 }),
    town.entry('alpha', 'ada', 'member.reinstate', { member: eve }),
    town.entry('alpha', 'eve', 'credit.transfer', { to: memberOf('ada'), amount: 1 }),
  ]);
  t.same(
    town.merge().receipt.entries.map(({ code, verdict }) => code ?? verdict),
    ['member-suspended', 'accepted', 'accepted'],
  );
  const together = settledTown();
  together.block('beta', [together.entry('beta', 'ada', 'member.suspend', { member: eve })]);
  together.block('alpha', [
    together.entry('alpha', 'eve', 'member.join', { invitation: together.invitation('eve') }),
  ]);
  together.merge();
  t.match(readMember(together.state, eve), { status: 'suspended' }, 'in one merge too');
});
