/** A height with no quorum in hearing: it stands still, and goes on when others are back. By a clock that the test moves. */
import t from 'tap';
import { startHeight } from '../consensus/algorithm.js';
import { gossip, type Message } from '../consensus/gossip.js';
import type { HeightState } from '../consensus/height-state.js';
import { signVote } from '../consensus/vote.js';
import { sha256 } from '../ledger/hash.js';
import type { Millis, NodeId } from '../ledger/ids.js';
import type { ConsensusRow } from '../store/rows.js';
import type { Clock } from './clock.js';
import { HeightWork, type HeightWorkParts } from './height-work.js';
import { keysOf } from './testing/core-town.js';

/** Moves only when it is told to. */
class HandClock implements Clock {
  #now = 1_700_000_000_000;
  readonly #due = new Map<symbol, { readonly at: number; readonly task: () => void }>();

  now(): Millis {
    return this.#now as Millis;
  }

  after(ms: number, task: () => void): () => void {
    const id = Symbol();
    this.#due.set(id, { at: this.#now + ms, task });
    return () => void this.#due.delete(id);
  }

  get waiting(): number {
    return this.#due.size;
  }

  /** Step by step, so that what follows from a task has its turn before the next one. */
  async forward(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const [next] = [...this.#due].sort(([, a], [, b]) => a.at - b.at);
      if (!next || next[1].at > end) break;
      this.#due.delete(next[0]);
      this.#now = next[1].at;
      next[1].task();
    }
    this.#now = end;
  }
}

const NAMES = ['alpha', 'beta', 'gamma'];
const validators = NAMES.map((name) => keysOf(name).id);
const place = { town: sha256('town'), line: 'main', epoch: 0, height: 1, parent: sha256('parent') };

function open(heard: Set<NodeId>) {
  const clock = new HandClock();
  const sent: Message[] = [];
  const written: ConsensusRow[] = [];
  let changes = 0;
  const parts = {
    store: { logConsensus: async (rows: readonly ConsensusRow[]) => void written.push(...rows) },
    main: { head: { height: 0, time: 0 }, epoch: 0, recovery: null },
    workshop: { choose: () => [] },
    keys: keysOf('alpha'),
    clock,
    broadcast: (message: Message) => void sent.push(message),
    gossiped: () => undefined,
    isHeard: (node: NodeId) => heard.has(node),
    parkedChanged: () => void (changes += 1),
  } as unknown as HeightWorkParts;
  const state = startHeight({ ...place, self: keysOf('alpha').id, validators, rule: 'majority' });
  const work = new HeightWork(parts, state);
  work.done.catch(() => undefined);
  work.begin([]);
  return { work, clock, sent, written, changes: () => changes };
}

/** What it would say now. */
const stateOf = (work: HeightWork): HeightState => (work as unknown as { state: HeightState }).state;

const nilVoteOf = (name: string, round: number): Message => {
  const content = { ...place, round, step: 'prevote', value: null } as const;
  return { t: 'vote', vote: signVote(content, keysOf(name).id, keysOf(name).secretKey) };
};

t.test(
  'with no quorum heard for a minute there are no rounds and no writes, for however long; it tells where it stands once a minute',
  async (t) => {
    const { work, clock, sent, written, changes } = open(new Set());
    await clock.forward(55_000);
    t.equal(work.parkedSince, null, 'it is not given up at once');
    t.ok(sent.length > 0, 'until then it says what it has voted');
    await clock.forward(20_000);
    t.type(work.parkedSince, 'number');
    t.equal(changes(), 1);
    const before = [written.length, work.round];
    const told = sent.length;
    const each = gossip(stateOf(work)).length;
    await clock.forward(24 * 3_600_000);
    t.same([written.length, work.round], before, 'a day later nothing has moved');
    t.equal(clock.waiting, 1, 'one thing waits for the clock');
    t.ok(sent.length >= told + 23 * 60 * each, 'the others can hear of it all the time');
    t.ok(sent.length <= told + 24 * 60 * each, 'and are told no more often');
    work.close();
  },
);

t.test(
  'it goes on as soon as a quorum is heard again, and while one is heard it is never parked',
  async (t) => {
    const heard = new Set<NodeId>();
    const { work, clock, sent } = open(heard);
    await clock.forward(120_000);
    t.type(work.parkedSince, 'number');
    const before = sent.length;
    work.heardChanged();
    t.type(work.parkedSince, 'number', 'that somebody went away wakes nobody');
    heard.add(keysOf('beta').id);
    work.heardChanged();
    t.equal(work.parkedSince, null);
    await clock.forward(5_000);
    t.ok(sent.length > before, 'what it has voted is said again');
    heard.clear();
    await clock.forward(120_000);
    t.type(work.parkedSince, 'number');
    heard.add(keysOf('beta').id);
    await clock.forward(60_000);
    t.equal(work.parkedSince, null, 'it looks by itself too, when it tells where it stands');
    await clock.forward(600_000);
    t.equal(work.parkedSince, null);
    work.close();
  },
);

t.test('blocks that come to a parked height are told of within seconds, and begin no rounds', async (t) => {
  const { work, clock, sent, written } = open(new Set());
  await clock.forward(300_000);
  const before = sent.length;
  const wrote = written.length;
  for (let seconds = 0; seconds < 20; seconds += 1) {
    work.blocksChanged();
    await clock.forward(1_000);
    if (seconds === 2) t.ok(sent.length > before);
  }
  t.ok(sent.length - before <= 10 * gossip(stateOf(work)).length, 'at most every two seconds');
  t.type(work.parkedSince, 'number');
  t.equal(written.length, wrote);
  work.close();
});

t.test('a message wakes it for a minute, whatever is heard else', async (t) => {
  const { work, clock, sent } = open(new Set());
  await clock.forward(120_000);
  const before = sent.length;
  work.take(nilVoteOf('gamma', 0));
  t.equal(work.parkedSince, null);
  await clock.forward(10_000);
  t.ok(sent.length > before, 'who spoke is answered');
  t.ok(
    sent.some((message) => message.t === 'vote' && message.vote.step === 'precommit'),
    'the round goes on',
  );
  await clock.forward(120_000);
  t.type(work.parkedSince, 'number');
  work.close();
});
