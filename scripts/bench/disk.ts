/**
 * Bench `disk`: what door events cost the card. Bytes that the process wrote to the device for each (/proc/self/io), and bytes
 * that each keeps once it is in the archive and packs are combined; from that the year of a house with 5,000 a day.
 * Baseline: the bare signed SQLite loop of `append`, one row a transaction.
 */
import { createPrivateKey, sign } from 'node:crypto';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { archiveBounds } from '../../daemon/store/writer-protocol.js';
import { timeLine, type BenchLine } from './bench-line.js';
import { LargeTown } from './large-town.js';

/** A merge every 15 minutes: 96 a day. */
const eventsPerMerge = 52;
const merges = Number(process.env['BENCH_DISK_MERGES'] ?? 288);
const window = { entriesKept: 500, recordsPerDoor: 500 };
const eventsAYear = 5_000 * 365;
const bareRows = 2_000;
const bareRowBytes = 900;

interface Measured {
  /** Written to the device, a door event. */
  readonly written: number;
  /** Kept, a door event in the archive: in the database, in git. */
  readonly database: number;
  readonly git: number;
  /** What the hot tables hold, however long the town runs: bytes. */
  readonly hot: number;
}

export async function run(): Promise<BenchLine[]> {
  const bare = bareLoop();
  const town = await measuredTown();
  const kept = town.database + town.git;
  const megabytes = (perEvent: number, once = 0): number => (perEvent * eventsAYear + once) / 1e6;
  return [
    timeLine('disk', 'written-per-door-event', town.written, 'bytes', bare.written),
    timeLine('disk', 'kept-per-event', kept, 'bytes', bare.kept),
    timeLine('disk', 'kept-per-event-in-git', town.git, 'bytes', bare.kept),
    timeLine('disk', 'kept-per-event-in-sqlite', town.database, 'bytes', bare.kept),
    timeLine('disk', 'year-of-5000-a-day', megabytes(kept, town.hot), 'MB', megabytes(bare.kept)),
  ];
}

/** In a process of its own, so that nobody else's writes count. */
async function measuredTown(): Promise<Measured> {
  const child = fork(fileURLToPath(import.meta.url), ['measure'], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit');
  const said = await Promise.race([once(child, 'message'), ended.then(() => null)]);
  if (said === null) throw new Error('The town could not be measured.');
  await ended;
  return said[0] as Measured;
}

/** Of a town that has run for a while: what a part of its events adds, not what every town has. */
async function measure(): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-disk-'));
  try {
    const town = await LargeTown.open(join(folder, 'town'));
    await quarters(town, Math.ceil(merges / 3));
    const before = { ...(await sizes(town)), written: writtenHere() };
    await quarters(town, merges);
    const written = writtenHere() - before.written;
    const after = await sizes(town);
    const events = merges * eventsPerMerge;
    const hot = await hotEntryBytes(town);
    await town.close();
    return {
      written: written / events,
      database: (after.database - before.database) / events,
      git: (after.git - before.git) / events,
      hot: hot * archiveBounds.entriesKept,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** So many quarters of an hour: people come one after the other, then a merge, then nobody. */
async function quarters(town: LargeTown, count: number): Promise<void> {
  for (let quarter = 0; quarter < count; quarter += 1) {
    for (let i = 0; i < eventsPerMerge; i += 1) await town.event();
    await town.merge();
    await town.repository.flush();
    // A smaller window than the real one, so that as much goes to the archive as comes.
    while ((await town.store.archiveStep(window)) > 0);
  }
}

/** Database and git in bytes, once what is to be flushed and combined is. */
async function sizes(town: LargeTown): Promise<{ database: number; git: number }> {
  await town.repository.flush();
  await town.repository.combine({ all: true });
  await town.repository.removeCombined();
  return { database: databaseBytes(town), git: bytesBelow(join(town.folder, 'ledger.git')) };
}

/** What an entry takes as long as it is in the hot tables. */
async function hotEntryBytes(town: LargeTown): Promise<number> {
  const before = databaseBytes(town);
  const count = 1_000;
  for (let i = 0; i < count; i += 1) await town.event();
  return (databaseBytes(town) - before) / count;
}

/** Bytes of the pages that are in use. */
function databaseBytes({ folder }: LargeTown): number {
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  const pragma = (name: string): number => db.pragma(name, { simple: true }) as number;
  const bytes = (pragma('page_count') - pragma('freelist_count')) * pragma('page_size');
  db.close();
  return bytes;
}

function writtenHere(): number {
  const found = /^write_bytes: ([0-9]+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1];
  if (found === undefined) throw new Error('/proc/self/io tells no write_bytes here.');
  return Number(found);
}

function bytesBelow(path: string): number {
  return readdirSync(path, { withFileTypes: true }).reduce((sum, entry) => {
    const child = join(path, entry.name);
    return sum + (entry.isDirectory() ? bytesBelow(child) : statSync(child).size);
  }, 0);
}

function bareLoop(): { written: number; kept: number } {
  const folder = mkdtempSync(join(tmpdir(), 'bench-disk-bare-'));
  try {
    const db = new Database(join(folder, 'bare.db'));
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec('CREATE TABLE entries (id TEXT PRIMARY KEY, bytes BLOB NOT NULL)');
    const insert = db.prepare('INSERT INTO entries VALUES (?, ?)');
    const secret = createPrivateKey({
      key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 9)]),
      format: 'der',
      type: 'pkcs8',
    });
    const bytes = Buffer.alloc(bareRowBytes, 7);
    const before = writtenHere();
    for (let row = 0; row < bareRows; row += 1) {
      sign(null, bytes, secret);
      insert.run(String(row).padStart(64, '0'), bytes);
    }
    db.pragma('wal_checkpoint(TRUNCATE)');
    const written = (writtenHere() - before) / bareRows;
    db.close();
    return { written, kept: statSync(join(folder, 'bare.db')).size / bareRows };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.send && process.argv[2] === 'measure') {
  const measured = await measure();
  process.send(measured, () => process.exit(0));
}
