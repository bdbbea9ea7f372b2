/** An older database comes to today's tables step by step, with a copy before, and whatever interrupts it. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { checkRows } from './check-rows.js';
import { backupFiles, backUpBefore } from './migration-backups.js';
import { migrate, migrations, schemaVersion } from './migrations.js';
import { registerRowSum } from './row-sums.js';
import { Store } from './store.js';
import { compiledFaults } from './testing/fault-runs.js';

/** A disk becomes full at every ninth call; `FAULTS=all`: at every one. */
const step = process.env['FAULTS'] === 'all' ? 1 : 9;

t.setTimeout(3_600_000);

function scratch(t: Pick<Test, 'teardown'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-migrate-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A database as the program of that version left it, with a row in every table of it. */
function olderDatabase(folder: string, version: number): void {
  const db = new Database(join(folder, 'town.db'));
  chmodSync(join(folder, 'town.db'), 0o600);
  db.pragma('journal_mode = WAL');
  db.pragma('foreign_keys = OFF');
  registerRowSum(db);
  for (let step = 1; step <= version; step += 1) {
    db.exec(migrations.get(step)!);
    // As it was filled then: the first version's rows go through every step after it.
    if (step === 1) fill(db);
    if (step === 2) db.exec(`INSERT INTO node_invitations VALUES ('00000000000000aa', '{}')`);
  }
  db.pragma(`user_version = ${version}`);
  db.close();
}

function fill(db: Database.Database): void {
  const hash = (digit: string): string => digit.repeat(64);
  const entry = (row: number, n: number, state: string, block: string, height: string): string =>
    `(${row}, '${hash(String(row))}', 'aa', 'main', ${n}, 'a.b', 'fact', 'k', NULL, 5, x'00', '${state}', ${block}, ${block === 'NULL' ? 'NULL' : row}, ${height}, NULL, NULL, NULL, NULL, NULL)`;
  db.exec(`
    INSERT INTO meta VALUES ('town', 'x');
    INSERT INTO merges VALUES (0, '${hash('a')}', '${'a'.repeat(40)}', 'c', 5, 'aa', x'00', '{}');
    INSERT INTO certificates VALUES (0, '');
    INSERT INTO blocks (rowid, id, oid, node, line, seq, prev, base, raw, entries, height) VALUES
      (3, '${hash('b')}', '${'b'.repeat(40)}', 'aa', 'main', 1, NULL, 'base', x'00', 2, 0),
      (9, '${hash('c')}', '${'c'.repeat(40)}', 'aa', 'main', 2, '${hash('b')}', 'base', x'01', 1, NULL);
    INSERT INTO entries VALUES ${[
      entry(1, 1, 'merged', `'${hash('b')}'`, '0'),
      entry(2, 2, 'rejected', `'${hash('b')}'`, '0'),
      entry(3, 4, 'pending', `'${hash('c')}'`, 'NULL'),
      entry(4, 7, 'pending', 'NULL', 'NULL'),
    ].join()};
    INSERT INTO consensus_log VALUES (1, 1, 0, 'prevote', 'vote', '{}', x'07');
    INSERT INTO refs VALUES ('refs/heads/main', '${'a'.repeat(40)}');
    INSERT INTO objects VALUES (1, 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391', 'blob', x'');
    INSERT INTO state VALUES ('kernel', 'accounts', 'vault', '{}');
    INSERT INTO private_keys VALUES ('h', 's', '2026-11', zeroblob(32));
    INSERT INTO gate_records VALUES ('g-1', '${hash('1')}', 'front', 5);
    INSERT INTO invitations VALUES ('h', '{}', 5, NULL);
    INSERT INTO notices VALUES (1, 'm1', '${hash('1')}', 5, 'told', 1);
  `);
}

/** The same without rows that name bytes by a hash, which these made-up ones do not have: a whole start looks at them. */
function olderDatabaseToStart(folder: string): void {
  mkdirSync(folder);
  olderDatabase(folder, 1);
  const db = new Database(join(folder, 'town.db'));
  db.pragma('foreign_keys = OFF');
  for (const table of ['gate_records', 'notices', 'entries', 'certificates', 'blocks', 'merges'])
    db.exec(`DELETE FROM ${table}`);
  db.close();
}

/** What a person would miss: every value of every table, by what all versions call it. */
function contentOf(folder: string): { [table: string]: unknown[] } {
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  const of = (sql: string): unknown[] => db.prepare(sql).raw().all();
  const content = {
    meta: of('SELECT key, value FROM meta'),
    entries: of('SELECT row, id, node, n, state, block, idx, height FROM entries ORDER BY row'),
    blocks: of('SELECT rowid, id, oid, seq, prev, raw, entries, height FROM blocks ORDER BY rowid'),
    merges: of('SELECT height, id, oid, time, raw, counts FROM merges'),
    log: of('SELECT height, round, step, kind, text, bytes FROM consensus_log'),
    refs: of('SELECT name, oid FROM refs'),
    objects: of('SELECT seq, oid, type, data FROM objects'),
    state: of('SELECT dapp, collection, key, value FROM state'),
    keys: of('SELECT handle, subject, month, key FROM private_keys'),
    gate: of('SELECT id, entry, door, at FROM gate_records'),
    invitations: of('SELECT hash, text, expires, used FROM invitations'),
    notices: of('SELECT id, member, entry, at, text, read FROM notices'),
  };
  db.close();
  return content;
}

/** Today's version, everything there, and sums that fit; the bytes of these made-up entries have no hash. */
async function assertCame(t: Test, folder: string, before: unknown): Promise<void> {
  t.same(contentOf(folder), before, 'nothing is lost');
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  t.equal(db.pragma('user_version', { simple: true }), schemaVersion);
  const found = (await checkRows(db)).filter(({ what }) => !what.startsWith('Its bytes'));
  t.same(found, [], 'and every row has its sum');
  db.close();
}

function migrateFile(folder: string, beforeCommit?: (step: number) => void): void {
  const db = new Database(join(folder, 'town.db'));
  try {
    migrate(db, { backup: (step) => backUpBefore(step, db), ...(beforeCommit ? { beforeCommit } : {}) });
  } finally {
    db.close();
  }
}

for (let version = 1; version < schemaVersion; version += 1) {
  t.test(
    `a database of version ${version} comes to today's with all it has, a copy of it beside it`,
    async (t) => {
      const folder = scratch(t);
      olderDatabase(folder, version);
      const before = contentOf(folder);
      migrateFile(folder);
      await assertCame(t, folder, before);
      const [copy, ...more] = backupFiles(folder);
      t.equal(copy, join(folder, `town.db.before-${version + 1}`));
      t.same(more, []);
      t.equal(statSync(copy!).mode & 0o777, 0o600, 'readable by its owner alone');
      const aside = scratch(t);
      cpSync(copy!, join(aside, 'town.db'));
      t.same(contentOf(aside), before, 'the copy is the database as it was');
      const old = new Database(copy!, { readonly: true });
      t.equal(old.pragma('user_version', { simple: true }), version);
      old.close();
    },
  );
}

t.test('killed in the middle of any step, the next start goes on from the step before', async (t) => {
  const program = (folder: string, step: number): string => `
    const { default: Database } = await import('better-sqlite3');
    const { migrate } = await import(${JSON.stringify(new URL('./migrations.js', import.meta.url).href)});
    const { backUpBefore } = await import(${JSON.stringify(new URL('./migration-backups.js', import.meta.url).href)});
    const db = new Database(${JSON.stringify(join(folder, 'town.db'))});
    const beforeCommit = (step) => step === ${step} && process.kill(process.pid, 'SIGKILL');
    migrate(db, { backup: (step) => backUpBefore(step, db), beforeCommit });`;
  for (let step = 2; step <= schemaVersion; step += 1) {
    const folder = scratch(t);
    olderDatabase(folder, 1);
    const before = contentOf(folder);
    const cwd = new URL('../../..', import.meta.url);
    const run = spawnSync(process.execPath, ['--input-type=module', '--eval', program(folder, step)], {
      cwd,
    });
    t.equal(run.signal, 'SIGKILL', `step ${step}: ${run.stderr.toString().slice(0, 300)}`);
    const db = new Database(join(folder, 'town.db'));
    t.equal(db.pragma('user_version', { simple: true }), step - 1);
    db.close();
    migrateFile(folder);
    await assertCame(t, folder, before);
  }
});

t.test('an unfinished copy goes, two are kept, and a new database needs none', async (t) => {
  const folder = scratch(t);
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  await store.close();
  t.same(backupFiles(folder), []);
  rmSync(join(folder, 'town.db'));
  for (const name of ['before-1', 'before-2', 'before-9.tmp'])
    writeFileSync(join(folder, `town.db.${name}`), 'x');
  olderDatabase(folder, 2);
  t.equal(backupFiles(folder).length, 3, 'also what is not finished is named: it may hold keys');
  migrateFile(folder);
  t.same(
    backupFiles(folder).map((path) => path.slice(folder.length + 1)),
    ['town.db.before-2', 'town.db.before-3'],
  );
});

/** A file system of 64 MiB in memory, gone with the test; null where that may not be mounted (in CI it may). */
function smallDisk(): string | null {
  const mount = scratch(t);
  const run = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', mount]);
  if (run.status === 0) {
    t.teardown(() => spawnSync('umount', ['-l', mount]));
    return mount;
  }
  if (process.env['CI'] === 'true') throw new Error(`mount: ${String(run.stderr)}`);
  return null;
}
const disk = smallDisk();
const library = compiledFaults(scratch(t));

const noSpace = { skip: disk === null && 'needs root, to mount a small file system' };
t.test(
  'where there is no space for the copy the start is refused, and nothing is changed',
  noSpace,
  async (t) => {
    const folder = join(disk!, 'town');
    olderDatabaseToStart(folder);
    const before = contentOf(folder);
    const bytes = readFileSync(join(folder, 'town.db'));
    writeFileSync(join(disk!, 'films'), Buffer.alloc(50 * 1024 * 1024, 1));
    const onFatal = (error: Error): void => void t.fail(error.message);
    for (let start = 0; start < 2; start += 1)
      await t.rejects(Store.open(folder, { onFatal }), {
        code: 'disk-full',
        message: /takes 17 MiB; .* has 1[0-4] MiB free/,
        advice: 'Free some space there and start again. Nothing was changed.',
      });
    t.same(readFileSync(join(folder, 'town.db')), bytes, 'the database is as it was, byte for byte');
    t.same(backupFiles(folder), []);
    rmSync(join(disk!, 'films'));
    await (await Store.open(folder, { onFatal })).close();
    await assertCame(t, folder, before);
    t.equal(backupFiles(folder).length, 1);
  },
);

const noCompiler = {
  skip: library === null && process.env['CI'] !== 'true' && 'needs a C compiler (cc or g++)',
};
t.test('a disk that becomes full at any moment of a migration loses nothing', noCompiler, async (t) => {
  if (library === null) return t.fail('in CI there is a C compiler');
  const program = (folder: string): string => `
    const { Store } = await import(${JSON.stringify(new URL('./store.js', import.meta.url).href)});
    try {
      await (await Store.open(${JSON.stringify(folder)}, { onFatal: (error) => { throw error; } })).close();
      console.log('opened');
    } catch (error) { console.log(JSON.stringify({ code: error.code, advice: error.advice })); }`;
  const start = (folder: string, at: number): string => {
    const env = { ...process.env, LD_PRELOAD: library, FAULT_FOLDER: folder, FAULT_KIND: 'full' };
    const cwd = new URL('../../..', import.meta.url);
    return spawnSync(process.execPath, ['--input-type=module', '--eval', program(folder)], {
      cwd,
      env: { ...env, FAULT_AT: String(at), FAULT_TOLD: join(folder, '..', 'told') },
      encoding: 'utf8',
    }).stdout.trim();
  };
  const refused = new Set<string>();
  for (let at = 1; ; at += step) {
    const folder = join(scratch(t), 'town');
    olderDatabaseToStart(folder);
    const before = contentOf(folder);
    const said = start(folder, at);
    if (said === 'opened' && readFileSync(join(folder, '..', 'told')).readInt32LE(4) === 0) break;
    t.not(said, '', `call ${at}: it says how it went`);
    if (said !== 'opened' && said !== '') {
      const { code, advice } = JSON.parse(said) as { code: string; advice?: string };
      refused.add(code);
      if (code === 'disk-full') t.match(advice, /^Free some space/, `call ${at}: ${said}`);
    }
    for (const path of backupFiles(folder)) {
      t.match(path, /before-[0-9]+$/, `call ${at}: no half copy is left`);
      const copy = new Database(path, { readonly: true });
      t.equal(copy.pragma('integrity_check', { simple: true }), 'ok');
      copy.close();
    }
    migrateFile(folder);
    await assertCame(t, folder, before);
  }
  t.ok(refused.has('disk-full'), [...refused].join());
});
