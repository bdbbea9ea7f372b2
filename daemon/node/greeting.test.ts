/** How nodes get to know each other's clock and protocol: who is asked, what an answer proves, who has to be updated. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { Charter } from '../ledger/charter.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { readHello } from '../sync/hello.js';
import { SenderClocks } from '../sync/sender-clocks.js';
import { Greeting } from './greeting.js';
import type { MainLine } from './main-line.js';
import { genesisOf, keysOf } from './testing/core-town.js';

const NAMES = ['alpha', 'beta', 'gamma'];
const [alpha, beta, gamma] = NAMES.map((name) => keysOf(name).id) as [NodeId, NodeId, NodeId];

/** Greetings of these nodes, whose messages the test carries; time stands still but for what it adds. */
function greeters(names: readonly string[] = NAMES) {
  const text = genesisOf(names).writes.find(({ collection }) => collection === 'charter')?.value ?? '';
  const town = { charter: JSON.parse(text) as Charter };
  let now = 1_000_000;
  const sent: { from: NodeId; to: NodeId; body: JsonObject }[] = [];
  const outdated: string[] = [];
  const make = (self: NodeId) => {
    const clocks = new SenderClocks(() => now);
    const greeting = new Greeting({
      ...{ self, clocks, random: randomBytes, steady: () => now },
      main: town as unknown as MainLine,
      send: (_kind, to, body) => sent.push({ from: self, to, body }) > 0,
      learned: () => undefined,
      outdated: (who, version) => void outdated.push(`${who} ${version}`),
    });
    return { clocks, greeting };
  };
  return { make, sent, outdated, town, pass: (ms: number) => void (now += ms) };
}

t.test('three messages, and each knows the other’s clock; then nothing more is said', async (t) => {
  const { make, sent, pass } = greeters();
  const [a, b] = [make(alpha), make(beta)];
  const [atAlpha, atBeta] = [0, 9e12];
  a.greeting.ask(beta);
  a.greeting.ask(beta);
  t.equal(sent.length, 1, 'it is asked once in a while');
  b.greeting.receive(alpha, atAlpha, sent[0]?.body as JsonObject);
  a.greeting.receive(beta, atBeta, sent[1]?.body as JsonObject);
  b.greeting.receive(alpha, atAlpha, sent[2]?.body as JsonObject);
  t.equal(sent.length, 3);
  t.equal(a.clocks.aheadOf(beta, 0), atBeta);
  t.equal(b.clocks.aheadOf(alpha, 0), atAlpha);
  // What is sent once more proves nothing: its question has been answered.
  pass(100_000);
  a.greeting.receive(beta, 5, sent[1]?.body as JsonObject);
  t.equal(a.clocks.aheadOf(beta, 100_000), atBeta, 'the clock has gone on, and that is all');
  a.greeting.ask(gamma);
  pass(31_000);
  const { nonce } = sent.at(-1)?.body as { nonce: string };
  a.greeting.receive(gamma, 77, { speaks: { from: 1, to: 1 }, town: 1, nonce: null, answers: nonce });
  t.notOk(a.clocks.isKnown(gamma), 'an answer that took too long tells no time');
});

t.test('who asks much is answered seldom', async (t) => {
  const { make, sent, pass } = greeters();
  const { greeting } = make(alpha);
  const ask = { speaks: { from: 1, to: 1 }, town: 1, nonce: 'ab'.repeat(16), answers: null };
  for (let n = 0; n < 100; n += 1) greeting.receive(beta, 0, ask);
  t.equal(sent.length, 1);
  pass(1_000);
  greeting.receive(beta, 0, ask);
  t.equal(sent.length, 2);
});

t.test(
  'a node whose town has gone on to a newer protocol is told by a quorum, never by one of three',
  async (t) => {
    const { make, outdated } = greeters();
    const { greeting } = make(alpha);
    const newer = { speaks: { from: 1, to: 3 }, town: 2, nonce: null, answers: null };
    greeting.receive(beta, 0, newer);
    t.same(outdated, [], 'one might lie');
    greeting.receive(gamma, 0, { ...newer, town: 3 });
    t.same(outdated, ['self 2']);
    greeting.receive(gamma, 0, newer);
    t.same(outdated, ['self 2'], 'told once');
    const two = greeters(['alpha', 'beta']);
    two.make(alpha).greeting.receive(beta, 0, newer);
    t.same(two.outdated, ['self 2'], 'of two, the other is all there is');
    const later = greeters(['alpha']);
    const { greeting: old } = later.make(alpha);
    old.receive(beta, 0, newer);
    t.same(later.outdated, [], 'who is no validator has no say');
    Object.assign(later.town.charter, { protocol: 2 });
    old.receive(gamma, 0, { ...newer, speaks: { from: 1, to: 1 } });
    t.same(later.outdated, [`${gamma} 2`], 'a node that lacks the protocol of the town is named');
  },
);

t.test('a hello of a later version is read, and what is none is not', async (t) => {
  const hello = { speaks: { from: 2, to: 9, more: 1 }, town: 5, nonce: null, answers: null, more: [1] };
  t.same(readHello(hello), { speaks: { from: 2, to: 9 }, town: 5, nonce: null, answers: null });
  const wrong: JsonObject[] = [
    {},
    { ...hello, speaks: 1 },
    { ...hello, speaks: { from: 3, to: 2 } },
    { ...hello, town: 0 },
    { ...hello, nonce: 'x' },
    { ...hello, answers: 1 },
  ];
  for (const body of wrong) t.throws(() => readHello(body), { code: 'malformed' });
});
