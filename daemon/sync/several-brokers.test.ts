/** One transport over several brokers, with brokers that the test plays: what is heard once, who is gone, what a liar can spoil. */
import fc from 'fast-check';
import t from 'tap';
import type { Delivery } from './message.js';
import { SeveralBrokers, type TransportOptions } from './several-brokers.js';
import type { Transport } from './transport.js';

const NODE = '0123456789abcdef';
const OTHER = 'fedcba9876543210';
const heads = (node: string): string => `mergetown/0000000000000000/heads/${node}`;
const DIRECT = `mergetown/0000000000000000/to/${NODE}`;

class Played implements Transport {
  readonly sent: string[] = [];
  isUp = false;
  why: string | null = null;
  constructor(readonly options: TransportOptions) {}
  publish(_topic: string, text: string): boolean {
    if (this.isUp) this.sent.push(text);
    return this.isUp;
  }
  trouble(): string | null {
    return this.why;
  }
  start(): void {}
  stop(): Promise<void> {
    return Promise.resolve();
  }
  up(): void {
    this.isUp = true;
    this.options.events.connected();
  }
  down(): void {
    this.isUp = false;
    this.options.events.disconnected();
  }
  give(topic: string, text: string, retained = false): void {
    this.options.events.delivered({ topic, payload: Buffer.from(text), retained });
  }
}

function playedBy(count: number) {
  const heard: string[] = [];
  const played: Played[] = [];
  const transport = new SeveralBrokers(
    Array.from({ length: count }, () => (options: TransportOptions) => {
      const one = new Played(options);
      played.push(one);
      return one;
    }),
    {
      subscriptions: ['mergetown/#'],
      will: heads(NODE),
      events: {
        connected: () => void heard.push('connected'),
        disconnected: () => void heard.push('disconnected'),
        delivered: ({ payload, retained }: Delivery) =>
          void heard.push(`${retained ? 'kept ' : ''}${Buffer.from(payload).toString() || 'gone'}`),
        tooLarge: () => void heard.push('too large'),
      },
    },
  );
  const news = (): string[] => heard.splice(0);
  return { transport, played: played as [Played, Played, ...Played[]], news };
}

t.test('it is connected while one is, sends on all that are, and says why none is', async (t) => {
  const { transport, played, news } = playedBy(3);
  const [a, b] = played;
  t.equal(transport.trouble(), null);
  a.why = 'No way.';
  t.equal(transport.trouble(), 'No way.');
  a.up();
  b.up();
  t.same(news(), ['connected']);
  t.equal(transport.trouble(), null);
  t.ok(transport.publish(DIRECT, 'x', false));
  t.same(
    played.map(({ sent }) => sent.length),
    [1, 1, 0],
  );
  a.down();
  t.same(news(), []);
  t.ok(transport.publish(DIRECT, 'y', false));
  t.match(transport.states(), [
    { connected: false, trouble: 'No way.' },
    { connected: true, trouble: null },
    { connected: false },
  ]);
  b.down();
  t.same(news(), ['disconnected']);
  t.notOk(transport.publish(DIRECT, 'z', false));
  t.throws(() => playedBy(0));
  t.throws(() => playedBy(5));
});

t.test('what several brokers give is heard once, and a replay goes on to who knows it as one', async (t) => {
  const { played, news } = playedBy(2);
  const [a, b] = played;
  a.give(DIRECT, 'one');
  b.give(DIRECT, 'one');
  t.same(news(), ['one']);
  b.give(DIRECT, 'one');
  t.same(news(), ['one'], 'from the same broker again');
  a.give(DIRECT, 'two', true);
  b.give(DIRECT, 'two');
  t.same(news(), ['kept two', 'two'], 'a liar that calls it kept does not spoil it');
  for (let n = 0; n < 10_000; n += 1) a.give(DIRECT, `flood ${n}`);
  news();
  b.give(DIRECT, 'flood 9999');
  t.same(news(), []);
});

t.test('whatever the brokers drop, what one of them gives is heard', async (t) => {
  const holds = fc.property(
    fc.array(fc.record({ text: fc.nat(50), by: fc.subarray([0, 1, 2], { minLength: 1 }) }), {
      maxLength: 60,
    }),
    (messages) => {
      const { played, news } = playedBy(3);
      const seen = new Set<string>();
      return messages.every(({ text, by }, i) => {
        for (const index of by) played[index]?.give(DIRECT, `${i} ${text}`);
        const heard = news();
        for (const each of heard) seen.add(each);
        return heard.length === 1;
      });
    },
  );
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 200 }));
});

t.test('a node is gone when no broker hears it any more; of the own heads each counts', async (t) => {
  const { played, news } = playedBy(2);
  const [a, b] = played;
  a.up();
  b.up();
  a.give(heads(OTHER), 'h1');
  b.give(heads(OTHER), 'h1');
  news();
  a.give(heads(OTHER), '');
  t.same(news(), [], 'it is still there by the other');
  a.give(heads(OTHER), '');
  t.same(news(), [], 'however often a liar says so');
  b.give(heads(OTHER), '');
  t.same(news(), ['gone']);
  a.give(heads(OTHER), 'h2');
  b.give(heads(OTHER), 'h2');
  b.down();
  news();
  a.give(heads(OTHER), '');
  t.same(news(), ['gone'], 'a broker that is away says nothing for it');
  b.give(heads(NODE), 'own');
  news();
  a.give(heads(NODE), '');
  t.same(news(), ['gone']);
});
