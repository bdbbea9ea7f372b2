/** Why an entry was refused, evidence against nodes, drafts that come home, erasure: what the ledger says of itself. */
import t from 'tap';
import { accountOf, readAccount } from './accounts.js';
import { NO_BLOCK } from './block.js';
import type { FromContract, ToContract } from './contract-protocol.js';
import { accusedIn, evidenceOfBlocks, evidenceOfVotes, type SignedVote } from './equivocation.js';
import type { JsonObject, NodeId, Sha256 } from './ids.js';
import { readStanding } from './kernel-evidence.js';
import { readFork } from './kernel-forks.js';
import { readErasure } from './kernel-records.js';
import { readBranch } from './order.js';
import { memberIdOf, publicKeyOf, signText } from './signature.js';
import { SmallTown, secretOf } from './testing/small-town.js';
import { VOTE_DOMAIN, voteText } from './vote-text.js';

const keyOf = (word: string) => publicKeyOf(secretOf(word));
const memberOf = (word: string) => memberIdOf(keyOf(word));
const balance = (town: SmallTown, word: string) =>
  readAccount(town.state, accountOf(memberOf(word)))?.available;
const nodeOf = (town: SmallTown, name: string): NodeId => town.branches.get(name)?.node as NodeId;
type Built = ReturnType<SmallTown['merge']>;
const verdicts = ({ receipt }: Built) =>
  receipt.entries.map(({ type, verdict, code }) => `${type} ${code ?? verdict}`);
const entryIn = ({ receipt }: Built, id: string) => receipt.entries.find((entry) => entry.id === id);

const send = (town: SmallTown, node: string, who: string, to: string, amount: number) =>
  town.entry(node, who, 'credit.transfer', { to: memberOf(to), amount });

t.test('a rejection names the entry that brought it about', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob', 'carl');
  const first = send(town, 'alpha', 'bob', 'carl', 400);
  town.block('alpha', [first]);
  const second = send(town, 'alpha', 'bob', 'ada', 400);
  town.block('alpha', [second]);
  t.match(entryIn(town.merge(), second.id), { code: 'not-enough-credits', other: first.id });

  const invitation = town.invitation('one');
  const dora = town.entry('alpha', 'dora', 'member.join', { invitation });
  const emil = town.entry('alpha', 'emil', 'member.join', { invitation });
  town.block('alpha', [dora, emil]);
  t.match(entryIn(town.merge(), emil.id), { code: 'invitation-used', other: dora.id });
  const fay = town.entry('alpha', 'fay', 'member.join', { invitation });
  town.block('alpha', [fay]);
  t.match(
    entryIn(town.merge(), fay.id),
    { code: 'invitation-used', other: dora.id },
    'also in a later merge',
  );

  const hold = town.entry('alpha', 'carl', 'notes.hold', { id: 'x', amount: 10 });
  const again = town.entry('alpha', 'carl', 'notes.hold', { id: 'x', amount: 10 });
  town.block('alpha', [hold, again]);
  t.match(entryIn(town.merge(), again.id), { code: 'lock-exists', other: hold.id });

  const forbid = town.entry('beta', 'ada', 'notes.forbid', { key: 'k' });
  const put = town.entry('alpha', 'carl', 'notes.put', { key: 'k', value: 1 });
  const elsewhere = town.entry('alpha', 'carl', 'notes.put', { key: 'l', value: 1 });
  town.block('beta', [forbid]);
  town.block('alpha', [put, elsewhere]);
  const built = town.merge();
  t.match(entryIn(built, put.id), { code: 'forbidden', other: forbid.id });
  t.equal(entryIn(built, elsewhere.id)?.other, undefined);

  const roles = town.entry('alpha', 'ada', 'member.roles', { member: memberOf('carl'), roles: [] });
  const note = town.entry('alpha', 'carl', 'notes.put', { key: 'm', value: 1 });
  town.block('alpha', [roles, note]);
  t.match(entryIn(town.merge(), note.id), { code: 'not-allowed', other: roles.id });

  const poor = send(town, 'alpha', 'carl', 'ada', 1_000_000);
  town.block('alpha', [poor]);
  t.equal(entryIn(town.merge(), poor.id)?.other, undefined, 'where no entry is to blame, none is named');
});

t.test(
  'a merge moves one validator; who moves another is told which entry did, and can do so in the next',
  async (t) => {
    const town = new SmallTown(['alpha', 'beta', 'gamma']).people();
    const [alpha, beta, gamma] = ['alpha', 'beta', 'gamma'].map((name) => nodeOf(town, name));
    const say = (set: JsonObject) => town.entry('alpha', 'ada', 'charter.change', { set, remove: [] });
    const first = say({ '/validators': [alpha, beta] as never });
    const back = say({ '/validators': [alpha] as never });
    const second = say({ '/validators': [alpha, gamma] as never });
    const renamed = say({ '/name': 'Another' });
    const third = say({ '/validators': [alpha, gamma] as never });
    const swapped = say({ '/validators': [beta] as never });
    town.block('alpha', [first]);
    t.same(verdicts(town.merge()), ['charter.change accepted']);
    town.block('alpha', [back, second, renamed, third, swapped]);
    const built = town.merge();
    t.same(
      built.receipt.entries.map(({ code, verdict }) => code ?? verdict),
      ['accepted', 'validator-moved', 'accepted', 'validator-moved', 'bad-charter-change'],
      'what was moved in this merge counts, not what the charter is by now',
    );
    t.match(entryIn(built, second.id), {
      reason:
        'A merge moves one validator at most, and another was moved in this one: change it once that is merged.',
      other: back.id,
    });
    t.equal(entryIn(built, third.id)?.other, renamed.id, 'the last to change the charter');
    town.block('alpha', [say({ '/validators': [alpha, gamma] as never })]);
    t.same(verdicts(town.merge()), ['charter.change accepted']);
  },
);

t.test('the entry one lost to does not depend on what was looked at first, or last', async (t) => {
  // The same contract twice: once it reads one key before the other, once after it.
  const told = ['a', 'b'].map((first) => {
    const town = new SmallTown(['alpha']).people('bob');
    const asked: string[] = [];
    const contract = (message: ToContract): FromContract => {
      if (message.t === 'test') return { t: 'pass', id: 1 };
      if (message.t === 'apply') asked.length = 0;
      const next = [first, first === 'a' ? 'b' : 'a'][asked.length];
      if (next === undefined) return { t: 'reject', id: 1, code: 'no', reason: 'No.' };
      asked.push(next);
      return { t: 'get', id: 1, dapp: 'kernel', collection: 'erasures', key: `p${next.repeat(16)}` };
    };
    for (const key of ['b', 'a']) {
      const subject = `p${key.repeat(16)}`;
      town.block('alpha', [town.entry('alpha', 'ada', 'record.erase', { subject })]);
      town.merge();
    }
    const put = town.entry('alpha', 'bob', 'notes.put', { key: 'k', value: 1 });
    town.block('alpha', [put]);
    const by = readErasure(town.state, 'pa'.padEnd(17, 'a'))?.entry;
    const { other } = entryIn(town.merge(contract), put.id) ?? {};
    t.equal(other, by, 'of the first of the places, in bytewise order');
    return other;
  });
  t.equal(told[0], told[1]);
});

t.test('sums in reasons are exact, beyond what a double holds too', async (t) => {
  const town = new SmallTown(['alpha']).people('bob');
  const open = (amount: number) =>
    town.entry('alpha', 'bob', 'allowance.open', { node: nodeOf(town, 'alpha'), amount });
  const few = open(2);
  const much = open(Number.MAX_SAFE_INTEGER);
  town.block('alpha', [few, much, town.entry('alpha', 'bob', 'notes.hold', { id: 'x', amount: 5 })]);
  const too = 'An allowance holds at most 200 credits; with these 9007199254740991 it would hold';
  t.equal(entryIn(town.merge(), much.id)?.reason, `${too} 9007199254740993.`);
  const to = accountOf(memberOf('ada'));
  const parts = [1, Number.MAX_SAFE_INTEGER, 1].map((amount) => ({ to, amount }));
  const contract = (message: ToContract): FromContract =>
    message.t === 'test'
      ? { t: 'pass', id: 1 }
      : { t: 'accept', id: 1, writes: [], notices: [], postings: [{ op: 'post', id: 'x', parts }] };
  const pay = town.entry('alpha', 'bob', 'notes.pay', { id: 'x' });
  town.block('alpha', [pay]);
  t.match(entryIn(town.merge(contract), pay.id), {
    code: 'overdrawn',
    reason: 'The lock holds 5 credits; 9007199254740993 were to be paid from it.',
  });
});

t.test('what a revoked key signed names the revocation, in this merge and in later ones', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob');
  const revoke = town.entry('beta', 'ada', 'member.revoke-key', { key: keyOf('bob') });
  town.block('beta', [revoke]);
  const now = send(town, 'alpha', 'bob', 'ada', 1);
  town.block('alpha', [now]);
  t.match(entryIn(town.merge(), now.id), { code: 'key-revoked', other: revoke.id });
  const later = send(town, 'alpha', 'bob', 'ada', 1);
  town.block('alpha', [later]);
  t.match(entryIn(town.merge(), later.id), { code: 'key-revoked', other: revoke.id });
});

/** Two blocks of beta with one number; the first is kept on its branch. */
function twoBlocks(town: SmallTown) {
  const branch = town.branches.get('beta');
  if (!branch) throw new Error('no beta');
  const one = town.block('beta', [town.entry('beta', 'bob', 'notes.put', { key: 'one', value: 1 })]);
  branch.blocks.pop();
  const other = town.block('beta', [town.entry('beta', 'bob', 'notes.put', { key: 'other', value: 1 })]);
  branch.blocks.pop();
  branch.blocks.push(one);
  return { one, other, branch };
}

t.test('two blocks for one number suspend their node alone, until the stewards readmit it', async (t) => {
  const town = new SmallTown(['alpha', 'beta', 'gamma']).people('bob');
  const beta = nodeOf(town, 'beta');
  const merged = town.block('beta', [town.entry('beta', 'bob', 'notes.put', { key: 'zero', value: 1 })]);
  town.merge();
  const { one, other, branch } = twoBlocks(town);
  const body = { ...evidenceOfBlocks(one.raw, other.raw) };
  const found = town.entry('gamma', 'gamma', 'evidence.equivocation', body);
  town.block('gamma', [found, town.entry('gamma', 'gamma', 'evidence.equivocation', body)]);
  branch.blocks.pop();
  t.same(verdicts(town.merge()), ['evidence.equivocation accepted', 'evidence.equivocation accepted']);
  t.match(readStanding(town.state, beta), { status: 'suspended', evidence: found.id, entry: found.id });
  t.equal(accusedIn(body), beta);

  branch.blocks.push(one);
  t.same(town.parts(), [], 'nothing of it is offered');
  const part = { node: beta, line: 'main', tau: 0 as never, blocks: [one] };
  t.throws(() => town.replay([part]), { code: 'bad-merge' }, 'nor taken');

  const readmit = (more: JsonObject, who = 'ada') =>
    town.entry('alpha', who, 'node.readmit', { node: beta, line: 'main', ...more });
  const at = { head: merged.id, seq: 1, next: 5 };
  town.block('alpha', [
    readmit({ ...at, head: one.id }),
    readmit({ ...at, seq: 0, head: NO_BLOCK }),
    readmit({ ...at, next: 1 }),
    readmit({ ...at, extra: 1 }),
    readmit(at, 'bob'),
    readmit(at),
    readmit(at),
  ]);
  t.same(
    verdicts(town.merge()).map((line) => line.replace('node.readmit ', '')),
    ['bad-place', 'bad-place', 'bad-place', 'bad-body', 'not-allowed', 'accepted', 'not-suspended'],
  );
  t.same(readBranch(town.state, beta, 'main')?.seq, 4, 'the numbers below are void');
  t.throws(() => town.replay([part]), { code: 'bad-merge' }, 'the void block is still not taken');
  branch.blocks = [merged];
  const on = town.block('beta', [town.entry('beta', 'bob', 'notes.put', { key: 'on', value: 1 })], 5);
  t.equal(on.prev, merged.id);
  town.block('gamma', [town.entry('gamma', 'gamma', 'evidence.equivocation', body)]);
  t.same(verdicts(town.merge()).sort(), ['evidence.equivocation evidence-settled', 'notes.put accepted']);
  t.equal(readStanding(town.state, beta)?.status, 'active');
  t.equal(town.state.get('notes', 'notes', 'on'), '1');
  t.equal(readBranch(town.state, beta, 'main')?.seq, 5);
});

t.test('a branch can go on from one of the two blocks: what stands before it is merged too', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob');
  const beta = nodeOf(town, 'beta');
  const { one, other, branch } = twoBlocks(town);
  const body = { ...evidenceOfBlocks(one.raw, other.raw) };
  branch.blocks.pop();
  town.block('alpha', [town.entry('alpha', 'alpha', 'evidence.equivocation', body)]);
  town.merge();
  town.block('alpha', [
    town.entry('alpha', 'ada', 'node.readmit', { node: beta, line: 'main', head: one.id, seq: 1, next: 3 }),
  ]);
  town.merge();
  branch.blocks.push(one);
  const on = town.block('beta', [town.entry('beta', 'bob', 'notes.put', { key: 'on', value: 1 })], 3);
  t.equal(on.prev, one.id);
  const part = { node: beta, line: 'main', tau: 0 as never, blocks: [on] };
  t.throws(() => town.replay([part]), { code: 'bad-merge' }, 'not without what stands before it');
  t.same(verdicts(town.merge()), ['notes.put accepted', 'notes.put accepted']);
  t.match(readBranch(town.state, beta, 'main'), { head: on.id, seq: 3 });
});

t.test('evidence proves itself, or it is irregular and nothing happens', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob');
  const beta = nodeOf(town, 'beta');
  const { one, other, branch } = twoBlocks(town);
  branch.blocks = [];
  const vote = (words: Partial<SignedVote>, who = 'beta'): SignedVote => {
    const said = {
      ...{ town: town.town, line: 'main', epoch: 0, height: 7, round: 1, parent: 'a'.repeat(64) as Sha256 },
      ...{ step: 'prevote' as const, value: null, node: beta },
      ...words,
    };
    return { ...said, sig: signText(secretOf(who), VOTE_DOMAIN, voteText(said)) };
  };
  const value = 'b'.repeat(64) as Sha256;
  const base64 = (raw: Uint8Array) => Buffer.from(raw).toString('base64');
  const [a, b] = [base64(one.raw), base64(other.raw)].sort() as [string, string];
  const flipped = Buffer.from(one.raw);
  flipped[flipped.length - 2] = (flipped[flipped.length - 2] as number) ^ 1;
  const elsewhere = new SmallTown(['alpha', 'beta'], (charter) => ({ ...charter, name: 'Elsewhere' })).people(
    'bob',
  );
  const there = twoBlocks(elsewhere);
  const wrong: JsonObject[] = [
    {},
    { kind: 'blocks', a, b, more: 1 },
    { kind: 'blocks', a: b, b: a },
    { kind: 'blocks', a, b: a },
    { kind: 'blocks', a: a.slice(0, 40), b: 'zzzz' },
    { ...evidenceOfBlocks(flipped, other.raw) },
    { ...evidenceOfBlocks(there.one.raw, there.other.raw) },
    { ...evidenceOfBlocks(one.raw, town.block('beta', [town.entry('beta', 'bob', 'notes.put', {})], 2).raw) },
    { ...evidenceOfVotes(vote({}), vote({ round: 2, value })) },
    { ...evidenceOfVotes(vote({}), vote({ step: 'precommit', value })) },
    { ...evidenceOfVotes(vote({}), vote({ value }, 'alpha')) },
    { ...evidenceOfVotes(vote({ town: elsewhere.town }), vote({ town: elsewhere.town, value })) },
    { kind: 'votes', a: '{"x":1}', b: '{}' },
  ];
  branch.blocks = [];
  town.block(
    'alpha',
    wrong.map((body) => town.entry('alpha', 'alpha', 'evidence.equivocation', body)),
  );
  const built = town.merge();
  t.ok(built.receipt.entries.every(({ verdict }) => verdict === 'irregular'));
  const reasons = built.receipt.entries.map(({ reason }) => reason ?? '');
  t.equal(
    reasons[4],
    'This proves nothing: Not a commit of this ledger: headers are missing, unknown or out of order.',
  );
  t.ok(
    reasons.every((reason) => /[^.]\.$/.test(reason)),
    'a reason ends with one full stop',
  );
  t.equal(readStanding(town.state, beta), undefined);
  const good = evidenceOfVotes(vote({}), vote({ value }));
  t.equal(accusedIn({ ...good }), beta);
  town.block('alpha', [town.entry('alpha', 'alpha', 'evidence.equivocation', { ...good })]);
  t.same(verdicts(town.merge()), ['evidence.equivocation accepted']);
  t.equal(readStanding(town.state, beta)?.status, 'suspended');
  const blame = town.entry('beta', 'beta', 'notes.seen', { key: 'fine' });
  town.branches.get('beta')?.blocks.push(town.block('beta', [blame]));
  t.same(town.parts(), []);
});

t.test('a draft comes home once, as far as the stewards say, and its entries are judged anew', async (t) => {
  const town = new SmallTown(['alpha', 'beta']).people('bob', 'carl');
  const base = town.head.id;
  const draft = town.draft('beta', 'budget');
  const beta = nodeOf(town, 'beta');
  const first = send(town, draft, 'bob', 'carl', 400);
  const second = send(town, draft, 'bob', 'carl', 50);
  const one = town.block(draft, [first]);
  const two = town.block(draft, [second]);
  const beyond = town.block(draft, [send(town, draft, 'bob', 'carl', 1)]);
  // Meanwhile, on main.
  const meanwhile = send(town, 'beta', 'bob', 'ada', 300);
  town.block('beta', [meanwhile]);
  town.merge();
  t.equal(balance(town, 'bob'), 200, 'the draft is nothing to main');
  const part = { node: beta, line: 'budget', tau: 0 as never, blocks: [one] };
  t.throws(
    () => town.replay([part]),
    { code: 'bad-merge' },
    'before it is adopted nothing of it is folded in',
  );
  const home = { line: 'budget', node: beta, head: two.id, seq: 2, base };
  const adopt = (who: string, more: JsonObject = {}) =>
    town.entry('alpha', who, 'fork.adopt', { ...home, ...more });
  const asked = [
    adopt('bob'),
    adopt('ada', { line: 'main' }),
    adopt('ada', { line: 'nodes' }),
    adopt('ada', { base: 'c'.repeat(64) }),
    adopt('ada', { node: 'd'.repeat(16) }),
    adopt('ada', { seq: 0 }),
    adopt('ada'),
    adopt('ada', { seq: 3, head: beyond.id }),
  ];
  const adopted = asked[6] as (typeof asked)[0];
  town.block('alpha', asked);
  const built = town.merge();
  t.same(
    verdicts(built).map((line) => line.replace('fork.adopt ', '')),
    [
      'not-allowed',
      'bad-line',
      'bad-line',
      'unknown-base',
      'no-such-node',
      'bad-body',
      'accepted',
      'fork-adopted',
    ],
  );
  t.equal(built.receipt.entries.at(-1)?.other, adopted.id);
  const { line: _, ...named } = home;
  t.same(readFork(town.state, 'budget'), { ...named, height: built.merge.height, entry: adopted.id });
  t.throws(() => town.replay([{ ...part, blocks: [one, two, beyond] }]), { code: 'bad-merge' });
  t.throws(() => town.replay([{ ...part, blocks: [two] }]), { code: 'bad-merge' }, 'no gap');
  const merged = town.merge();
  t.match(entryIn(merged, first.id), { verdict: 'rejected', code: 'not-enough-credits' });
  t.match(entryIn(merged, second.id), { verdict: 'accepted' });
  t.equal(balance(town, 'bob'), 150);
  t.match(readBranch(town.state, beta, 'budget'), { head: two.id, seq: 2, n: 2 });
  t.equal(readBranch(town.state, beta, 'main')?.n, 1, 'the node counts on each line by itself');
  t.same(town.parts(), [], 'what is beyond never comes');
});

t.test('records are erased once, by members for themselves and by who may for others', async (t) => {
  const town = new SmallTown().people('bob');
  const person = 'p00000000000000aa';
  town.state.apply([
    { dapp: 'membership', collection: 'links', key: memberOf('bob'), value: JSON.stringify({ person }) },
  ]);
  const erase = (who: string, subject: string) => town.entry('alpha', who, 'record.erase', { subject });
  const asked = [
    erase('bob', 'p00000000000000bb'),
    erase('bob', '../x'),
    erase('bob', person),
    erase('ada', person),
    erase('ada', 'p00000000000000bb'),
    erase('bob', memberOf('bob')),
  ];
  const first = asked[2] as (typeof asked)[0];
  town.block('alpha', asked);
  const late = town.replay();
  t.same(
    late.receipt.entries.map(({ code, verdict }) => code ?? verdict),
    ['not-you', 'bad-body', 'accepted', 'erased-already', 'accepted', 'accepted'],
  );
  t.equal(late.receipt.entries[3]?.other, first.id);
  town.state.apply(late.writes);
  t.match(readErasure(town.state, person), { entry: first.id });
});
