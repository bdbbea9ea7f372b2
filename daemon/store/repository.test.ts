import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { blobObject } from '../ledger/git-object.js';
import { publicKeyOf } from '../ledger/signature.js';
import { allowedSignersLine } from '../ledger/sshsig.js';
import type { Oid } from '../ledger/ids.js';
import { writeAllowedSigners } from './allowed-signers.js';
import { writePack } from './pack.js';
import { Repository } from './repository.js';
import { Store } from './store.js';
import { branch, node, sampleBlock, sampleEntry, sampleMerge, seed } from './testing/samples.js';

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-git-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function opened(
  t: Test,
  folder: string,
): Promise<{ store: Store; repository: Repository; gitdir: string }> {
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  t.teardown(() => store.close());
  const gitdir = join(folder, 'ledger.git');
  return { store, gitdir, repository: await Repository.open(gitdir, store) };
}

const git = (folder: string, ...args: string[]): string =>
  execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8', stdio: 'pipe' });

async function grow(store: Store, blocks: number): Promise<void> {
  for (let block = 0; block < blocks; block += 1) {
    const first = store.lastN(node, 'main') + 1;
    await store.appendEntries({ entries: [sampleEntry(first), sampleEntry(first + 1, 'y'.repeat(9_000))] });
    await store.putBlock(sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 10)));
  }
  await store.adopt(sampleMerge(store));
}

t.test('stock git reads what was flushed: log, cat-file, fsck, signatures, clone', async (t) => {
  const folder = temporaryFolder(t);
  const { store, repository, gitdir } = await opened(t, folder);
  git(gitdir, 'fsck', '--strict');
  await grow(store, 3);
  t.equal(git(gitdir, 'for-each-ref'), '', 'before a flush git has none of it');
  await repository.flush();
  t.equal(store.counts().stagedObjects, 0);
  git(gitdir, 'fsck', '--strict', '--full');
  t.equal(git(gitdir, 'log', '--format=%s', 'main').trim(), 'merge 0\nblock 2\nblock 1\nblock 0');
  const head = store.lastBlock(node, 'main')!;
  t.match(git(gitdir, 'cat-file', 'commit', head.oid), head.raw.toString());
  t.match(git(gitdir, 'show', `${branch}:entries.jsonl`), /yyyy/);
  await writeAllowedSigners(join(folder, 'allowed_signers'), [allowedSignersLine(node, publicKeyOf(seed))]);
  git(gitdir, 'verify-commit', 'main', branch);
  const clone = temporaryFolder(t);
  git(clone, 'clone', '-q', gitdir, 'copy');
  t.equal(git(join(clone, 'copy'), 'rev-parse', 'HEAD').trim(), store.lastMerge()!.oid);

  t.same(Buffer.from((await repository.read(head.oid)).data), Buffer.from(head.raw), 'and so do we');
  await t.rejects(repository.read('0'.repeat(40) as Oid), { code: 'no-such-object' });
  await grow(store, 1);
  t.equal(
    (await repository.read(store.lastMerge()!.oid)).type,
    'commit',
    'staged objects are readable at once',
  );
  await repository.close();
  t.equal(git(gitdir, 'rev-parse', 'main').trim(), store.lastMerge()!.oid, 'closing flushes');
});

t.test('scheduled flushes come by themselves; stock gc and a mirror of one’s own do no harm', async (t) => {
  const folder = temporaryFolder(t);
  const { store, repository, gitdir } = await opened(t, folder);
  await grow(store, 2);
  repository.scheduleFlush();
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.ok(store.counts().stagedObjects > 0, 'not before things are quiet');
  for (let waited = 0; store.counts().stagedObjects > 0 && waited < 5_000; waited += 50) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(store.counts().stagedObjects, 0);
  git(gitdir, 'remote', 'add', 'mirror', '/nowhere');
  git(gitdir, 'gc', '-q');
  await grow(store, 1);
  await repository.flush();
  git(gitdir, 'fsck', '--strict', '--full');
  t.equal(git(gitdir, 'rev-parse', 'main').trim(), store.lastMerge()!.oid);
  const oldest = store.blocksOfMerge(0, 1)[0]!;
  t.same(
    Buffer.from((await repository.read(oldest.oid)).data),
    Buffer.from(oldest.raw),
    'deltas of git are read',
  );
  await store.close();
  const again = await opened(t, folder);
  t.equal(git(again.gitdir, 'remote').trim(), 'mirror', 'what a person configured stays');
});

t.test('what an interrupted flush left is cleared away and done again', async (t) => {
  const folder = temporaryFolder(t);
  const { store, repository, gitdir } = await opened(t, folder);
  await grow(store, 2);
  await repository.flush();
  await grow(store, 2);
  await store.close();
  const packs = join(gitdir, 'objects', 'pack');
  writeFileSync(join(packs, 'tmp_pack_1'), 'half');
  writeFileSync(join(packs, `pack-${'1'.repeat(40)}.pack`), 'PACK');
  writeFileSync(join(packs, `pack-${'2'.repeat(40)}.idx`), 'x');
  writeFileSync(join(gitdir, `${branch}.lock`), '');
  writeFileSync(join(gitdir, 'refs/heads/main'), '');
  const again = await opened(t, folder);
  t.same(
    readdirSync(packs).filter((name) => /tmp|1111|2222/.test(name)),
    [],
  );
  git(gitdir, 'fsck', '--strict', '--full');
  t.equal(git(gitdir, 'rev-parse', 'main').trim(), again.store.lastMerge()!.oid);
  t.equal(statSync(join(gitdir, 'HEAD')).isFile(), true);
  await again.store.close();
});

t.test('an old database beside a newer repository, and the reverse, are refused by name', async (t) => {
  const folder = temporaryFolder(t);
  const old = temporaryFolder(t);
  const first = await opened(t, folder);
  await grow(first.store, 1);
  await first.repository.close();
  await first.store.close();
  cpSync(join(folder, 'town.db'), join(old, 'town.db'));
  const second = await opened(t, folder);
  await grow(second.store, 1);
  await second.repository.close();
  await second.store.close();

  cpSync(join(folder, 'ledger.git'), join(old, 'ledger.git'), { recursive: true });
  const behind = await Store.open(old, { onFatal: (error) => t.fail(error.message) });
  await t.rejects(Repository.open(join(old, 'ledger.git'), behind), { code: 'database-behind' });
  await behind.close();

  rmSync(join(folder, 'ledger.git'), { recursive: true });
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  await t.rejects(Repository.open(join(folder, 'ledger.git'), store), {
    code: 'repository-incomplete',
    advice: /fetch/,
  });
  await store.close();
});

t.test('any objects, packed, are what git says they are', async (t) => {
  const folder = temporaryFolder(t);
  git(folder, 'init', '-q', '--bare');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 0, max: 300_000 }),
      async (contents, large) => {
        const blobs = [...contents, new Uint8Array(large).map((_, index) => (index * 31) % 251)].map(
          blobObject,
        );
        const { pack, idx, name } = await writePack(blobs);
        const file = join(folder, 'objects', 'pack', `pack-${name}`);
        writeFileSync(`${file}.pack`, pack);
        const own = execFileSync('git', [
          'index-pack',
          '-o',
          `${file}.git-idx`,
          '--index-version=2',
          `${file}.pack`,
        ]);
        t.match(own.toString().trim(), name);
        return readFileSync(`${file}.git-idx`).equals(idx);
      },
    ),
    { numRuns: 25 },
  );
  t.pass('the index is byte for byte the one git makes');
});
