/** Records on their way: none is lost, each is delivered, memory and disk stay bounded. */
import fc from 'fast-check';
import { appendFileSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Journal } from './journal.js';
import { Outbox } from './outbox.js';
import type { GateRecord } from './shapes.js';

const now = Date.UTC(2026, 5, 1);
const recordOf = (n: number): GateRecord => ({
  id: `0123456789abcdef-${n}`,
  at: now,
  door: 'front',
  kind: 'tap',
  outcome: 'granted',
  code: 'granted',
  table: 3,
});
const sleep = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what: () => boolean, ms = 60_000): Promise<void> {
  const end = performance.now() + ms;
  while (!what()) {
    if (performance.now() > end) throw new Error(`Waited in vain for ${what.toString()}`);
    await sleep(2);
  }
}

t.test(
  'whenever the daemon comes, goes, forgets or restarts, each record reaches it once and the journal empties',
  async (t) => {
    const folder = t.testdir();
    let runs = 0;
    const step = fc.constantFrom(
      'keep',
      'keep',
      'keep',
      'connect',
      'lose',
      'ack-some',
      'ack-all',
      'restart',
      'wait',
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const path = join(folder, `journal-${(runs += 1)}`);
        const sent: string[] = [];
        const durable = new Set<string>();
        const open = async () => {
          const journal = await Journal.open(path, 1e7);
          const read = journal.read.bind(journal);
          // A slow disk, by turns.
          journal.read = async (from, limit) => {
            await sleep(runs % 3);
            return await read(from, limit);
          };
          const outbox = new Outbox(journal, {
            send: ({ id }) => {
              sent.push(id);
              return true;
            },
            problem: (code, message) => {
              throw new Error(`${code}: ${message}`);
            },
            now: Date.now,
          });
          await outbox.open();
          return { journal, outbox };
        };
        const made: string[] = [];
        let { journal, outbox } = await open();
        const ack = (ids: string[]) => {
          for (const id of ids) durable.add(id);
          outbox.acked(ids);
        };
        for (const what of steps) {
          if (what === 'keep') {
            const record = recordOf(made.length + 1);
            made.push(record.id);
            void outbox.keep(record);
          } else if (what === 'connect') outbox.connected();
          else if (what === 'lose') {
            outbox.lost();
            sent.length = 0;
          } else if (what === 'ack-some') ack(sent.splice(0, 2));
          else if (what === 'ack-all') ack(sent.splice(0));
          else if (what === 'wait') await sleep(1);
          else {
            await outbox.close();
            sent.length = 0;
            ({ journal, outbox } = await open());
          }
        }
        outbox.lost();
        sent.length = 0;
        outbox.connected();
        for (let tries = 0; tries < 500 && (durable.size < made.length || journal.size > 0); tries += 1) {
          ack(sent.splice(0));
          await sleep(1);
        }
        await outbox.close();
        return made.every((id) => durable.has(id)) && statSync(path).size === 0;
      }),
      { numRuns: 40 },
    );
    t.pass('in every order');
  },
);

t.test('the journal is not emptied under a page that is being read from it', async (t) => {
  const path = join(t.testdir(), 'journal');
  const journal = await Journal.open(path, 1e7);
  let letGo = (): void => {};
  const wait = new Promise<void>((resolve) => (letGo = resolve));
  const read = journal.read.bind(journal);
  let reads = 0;
  journal.read = async (from, limit) => {
    reads += 1;
    await wait;
    return await read(from, limit);
  };
  const sent: string[] = [];
  const problems: string[] = [];
  const outbox = new Outbox(journal, {
    send: ({ id }) => sent.push(id) > 0,
    problem: (code, message) => problems.push(`${code}: ${message}`),
    now: Date.now,
  });
  // The second and the third are written at one go: after the second is told, the third is in the journal and looks new.
  const kept = Promise.all([1, 2, 3].map((n) => outbox.keep(recordOf(n))));
  outbox.connected();
  t.same(await kept, [true, true, true]);
  t.equal(reads, 1, 'a page is on its way');
  outbox.acked(sent.splice(0));
  await sleep(50);
  t.ok(journal.size > 0, 'what is being read stays');
  letGo();
  await until(() => journal.size === 0);
  t.same(sent, [], 'what was acknowledged is not sent again');
  await outbox.close();
  t.same(problems, []);
  t.equal(statSync(path).size, 0);
});

t.test('a journal that cannot be read is tried again after a while, not without end at once', async (t) => {
  const path = join(t.testdir(), 'journal');
  writeFileSync(path, `${JSON.stringify(recordOf(1))}\n`);
  const journal = await Journal.open(path, 1e7);
  const read = journal.read.bind(journal);
  let fails = true;
  let reads = 0;
  journal.read = async (from, limit) => {
    reads += 1;
    if (fails) throw new Error('EIO');
    return read(from, limit);
  };
  const sent: string[] = [];
  const problems: string[] = [];
  const outbox = new Outbox(journal, {
    send: ({ id }) => sent.push(id) > 0,
    problem: (code) => problems.push(code),
    now: Date.now,
  });
  outbox.connected();
  for (let turn = 0; turn < 100; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  t.ok(reads < 10, `${reads} reads in a hundred turns`);
  t.equal(problems[0], 'journal-failed');
  fails = false;
  await until(() => sent.length > 0);
  t.same(sent, [recordOf(1).id]);
  outbox.acked(sent);
  await until(() => journal.size === 0);
  await outbox.close();
});

t.test(
  'the last acknowledgement empties the journal, whenever it comes after the one before it',
  async (t) => {
    for (let turns = 0; turns < 20; turns += 1) {
      const journal = await Journal.open(join(t.testdir(), `journal-${turns}`), 1e7);
      const outbox = new Outbox(journal, {
        send: () => true,
        problem: (code) => t.fail(code),
        now: Date.now,
      });
      const kept = [1, 2].map((n) => outbox.keep(recordOf(n)));
      await Promise.all(kept);
      outbox.connected();
      await sleep(5);
      outbox.acked([recordOf(1).id]);
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      outbox.acked([recordOf(2).id]);
      await until(() => journal.size === 0, 500).catch(() =>
        t.fail(`${turns} turns later it is not emptied`),
      );
      await outbox.close();
    }
  },
);

t.test('an acknowledgement that comes once the outbox is closed leaves the journal as it is', async (t) => {
  const path = join(t.testdir(), 'journal');
  const journal = await Journal.open(path, 1e7);
  const problems: string[] = [];
  const problem = (code: string, message: string): void => void problems.push(`${code}: ${message}`);
  const outbox = new Outbox(journal, { send: () => true, problem, now: Date.now });
  t.ok(await outbox.keep(recordOf(1)));
  outbox.connected();
  await outbox.close();
  outbox.acked([recordOf(1).id]);
  await sleep(20);
  t.same(problems, []);
  t.ok(statSync(path).size > 0, 'the next gate sends it again, and empties it');
});

t.test('more records than memory holds wait in the journal, and none is lost', async (t) => {
  const path = join(t.testdir(), 'journal');
  const journal = await Journal.open(path, 1e8);
  const sent: string[] = [];
  const problems: string[] = [];
  const outbox = new Outbox(journal, {
    send: ({ id }) => sent.push(id) > 0,
    problem: (code) => problems.push(code),
    now: Date.now,
  });
  const count = 13_000;
  const kept = await Promise.all(
    Array.from({ length: count }, (_, index) => outbox.keep(recordOf(index + 1))),
  );
  t.ok(kept.every((durable) => durable));
  t.equal(journal.lines, count);
  t.ok(outbox.unacked <= 10_000);
  outbox.connected();
  const durable: string[] = [];
  await until(() => {
    const ids = sent.splice(0);
    durable.push(...ids);
    outbox.acked(ids);
    return journal.size === 0;
  }, 20_000);
  t.same(
    durable,
    Array.from({ length: count }, (_, index) => recordOf(index + 1).id),
    'oldest first, each once',
  );
  t.same(problems, []);
  await outbox.close();
});

t.test('a torn tail goes silently, a corrupt line is kept aside, a full journal says so', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'journal.ndjson');
  const lines = [1, 2, 3].map((n) => JSON.stringify(recordOf(n)));
  writeFileSync(path, `${lines[0]}\n{"id": broken}\n${lines[1]}\n`);
  appendFileSync(path, lines[2]!.slice(0, 30));
  const journal = await Journal.open(path, 2000);
  t.equal(journal.lines, 3);
  const problems: string[] = [];
  const outbox = new Outbox(journal, {
    send: () => true,
    problem: (code) => problems.push(code),
    now: () => 7,
  });
  await outbox.open();
  t.equal(outbox.unacked, 2);
  t.same(problems, ['journal-corrupt']);
  t.equal(readFileSync(join(folder, 'journal.bad-7'), 'utf8'), '{"id": broken}\n');
  const kept = await Promise.all(Array.from({ length: 20 }, (_, index) => outbox.keep(recordOf(index + 10))));
  t.ok(kept.includes(true) && kept.includes(false));
  t.ok(problems.includes('journal-full'));
  t.ok(statSync(path).size <= 2000);
  await outbox.close();
  t.same(readdirSync(folder).sort(), ['journal.bad-7', 'journal.ndjson']);
});
