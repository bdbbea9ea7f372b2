/** What is damaged and has a second copy on the node is repaired; what has none is named. Then the town goes on. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { lockFolder } from '../store/folder-lock.js';
import { setUp, signIn, startTown } from '../testing/running-town.js';
import { repairTown, type RepairReport } from './repair-town.js';
import { makeTown } from '../testing/whole-town.js';
import { verifyTown } from './verify-town.js';

t.setTimeout(3_600_000);
const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const options = { packagesFolder, driver: 'process' as const };
const withoutGit = spawnSync('git', ['--version']).error !== undefined && process.env['CI'] !== 'true';

const write = (path: string, change: (bytes: Buffer) => Buffer): void => {
  chmodSync(path, 0o600);
  writeFileSync(path, change(readFileSync(path)));
};
const flip =
  (at: number | 'middle') =>
  (bytes: Buffer): Buffer => {
    const i = at === 'middle' ? bytes.length >> 1 : at < 0 ? bytes.length + at : at;
    bytes[i] = (bytes[i] as number) ^ 4;
    return bytes;
  };
const inPacks = (folder: string, ending: string): string[] => {
  const packs = join(folder, 'ledger.git', 'objects', 'pack');
  return readdirSync(packs)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(packs, name));
};
const sql =
  (...statements: string[]) =>
  (folder: string): void => {
    const db = new Database(join(folder, 'town.db'));
    for (const statement of statements) db.exec(statement);
    db.close();
  };
/** The bytes of a value, found in the file itself: SQLite cannot tell that they are others now. */
const valueOf = (folder: string, query: string): Buffer => {
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  try {
    return Buffer.from(db.prepare(query).pluck().get() as string | Buffer);
  } finally {
    db.close();
  }
};
const inFile =
  (query: string) =>
  (folder: string): void => {
    const value = valueOf(folder, query);
    write(join(folder, 'town.db'), (bytes) => {
      // Everywhere: also pages that are free may hold what once stood there.
      const start = Buffer.from(value.subarray(0, 64));
      const offset = Math.min(20, start.length - 1);
      const places: number[] = [];
      for (let at = bytes.indexOf(start); at >= 0; at = bytes.indexOf(start, at + 1)) places.push(at);
      if (places.length === 0) throw new Error(`${query}: not found in the file`);
      for (const at of places) flip(at + offset)(bytes);
      return bytes;
    });
  };

/** Each kind of damage, and whether something that only this node had is named as lost. */
const kinds: { readonly [what: string]: readonly [damage: (folder: string) => void, lost?: RegExp] } = {
  'a byte of each pack': [
    (folder) => inPacks(folder, '.pack').forEach((path) => write(path, flip('middle'))),
  ],
  'the last byte of a pack': [(folder) => write(inPacks(folder, '.pack')[0]!, flip(-1))],
  'a byte of each index': [
    (folder) => inPacks(folder, '.idx').forEach((path) => write(path, flip('middle'))),
  ],
  'an index that is gone': [(folder) => rmSync(inPacks(folder, '.idx')[0]!)],
  'packs that are gone': [
    (folder) =>
      [...inPacks(folder, '.pack'), ...inPacks(folder, '.idx')].slice(1, 2).forEach((path) => rmSync(path)),
  ],
  'a ref file': [(folder) => write(join(folder, 'ledger.git/refs/heads/main'), flip(5))],
  'HEAD and the configuration': [
    (folder) =>
      ['HEAD', 'config', 'description'].forEach((name) => write(join(folder, 'ledger.git', name), flip(8))),
  ],
  'a ref that nobody knows': [
    (folder) =>
      cpSync(join(folder, 'ledger.git/refs/heads/main'), join(folder, 'ledger.git/refs/heads/maio')),
  ],
  'the keys whose signatures count': [(folder) => write(join(folder, 'allowed_signers'), flip(30))],
  'a bit of an entry': [inFile('SELECT bytes FROM entries WHERE height IS NOT NULL ORDER BY row LIMIT 1')],
  'a bit of a block': [inFile('SELECT raw FROM blocks LIMIT 1')],
  'a bit of a merge': [inFile('SELECT raw FROM merges WHERE height = 2')],
  'a bit of a certificate': [inFile('SELECT text FROM certificates WHERE height = 2')],
  'a bit of the state': [inFile("SELECT value FROM state WHERE dapp = 'kernel' AND collection = 'members'")],
  'a verdict': [sql("UPDATE entries SET verdict = 'rejected' WHERE height IS NOT NULL")],
  'a value of the state': [sql("DELETE FROM state WHERE dapp = 'membership'")],
  'a merge that has no row': [sql('PRAGMA foreign_keys = OFF', 'DELETE FROM certificates WHERE height = 1')],
  'a key of records': [inFile('SELECT key FROM private_keys'), /private_keys: the row/],
  'an entry that no block had': [
    inFile('SELECT bytes FROM entries WHERE block IS NULL ORDER BY row LIMIT 1'),
    /no block had yet/,
  ],
  'pages of the database': [
    (folder) =>
      write(join(folder, 'town.db'), (bytes) => {
        for (let page = 3; page < 9; page += 1) bytes.fill(0x5a, page * 4096, (page + 1) * 4096);
        return bytes;
      }),
    /^/,
  ],
  'the head of the database': [
    (folder) => write(join(folder, 'town.db'), (bytes) => bytes.fill(0, 0, 200)),
    /./,
  ],
  'the database is empty': [(folder) => writeFileSync(join(folder, 'town.db'), Buffer.alloc(8192, 7)), /./],
};

async function assertRepaired(t: Test, folder: string, lost: RegExp | undefined): Promise<RepairReport> {
  const before = await verifyTown(folder, options);
  t.notOk(before.ok, `it is found: ${before.problems[0]?.where}: ${before.problems[0]?.what}`);
  const repaired = await repairTown(folder, options);
  t.same(repaired.report.problems, [], `it is repaired: ${repaired.done.join(' ')}`);
  if (lost === undefined) t.same(repaired.lost, [], 'nothing is lost');
  else t.match(repaired.lost.join('\n'), lost, `what is lost is named: ${repaired.lost.join(' ')}`);
  const fsck = spawnSync('git', ['-C', join(folder, 'ledger.git'), 'fsck', '--strict', '--full'], {
    encoding: 'utf8',
  });
  t.notMatch(fsck.stdout + fsck.stderr, /error|missing|corrupt|broken/, 'git finds nothing');
  t.equal(fsck.status, 0);
  return repaired;
}

t.test('every kind of damage that leaves a second copy is repaired', { skip: withoutGit }, async (t) => {
  const town = join(t.testdir({}), 'town');
  await makeTown(town);
  t.same((await verifyTown(town, options)).problems, []);
  for (const [what, [damage, lost]] of Object.entries(kinds))
    await t.test(what, async (t) => {
      const folder = join(t.testdir({}), 'copy');
      cpSync(town, folder, { recursive: true });
      damage(folder);
      await assertRepaired(t, folder, lost);
    });
});

t.test('what has no second copy here is named, and comes from a mirror', { skip: withoutGit }, async (t) => {
  const folder = join(t.testdir({}), 'town');
  await makeTown(folder, 'old');
  t.same((await verifyTown(folder, options)).problems, [], 'whole, with most entries in git alone');
  const mirror = join(t.testdirName, 'mirror.git');
  execFileSync('git', ['clone', '-q', '--mirror', join(folder, 'ledger.git'), mirror]);
  for (const ending of ['.pack', '.idx']) for (const path of inPacks(folder, ending)) rmSync(path);
  const { report } = await repairTown(folder, options);
  t.notOk(report.ok);
  const problem = report.problems.find(({ kind }) => kind === 'history');
  t.match(
    problem,
    { where: /merge|genesis/, repair: /git -C ledger\.git fetch --refetch/ },
    'where it ends, and what to do',
  );
  const refs = '+refs/heads/main:refs/heads/main';
  execFileSync('git', ['-C', join(folder, 'ledger.git'), 'fetch', '-q', '--refetch', mirror, refs], {
    stdio: 'pipe',
  });
  const again = await repairTown(folder, options);
  t.same(again.report.problems, [], again.done.join(' '));
  t.same(again.lost, []);
});

t.test('a town goes on after its database was made anew', { skip: withoutGit }, async (t) => {
  const folder = join(t.testdir({}), 'town');
  await makeTown(folder);
  const size = statSync(join(folder, 'town.db')).size;
  write(join(folder, 'town.db'), (bytes) => bytes.fill(0, 0, 100));
  await assertRepaired(t, folder, /./);
  t.ok(
    readdirSync(join(folder, 'damaged')).some((name) => name.endsWith('town.db')),
    'the damaged file is kept',
  );
  t.ok(statSync(join(folder, 'town.db')).size <= 2 * size);
  t.notOk(existsSync(join(folder, '.rebuilt')));
  const daemon = await startTown(folder, { driver: 'process' });
  t.teardown(() => daemon.stop());
  const api = await signIn(daemon, 'Ada');
  const { status } = await api('POST', '/api/people', { name: 'After', contact: 'after@example.org' });
  t.equal(status, 200);
  t.equal((await api('POST', '/api/ledger/merge')).status, 200);
  await t.rejects(repairTown(folder, options), { code: 'folder-in-use' }, 'never while the daemon runs');
  await daemon.stop();
  t.same((await verifyTown(folder, options)).problems, []);
});

t.test('a whole town needs no repair, and one that runs gets none', async (t) => {
  const folder = join(t.testdir({}), 'town');
  const daemon = await startTown(folder, { driver: 'process' });
  t.teardown(() => daemon.stop());
  await setUp(daemon);
  t.same((await verifyTown(folder, options)).problems, [], 'verified while it runs');
  await daemon.stop();
  t.match(await repairTown(folder, options), { report: { ok: true }, done: [], lost: [] });
  const release = await lockFolder(folder);
  await t.rejects(repairTown(folder, options), { code: 'folder-in-use' });
  await release();
  t.ok(execFileSync('git', ['-C', join(folder, 'ledger.git'), 'rev-parse', 'main']).length > 0);
});
