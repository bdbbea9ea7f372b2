/** Keys of sealed records: their names, the messages that carry them, and when a node asks whom for which. */
import fc from 'fast-check';
import t from 'tap';
import { canonicalize } from '../ledger/canonical.js';
import { sealEnvelope } from '../ledger/envelope.js';
import type { Json, Millis, NodeId, Sha256 } from '../ledger/ids.js';
import {
  firstKeptMonth,
  handlesIn,
  isRecordKey,
  monthOf,
  ownerOf,
  recordHandle,
} from '../ledger/record-key.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { KEYS_MAX, openKeys, readKeysAsk, readKeysGive, sealKeys } from '../sync/record-keys.js';
import { ASK_HANDLES_MAX, KeyAsking } from './record-keys.js';

const bytes = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const handleOf = (index: number): string => `k${index.toString(16).padStart(32, '0')}`;
const nodeOf = (index: number): NodeId => index.toString(16).padStart(16, '0') as NodeId;

t.test('the name of a key stands for its bytes, whose it is and for which month', async (t) => {
  const key = { subject: 'p0123456789abcdef doors', month: '2026-11', key: bytes(1) };
  const handle = recordHandle(key);
  t.match(handle, /^k[0-9a-f]{32}$/);
  t.equal(recordHandle({ ...key, key: bytes(1) }), handle);
  for (const other of [{ subject: 'p0123456789abcdef' }, { month: '2026-12' }, { key: bytes(2) }])
    t.not(recordHandle({ ...key, ...other }), handle);
  t.ok(isRecordKey(key));
  for (const other of [
    { subject: 'P 1' },
    { subject: 'p1  x' },
    { month: '2026-13' },
    { key: bytes(1).slice(1) },
  ])
    t.notOk(isRecordKey({ ...key, ...other }), JSON.stringify(other));
  t.equal(ownerOf(key.subject), 'p0123456789abcdef');
  t.equal(ownerOf('door-front'), 'door-front');
});

t.test('the envelopes in a canonical text are found wherever they stand', async (t) => {
  const seal = (index: number): Json =>
    sealEnvelope(bytes(1), handleOf(index), 'secret', 'about', new Uint8Array(12).fill(index));
  t.same(handlesIn(canonicalize({ a: 1, b: { c: [seal(1), { z: seal(2) }] }, d: seal(1) })), [
    handleOf(1),
    handleOf(2),
  ]);
  t.same(handlesIn(canonicalize({ enc: 1, key: handleOf(1) })), [], 'no envelope');
  t.same(handlesIn(canonicalize({ text: canonicalize(seal(3)) })), [], 'a text that looks like one is none');
});

t.test('retention counts whole months', async (t) => {
  const time = Date.UTC(2026, 1, 28) as Millis;
  t.equal(monthOf(time), '2026-02');
  t.equal(firstKeptMonth(time, 1), '2026-01');
  t.equal(firstKeptMonth(time, 2), '2025-12');
  t.equal(firstKeptMonth(time, 12), '2025-02');
  t.equal(firstKeptMonth(0 as Millis, 1_200), '1870-01');
  t.equal(monthOf(Number.MAX_SAFE_INTEGER), '9999-12', 'whatever time an entry claims');
});

t.test('keys travel sealed to one reader, from one giver, in one town', async (t) => {
  const way = { town: 'a'.repeat(64) as Sha256, from: nodeOf(1), to: nodeOf(2) };
  const keys = [1, 2].map((index) => ({ subject: `p${index}`, month: '2026-11', key: bytes(index) }));
  const sealed = sealKeys(keys, way, sealingKeyOf(bytes(9)), bytes(8));
  const opened = openKeys(sealed, way, bytes(9));
  t.same(opened.map(recordHandle), keys.map(recordHandle));
  t.throws(() => openKeys(sealed, way, bytes(7)), { code: 'sealed' });
  t.throws(() => openKeys(sealed, { ...way, from: nodeOf(3) }, bytes(9)), { code: 'sealed' });
  t.throws(() => openKeys(sealed, { ...way, town: 'b'.repeat(64) as Sha256 }, bytes(9)), { code: 'sealed' });
  const odd = [{ subject: 'no subject at all', month: '2026-11', key: bytes(1) }];
  t.throws(() => openKeys(sealKeys(odd, way, sealingKeyOf(bytes(9)), bytes(8)), way, bytes(9)), {
    code: 'malformed',
  });
});

t.test('questions and answers are read strictly', async (t) => {
  t.same(readKeysAsk({ handles: [handleOf(1)] }), { handles: [handleOf(1)] });
  const many = Array.from({ length: KEYS_MAX + 1 }, (_, index) => handleOf(index));
  for (const body of [
    {},
    { handles: [] },
    { handles: ['x'] },
    { handles: many },
    { handles: [handleOf(1)], more: 1 },
  ])
    t.throws(() => readKeysAsk(body as never), { code: 'malformed' });
  t.same(readKeysGive({ sealed: null, answer: true }), { sealed: null, answer: true });
  for (const body of [
    { sealed: null },
    { sealed: 1, answer: true },
    { sealed: 'x'.repeat(200_000), answer: true },
  ])
    t.throws(() => readKeysGive(body as never), { code: 'malformed' });
});

/** Lets time pass and answers questions from what the peers have. @returns how many questions were asked */
function play(
  asking: KeyAsking,
  peers: ReadonlyMap<NodeId, ReadonlySet<string>>,
  from: number,
  ms: number,
): number {
  let questions = 0;
  for (let now = from; now < from + ms; now += 1_000)
    for (const { to, handles } of asking.next([...peers.keys()], now)) {
      questions += 1;
      for (const handle of handles) if (peers.get(to)?.has(handle)) asking.forget(handle);
      asking.answered(to, peers.size, now);
    }
  return questions;
}

t.test('what any peer has comes, whoever has it; and nothing is asked for that is here', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.nat({ max: 4 }), { maxLength: 60 }),
      fc.nat({ max: 6 }),
      (count, holders, writer) => {
        const asking = new KeyAsking();
        const peers = new Map(
          Array.from({ length: count }, (_, index) => [nodeOf(index), new Set<string>()]),
        );
        holders.forEach((holder, index) => {
          peers.get(nodeOf(holder % count))?.add(handleOf(index));
          asking.lacks(handleOf(index), nodeOf(writer), 0);
        });
        play(asking, peers, 0, 120_000);
        if (asking.size !== 0) throw new Error(`${asking.size} are still missing`);
        if (play(asking, peers, 120_000, 60_000) !== 0) throw new Error('asked for what is here');
      },
    ),
    { numRuns: 300 },
  );
});

t.test('what nobody has is asked for some times and then sleeps until something happens', async (t) => {
  const asking = new KeyAsking();
  const peers = new Map([1, 2, 3].map((index) => [nodeOf(index), new Set<string>()] as const));
  for (let index = 0; index < 100; index += 1) asking.lacks(handleOf(index), null, 0);
  t.ok(play(asking, peers, 0, 3_600_000) <= 9, 'three rounds through three peers');
  t.equal(asking.due(), null, 'no timer runs');
  t.equal(play(asking, peers, 3_600_000, 24 * 3_600_000), 0, 'a quiet town stays quiet');
  asking.stirred();
  const later = play(asking, peers, 30 * 3_600_000, 5_000);
  t.ok(later > 0 && later <= 3, `a merge lets it be asked for once more (${later})`);
  for (let times = 0; times < 50; times += 1) asking.stirred();
  t.equal(play(asking, peers, 30 * 3_600_000 + 5_000, 10_000), 0, 'and not with every merge');
  asking.peerCame(40 * 3_600_000);
  peers.get(nodeOf(2))?.add(handleOf(7));
  play(asking, peers, 40 * 3_600_000, 60_000);
  t.notOk(asking.isMissing(handleOf(7)), 'who comes may have it');
});

t.test(
  'one question at a time to each peer, of bounded size; who does not answer is passed over',
  async (t) => {
    const asking = new KeyAsking();
    const count = 3 * ASK_HANDLES_MAX;
    for (let index = 0; index < count; index += 1) asking.lacks(handleOf(index), nodeOf(1), 0);
    const [silent, good] = [nodeOf(1), nodeOf(2)];
    t.same(asking.next([silent, good], 0), [], 'a new key is on its way by itself at first');
    const first = asking.next([silent, good], 2_000);
    t.same(
      first.map(({ to, handles }) => [to, handles.length]),
      [[silent, ASK_HANDLES_MAX]],
      'who wrote the entry is asked first',
    );
    t.same(asking.next([silent, good], 3_000), []);
    let now = 13_000;
    for (let rounds = 0; asking.size > 0 && rounds < 100; rounds += 1, now += 11_000)
      for (const { to, handles } of asking.next([silent, good], now))
        if (to === good) {
          for (const handle of handles) asking.forget(handle);
          asking.answered(to, 2, now);
        }
    t.equal(asking.size, 0);
  },
);
