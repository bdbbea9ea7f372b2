/** Algorithm 1, rule by rule: what one validator does with what it is told. */
import t from 'tap';
import { sha256 } from '../ledger/hash.js';
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { startHeight, step, type HeightOptions, type Input, type Output } from './algorithm.js';
import { certificateOf, verifyCertificate } from './certificate.js';
import { gossip } from './gossip.js';
import { DEFAULT_TIMEOUTS, ROUNDS_AHEAD_MAX, type HeightState } from './height-state.js';
import { proposalRecord, voteRecord, type OwnRecord } from './own-records.js';
import { signProposal, type Proposal } from './proposal.js';
import { signVote, valueIdOf, type Vote, type VoteStep } from './vote.js';

const secrets = Array.from({ length: 4 }, (_, i) => Buffer.alloc(32, i + 1));
const keys = secrets.map(publicKeyOf);
const nodes = keys.map(nodeIdOf);
const secretOf = (node: NodeId): Uint8Array => secrets[nodes.indexOf(node)] as Uint8Array;
// At height 4 validator r % 4 proposes in round r.
const place = { town: sha256('town'), line: 'main', epoch: 0, height: 4, parent: sha256('parent') };

const A = Buffer.from('value a');
const B = Buffer.from('value b');
const a = valueIdOf(A);
const b = valueIdOf(B);

const vote = (i: number, round: number, step: VoteStep, value: Sha256 | null): Vote =>
  signVote({ ...place, round, step, value }, nodes[i] as NodeId, secrets[i] as Uint8Array);
const proposal = (round: number, bytes: Uint8Array, validRound = -1): Proposal =>
  signProposal(
    { ...place, round, validRound, value: valueIdOf(bytes) },
    nodes[round % 4] as NodeId,
    secrets[round % 4] as Uint8Array,
  );

/** One validator, its log, and a caller that signs, logs and feeds back at once; judgements and values only on request. */
class Bench {
  state: HeightState;
  readonly log: OwnRecord[] = [];
  readonly options: HeightOptions;

  constructor(change: Partial<HeightOptions> = {}) {
    this.options = { ...place, self: nodes[3] as NodeId, validators: nodes, rule: 'two-thirds', ...change };
    this.state = startHeight(this.options);
  }

  /** Feeds inputs and returns all that comes of them, told shortly. */
  feed(...inputs: Input[]): string[] {
    const told: string[] = [];
    const queue = [...inputs];
    for (let input = queue.shift(); input !== undefined; input = queue.shift()) {
      const result = step(this.state, input);
      this.state = result.state;
      for (const output of result.outputs) {
        told.push(tell(output));
        queue.push(...this.#carryOut(output));
      }
    }
    return told;
  }

  #carryOut(output: Output): Input[] {
    const self = this.options.self as NodeId;
    if (output.t === 'sign-vote') {
      const signed = signVote(output.content, self, secretOf(self));
      this.log.push(voteRecord(signed, output.bytes));
      return [{ t: 'vote', vote: signed }];
    }
    if (output.t === 'sign-proposal') {
      const signed = signProposal(output.content, self, secretOf(self));
      this.log.push(proposalRecord(signed, output.bytes));
      return [{ t: 'proposal', proposal: signed, bytes: output.bytes }];
    }
    return [];
  }

  propose(round: number, bytes: Uint8Array, validRound = -1): string[] {
    return this.feed({ t: 'proposal', proposal: proposal(round, bytes, validRound), bytes });
  }

  votes(step: VoteStep, round: number, value: Sha256 | null, ...from: number[]): string[] {
    return this.feed(...from.map((i): Input => ({ t: 'vote', vote: vote(i, round, step, value) })));
  }

  judge(value: Sha256, verdict: 'valid' | 'invalid' = 'valid', ready = true): string[] {
    return this.feed({ t: 'judged', value, verdict, ready });
  }

  timeout(step: VoteStep | 'propose', round: number): string[] {
    return this.feed({ t: 'timeout', step, round });
  }

  /** A new process with the same log. */
  restarted(log: readonly OwnRecord[] = this.log): Bench {
    const bench = new Bench({ ...this.options, resume: log });
    bench.log.push(...log);
    return bench;
  }
}

const nameOf = (value: Sha256 | null): string =>
  value === null ? 'nil' : value === a ? 'a' : value === b ? 'b' : '?';

function tell(output: Output): string {
  switch (output.t) {
    case 'need-value':
      return `need-value ${output.round}`;
    case 'judge':
      return `judge ${nameOf(output.value)}${output.fresh ? ' fresh' : ''}`;
    case 'sign-proposal':
      return `propose ${output.content.round} ${nameOf(output.content.value)} ${output.content.validRound}`;
    case 'sign-vote':
      return `${output.content.step} ${output.content.round} ${nameOf(output.content.value)}`;
    case 'timeout':
      return `timeout ${output.step} ${output.round}`;
    case 'decide':
      return `decide ${nameOf(output.value)} ${output.round}`;
    case 'evidence':
      return 'evidence';
    case 'alarm':
      return `alarm ${output.code}`;
  }
}

t.test('one validator decides at once', async (t) => {
  const self = nodes[0] as NodeId;
  const bench = new Bench({ self, validators: [self], rule: 'majority' });
  t.same(bench.feed({ t: 'start' }), ['timeout propose 0', 'need-value 0']);
  t.same(bench.feed({ t: 'value', round: 0, bytes: A }), ['propose 0 a -1', 'judge a fresh']);
  const { state } = bench;
  t.same(bench.judge(a), ['prevote 0 a', 'precommit 0 a', 'decide a 0']);
  t.equal(bench.log.length, 3);
  t.same(bench.timeout('precommit', 0), [], 'and then is still');

  // The decision carries what the certificate is made of.
  let decided = state;
  let votes: readonly Vote[] = [];
  const inputs: Input[] = [{ t: 'judged', value: a, verdict: 'valid', ready: true }];
  for (let input = inputs.shift(); input !== undefined; input = inputs.shift()) {
    const result = step(decided, input);
    decided = result.state;
    for (const output of result.outputs) {
      if (output.t === 'sign-vote')
        inputs.push({ t: 'vote', vote: signVote(output.content, self, secretOf(self)) });
      if (output.t === 'decide') votes = output.votes;
    }
  }
  verifyCertificate(certificateOf(votes), new Map([[self, publicKeyOf(secretOf(self))]]), 'majority');
});

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

t.test('a round in its usual course', async (t) => {
  const bench = new Bench();
  t.same(bench.feed({ t: 'start' }), ['timeout propose 0']);
  t.same(bench.propose(0, A), ['judge a fresh']);
  t.same(bench.judge(a), ['prevote 0 a']);
  t.same(bench.votes('prevote', 0, a, 0), []);
  t.same(bench.votes('prevote', 0, a, 1), ['precommit 0 a']);
  t.same(bench.votes('precommit', 0, a, 0), []);
  t.same(bench.votes('precommit', 0, a, 2), ['decide a 0']);
});

t.test('messages that come before the start, or in any order, are not lost', async (t) => {
  const bench = new Bench();
  t.same(bench.votes('precommit', 0, a, 0, 1, 2), []);
  t.same(bench.votes('prevote', 0, a, 0, 1, 2), []);
  t.same(bench.feed({ t: 'start' }), ['timeout propose 0', 'timeout precommit 0']);
  t.same(bench.propose(0, A), ['judge a'], 'with a quorum behind it only validity is asked');
  t.same(bench.judge(a, 'valid', false), ['decide a 0']);
});

t.test(
  'what is not ready waits; what had a polka needs not be ready; what is invalid gets nil',
  async (t) => {
    const bench = new Bench();
    bench.feed({ t: 'start' });
    bench.propose(0, A);
    t.same(bench.judge(a, 'valid', false), [], 'valid, but not ready: no vote yet');
    t.same(bench.restarted([]).feed({ t: 'start' }), ['timeout propose 0']);
    t.same(bench.judge(a, 'valid', true), ['prevote 0 a'], 'ready now');

    const late = new Bench();
    late.feed({ t: 'start' });
    late.propose(0, A);
    late.judge(a, 'valid', false);
    t.same(late.votes('prevote', 0, a, 0, 1, 2), ['prevote 0 a', 'precommit 0 a'], 'others were ready');

    const refusing = new Bench();
    refusing.feed({ t: 'start' });
    refusing.propose(0, A);
    t.same(refusing.judge(a, 'invalid', false), ['prevote 0 nil']);
    t.same(refusing.judge(a, 'valid', true), [], 'a verdict stays');

    const unknown = new Bench();
    unknown.feed({ t: 'start' });
    unknown.propose(0, A);
    t.same(unknown.timeout('propose', 0), ['prevote 0 nil'], 'no verdict in time is a vote for nil');
  },
);

t.test('votes for different things end in nil and the next round', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  t.same(bench.timeout('propose', 0), ['prevote 0 nil']);
  t.same(bench.votes('prevote', 0, a, 0), []);
  t.same(bench.votes('prevote', 0, null, 1), ['timeout prevote 0']);
  t.same(bench.votes('prevote', 0, a, 2), [], 'the clock runs once');
  t.same(bench.timeout('prevote', 0), ['precommit 0 nil']);
  t.same(bench.timeout('prevote', 0), []);
  t.same(bench.votes('precommit', 0, null, 0, 1), ['timeout precommit 0']);
  t.same(bench.timeout('precommit', 0), ['timeout propose 1']);
  t.same(bench.timeout('precommit', 0), [], 'an old timeout');
  t.same(bench.timeout('precommit', 1), [], 'one that never ran');
  t.same(bench.votes('prevote', 1, null, 0, 1, 2), [], 'in the propose step prevotes wait');
  t.same(bench.timeout('propose', 1), ['prevote 1 nil', 'precommit 1 nil']);
});

t.test('timeouts grow with the rounds, up to a bound', async (t) => {
  const at = (round: number): number => {
    const bench = new Bench();
    bench.feed({ t: 'start' });
    const inputs: Input[] = [0, 1].map((i) => ({ t: 'vote', vote: vote(i, round, 'prevote', null) }));
    let { state } = bench;
    let ms = 0;
    for (const input of inputs) {
      const result = step(state, input);
      state = result.state;
      for (const output of result.outputs) if (output.t === 'timeout') ms = output.ms;
    }
    return ms;
  };
  t.equal(at(2), DEFAULT_TIMEOUTS.proposeMs + 2 * DEFAULT_TIMEOUTS.growMs);
  t.equal(at(1_000_001), DEFAULT_TIMEOUTS.maxMs);
});

/** A validator locked on `a` in round 0, now in round 1. */
function locked(): Bench {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  bench.propose(0, A);
  bench.judge(a);
  bench.votes('prevote', 0, a, 0, 1);
  bench.votes('precommit', 0, null, 0, 1);
  bench.timeout('precommit', 0);
  return bench;
}

t.test('a lock holds against anything fresh, and yields only to a later polka', async (t) => {
  for (const bench of [locked(), locked().restarted()]) {
    if (!bench.state.started) bench.feed({ t: 'start' });
    if (bench.state.round === 0) bench.votes('precommit', 1, null, 0, 1);
    t.equal(bench.state.round, 1);
    t.equal(bench.state.lockedValue, a);
    t.same(bench.propose(1, B), ['prevote 1 nil'], 'another value');
    bench.votes('prevote', 1, b, 0, 1, 2);
    t.equal(bench.state.lockedValue, a);
    bench.judge(b);
    t.equal(bench.state.lockedValue, b, 'a polka for b in round 1, seen while prevoting, moves the lock');
  }
  const again = locked();
  t.same(again.propose(1, A, 0), ['prevote 1 a'], 'the locked value, proposed again');

  const yields = locked();
  yields.votes('prevote', 2, b, 0, 1); // two are in round 2: so is this one
  t.equal(yields.state.round, 2);
  t.same(yields.timeout('propose', 2), ['prevote 2 nil', 'timeout prevote 2']);
  yields.timeout('prevote', 2);
  // Validator 3 proposes in round 3; it is locked on a, so proposes a again.
  const told = yields.feed(...[0, 1].map((i): Input => ({ t: 'vote', vote: vote(i, 4, 'prevote', null) })));
  t.same(told, ['timeout propose 4']);
  t.same(yields.propose(4, B, 2), [], 'a polka of round 2 that is not seen whole');
  t.same(yields.votes('prevote', 2, b, 2), ['judge b'], 'now it is');
  t.same(
    yields.judge(b, 'valid', false),
    ['prevote 4 b', 'timeout prevote 4'],
    'later than the lock: it yields, ready or not',
  );

  const stays = locked();
  stays.votes('prevote', 4, null, 0, 1);
  t.same(stays.propose(4, B, 0), [], 'a polka that there cannot be');
});

t.test('a valid value is proposed again, with the same bytes', async (t) => {
  for (const restart of [false, true]) {
    const before = locked();
    const bench = restart ? before.restarted() : before;
    if (restart) bench.feed({ t: 'start' });
    const told = bench.votes('precommit', 3, null, 0, 1); // round 3 is this validator's to propose
    t.same(told.slice(0, 2), ['timeout propose 3', 'propose 3 a 0']);
    t.ok(bench.log.some((r) => r.kind === 'proposal' && r.bytes !== null && Buffer.from(r.bytes).equals(A)));
    if (restart) {
      // After a restart nothing is judged yet, and the polka of round 0 is with the others.
      t.same(bench.votes('prevote', 0, a, 0), []);
      t.same(bench.votes('prevote', 0, a, 1), ['judge a']);
      t.same(bench.judge(a), ['prevote 3 a']);
    } else {
      t.ok(told.includes('prevote 3 a'));
    }
  }
});

t.test('a proposer whose value comes too late does not propose', async (t) => {
  const bench = new Bench({ self: nodes[0] as NodeId });
  t.same(bench.feed({ t: 'start' }), ['timeout propose 0', 'need-value 0']);
  bench.timeout('propose', 0);
  t.same(bench.feed({ t: 'value', round: 0, bytes: A }), []);
  const twice = new Bench({ self: nodes[0] as NodeId });
  twice.feed({ t: 'start' });
  t.same(twice.feed({ t: 'value', round: 0, bytes: A }), ['propose 0 a -1', 'judge a fresh']);
  t.same(twice.feed({ t: 'value', round: 0, bytes: B }), [], 'one proposal a round');
  t.same(twice.feed({ t: 'value', round: 1, bytes: B }), [], 'of another round');
});

t.test('a round is skipped when more validators than may be off are beyond it', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  t.same(bench.votes('prevote', 9, null, 0), [], 'one of four may lie');
  t.same(bench.votes('precommit', 9, null, 0), [], 'and one stays one');
  t.same(bench.votes('prevote', 5, null, 1), ['timeout propose 5'], 'the lower of the two');
  t.same(bench.votes('prevote', 4, null, 2), [], 'never back');
  t.equal(bench.state.round, 5);
});

t.test('a quorum behind what this node refuses ends its voting', async (t) => {
  const inPrevotes = new Bench();
  inPrevotes.feed({ t: 'start' });
  inPrevotes.propose(0, A);
  inPrevotes.judge(a, 'invalid');
  t.same(inPrevotes.votes('prevote', 0, a, 0, 1, 2), ['timeout prevote 0', 'alarm invalid-has-quorum']);
  t.same(inPrevotes.votes('precommit', 0, a, 0, 1, 2), [], 'and it stays silent');

  const inPrecommits = new Bench();
  inPrecommits.feed({ t: 'start' });
  inPrecommits.propose(0, A);
  inPrecommits.votes('precommit', 0, a, 0, 1, 2);
  t.same(inPrecommits.judge(a, 'invalid'), ['alarm invalid-has-quorum']);
  t.equal(inPrecommits.state.decision, null);
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
