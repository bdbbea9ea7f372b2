/** One validator against crashes, liars, floods, copies of itself and foreign messages. */
import t from 'tap';
import { sha256 } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import { startHeight, step, type HeightOptions, type Input } from './algorithm.js';
import { gossip } from './gossip.js';
import { ROUNDS_AHEAD_MAX, type HeightState } from './height-state.js';
import { voteRecord, type OwnRecord } from './own-records.js';
import { signProposal, type Proposal } from './proposal.js';
import {
  A,
  a,
  B,
  b,
  Bench,
  locked,
  nameOf,
  nodes,
  place,
  proposal,
  secretOf,
  vote,
} from './test-validator.js';
import { signVote, valueIdOf, type Vote, type VoteStep } from './vote.js';

t.test('one validator goes on after a crash at any point, and never signs anew', async (t) => {
  const self = nodes[0] as NodeId;
  const whole = new Bench({ self, validators: [self], rule: 'majority' });
  whole.feed({ t: 'start' }, { t: 'value', round: 0, bytes: A });
  whole.judge(a);
  t.equal(whole.log.length, 3);
  for (let kept = 1; kept <= whole.log.length; kept++) {
    const again = whole.restarted(whole.log.slice(0, kept));
    const told = again.feed({ t: 'start' });
    t.same(
      told.filter((one) => /^(need-value|propose)/.test(one)),
      [],
      'no second proposal',
    );
    told.push(...again.feed({ t: 'value', round: 0, bytes: B }), ...again.judge(a));
    t.match(told.at(-1), 'decide a 0', `after ${kept} records`);
    t.same(
      again.log.map(({ text }) => text),
      whole.log.map(({ text }) => text),
      'the same three signatures',
    );
  }
});

t.test('a signature by the own key that was not asked for ends the voting', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  t.same(bench.votes('prevote', 0, a, 3), ['alarm own-key-elsewhere']);
  const changed = new Bench();
  changed.feed({ t: 'start' });
  changed.timeout('propose', 0);
  t.same(changed.votes('prevote', 0, a, 3), ['alarm own-key-elsewhere'], 'nil was signed, not a');
  const known = new Bench();
  known.feed({ t: 'start' });
  known.timeout('propose', 0);
  t.same(known.votes('prevote', 0, null, 3), [], 'its own vote coming back is none');
});

t.test('two different votes are evidence, told once, and both count', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  bench.propose(0, A);
  bench.judge(a);
  t.same(bench.votes('prevote', 0, b, 0), []);
  t.same(bench.votes('prevote', 0, a, 0), ['evidence']);
  t.same(bench.votes('prevote', 0, null, 0), [], 'a third says nothing new');
  t.same(bench.votes('prevote', 0, a, 1), ['precommit 0 a']);
  t.same(bench.feed({ t: 'proposal', proposal: proposal(0, B), bytes: B }), ['evidence']);
});

t.test('what does not belong to this height changes nothing', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  const before = bench.state;
  const good = vote(0, 0, 'prevote', a);
  const strange: Vote[] = [
    { ...good, town: sha256('another') },
    { ...good, line: 'draft' },
    { ...good, epoch: 1 },
    { ...good, height: 5 },
    { ...good, parent: sha256('another') },
    { ...good, node: '0123456789abcdef' as NodeId },
    { ...good, round: Number.MAX_SAFE_INTEGER },
  ];
  for (const one of strange) t.same(bench.feed({ t: 'vote', vote: one }), []);
  const offered = proposal(0, A);
  const bad: [Proposal, Uint8Array][] = [
    [offered, B],
    [{ ...offered, node: nodes[1] as NodeId }, A],
    [{ ...offered, validRound: 0 }, A],
    [{ ...offered, height: 5 }, A],
  ];
  for (const [one, bytes] of bad) t.same(bench.feed({ t: 'proposal', proposal: one, bytes }), []);
  t.equal(bench.state, before, 'the very same state');
});

t.test('no flood grows the state beyond its bounds', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  for (let round = 0; round < 2_000; round += 4) {
    // Not signed: the state machine gets what the caller has verified.
    const flood = { ...vote(0, 1, 'prevote', a), round };
    bench.state = step(bench.state, { t: 'vote', vote: flood }).state;
    bench.state = step(bench.state, {
      t: 'vote',
      vote: { ...flood, value: valueIdOf(Buffer.from(`${round}`)) },
    }).state;
    const bytes = Buffer.from(`proposal ${round}`);
    const offered = { ...proposal(0, A), round, value: valueIdOf(bytes) };
    bench.state = step(bench.state, { t: 'proposal', proposal: offered, bytes }).state;
  }
  t.ok(bench.state.rounds.size <= ROUNDS_AHEAD_MAX + 1, `${bench.state.rounds.size} rounds kept`);
  t.ok(bench.state.values.size <= ROUNDS_AHEAD_MAX + 2, `${bench.state.values.size} values kept`);
  t.ok(bench.state.rounds.has(1_996), 'the newest are kept');

  const long = new Bench();
  long.feed({ t: 'start' });
  for (let round = 1; round < 300; round++) long.votes('prevote', round, null, 0, 1, 2);
  t.equal(long.state.round, 299);
  t.ok(long.state.rounds.size < 30, `${long.state.rounds.size} rounds kept`);
});

t.test('an onlooker follows and decides, and never signs', async (t) => {
  for (const self of [null, '0123456789abcdef' as NodeId]) {
    const bench = new Bench({ self });
    const told = bench.feed({ t: 'start' });
    told.push(...bench.propose(0, A), ...bench.judge(a), ...bench.votes('prevote', 0, a, 0, 1, 2));
    told.push(...bench.votes('precommit', 0, a, 0, 1, 2));
    t.equal(told.at(-1), 'decide a 0');
    t.notMatch(told.join(), /prevote 0 a|precommit 0 a|need-value/);
  }
});

t.test('a step is a pure function', async (t) => {
  const bench = locked();
  const freeze = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
    if (value instanceof Map) for (const [, inner] of value) freeze(inner);
    else Object.values(value).forEach(freeze);
    Object.freeze(value);
  };
  freeze(bench.state);
  const rounds = [...bench.state.rounds];
  const input: Input = { t: 'proposal', proposal: proposal(1, A, 0), bytes: A };
  const once = step(bench.state, input);
  t.same([...bench.state.rounds], rounds, 'the state given is left as it was');
  t.same(step(bench.state, input), once, 'the same again');
  t.not(once.state, bench.state);
});

t.test('a log that cannot be its own is refused', async (t) => {
  const { log } = locked();
  const refuses = (records: OwnRecord[], message: RegExp, change: Partial<HeightOptions> = {}): void => {
    const options: HeightOptions = {
      ...place,
      self: nodes[3] as NodeId,
      validators: nodes,
      rule: 'two-thirds',
    };
    t.throws(() => startHeight({ ...options, ...change, resume: records }), { code: 'bad-log', message });
  };
  refuses(log, /another node/, { self: nodes[2] as NodeId });
  refuses(log, /another height/, { height: 5 });
  refuses(log, /another height/, { epoch: 1 });
  refuses([...log, voteRecord(vote(3, 0, 'prevote', null), null)], /two different/);
  refuses([{ kind: 'lock', text: '{}', bytes: null }], /kind/);
  refuses([{ ...(log[1] as OwnRecord), bytes: null }], /without its value/);
  t.throws(() => voteRecord(vote(3, 0, 'precommit', a), null), { code: 'invariant' });
});

t.test('gossip names what the others may need', async (t) => {
  const told = (state: HeightState): string[] =>
    gossip(state).map((message) =>
      message.t === 'vote'
        ? `${nodes.indexOf(message.vote.node)} ${message.vote.step} ${message.vote.round} ${nameOf(message.vote.value)}`
        : `${nodes.indexOf(message.proposal.node)} propose ${message.proposal.round} ${nameOf(message.proposal.value)}`,
    );
  const bench = locked();
  t.same(told(bench.state).sort(), [
    '0 prevote 0 a',
    '0 propose 0 a',
    '1 prevote 0 a',
    '3 precommit 0 a',
    '3 prevote 0 a',
  ]);
  bench.propose(1, A, 0);
  t.ok(told(bench.state).includes('3 prevote 1 a'));
  bench.votes('prevote', 1, a, 0, 1);
  bench.votes('precommit', 1, a, 0, 1);
  t.not(bench.state.decision, null);
  t.same(told(bench.state).sort(), [
    '0 precommit 1 a',
    '1 precommit 1 a',
    '1 propose 1 a',
    '3 precommit 1 a',
  ]);

  // Who knows nothing yet can decide from these alone.
  const late = new Bench({ self: nodes[2] as NodeId });
  late.feed({ t: 'start' }, ...gossip(bench.state));
  t.equal(late.judge(a).at(-1), 'decide a 1');
});

t.test('a liar cannot keep its own vote out of the quorum that others saw', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  bench.propose(0, A);
  bench.judge(a);
  const lies = ['1', '2', '3'].map((text) => valueIdOf(Buffer.from(text)));
  for (const lie of lies) bench.votes('precommit', 0, lie, 0);
  t.equal(bench.state.rounds.get(0)?.votes.filter(({ node }) => node === nodes[0]).length, 2, 'two are kept');
  bench.votes('precommit', 0, a, 0);
  t.same(bench.votes('precommit', 0, a, 1, 2), ['timeout precommit 0'], 'two for a; its own came too early');
  t.same(
    bench.votes('precommit', 0, a, 0),
    ['decide a 0'],
    'sent again by those who decided with it, it counts',
  );
});

t.test(
  'a lock can be shown to others after a restart, though a validator it rests on is gone for ever',
  async (t) => {
    const bench = new Bench({ validators: nodes.slice(1), rule: 'majority', height: 3 });
    const at = { ...place, height: 3 };
    const by = (i: number, round: number, of: VoteStep, value: typeof a | null): Vote =>
      signVote({ ...at, round, step: of, value }, nodes[i] as NodeId, secretOf(nodes[i] as NodeId));
    // Of 1, 2 and 3, node 1 proposes in round 0.
    const offered = signProposal(
      { ...at, round: 0, validRound: -1, value: a },
      nodes[1] as NodeId,
      secretOf(nodes[1] as NodeId),
    );
    bench.feed({ t: 'start' }, { t: 'proposal', proposal: offered, bytes: A });
    t.same(bench.judge(a).slice(0, 1), ['prevote 0 a']);
    t.match(bench.feed({ t: 'vote', vote: by(1, 0, 'prevote', a) }), ['precommit 0 a']);
    const again = bench.restarted();
    again.feed({ t: 'start' });
    const shown = gossip(again.state).flatMap((message) =>
      message.t === 'vote' && message.vote.step === 'prevote' ? [message.vote.node] : [],
    );
    t.same(shown.sort(), [nodes[1], nodes[3]].sort());
  },
);

t.test(
  'who leaves a round votes in it first: what moved it on may be with nobody else, and its signer gone',
  async (t) => {
    const bench = new Bench();
    bench.feed({ t: 'start' });
    // Validator 0 showed its vote to this one alone, and is never seen again; 1 and 2 need a third to leave the round.
    t.same(bench.votes('precommit', 0, null, 0, 1, 2), ['timeout precommit 0']);
    const told = bench.timeout('precommit', 0);
    t.same(told.slice(0, 3), ['prevote 0 nil', 'precommit 0 nil', 'timeout propose 1']);
    const votes = gossip(bench.restarted().state).flatMap((one) => (one.t === 'vote' ? [one.vote] : []));
    t.same(
      votes.map((one) => `${one.step} ${one.round} ${nameOf(one.value)}`),
      ['prevote 0 nil', 'precommit 0 nil'],
      'and says so again after a restart',
    );
  },
);
