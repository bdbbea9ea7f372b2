/**
 * Bench `merge`: how fast entries become `main`, with one and with three validators. Each node is a process of its own with its own
 * store; the embedded broker is in the first one's. The contract (notes) answers in the node's process.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { connectAsync } from 'mqtt';
import { SmallTown } from '../../daemon/ledger/testing/small-town.js';
import { startBroker } from '../../daemon/sync/broker.js';
import { rateLine, timeLine, type BenchLine } from './bench-line.js';
import { CoreChild, noteOf, type BenchTown } from '../../daemon/node/testing/core-process.js';

const one = ['alpha'];
const three = ['alpha', 'beta', 'gamma'];
const five = [...three, 'delta', 'epsilon'];
const backlog = 4_000;
const entriesPerMerge = 2_000;
const entriesPerBlock = 200;
const singles = 30;
/** The preset's: how long what people ask for is gathered before it is merged. */
const paceMs = 2_000;
const neverMs = 600_000;
const waitMs = 60_000;

/**
 * `backlog-…`: entries per second from the first question for a merge until every validator has the same `main`; baseline: replay and
 * makeMerge of the same entries in memory. `append-to-main-…`: one entry at a time from its signature to `main`, at the preset's
 * pace; `beyond-pace-…`: without the 2,000 ms that the pace waits; baseline: a commit in SQLite and three round trips through a
 * broker on loopback (and, for the former, the pace).
 */
export async function run(): Promise<BenchLine[]> {
  const bareRate = bareMerges();
  const bareMs = await bareCommits();
  const rates = [await backlogRate(one), await backlogRate(three), await backlogRate(five)];
  // Nearly all of this time is the pace: both towns wait at once.
  const times = await Promise.all([singleTimes(one), singleTimes(three), singleTimes(five)]);
  const names = ['1-validator', '3-validators', '5-validators'];
  return [
    ...rates.map((rate, i) => rateLine('merge', `backlog-${names[i]}`, rate, 'entries/s', bareRate)),
    ...times.flatMap((list, i) =>
      [50, 99].flatMap((percent) => {
        const ms = percentile(list, percent);
        const bare = percentile(bareMs, percent);
        return [
          timeLine('merge', `append-to-main-${names[i]}-p${percent}`, ms, 'ms', paceMs + bare),
          timeLine('merge', `beyond-pace-${names[i]}-p${percent}`, Math.max(ms - paceMs, 0.001), 'ms', bare),
        ];
      }),
    ),
  ];
}

/** A town of these validators, each in its process, founded and of one mind. */
async function withTown<T>(
  names: readonly string[],
  interactiveMs: number,
  use: (nodes: readonly [CoreChild, ...CoreChild[]]) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-merge-'));
  const first = new CoreChild();
  const nodes: [CoreChild, ...CoreChild[]] = [first, ...names.slice(1).map(() => new CoreChild())];
  const town: BenchTown = { names, validators: names, interactiveMs };
  try {
    const url = await first.ask('broker');
    await Promise.all(
      nodes.map((node, i) => {
        const name = names[i] as string;
        return node.ask('start', { folder: join(folder, name), name, town, url });
      }),
    );
    await first.ask('found');
    await sameMain(nodes);
    return await use(nodes);
  } finally {
    await Promise.all(nodes.map((node) => node.end()));
    rmSync(folder, { recursive: true, force: true });
  }
}

async function sameMain(nodes: readonly CoreChild[]): Promise<void> {
  for (const until = performance.now() + waitMs; performance.now() < until;) {
    const heads = await Promise.all(nodes.map((node) => node.ask('head')));
    const [first] = heads;
    if (first && first.height > 0 && heads.every(({ id, pending }) => id === first.id && pending === 0))
      return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('The validators did not come to one main in time.');
}

const backlogRate = (names: readonly string[]): Promise<number> =>
  withTown(names, neverMs, async (nodes) => {
    await nodes[0].ask('record', backlog);
    const began = performance.now();
    await nodes[0].ask('mergeAll');
    await sameMain(nodes);
    return backlog / ((performance.now() - began) / 1000);
  });

const singleTimes = (names: readonly string[]): Promise<number[]> =>
  withTown(names, paceMs, ([first]) => first.ask('appendToMain', singles));

/** Replay and makeMerge of as many entries, in memory: entries per second. */
function bareMerges(): number {
  const town = new SmallTown(['alpha']).people();
  let seconds = 0;
  for (let n = 0; n < backlog;) {
    for (const last = n + entriesPerMerge; n < last;) {
      const entries = Array.from({ length: entriesPerBlock }, () => {
        n += 1;
        return town.entry('alpha', 'alpha', 'notes.seen', noteOf(n));
      });
      town.block('alpha', entries);
    }
    const began = performance.now();
    town.merge();
    seconds += (performance.now() - began) / 1000;
  }
  return backlog / seconds;
}

/** One commit with `synchronous=FULL`, then three times there and back through a broker: milliseconds. */
async function bareCommits(): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-merge-bare-'));
  const db = new Database(join(folder, 'bare.db'));
  const broker = await startBroker(0);
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const [near, far] = await Promise.all([connectAsync(url), connectAsync(url)]);
  for (const { stream } of [near, far]) (stream as Socket).setNoDelay(true);
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)');
    const insert = db.prepare('INSERT INTO entries (bytes) VALUES (?)');
    const payload = Buffer.alloc(600, 'x');
    let back: () => void = () => undefined;
    await Promise.all([near.subscribeAsync('back', { qos: 1 }), far.subscribeAsync('there', { qos: 1 })]);
    far.on('message', (_topic, message) => void far.publish('back', message, { qos: 1 }));
    near.on('message', () => back());
    const times: number[] = [];
    for (let i = 0; i < singles + 10; i += 1) {
      const began = performance.now();
      insert.run(payload);
      for (let trip = 0; trip < 3; trip += 1)
        await new Promise<void>((resolve) => {
          back = resolve;
          near.publish('there', payload, { qos: 1 });
        });
      // The first ones only warm up.
      if (i >= 10) times.push(performance.now() - began);
    }
    return times;
  } finally {
    await Promise.all([near.endAsync(true), far.endAsync(true)]);
    await broker.close();
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The value below which `percent` of the values lie (nearest rank). */
function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil((percent / 100) * sorted.length) - 1]!;
}
