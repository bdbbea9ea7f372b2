/** Algorithm 1, rule by rule: what one validator does with what it is told. */
import t from 'tap';
import type { NodeId } from '../ledger/ids.js';
import { publicKeyOf } from '../ledger/signature.js';
import { step, type Input } from './algorithm.js';
import { certificateOf, verifyCertificate } from './certificate.js';
import { DEFAULT_TIMEOUTS } from './height-state.js';
import { A, a, B, b, Bench, locked, nodes, secretOf, vote } from './test-validator.js';
import { signVote, type Vote } from './vote.js';

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

t.test('a polka from before the lock does not open it', async (t) => {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  bench.timeout('propose', 0);
  bench.votes('prevote', 0, b, 0, 1, 2); // a polka for b, whose bytes this validator has not seen
  bench.timeout('prevote', 0);
  bench.votes('precommit', 0, null, 0, 1);
  bench.timeout('precommit', 0);
  bench.propose(1, A);
  bench.judge(a);
  t.same(bench.votes('prevote', 1, a, 0, 1), ['precommit 1 a']);
  bench.votes('precommit', 1, null, 0, 1);
  bench.timeout('precommit', 1);
  t.same(bench.propose(2, B, 0), ['prevote 2 nil']);
});

t.test('a valid value is proposed again, with the same bytes', async (t) => {
  for (const restart of [false, true]) {
    const before = locked();
    const bench = restart ? before.restarted() : before;
    if (restart) bench.feed({ t: 'start' });
    const told = bench.votes('precommit', 3, null, 0, 1); // round 3 is this validator's to propose
    const moved = told.filter((one) => !one.endsWith(' nil'));
    t.same(moved.slice(0, 2), ['timeout propose 3', 'propose 3 a 0']);
    t.ok(bench.log.some((r) => r.kind === 'proposal' && r.bytes !== null && Buffer.from(r.bytes).equals(A)));
    if (restart) {
      // After a restart nothing is judged yet; the polka of round 0 was logged with the lock.
      t.ok(told.includes('judge a'));
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
  t.same(
    bench.votes('prevote', 5, null, 1),
    ['prevote 0 nil', 'precommit 0 nil', 'timeout propose 5'],
    'the lower of the two',
  );
  t.same(bench.votes('prevote', 4, null, 2), [], 'never back');
  t.equal(bench.state.round, 5);
});

t.test(
  'who comes back far behind joins the one that is left, whose rounds ended by votes of a lost one',
  async (t) => {
    const validators = nodes.slice(1);
    const bench = new Bench({ validators, rule: 'majority' });
    bench.feed({ t: 'start' });
    bench.timeout('propose', 0);
    t.same(
      bench.votes('prevote', 6, null, 1),
      ['precommit 0 nil', 'timeout propose 6'],
      'one of three may be lost',
    );
    t.equal(bench.state.round, 6);
  },
);

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
