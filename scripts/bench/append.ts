/** Bench `append`: durable signed entries per second through the store, beside a bare better-sqlite3 loop. */
import { createPrivateKey, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { signEntry, type VerifiedEntry } from '../../daemon/ledger/entry.js';
import type { Millis, Sha256 } from '../../daemon/ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../../daemon/ledger/signature.js';
import type { NewEntry } from '../../daemon/store/rows.js';
import { Store } from '../../daemon/store/store.js';
import { rateLine, type BenchLine } from './bench-line.js';

/** Many and short, in turns: what else the machine does meets both alike. Each is long enough for the log to be folded in. */
const rounds = 25;
const roundMs = 150;
const atOnce = 64;
const perBaselineBatch = 100;

const seed = Buffer.alloc(32, 9);
const key = publicKeyOf(seed);
const node = nodeIdOf(key);
const hash = 'c4'.repeat(32) as Sha256;

/** A door event, as the node signs it: the entry that comes most often. */
const signed = (n: number): VerifiedEntry =>
  signEntry(
    {
      v: 1,
      town: hash,
      line: 'main',
      base: hash,
      node,
      n,
      type: 'door-access.event',
      by: key,
      at: (1_800_000_000_000 + n) as Millis,
      body: {
        code: 'granted',
        door: 'front',
        kind: 'tap',
        outcome: 'granted',
        record: { ct: 'A'.repeat(160), enc: 1, iv: 'A'.repeat(16), key: 'k'.repeat(32) },
        table: 1,
      },
    },
    seed,
  );

function row(entry: VerifiedEntry): NewEntry {
  const { id, line, n, type, by, at, text } = entry;
  return { id, node, line, n, type, kind: 'fact', by, member: null, at, bytes: Buffer.from(text) };
}

/** The bare loop: signs with node:crypto and inserts the bytes under their id; `batch` of them a transaction. */
function bareRound(db: Database.Database, batch: number, next: () => number): number {
  const insert = db.prepare('INSERT INTO entries VALUES (?, ?)');
  const secret = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const bytes = Buffer.from(signed(1).text);
  const transaction = db.transaction((count: number) => {
    for (let index = 0; index < count; index += 1) {
      sign(null, bytes, secret);
      insert.run(String(next()).padStart(64, '0'), bytes);
    }
  });
  const started = performance.now();
  let done = 0;
  for (; performance.now() - started < roundMs; done += batch) transaction.immediate(batch);
  return done / ((performance.now() - started) / 1000);
}

/** Signs with the ledger's own functions, then waits for the acknowledgement, with so many under way. */
async function storeRound(store: Store, concurrent: number, next: () => number): Promise<number> {
  const started = performance.now();
  let done = 0;
  const one = async (): Promise<void> => {
    for (; performance.now() - started < roundMs; done += 1) {
      await store.appendEntries({ entries: [row(signed(next()))] });
    }
  };
  await Promise.all(Array.from({ length: concurrent }, one));
  return done / ((performance.now() - started) / 1000);
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

/**
 * One at a time beside one a transaction, and 64 at once beside 100 a transaction; both `synchronous=FULL` on the same
 * file system, in turns, the median of 25 rounds each.
 */
export async function run(): Promise<BenchLine[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-append-'));
  const bare = new Database(join(folder, 'bare.db'));
  bare.pragma('journal_mode = WAL');
  bare.pragma('synchronous = FULL');
  bare.exec('CREATE TABLE entries (id TEXT PRIMARY KEY, bytes BLOB NOT NULL)');
  const store = await Store.open(join(folder, 'town'), {
    onFatal(error) {
      throw error;
    },
  });
  let count = 0;
  const next = (): number => (count += 1);
  const rates = {
    bareOne: [] as number[],
    one: [] as number[],
    bareMany: [] as number[],
    many: [] as number[],
  };
  try {
    // A first look at every path, uncounted: code gets warm, files grow.
    for (let round = -1; round < rounds; round += 1) {
      const measured = {
        bareOne: bareRound(bare, 1, next),
        one: await storeRound(store, 1, next),
        bareMany: bareRound(bare, perBaselineBatch, next),
        many: await storeRound(store, atOnce, next),
      };
      if (round < 0) continue;
      for (const name of Object.keys(rates) as (keyof typeof rates)[]) rates[name].push(measured[name]);
    }
  } finally {
    await store.close();
    bare.close();
    rmSync(folder, { recursive: true, force: true });
  }
  return [
    rateLine('append', 'one-at-a-time', median(rates.one), 'entries/s', median(rates.bareOne)),
    rateLine('append', '64-at-once', median(rates.many), 'entries/s', median(rates.bareMany)),
  ];
}
