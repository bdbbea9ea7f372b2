/** Answers to peers: each peer in its turn, within what the config allows of the line. */
import t from 'tap';
import type { NodeId, Millis } from '../ledger/ids.js';
import type { HaveBody } from '../sync/bodies.js';
import type { Clock } from './clock.js';
import { PeerAnswering } from './peer-answering.js';
import type { PeerAnswers } from './peer-answers.js';

/** Time that goes on when nothing more happens in it. */
class PlayedTime implements Clock {
  private at = 0;
  private readonly timers: { at: number; call: () => void }[] = [];

  now(): Millis {
    return this.at as Millis;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.at + ms, call };
    this.timers.push(timer);
    return () => void this.timers.splice(this.timers.indexOf(timer), 1);
  }

  async run(): Promise<void> {
    for (;;) {
      for (let i = 0; i < 20; i += 1) await Promise.resolve();
      this.timers.sort((a, b) => a.at - b.at);
      const next = this.timers.shift();
      if (next === undefined) return;
      this.at = Math.max(this.at, next.at);
      next.call();
    }
  }
}

const peer = (digit: string): NodeId => digit.repeat(16) as NodeId;

function answering(bytesPerSecond: number, sizeOf: (charsMax: number) => number) {
  const time = new PlayedTime();
  const sent: { to: NodeId; chars: number; at: number }[] = [];
  const answered: NodeId[] = [];
  const answers = {
    to: (_what: unknown, charsMax: number): HaveBody | null => {
      const chars = sizeOf(charsMax);
      return chars > charsMax ? null : { merges: { from: 1, packed: 'x'.repeat(chars) } };
    },
  } as unknown as PeerAnswers;
  const queue = new PeerAnswering({
    ...{ answers, clock: time, steady: () => time.now(), bytesPerSecond },
    send: (to, body) => {
      const { packed } = body['merges'] as { packed: string };
      sent.push({ to, chars: packed.length, at: time.now() });
    },
    answered: (to) => void answered.push(to),
    failed: (error) => {
      throw error;
    },
  });
  const ask = (to: NodeId): void => queue.put({ to, item: 'merges', what: { merges: { from: 1, to: 1 } } });
  return { time, sent, answered, queue, ask };
}

t.test('a peer that asks for much keeps no other waiting: each has its turn', async (t) => {
  const { time, sent, answered, ask } = answering(Infinity, () => 1_000);
  for (let i = 0; i < 6; i += 1) ask(peer('a'));
  for (let i = 0; i < 2; i += 1) ask(peer('b'));
  ask(peer('c'));
  await time.run();
  // The first was at work before any other had asked.
  t.equal(sent.map(({ to }) => to[0]).join(''), 'aabcabaaa');
  t.equal(answered.length, 9);
});

t.test('no more goes out than the config allows, in answers of about a second', async (t) => {
  const rate = 64 * 1024;
  const { time, sent, ask } = answering(rate, (charsMax) => charsMax);
  for (let i = 0; i < 10; i += 1) ask(peer(String(i)));
  await time.run();
  const all = sent.reduce((sum, { chars }) => sum + chars, 0);
  const last = sent[sent.length - 1]!;
  t.ok((all - last.chars) / rate <= last.at / 1000 + 0.001, `${all} bytes in ${last.at} ms`);
  t.ok(sent.every(({ chars }) => chars === rate));
});

t.test(
  'what is too large for a short answer goes in a long one, and waits for the line accordingly',
  async (t) => {
    const { time, sent, ask } = answering(32 * 1024, () => 160_000);
    ask(peer('a'));
    ask(peer('b'));
    await time.run();
    t.equal(sent.length, 2);
    t.ok((sent[1]?.at ?? 0) >= 160_000 / 32.768, `${sent[1]?.at} ms`);
  },
);

t.test('stopped, it answers nothing more', async (t) => {
  const { time, sent, ask, queue } = answering(32 * 1024, () => 30_000);
  ask(peer('a'));
  ask(peer('b'));
  await Promise.resolve();
  queue.stop();
  ask(peer('c'));
  await time.run();
  t.ok(sent.length <= 1);
});
