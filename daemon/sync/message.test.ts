/** What travels between nodes: sealing and opening of messages, reading of their bodies, batches of blocks and merges. */
import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { canonicalize } from '../ledger/canonical.js';
import { sealEnvelope } from '../ledger/envelope.js';
import { sha256 } from '../ledger/hash.js';
import type { Json, JsonObject, KeyId, NodeId } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf, signText } from '../ledger/signature.js';
import {
  BLOCK_TEXT_BYTES_SURE,
  INFLATED_BYTES_MAX,
  packBlocks,
  packMerges,
  RATIO_MAX,
  unpackBlocks,
  unpackMerges,
  type RawBlock,
} from './block-batch.js';
import { PACKED_CHARS_MAX, readHave, readHeads, readWant, TIPS_MAX } from './bodies.js';
import {
  consensusTopic,
  directTopic,
  headsTopic,
  Inbox,
  MESSAGE_BYTES_MAX,
  MessageCounter,
  openMessage,
  ReplayGuard,
  sealMessage,
  SENDERS_MAX,
  topicParts,
  topicsFor,
  type Delivery,
  type MessageContent,
} from './message.js';
import { SenderClocks } from './sender-clocks.js';

const NOW = 1_700_000_000_000;
const town = sha256('town');
const townKey = randomBytes(32);
const secrets = [1, 2, 3].map((n) => Buffer.alloc(32, n));
const keys = secrets.map(publicKeyOf);
const [alpha, beta, gamma] = keys.map(nodeIdOf) as [NodeId, NodeId, NodeId];
/** Gamma is not in the charter. */
const keyOf = (node: NodeId): KeyId | undefined =>
  node === alpha ? keys[0] : node === beta ? keys[1] : undefined;
const opening = { town, townKey, keyOf };
const sealing = { town, townKey, secretKey: secrets[0] as Uint8Array };
const toBeta = directTopic(town, beta);

const content = (change: Partial<MessageContent> = {}): MessageContent => ({
  from: alpha,
  to: beta,
  counter: 1,
  at: NOW,
  expires: NOW + 60_000,
  kind: 'want',
  body: { merges: { from: 1, to: 2 } },
  ...change,
});
const delivery = (text: string | Uint8Array, topic = toBeta, retained = false): Delivery => ({
  topic,
  payload: Buffer.from(text),
  retained,
});
const sealed = (change: Partial<MessageContent> = {}, topic = toBeta): string =>
  sealMessage(content(change), topic, sealing, randomBytes(12));
const codeOf = (what: Delivery, now = NOW): string => {
  const opened = openMessage(what, opening, now);
  return 'refusal' in opened ? opened.refusal.code : 'taken';
};
/** Sealed by someone who has the town's key, whatever it says. */
const forged = (value: Json, topic = toBeta): Delivery =>
  delivery(canonicalize(sealEnvelope(townKey, 'town', value, topic, randomBytes(12))), topic);

t.test('a message arrives as it was sent, on each kind of topic', async (t) => {
  const ways: [string, Partial<MessageContent>][] = [
    [toBeta, {}],
    [headsTopic(town, alpha), { to: null, kind: 'heads' }],
    [consensusTopic(town), { to: null, kind: 'vote' }],
  ];
  for (const [topic, change] of ways) {
    const opened = openMessage(delivery(sealed(change, topic), topic), opening, NOW);
    t.ok('message' in opened);
    if ('message' in opened)
      t.match(opened.message, { ...content(change), class: topicParts(town, topic)?.class as string });
  }
  t.equal(
    codeOf(delivery(sealed({ to: null }, headsTopic(town, alpha)), headsTopic(town, alpha), true)),
    'taken',
  );
  t.equal(topicsFor(town, beta).length, 3);
});

t.test('every refusal has its name', async (t) => {
  t.equal(codeOf(delivery(randomBytes(MESSAGE_BYTES_MAX + 1))), 'too-large');
  t.equal(codeOf(delivery(sealed(), 'mergetown/other/consensus')), 'other-topic');
  t.equal(codeOf(delivery(sealed(), `${toBeta}/more`)), 'other-topic');
  t.equal(codeOf(delivery(sealed(), toBeta, true)), 'retained-command');
  t.equal(codeOf(delivery('nonsense')), 'not-sealed');
  t.equal(codeOf(delivery('{"enc":1}')), 'not-sealed');
  t.equal(codeOf(delivery(`${'['.repeat(100_000)}`)), 'not-sealed');
  t.equal(codeOf(delivery(sealed(), directTopic(town, gamma))), 'not-sealed', 'moved to another topic');
  const otherKey = sealMessage(content(), toBeta, { ...sealing, townKey: randomBytes(32) }, randomBytes(12));
  t.equal(codeOf(delivery(otherKey)), 'not-sealed', 'of another town');
  t.equal(codeOf(forged('text')), 'malformed');
  t.equal(codeOf(forged({ ...content(), sig: '0', more: 1 })), 'malformed');
  t.equal(codeOf(forged({ ...content({ expires: NOW + 1e9 }), sig: '0' })), 'malformed');
  t.equal(codeOf(forged({ ...content({ counter: 0.5 }), sig: '0' })), 'malformed');
  t.equal(codeOf(forged({ ...content({ from: gamma }), sig: '0' })), 'unknown-node');
  t.equal(codeOf(forged({ ...content(), sig: 'A'.repeat(86) })), 'bad-signature');
  t.equal(codeOf(forged({ ...content({ from: beta }), sig: 'A'.repeat(86) })), 'bad-signature');
  t.equal(codeOf(delivery(sealed()), NOW + 60_000), 'expired');
  // Signed well, for another than the topic says.
  const topic = directTopic(town, alpha);
  const { from, to, counter, at, expires, kind, body } = content();
  const signed = canonicalize({ town, topic, from, to, counter, at, expires, kind, body });
  const sig = signText(sealing.secretKey, 'mergetown/message/v1', signed);
  t.equal(codeOf(forged({ ...content(), sig } as unknown as Json, topic)), 'misaddressed');
});

t.test('a message that was changed anywhere does not open', async (t) => {
  const text = sealed();
  const holds = fc.property(fc.nat(text.length - 1), fc.constantFrom('A', 'b', '3', '"', '}'), (at, char) => {
    const changed = text.slice(0, at) + char + text.slice(at + 1);
    return changed === text || codeOf(delivery(changed)) === 'not-sealed';
  });
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 300 }));
});

t.test('an inbox takes each message once, counts what it refuses, and leaves out its own', async (t) => {
  const inbox = new Inbox(beta, opening);
  const first = delivery(sealed({ counter: 5 }));
  t.ok(inbox.receive(first, NOW));
  t.notOk(inbox.receive(first, NOW), 'again');
  const overtaken = delivery(sealed({ counter: 4 }));
  t.ok(inbox.receive(overtaken, NOW), 'one that was overtaken');
  t.notOk(inbox.receive(overtaken, NOW), 'and that again');
  const topic = consensusTopic(town);
  t.ok(inbox.receive(delivery(sealed({ counter: 3, to: null }, topic), topic), NOW), 'another class');
  t.ok(inbox.receive(delivery(sealed({ counter: 6 })), NOW));
  const heads = headsTopic(town, beta);
  const own = sealMessage(
    content({ from: beta, to: null }),
    heads,
    { ...sealing, secretKey: secrets[1] as Uint8Array },
    randomBytes(12),
  );
  t.notOk(inbox.receive(delivery(own, heads), NOW));
  t.notOk(inbox.receive(delivery('', heads, true), NOW), 'taken back');
  const kept = headsTopic(town, alpha);
  const retained = delivery(sealed({ to: null }, kept), kept, true);
  t.ok(inbox.receive(retained, NOW));
  t.notOk(inbox.receive(retained, NOW), 'kept by the broker and delivered at every connection: no fault');
  t.notOk(inbox.receive({ ...retained, retained: false }, NOW), 'sent once more by someone');
  for (let i = 0; i < 1000; i++) inbox.receive(delivery(`junk ${i}`), NOW);
  t.match(inbox.refusals(), [
    { code: 'replayed', count: 3 },
    { code: 'not-sealed', count: 1000 },
  ]);
});

t.test('the guard against replays is bounded, and forgets who left', async (t) => {
  const guard = new ReplayGuard();
  const admitted = Array.from({ length: SENDERS_MAX * 4 }, (_, i) =>
    guard.admit(i.toString(16).padStart(16, '0') as NodeId, 'direct', 7),
  );
  t.equal(admitted.filter(Boolean).length, SENDERS_MAX * 3);
  t.notOk(guard.admit(alpha, 'direct', 1), 'no room');
  guard.retain(new Set(['0'.repeat(16) as NodeId]));
  t.ok(guard.admit(alpha, 'direct', 1));
  t.notOk(guard.admit('0'.repeat(16) as NodeId, 'direct', 7));
  t.ok(guard.admit('0'.repeat(16) as NodeId, 'direct', 8));
});

t.test(
  'however messages overtake each other, each counts at most once; of heads only the newest',
  async (t) => {
    const holds = fc.property(fc.array(fc.nat(1_000), { maxLength: 400 }), (counters) => {
      const guard = new ReplayGuard();
      const taken = counters.filter((counter) => guard.admit(alpha, 'direct', 1e12 + counter));
      const heads = counters.filter((counter) => guard.admit(alpha, 'heads', 1e12 + counter));
      return (
        new Set(taken).size === taken.length &&
        heads.every((head, i) => i === 0 || head > (heads[i - 1] as number))
      );
    });
    t.doesNotThrow(() => fc.assert(holds, { numRuns: 200 }));
    const guard = new ReplayGuard();
    for (let counter = 1000; counter > 0; counter -= 1) guard.admit(alpha, 'consensus', 1e12 + counter);
    t.notOk(
      guard.admit(alpha, 'consensus', 1e12 + 1),
      'however many come, and whatever was forgotten of them',
    );
    t.notOk(
      guard.admit(beta, 'direct', 1e12) && guard.admit(beta, 'direct', 1e12 - 60_001),
      'long before the first',
    );
  },
);

t.test(
  "a message's age is judged by its sender's clock once that is known, by this one's before",
  async (t) => {
    let steady = 5_000;
    const doubted: NodeId[] = [];
    const clocks = new SenderClocks(
      () => steady,
      (from) => void doubted.push(from),
    );
    const code = (at: number, now: number, kind = 'want'): string => {
      const text = sealed({ at, expires: at + 60_000, kind });
      const opened = openMessage(delivery(text), { ...opening, clocks }, now);
      return 'refusal' in opened ? opened.refusal.code : 'taken';
    };
    t.equal(code(1_000, NOW), 'expired', 'of 1970');
    t.same(doubted, [alpha]);
    t.equal(code(1_000, NOW, 'hello'), 'taken', 'that is how it says what time it has');
    t.equal(code(NOW + 2 * 3_600_000, NOW), 'expired', 'of a time to come');
    t.equal(code(NOW, NOW), 'taken');
    clocks.learn(alpha, 1_000);
    steady += 60_000;
    t.equal(code(61_000, NOW), 'taken', 'now it is known that it is 1970 there');
    t.equal(clocks.aheadOf(alpha, NOW), 61_000 - NOW);
    t.equal(code(500, NOW), 'expired', 'old by its own clock');
    t.equal(code(70_000, NOW), 'taken');
    steady += 55_000;
    t.equal(code(61_000, NOW), 'expired', 'it was seen that its clock is further');
    t.equal(code(NOW, NOW), 'taken', 'its clock is put right');
    t.equal(code(130_000, NOW), 'expired', 'and what it said before is over');
    t.equal(code(NOW - 3_600_000, NOW), 'expired', 'its clock is put back: it is asked anew');
    clocks.learn(alpha, NOW - 3_600_000);
    t.equal(code(NOW - 3_600_000, NOW), 'taken');
    clocks.retain(new Set());
    t.equal(clocks.aheadOf(alpha, NOW), null);
  },
);

t.test('a message under a key that was given up is named as such, and says who sent it', async (t) => {
  const [now, old] = [randomBytes(32), townKey];
  const lagging: NodeId[] = [];
  const keyring = {
    ...opening,
    townKeys: () => [
      { key: now, retired: false },
      { key: old, retired: true },
    ],
    sealedWithOld: (from: NodeId) => void lagging.push(from),
  };
  const code = (text: string): string => {
    const opened = openMessage(delivery(text), keyring, NOW);
    return 'refusal' in opened ? opened.refusal.code : 'taken';
  };
  t.equal(code(sealed()), 'old-key');
  t.same(lagging, [alpha]);
  t.equal(code(sealMessage(content(), toBeta, { ...sealing, townKey: now }, randomBytes(12))), 'taken');
  t.equal(
    code(sealMessage(content(), toBeta, { ...sealing, townKey: randomBytes(32) }, randomBytes(12))),
    'not-sealed',
  );
});

t.test('a sender counts on when its clock stands still or goes back', async (t) => {
  const counter = new MessageCounter();
  t.same([counter.next(10), counter.next(10), counter.next(5), counter.next(20)], [10, 11, 12, 20]);
});

t.test('bodies are read strictly', async (t) => {
  const head = sha256('head');
  const heads = { height: 3, main: head, tips: { [alpha]: { seq: 1, head } } };
  t.same(readHeads(heads), heads);
  const many = Array.from({ length: TIPS_MAX + 1 }, (_, i) => [
    i.toString(16).padStart(16, '0'),
    { seq: 1, head },
  ]);
  const wrongHeads: JsonObject[] = [
    {},
    { ...heads, height: -1 },
    { ...heads, more: 1 },
    { ...heads, tips: [] },
    { ...heads, tips: { nobody: { seq: 1, head } } },
    { ...heads, tips: { [alpha]: { seq: 0, head } } },
    { ...heads, tips: { [alpha]: null } },
    { ...heads, tips: Object.fromEntries(many) as JsonObject },
  ];
  for (const body of wrongHeads) t.throws(() => readHeads(body), { code: 'malformed' });
  const full = { ...heads, tips: Object.fromEntries(many.slice(1)) as JsonObject };
  const topic = headsTopic(town, alpha);
  t.equal(
    codeOf(delivery(sealed({ to: null, kind: 'heads', body: full }, topic), topic)),
    'taken',
    'a full one fits',
  );

  t.ok(readWant({ blocks: { node: alpha, from: 1, to: 256 } }));
  t.ok(readWant({ merges: { from: 3, to: 3 } }));
  const wrongWants: JsonObject[] = [
    {},
    { blocks: { node: alpha, from: 1, to: 257 } },
    { blocks: { node: alpha, from: 2, to: 1 } },
    { blocks: { node: 'x', from: 1, to: 1 } },
    { blocks: { node: alpha, from: 0, to: 1 } },
    { merges: { from: 1, to: 65 } },
    { merges: { from: 1, to: 1 }, blocks: { node: alpha, from: 1, to: 1 } },
  ];
  for (const body of wrongWants) t.throws(() => readWant(body), { code: 'malformed' });

  t.ok(readHave({ blocks: { node: alpha, from: 1, packed: '' } }));
  t.ok(readHave({ merges: { from: 1, packed: 'AA' } }));
  const wrongHaves: JsonObject[] = [
    {},
    { merges: { from: 1, packed: 1 } },
    { merges: { from: 0, packed: '' } },
    { blocks: { from: 1, packed: '' } },
    { blocks: { node: alpha, from: 1, packed: 'A'.repeat(PACKED_CHARS_MAX + 1) } },
  ];
  for (const body of wrongHaves) t.throws(() => readHave(body), { code: 'malformed' });
});

const blockOf = (text: string): RawBlock => ({ raw: randomBytes(600), entries: Buffer.from(text) });
const bytesOfBlocks = (blocks: readonly RawBlock[]) =>
  blocks.map(({ raw, entries }) => [Buffer.from(raw).toString('hex'), Buffer.from(entries).toString()]);

t.test('a batch comes back as it was packed: the whole, or a prefix that fits', async (t) => {
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 2000 }),
    fc.integer({ min: 0, max: 60_000 }).map((n) => randomBytes(n).toString('base64')),
    fc.integer({ min: 0, max: 60_000 }).map((n) => '\\'.repeat(n)),
  );
  const holds = fc.property(fc.array(text, { minLength: 1, maxLength: 12 }), (texts) => {
    const blocks = texts.map(blockOf);
    const { packed, count } = packBlocks(blocks);
    if (count === 0 || packed.length > PACKED_CHARS_MAX) return false;
    const back = unpackBlocks(packed);
    return JSON.stringify(bytesOfBlocks(back)) === JSON.stringify(bytesOfBlocks(blocks.slice(0, count)));
  });
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 40 }));
  const merges = Array.from({ length: 100 }, (_, i) => ({
    raw: randomBytes(900),
    certificate: `{"i":${i}}`,
  }));
  const { packed, count } = packMerges(merges);
  t.equal(count, 64);
  t.same(
    unpackMerges(packed).map(({ certificate }) => certificate),
    merges.slice(0, 64).map((m) => m.certificate),
  );
});

t.test('a prefix is nearly as long as it can be, and no more is read than could be sent', async (t) => {
  const blocks = Array.from({ length: 256 }, () => blockOf(randomBytes(3000).toString('base64')));
  const { packed, count } = packBlocks(blocks);
  t.ok(packed.length > PACKED_CHARS_MAX * 0.9, `${count} blocks in ${packed.length} characters`);
  let read = 0;
  function* endless(): Generator<RawBlock> {
    for (;;) {
      read += 1;
      yield blockOf('x'.repeat(100_000));
    }
  }
  packBlocks(endless());
  t.ok(read <= 42, `${read} read`);
});

t.test('a block within the sure size fits alone, whatever is in it, into a sealed message', async (t) => {
  const texts = [
    randomBytes(BLOCK_TEXT_BYTES_SURE).toString('base64').slice(0, BLOCK_TEXT_BYTES_SURE),
    String.fromCharCode(
      ...Array.from({ length: BLOCK_TEXT_BYTES_SURE }, () => 32 + Math.floor(Math.random() * 95)).slice(
        0,
        65_000,
      ),
    ).repeat(2),
    Array.from({ length: BLOCK_TEXT_BYTES_SURE / 4 }, () =>
      String.fromCodePoint(0x10000 + Math.floor(Math.random() * 0xfffff)),
    ).join(''),
    'a'.repeat(BLOCK_TEXT_BYTES_SURE),
  ];
  for (const text of texts) {
    const { packed, count } = packBlocks([blockOf(text)]);
    t.equal(count, 1);
    t.equal(unpackBlocks(packed).length, 1);
    const body = { blocks: { node: alpha, from: 1, packed } };
    t.ok(sealed({ kind: 'have', body }).length <= MESSAGE_BYTES_MAX);
  }
  t.equal(packBlocks([blockOf(randomBytes(400_000).toString('base64'))]).count, 0, 'a larger one may not');
});

t.test('what is no batch, or inflates beyond its bounds, is refused', async (t) => {
  const code = (packed: string): string => {
    try {
      unpackBlocks(packed);
      return 'taken';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  const pack = (text: string): string => deflateSync(Buffer.from(text)).toString('base64');
  const line = JSON.stringify({ raw: 'AAAA', entries: '' });
  t.equal(code(pack(`${line}\n`)), 'taken');
  t.equal(code(pack('x'.repeat(INFLATED_BYTES_MAX + 1))), 'batch-too-large');
  t.equal(code(pack(`${'x'.repeat(RATIO_MAX * 2000)}\n`)), 'batch-too-large', 'a bomb');
  for (const wrong of ['', '!', 'AAAA', pack(line), pack('\n'), pack('[]\n'), pack('{"raw":"AAAA"}\n')])
    t.equal(code(wrong), 'bad-batch');
  t.equal(code(pack(`${JSON.stringify({ raw: 'A', entries: '' })}\n`)), 'bad-batch');
  t.equal(code(pack(`${JSON.stringify({ raw: '', entries: '', more: 1 })}\n`)), 'bad-batch');
  const distinct = Array.from({ length: 257 }, () =>
    JSON.stringify({ raw: '', entries: randomBytes(9).toString('hex') }),
  );
  t.equal(code(pack(`${distinct.join('\n')}\n`)), 'bad-batch', 'too many');
});
