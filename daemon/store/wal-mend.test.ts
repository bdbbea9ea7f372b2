import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { checkWal } from './wal-check.js';
import { mendWal } from './wal-mend.js';

t.setTimeout(600_000);

/** The log of a database that was not closed: 40 transactions, behind them what an earlier, longer round left. */
function logOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-wal-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const db = new Database(join(folder, 'live.db'));
  t.teardown(() => db.close());
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  db.exec('CREATE TABLE words (n INTEGER PRIMARY KEY, text TEXT)');
  const put = db.prepare('INSERT INTO words (text) VALUES (?)');
  for (let n = 0; n < 60; n += 1) put.run('earlier'.repeat(n));
  db.pragma('wal_checkpoint(RESTART)');
  for (let n = 0; n < 40; n += 1) put.run('later'.repeat(n * 9));
  cpSync(join(folder, 'live.db'), join(folder, 'town.db'));
  cpSync(join(folder, 'live.db-wal'), join(folder, 'town.db-wal'));
  return join(folder, 'town.db-wal');
}

const flip = (bytes: Buffer, bit: number): Buffer => {
  const other = Buffer.from(bytes);
  other[bit >> 3] = other[bit >> 3]! ^ (1 << (bit & 7));
  return other;
};

t.test('a flipped bit of the log is set right byte for byte, or costs no more than its page', async (t) => {
  const path = logOf(t);
  const whole = readFileSync(path);
  const found = await checkWal(path);
  if (found.t !== 'whole') return t.fail(found.t);
  const end = 32 + found.frames * (24 + 4096);
  t.ok(end < statSync(path).size, 'an older round lies behind');
  const last = end - (24 + 4096);
  // Each byte of the header, of the first and the last frame's header; and places anywhere.
  const anyOf = (byte: number): number => byte * 8 + Math.floor(Math.random() * 8);
  const bits = [
    ...Array.from({ length: 56 }, (_, byte) => anyOf(byte)),
    ...Array.from({ length: 24 }, (_, byte) => anyOf(last + byte)),
    ...Array.from({ length: 60 }, () => anyOf(Math.floor(Math.random() * end))),
    ...Array.from({ length: 10 }, () => anyOf(last + Math.floor(Math.random() * (24 + 4096)))),
  ];
  const wrong: string[] = [];
  let pages = 0;
  for (const bit of bits) {
    writeFileSync(path, flip(whole, bit));
    const { t: kind } = await checkWal(path);
    const mended = await mendWal(path);
    if (mended?.pages === 1) {
      pages += 1;
      const after = await checkWal(path);
      if (after.t !== 'whole' || after.frames !== found.frames)
        wrong.push(`bit ${bit}: ${JSON.stringify(after)}`);
      if (bit < 32 * 8) wrong.push(`bit ${bit} of the header`);
    } else if (kind !== 'damaged' || mended?.bits !== 1 || !readFileSync(path).equals(whole))
      wrong.push(`bit ${bit}: ${kind}, ${JSON.stringify(mended)}`);
  }
  t.same(wrong, []);
  t.comment(`${bits.length} flips, ${pages} of which the sums do not tell`);
  t.ok(pages < bits.length / 2);
});

t.test(
  'bits of several frames are set right; more than a bit of one is not, and nothing is changed then',
  async (t) => {
    const path = logOf(t);
    const whole = readFileSync(path);
    const at = (frame: number, byte: number): number => (32 + frame * (24 + 4096) + byte) * 8;
    writeFileSync(path, flip(flip(whole, at(3, 900)), at(20, 4_000) + 2));
    t.same(await mendWal(path), { bits: 2, pages: 0 });
    t.ok(readFileSync(path).equals(whole));
    const twice = flip(flip(whole, at(3, 900)), at(3, 901));
    writeFileSync(path, twice);
    t.equal(await mendWal(path), null);
    t.ok(readFileSync(path).equals(twice));
  },
);

t.test('a log that is whole, or that the power cut off, is left alone', async (t) => {
  const path = logOf(t);
  const whole = readFileSync(path);
  t.equal(await mendWal(path), null);
  const frames = ((await checkWal(path)) as { frames: number }).frames;
  const torn = Buffer.from(whole);
  torn.fill(0, 32 + (frames - 1) * (24 + 4096) + 600, 32 + frames * (24 + 4096));
  writeFileSync(path, torn);
  t.equal((await checkWal(path)).t, 'torn');
  t.equal(await mendWal(path), null);
  t.ok(readFileSync(path).equals(torn));
  t.equal(await mendWal(`${path}-none`), null);
});
