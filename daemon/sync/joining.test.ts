/**
 * Joining in simulated time: messages lost, late, doubled and out of order, a host that crashes at any point of its work, a thief
 * with the same invitation. And one by one what each side refuses, and why.
 */
import fc from 'fast-check';
import t from 'tap';
import { canonicalize } from '../ledger/canonical.js';
import { makerspaceCharter, type Charter } from '../ledger/charter.js';
import { hexOf, sha256 } from '../ledger/hash.js';
import { invariant, type KeyId, type Millis, type Sha256 } from '../ledger/ids.js';
import { makeGenesis } from '../ledger/merge.js';
import { sealingKeyOf, sealTo } from '../ledger/sealing.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import type { Invitation } from './invitation.js';
import {
  answerTopic,
  ASK_PAUSE_LAST_MS,
  startAsking,
  stepAsker,
  type AskerInput,
  type AskerOutput,
  type AskerState,
} from './joining-asker.js';
import {
  INVITATIONS_MAX,
  startHost,
  stepHost,
  waitingAskers,
  type HostedInvitation,
  type HostInput,
  type HostOutput,
  type HostState,
} from './joining-host.js';
import {
  GRACE_MS,
  isWelcome,
  joinTopic,
  makeAnswer,
  makeAsk,
  partAbout,
  sealJoining,
  welcomeAbout,
  type Ask,
  type Welcome,
} from './joining.js';
import { PART_CHARS_MAX, packSplit, partOf, partsOf } from './split-welcome.js';

// A loaded machine takes its time.
t.setTimeout(600_000);

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const bytes32 = (word: string): Buffer => Buffer.from(sha256(word), 'hex');

function foundTown(name: string) {
  const secretKey = bytes32('host');
  const key = publicKeyOf(secretKey);
  const node = nodeIdOf(key);
  const charter = makerspaceCharter({ name, node: { id: node, key, name: 'gatehouse' }, dapps: [] });
  const nonce = sha256(`nonce of ${name}`);
  const { merge } = makeGenesis(charter, nonce, node, NOW as Millis, secretKey);
  const genesis = { raw: Buffer.from(merge.raw).toString('base64'), charter, nonce };
  const checkpoint = { height: 0, id: merge.id };
  const keys = { townKey: sha256('town key'), badgeKey: sha256('badge key') };
  const welcome: Welcome = { town: merge.town, genesis, checkpoint, ...keys, nodes: charter.nodes };
  return { town: merge.town, secretKey, node, welcome };
}

const town = foundTown('Wólka');
const elsewhere = foundTown('Elsewhere');

const invitation: Invitation = {
  v: 1,
  town: town.town,
  name: 'Wólka',
  host: town.node,
  brokers: ['mqtt://127.0.0.1:1883'],
  checkpoint: town.welcome.checkpoint as Invitation['checkpoint'],
  id: '00000000000000aa',
  secret: bytes32('secret').toString('base64url'),
  expires: (NOW + 2 * HOUR) as Millis,
  role: 'door',
};
const ASK_TOPIC = joinTopic(town.town, invitation.id, 'ask');

const keyOf = (word: string): KeyId => publicKeyOf(bytes32(`node ${word}`));

const ask = (word: string, other: Partial<Invitation> = {}, nonce = sha256(`nonce ${word}`).slice(0, 32)) =>
  startAsking({
    invitation: { ...invitation, ...other },
    name: `board ${word}`,
    secretKey: bytes32(`node ${word}`),
    sealingSecret: bytes32(`sealing ${word}`),
    nonce,
  });

const freshHost = (records: readonly HostedInvitation[] = []): HostState =>
  startHost({ town: town.town, secretKey: town.secretKey, records });

/** A host with the one invitation, and what it says to what comes in. */
class Host {
  state = freshHost();
  constructor(...invitations: readonly Invitation[]) {
    for (const made of invitations) this.step({ t: 'invite', invitation: made, now: NOW });
  }
  step(input: HostInput): readonly HostOutput[] {
    const turn = stepHost(this.state, input);
    this.state = turn.state;
    return turn.outputs;
  }
  hears(payload: string, now = NOW, topic = ASK_TOPIC, retained = false): readonly HostOutput[] {
    return this.step({ t: 'message', topic, payload, retained, now });
  }
  /** What is sent back, in short. */
  answers(asker: AskerState, now = NOW): readonly string[] {
    return sentBy(this.hears(asker.payload, now)).flatMap((payload) => {
      const [told] = hear(asker, payload).outputs;
      return told?.t === 'failed' ? [told.error.code] : told ? [told.t] : [];
    });
  }
  approve(word: string, welcome = town.welcome, now = NOW): readonly HostOutput[] {
    return this.step({
      t: 'approve',
      id: invitation.id,
      key: keyOf(word),
      welcome,
      ephemeral: bytes32('ephemeral'),
      now,
    });
  }
}

const sentBy = (outputs: readonly (HostOutput | AskerOutput)[]): readonly string[] =>
  outputs.flatMap((output) => (output.t === 'send' ? [output.payload] : []));
const reasonsOf = (outputs: readonly (HostOutput | AskerOutput)[]): readonly string[] =>
  outputs.flatMap((output) => (output.t === 'refused' || output.t === 'ignored' ? [output.reason] : []));
const hear = (state: AskerState, payload: string, retained = false) =>
  stepAsker(state, { t: 'message', topic: answerTopic(state), payload, retained, now: NOW });

// The whole handshake under faults

/** Numbers in [0, 1) from a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let n = Math.imul(state ^ (state >>> 15), state | 1);
    n ^= n + Math.imul(n ^ (n >>> 7), n | 61);
    return ((n ^ (n >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One host, askers with one invitation, a steward, and a broker that keeps nothing in order. */
class Simulation {
  readonly random: () => number;
  now = NOW;
  readonly #events: { readonly at: number; readonly run: () => void }[] = [];
  readonly durable = new Map<string, HostedInvitation>();
  host: HostState;
  readonly askers = new Map<string, AskerState>();
  readonly ends = new Map<string, AskerOutput>();
  /** Keys that the host ever sealed a welcome to. */
  readonly welcomed = new Set<string>();
  sent = 0;

  constructor(
    seed: number,
    readonly loss: number,
    readonly crashes: number,
    readonly goodFrom: number,
  ) {
    this.random = randomFrom(seed);
    this.host = freshHost();
    // As a person does who saw no invitation because the power went.
    while (!this.durable.has(invitation.id)) this.atHost({ t: 'invite', invitation, now: NOW });
  }

  after(ms: number, run: () => void): void {
    this.#events.push({ at: this.now + ms, run });
  }

  /** Until all attempts have ended, or the time is over. */
  run(until: number): void {
    while (this.ends.size < 2) {
      let next = -1;
      this.#events.forEach((event, i) => {
        if (next < 0 || event.at < (this.#events[next] as { at: number }).at) next = i;
      });
      const event = this.#events[next];
      if (event === undefined || event.at > until) return;
      this.#events.splice(next, 1);
      this.now = event.at;
      event.run();
    }
  }

  get isGood(): boolean {
    return this.now >= this.goodFrom;
  }

  deliver(run: () => void): void {
    this.sent++;
    const copies = this.isGood ? 1 : this.random() < this.loss ? 0 : this.random() < 0.3 ? 2 : 1;
    for (let i = 0; i < copies; i++) this.after(this.isGood ? 50 : this.random() * 2 * MINUTE, run);
  }

  atHost(input: HostInput): void {
    const { state, outputs } = stepHost(this.host, input);
    this.host = state;
    for (const output of outputs) {
      // The power may go before each thing the host does: what was not kept by then never was.
      if (!this.isGood && this.random() < this.crashes) {
        this.host = freshHost([...this.durable.values()]);
        return;
      }
      if (output.t === 'keep') {
        this.durable.set(output.record.invitation.id, output.record);
        if (output.record.answer.status === 'welcome') this.welcomed.add(output.record.asker?.key ?? '');
      }
      if (output.t === 'forget') this.durable.delete(output.id);
      if (output.t === 'send')
        for (const word of this.askers.keys())
          this.deliver(() =>
            this.atAsker(word, {
              t: 'message',
              topic: output.topic,
              payload: output.payload,
              retained: false,
              now: this.now,
            }),
          );
    }
  }

  /** Looks at who waits, as a person does who sees the panel now and then. */
  steward(): void {
    for (const { asker } of waitingAskers(this.host))
      this.atHost({
        t: 'approve',
        id: invitation.id,
        key: asker.key,
        welcome: town.welcome,
        ephemeral: bytes32(`ephemeral ${this.now}`),
        now: this.now,
      });
    this.after(this.random() * 20 * MINUTE, () => this.steward());
  }

  /** Begins, or begins again with a new nonce as after a restart. */
  join(word: string): void {
    if (this.ends.has(word)) return;
    this.askers.set(word, ask(word, {}, sha256(`${word} ${this.now}`).slice(0, 32)));
    this.atAsker(word, { t: 'tick', now: this.now });
  }

  atAsker(word: string, input: AskerInput): void {
    const { state, outputs } = stepAsker(this.askers.get(word) as AskerState, input);
    this.askers.set(word, state);
    for (const output of outputs) {
      if (output.t === 'send')
        this.deliver(() =>
          this.atHost({
            t: 'message',
            topic: output.topic,
            payload: output.payload,
            retained: false,
            now: this.now,
          }),
        );
      if (output.t === 'wake')
        this.after(output.at - this.now, () => this.atAsker(word, { t: 'tick', now: this.now }));
      if (output.t === 'joined' || output.t === 'failed') {
        invariant(!this.ends.has(word), 'an attempt ends once');
        this.ends.set(word, output);
      }
    }
  }
}

t.test('whatever the network and the power do, one node joins, with the keys of the town', async (t) => {
  let crashed = 0;
  fc.assert(
    fc.property(
      fc.integer(),
      fc.double({ min: 0, max: 0.7, noNaN: true }),
      fc.constantFrom(0, 0.1, 0.4),
      fc.boolean(),
      (seed, loss, crashes, restarts) => {
        const simulation = new Simulation(seed, loss, crashes, NOW + 40 * MINUTE);
        if (crashes > 0) crashed++;
        simulation.join('honest');
        simulation.after(simulation.random() * 5 * MINUTE, () => simulation.join('thief'));
        if (restarts) simulation.after(15 * MINUTE, () => simulation.join('honest'));
        simulation.after(10 * MINUTE, () => simulation.steward());
        simulation.run(invitation.expires - 1);
        const ends = ['honest', 'thief'].map((word) => simulation.ends.get(word));
        const joined = ends.filter((end) => end?.t === 'joined');
        const refused = ends.filter((end) => end?.t === 'failed' && end.error.code === 'invitation-used');
        const [first] = joined;
        return (
          joined.length === 1 &&
          refused.length === 1 &&
          simulation.welcomed.size === 1 &&
          first?.t === 'joined' &&
          first.welcome.townKey === town.welcome.townKey &&
          first.genesis.merge.town === town.town &&
          // Two askers, one a minute at most for two hours, each answered to both.
          simulation.sent < 1500
        );
      },
    ),
    { numRuns: 40 },
  );
  t.ok(crashed > 0);
});

t.test('without a host the asker asks less and less, and ends when the invitation does', async (t) => {
  let state = ask('lonely');
  let now = NOW;
  const asked: number[] = [];
  for (;;) {
    const turn = stepAsker(state, { t: 'tick', now });
    state = turn.state;
    if (sentBy(turn.outputs).length > 0) asked.push(now - NOW);
    const [end] = turn.outputs.filter((output) => output.t === 'failed');
    if (end?.t === 'failed') {
      t.equal(end.error.code, 'invitation-expired');
      break;
    }
    now = turn.outputs.flatMap((output) => (output.t === 'wake' ? [output.at] : []))[0] as number;
  }
  t.same(asked.slice(0, 7), [0, 2_000, 6_000, 14_000, 30_000, 62_000, 122_000]);
  t.equal(now, invitation.expires);
  t.ok(asked.length < 130);
  t.same(stepAsker(state, { t: 'tick', now: now + 1 }).outputs, [], 'it is silent then');
});

t.test('a clock that is set back does not silence the asker', async (t) => {
  const { state } = stepAsker(ask('a'), { t: 'tick', now: NOW });
  t.same(sentBy(stepAsker(state, { t: 'tick', now: NOW + 1 }).outputs), []);
  t.equal(sentBy(stepAsker(state, { t: 'tick', now: NOW - 2 * ASK_PAUSE_LAST_MS }).outputs).length, 1);
});

// The host

t.test('an invitation lets in one node; the same one again gets the same answer', async (t) => {
  const host = new Host(invitation);
  const first = host.hears(ask('a').payload);
  t.same(
    first.map((output) => output.t),
    ['keep', 'asked', 'send'],
    'durable before it is said',
  );
  t.same(host.answers(ask('a'), NOW + 1_000), ['waiting']);
  t.same(host.answers(ask('b')), ['invitation-used']);
  t.throws(() => host.approve('b'), { code: 'other-asker' });
  const [kept, welcome] = host.approve('a');
  t.match(kept, { t: 'keep', record: { answer: { status: 'welcome' } } }, 'durable before it is said');
  t.match(welcome, { t: 'send' });
  t.same(host.answers(ask('a'), NOW + 2_000), ['joined']);
  t.same(host.answers(ask('a', {}, 'b'.repeat(32)), NOW + 4_000), ['joined'], 'also after its restart');
  t.same(host.answers(ask('b'), NOW + 6_000), ['invitation-used']);
  t.throws(() => host.approve('a'), { code: 'already-answered' });
  t.throws(() => host.step({ t: 'withdraw', id: invitation.id, now: NOW }), { code: 'already-answered' });
  const restarted = new Host();
  restarted.state = freshHost(
    [...host.state.invitations.values()].map(
      (record) => JSON.parse(JSON.stringify(record)) as HostedInvitation,
    ),
  );
  t.same(restarted.answers(ask('b'), NOW + 8_000), ['invitation-used'], 'also after the restart of the host');
  t.same(restarted.answers(ask('a'), NOW + 8_000), ['joined']);
});

t.test(
  'the same node with another sealing key is another: its keys were shown by somebody else',
  async (t) => {
    const host = new Host(invitation);
    host.hears(ask('a').payload);
    const other = startAsking({
      invitation,
      name: 'board a',
      secretKey: bytes32('node a'),
      sealingSecret: bytes32('sealing other'),
      nonce: 'c'.repeat(32),
    });
    t.same(host.answers(other), ['invitation-used']);
  },
);

t.test('an invitation that has run out lets nobody in, and who was in time is still answered', async (t) => {
  const late = new Host(invitation);
  t.same(late.answers(ask('a'), invitation.expires), ['invitation-expired']);
  const host = new Host(invitation);
  host.hears(ask('a').payload, invitation.expires - 1);
  t.equal(sentBy(host.approve('a', town.welcome, invitation.expires + HOUR)).length, 1);
  t.same(host.answers(ask('a'), invitation.expires + 2 * HOUR), ['joined']);
  const outputs = host.step({ t: 'tick', now: invitation.expires + GRACE_MS });
  t.same(outputs, [{ t: 'forget', id: invitation.id }]);
  t.same(reasonsOf(host.hears(ask('a').payload, invitation.expires + GRACE_MS)), ['unknown-invitation']);
});

t.test('an asker that was told to wait goes on asking beyond the expiry, for the grace', async (t) => {
  const host = new Host(invitation);
  const [waiting] = sentBy(host.hears(ask('a').payload));
  const { state } = hear(ask('a'), waiting as string);
  t.equal(sentBy(stepAsker(state, { t: 'tick', now: invitation.expires + HOUR }).outputs).length, 1);
  const [end] = stepAsker(state, { t: 'tick', now: invitation.expires + GRACE_MS }).outputs;
  t.match(end, { t: 'failed', error: { code: 'invitation-expired' } });
});

t.test('a steward refuses, or takes the invitation back', async (t) => {
  const refusing = new Host(invitation);
  t.throws(() => refusing.approve('a'), { code: 'nobody-waits' });
  refusing.hears(ask('a').payload);
  const [, said] = refusing.step({
    t: 'refuse',
    id: invitation.id,
    code: 'not-ours',
    reason: `This board\nis not ours.${'x'.repeat(900)}`,
    now: NOW,
  });
  const [end] = hear(ask('a'), said?.t === 'send' ? said.payload : '').outputs;
  t.match(end, { t: 'failed', error: { code: 'not-ours', message: /^This board is not ours\.x+$/ } });

  const waiting = new Host(invitation);
  waiting.hears(ask('a').payload);
  waiting.step({ t: 'withdraw', id: invitation.id, now: NOW });
  t.same(waiting.answers(ask('a'), NOW + 2_000), ['invitation-withdrawn']);

  const unseen = new Host(invitation);
  t.same(unseen.step({ t: 'withdraw', id: invitation.id, now: NOW }), [{ t: 'forget', id: invitation.id }]);
  t.same(reasonsOf(unseen.hears(ask('a').payload)), ['unknown-invitation']);
  t.throws(() => unseen.approve('a'), { code: 'no-such-invitation' });
});

t.test('what is not an ask with this secret gets no answer, and has its name', async (t) => {
  const host = new Host(invitation);
  const good = ask('a').payload;
  const shown = (value: unknown): string => sealJoining(invitation, 'ask', value as Ask);
  const honest = ask('a').ask;
  const asked = (part: Partial<Ask>): Ask => ({ ...honest, ...part });
  const resigned = (part: Partial<Ask>): Ask =>
    makeAsk({ ...withoutProof(honest), ...part }, bytes32('node a'));
  const cases: { readonly [what: string]: readonly [string, readonly HostOutput[]] } = {
    'on a topic of its own': ['foreign-topic', host.hears(good, NOW, 'mergetown/x/join/y/ask')],
    'on the topic of answers': ['foreign-topic', host.hears(good, NOW, ASK_TOPIC.replace('/ask', '/answer'))],
    'to another town': ['other-town', host.hears(good, NOW, joinTopic(elsewhere.town, invitation.id, 'ask'))],
    'kept by the broker': ['retained-command', host.hears(good, NOW, ASK_TOPIC, true)],
    'of 5,000 bytes': ['too-large', host.hears('é'.repeat(2_500))],
    'for an invitation that is not there': [
      'unknown-invitation',
      host.hears(good, NOW, joinTopic(town.town, '00000000000000bb', 'ask')),
    ],
    'with another secret': [
      'not-sealed',
      host.hears(ask('a', { secret: bytes32('other').toString('base64url') }).payload),
    ],
    'that is no JSON': ['not-sealed', host.hears('{')],
    'that is a million brackets, cut': ['not-sealed', host.hears('['.repeat(4_000))],
    'that was an answer': ['not-sealed', host.hears(sealJoining(invitation, 'answer', honest))],
    'without a name': ['bad-ask', host.hears(shown(asked({ name: '' })))],
    'with a name that paints': ['bad-ask', host.hears(shown(resigned({ name: 'a\u001b[2J' })))],
    'with a field too many': ['bad-ask', host.hears(shown({ ...honest, more: 1 }))],
    'for another invitation inside': [
      'bad-ask',
      host.hears(shown(resigned({ invitation: '00000000000000bb' }))),
    ],
    'with a sealing key that everybody opens': [
      'bad-ask',
      host.hears(shown(resigned({ sealing: '0'.repeat(64) }))),
    ],
    'with the key of another node': ['bad-signature', host.hears(shown(asked({ key: keyOf('b') })))],
    'with a sealing key put in later': [
      'bad-signature',
      host.hears(shown(asked({ sealing: sealingKeyOf(bytes32('thief')) }))),
    ],
  };
  for (const [what, [reason, outputs]] of Object.entries(cases)) {
    t.same(reasonsOf(outputs), [reason], what);
    t.same(sentBy(outputs), [], what);
  }
  const changed = [...good].map(
    (_, i) => good.slice(0, i) + (good[i] === 'A' ? 'B' : 'A') + good.slice(i + 1),
  );
  t.ok(
    changed.every((payload) => sentBy(host.hears(payload)).length === 0),
    'nor one with any character changed',
  );
  t.same(waitingAskers(host.state), [], 'none of it used the invitation up');
  const other = host.hears(shown(resigned({ town: elsewhere.town })));
  t.same(reasonsOf(other), ['other-town']);
  t.equal(sentBy(other).length, 1, 'who has the secret and names another town is told');
  t.same(host.answers(ask('a')), ['waiting']);
});

t.test('an ask that is heard again at once is answered once', async (t) => {
  const host = new Host(invitation);
  const { payload } = ask('a');
  t.equal(sentBy(host.hears(payload)).length, 1);
  for (let i = 1; i < 20; i++) t.same(reasonsOf(host.hears(payload, NOW + i * 49)), ['too-often']);
  t.equal(sentBy(host.hears(payload, NOW + 1_000)).length, 1);
  host.hears(ask('b').payload, NOW + 2_000);
  t.same(reasonsOf(host.hears(ask('c').payload, NOW + 2_001)), ['too-often'], 'strangers share one turn');
  t.equal(sentBy(host.hears(payload, NOW + 2_002)).length, 1, 'and take none from who holds it');
});

t.test('10,000 junk asks leave the host as it was, but for what it counted', async (t) => {
  const host = new Host(invitation);
  const { invitations, answered } = host.state;
  const stranger = ask('junk', { secret: bytes32('guess').toString('base64url') });
  const random = randomFrom(1);
  const digits = (): string =>
    Array.from({ length: 16 }, () => Math.floor(random() * 16).toString(16)).join('');
  for (let i = 0; i < 10_000; i++) {
    const kind = i % 4;
    if (kind === 0) host.hears(stranger.payload);
    if (kind === 1) host.hears(stranger.payload, NOW, joinTopic(town.town, digits(), 'ask'));
    if (kind === 2) host.hears(digits().repeat(1_000));
    if (kind === 3) host.hears(digits(), NOW, `mergetown/${digits()}/join/${digits()}/ask`);
  }
  t.equal(host.state.invitations, invitations);
  t.equal(host.state.answered, answered);
  t.same(host.state.refusals, {
    'not-sealed': 2_500,
    'unknown-invitation': 2_500,
    'too-large': 2_500,
    'other-town': 2_500,
  });
  t.same(host.answers(ask('a')), ['waiting']);

  const holders = Array.from({ length: 40 }, (_, i) => ask(`holder ${i}`));
  for (let i = 0; i < 400; i++) host.hears((holders[i % 40] as AskerState).payload, NOW + 2_000 + i * 500);
  t.equal(host.state.invitations.size, 1);
  t.ok(JSON.stringify([...host.state.invitations]).length < 4_096, 'nor does it remember who came too late');
});

t.test('a host keeps a bounded number of invitations, and drops those that ran out unseen', async (t) => {
  const numbered = (i: number): Invitation => ({ ...invitation, id: i.toString(16).padStart(16, '0') });
  const host = new Host(...Array.from({ length: INVITATIONS_MAX }, (_, i) => numbered(i)));
  const invite = (made: Invitation, now: number) => host.step({ t: 'invite', invitation: made, now });
  t.throws(() => invite(numbered(99), NOW), { code: 'too-many-invitations' });
  host.hears(sealedFor(numbered(3)), NOW, joinTopic(town.town, numbered(3).id, 'ask'));
  const later = { ...numbered(99), expires: (invitation.expires + HOUR) as Millis };
  const outputs = invite(later, invitation.expires);
  t.equal(outputs.filter((output) => output.t === 'forget').length, INVITATIONS_MAX - 1);
  t.same([...host.state.invitations.keys()], [numbered(3).id, later.id], 'the one that was shown stays');
  for (const wrong of [
    { town: elsewhere.town },
    { host: nodeIdOf(keyOf('a')) },
    { expires: NOW as Millis },
    { id: later.id },
  ])
    t.throws(() => invite({ ...later, id: 'f'.repeat(16), ...wrong }, NOW), { code: 'bad-invitation' });
});

t.test('a hub is told no badge key, whatever the caller gives', async (t) => {
  const hub: Invitation = { ...invitation, role: 'hub' };
  const host = new Host(hub);
  host.hears(ask('a', hub).payload);
  const [sent] = sentBy(host.approve('a'));
  const [end] = hear(ask('a', hub), sent as string).outputs;
  t.match(end, { t: 'joined', welcome: { badgeKey: null, townKey: town.welcome.townKey } });
});

t.test('a welcome that is none, or too long for a message, is not sealed', async (t) => {
  const host = new Host(invitation);
  host.hears(ask('a').payload);
  t.throws(() => host.approve('a', { ...town.welcome, badgeKey: null }), { code: 'bad-welcome' });
  t.throws(() => host.approve('a', elsewhere.welcome), { code: 'bad-welcome' });
  const nodes = Object.fromEntries(
    Array.from({ length: 1_200 }, (_, i) => [
      nodeIdOf(sha256(`${i}`) as never),
      { name: 'n', key: sha256(`${i}`), roles: [] },
    ]),
  );
  t.throws(() => host.approve('a', { ...town.welcome, nodes }), { code: 'welcome-too-large' });
  const many = Object.fromEntries(Object.entries(nodes).slice(0, 900));
  const [sent] = sentBy(host.approve('a', { ...town.welcome, nodes: { ...many, ...town.welcome.nodes } }));
  t.ok((sent as string).length < 256 * 1024);
  t.match(hear(ask('a'), sent as string).outputs, [{ t: 'joined' }], 'but 900 nodes go in');
});

// The asker

t.test('a host that lies is found out by what it says', async (t) => {
  const a = ask('a');
  const told = (welcome: unknown, asker = a, about = welcomeAbout(town.town, invitation.id, keyOf('a'))) => {
    const bytes = Buffer.from(typeof welcome === 'string' ? welcome : JSON.stringify(welcome));
    const sealed = sealTo(a.ask.sealing, bytes, about, bytes32('ephemeral'));
    const answer = makeAnswer(a.ask, { status: 'welcome', sealed }, town.secretKey);
    const [end] = hear(asker, sealJoining(invitation, 'answer', answer)).outputs;
    return end?.t === 'failed' ? end.error.code : end?.t;
  };
  const { welcome } = town;
  const { genesis } = welcome;
  const raw = Buffer.from(genesis.raw, 'base64');
  raw[raw.length - 3] = (raw[raw.length - 3] as number) ^ 1;
  const checkpoint = { height: 7, id: sha256('merge 7') };
  const ahead = ask('a', { checkpoint });
  t.equal(told(welcome), 'joined');
  t.equal(told({ ...welcome, checkpoint: { height: 9, id: sha256('merge 9') } }, ahead), 'joined');
  const lies: { readonly [what: string]: readonly [string | undefined, string] } = {
    'another town': [told(elsewhere.welcome), 'other-town'],
    'the genesis of another town': [told({ ...welcome, genesis: elsewhere.welcome.genesis }), 'other-town'],
    'the name of another town': [told({ ...welcome, town: elsewhere.town }), 'other-town'],
    'a charter that is not that of the genesis': [
      told({ ...welcome, genesis: { ...genesis, charter: elsewhere.welcome.genesis.charter } }),
      'bad-genesis',
    ],
    'another nonce': [told({ ...welcome, genesis: { ...genesis, nonce: sha256('x') } }), 'bad-genesis'],
    'a genesis changed in one bit': [
      told({ ...welcome, genesis: { ...genesis, raw: raw.toString('base64') } }),
      'bad-genesis',
    ],
    'a genesis that is no commit': [told({ ...welcome, genesis: { ...genesis, raw: '' } }), 'bad-commit'],
    'a charter that is none': [
      told({ ...welcome, genesis: { ...genesis, charter: { a: 0.5 } } }),
      'bad-charter',
    ],
    'another merge at the checkpoint': [
      told({ ...welcome, checkpoint: { ...checkpoint, id: sha256('y') } }, ahead),
      'checkpoint-differs',
    ],
    'a history from before the checkpoint': [
      told({ ...welcome, checkpoint: { ...checkpoint, height: 6 } }, ahead),
      'checkpoint-differs',
    ],
    'another genesis commit of the same content': [
      told(welcome, ask('a', { checkpoint: { height: 0, id: sha256('z') } })),
      'checkpoint-differs',
    ],
    'a node under another id': [
      told({
        ...welcome,
        nodes: { ...welcome.nodes, ['0'.repeat(16)]: { name: 'n', key: keyOf('a'), roles: [] } },
      }),
      'bad-welcome',
    ],
    'no node at all': [told({ ...welcome, nodes: {} }), 'bad-welcome'],
    'no badge key for a door': [told({ ...welcome, badgeKey: null }), 'bad-welcome'],
    'a town key of another length': [told({ ...welcome, townKey: 'ab' }), 'bad-welcome'],
    'no JSON': [told('{'), 'bad-welcome'],
    'a pit of brackets': [told('['.repeat(60_000)), 'bad-welcome'],
    'a welcome for another node': [
      told(welcome, a, welcomeAbout(town.town, invitation.id, keyOf('b'))),
      'bad-welcome',
    ],
    'a welcome to another invitation': [
      told(welcome, a, welcomeAbout(town.town, 'b'.repeat(16), keyOf('a'))),
      'bad-welcome',
    ],
  };
  for (const [what, [code, expected]] of Object.entries(lies)) t.equal(code, expected, what);
});

t.test('what does not come from the host for this attempt is passed over by its name', async (t) => {
  const a = ask('a');
  const waiting = makeAnswer(a.ask, { status: 'waiting' }, town.secretKey);
  const good = sealJoining(invitation, 'answer', waiting);
  const by = (secret: Uint8Array) =>
    sealJoining(invitation, 'answer', makeAnswer(a.ask, { status: 'waiting' }, secret));
  const old = makeAnswer(
    ask('a', {}, 'd'.repeat(32)).ask,
    { status: 'refused', code: 'x', reason: '' },
    town.secretKey,
  );
  const shown = (value: unknown): string => sealJoining(invitation, 'answer', value as never);
  t.same(reasonsOf(hear(a, good, true).outputs), ['retained-command']);
  t.same(reasonsOf(hear(a, 'é'.repeat(140_000)).outputs), ['too-large']);
  t.same(reasonsOf(hear(a, '{}').outputs), ['not-sealed']);
  t.same(reasonsOf(hear(a, a.payload).outputs), ['not-sealed'], 'its own ask, sent back');
  t.same(reasonsOf(hear(a, shown({ ...waiting, more: 1 })).outputs), ['bad-answer']);
  t.same(
    reasonsOf(
      hear(a, shown(makeAnswer(a.ask, { status: 'refused', code: 'x', reason: '\u001b[2J' }, town.secretKey)))
        .outputs,
    ),
    ['bad-answer'],
  );
  t.same(
    reasonsOf(hear(a, by(bytes32('thief'))).outputs),
    ['bad-signature'],
    'somebody else who has the code',
  );
  t.same(reasonsOf(hear(a, shown({ ...waiting, nonce: '0'.repeat(32) })).outputs), ['bad-signature']);
  t.same(reasonsOf(hear(a, shown(old)).outputs), ['other-ask'], 'the refusal of an earlier attempt');
  const elsewhereTopic = {
    t: 'message',
    topic: ASK_TOPIC,
    payload: good,
    retained: false,
    now: NOW,
  } as const;
  t.same(reasonsOf(stepAsker(a, elsewhereTopic).outputs), ['foreign-topic']);
  t.same(hear(a, good).outputs, [{ t: 'waiting' }]);
  t.same(hear(hear(a, good).state, good).outputs, [], 'told once');

  let state = a;
  for (let i = 0; i < 1_000; i++) state = hear(state, `{"i":${i}}`).state;
  t.same(
    state,
    { ...a, ignored: { 'not-sealed': 1_000 } },
    'a thousand of them change nothing but the count',
  );
});

/** A town that split off with more than one message holds: what it took along does not get shorter by packing. */
async function splitTown(values: number) {
  const { secretKey, node } = town;
  const origin = { town: elsewhere.town, merge: sha256('merge'), height: 7 };
  const rows = Array.from({ length: values }, (_, i) => ({
    dapp: 'notes',
    collection: 'notes',
    key: `n${i}`,
    value: canonicalize(Array.from({ length: 40 }, (_, j) => sha256(`${i} ${j}`))),
  }));
  const accounts = [
    { dapp: 'kernel', collection: 'accounts', key: 'vault', value: '{"available":1000000,"locked":0}' },
    ...rows,
  ];
  const { charter } = foundTown('Neustadt').welcome.genesis as { charter: Charter };
  const nonce = sha256('split');
  const { merge } = makeGenesis(charter, nonce, node, NOW as Millis, secretKey, { origin, state: accounts });
  const packed = await packSplit({ origin, state: accounts });
  const parts = partsOf(packed.state);
  const raw = Buffer.from(merge.raw).toString('base64');
  const checkpoint = { height: 0, id: merge.id };
  const split = parts === 1 ? packed : { origin, state: '', parts };
  const welcome = { ...town.welcome, town: merge.town, checkpoint, genesis: { raw, charter, nonce, split } };
  const invited = { ...invitation, town: merge.town, checkpoint, name: 'Neustadt' } as Invitation;
  return { welcome: welcome as Welcome, invited, packed, parts };
}

t.test(
  'a town that split off with a large state is joined part by part, however many are lost',
  async (t) => {
    for (const [values, expected] of [
      [3, 1],
      [120, 3],
    ] as const) {
      const { welcome, invited, packed, parts } = await splitTown(values);
      t.equal(parts, expected);
      const random = randomFrom(values);
      const lost = (): boolean => random() < 0.3;
      let host = startHost({ town: invited.town, secretKey: town.secretKey, records: [] });
      host = stepHost(host, { t: 'invite', invitation: invited, now: NOW }).state;
      let asker = ask('far', { ...invited });
      const ended: AskerOutput[] = [];
      let now = NOW;
      let given = 0;
      const toAsker = (payload: string): void => {
        for (let times = lost() ? 0 : lost() ? 2 : 1; times > 0; times -= 1) {
          const turn = stepAsker(asker, {
            t: 'message',
            topic: answerTopic(asker),
            payload,
            retained: false,
            now,
          });
          asker = turn.state;
          told(turn.outputs);
        }
      };
      const toHost = (input: HostInput): void => {
        const turn = stepHost(host, input);
        host = turn.state;
        for (const output of turn.outputs) {
          if (output.t === 'send') toAsker(output.payload);
          else if (output.t === 'asked')
            toHost({
              t: 'approve',
              id: output.id,
              key: output.asker.key,
              welcome,
              ephemeral: bytes32('e'),
              now,
            });
          else if (output.t === 'wanted') {
            const text = partOf(packed.state, output.part) ?? '';
            toHost({
              t: 'part',
              id: output.id,
              part: output.part,
              text,
              ephemeral: bytes32(`e${(given += 1)}`),
              now,
            });
          }
        }
      };
      const topic = joinTopic(invited.town, invited.id, 'ask');
      function told(outputs: readonly AskerOutput[]): void {
        for (const output of outputs)
          if (output.t === 'joined' || output.t === 'failed') ended.push(output);
          else if (output.t === 'send' && !lost())
            toHost({ t: 'message', topic, payload: output.payload, retained: false, now });
      }
      for (let i = 0; i < 500 && ended.length === 0; i += 1, now += 1_000) {
        const turn = stepAsker(asker, { t: 'tick', now });
        asker = turn.state;
        told(turn.outputs);
      }
      const [end] = ended;
      t.match(ended, [{ t: 'joined', charter: { name: 'Neustadt' } }], 'once');
      if (end?.t !== 'joined') return;
      t.same(end.welcome.genesis.split, packed, 'all of it is in the welcome that is kept');
      t.ok(isWelcome(end.welcome), 'and reads as one again');
      t.ok(given >= (parts === 1 ? 0 : parts));
      t.equal(end.genesis.merge.town, invited.town);

      const other = stepHost(host, {
        ...{ t: 'part', id: invited.id, part: 1, text: 'x'.repeat(100), ephemeral: bytes32('f') },
        now,
      } as HostInput);
      if (parts > 1) {
        const again = startFetching(asker, welcome);
        const lie = sentBy(other.outputs).map(
          (payload) =>
            stepAsker(again, { t: 'message', topic: answerTopic(again), payload, retained: false, now })
              .state,
        );
        t.equal(lie[0]?.fetched?.parts.length, 1, 'what it holds is seen when all is there');
      }
    }
  },
);

/** As an asker that was let in and has no part yet. */
const startFetching = (state: AskerState, welcome: Welcome): AskerState => ({
  ...state,
  status: 'fetching',
  fetched: { welcome, host: publicKeyOf(town.secretKey), parts: [] },
});

t.test('a part that is not the one asked for, or none of this town, is not taken', async (t) => {
  const { welcome, invited, packed, parts } = await splitTown(120);
  const state = startFetching(ask('far', { ...invited }), welcome);
  const hearsPart = (asker: AskerState, part: number, text: string, about = part) => {
    const { town: of, invitation: id, key, nonce, sealing } = asker.ask;
    const sealed = sealTo(
      sealing,
      Buffer.from(text),
      partAbout(of, id, key, about),
      bytes32(`${part} ${text.length}`),
    );
    const answer = makeAnswer(
      { town: of as Sha256, invitation: id, nonce },
      { status: 'part', part, sealed },
      town.secretKey,
    );
    const payload = sealJoining(invited, 'answer', answer);
    return stepAsker(asker, { t: 'message', topic: answerTopic(asker), payload, retained: false, now: NOW });
  };
  t.same(reasonsOf(hearsPart(state, 2, 'later').outputs), ['other-ask']);
  t.match(hearsPart(state, 1, 'x', 2).outputs, [{ t: 'failed', error: { code: 'bad-welcome' } }]);
  t.match(hearsPart(state, 1, 'x'.repeat(PART_CHARS_MAX + 1)).outputs, [{ t: 'failed' }]);
  let wrong = state;
  for (let part = 1; part < parts; part += 1)
    wrong = hearsPart(wrong, part, partOf(packed.state, part) as string).state;
  t.match(hearsPart(wrong, parts, 'AAAA').outputs, [{ t: 'failed', error: { code: 'bad-genesis' } }]);
});

t.test('a name that paints on the terminal is not asked with', async (t) => {
  t.throws(
    () =>
      startAsking({
        invitation,
        name: 'a\nb',
        secretKey: bytes32('a'),
        sealingSecret: bytes32('b'),
        nonce: 'e'.repeat(32),
      }),
    { code: 'bad-name' },
  );
});

t.test('nothing that is sent shows a key, the secret or the name', async (t) => {
  const host = new Host(invitation);
  const sent = [
    ask('a').payload,
    ...sentBy(host.hears(ask('a').payload)),
    ...sentBy(host.approve('a')),
  ].join();
  const secrets = [
    invitation.secret,
    town.welcome.townKey,
    town.welcome.badgeKey as string,
    keyOf('a'),
    'board',
  ];
  for (const secret of [...secrets, hexOf(Buffer.from(invitation.secret, 'base64url'))])
    t.notOk(sent.includes(secret));
});

function withoutProof(made: Ask): Omit<Ask, 'sig' | 'key'> {
  const { town: of, invitation: id, name, nonce, sealing } = made;
  return { town: of, invitation: id, name, nonce, sealing };
}

function sealedFor(made: Invitation): string {
  return ask('a', made).payload;
}
