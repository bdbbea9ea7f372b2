import { execFile } from 'node:child_process';
import { cp, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import type { Oid } from './ledger/ids.js';
import { makeTown } from './testing/whole-town.js';
import { GitObjects } from './store/repository-reader.js';
import { readState } from './store/snapshot.js';
import { doorsServe, type Api, signIn, startTown } from './testing/running-town.js';

t.setTimeout(900_000);
const run = promisify(execFile);
const git = async (folder: string, ...words: string[]): Promise<string> =>
  (await run('git', ['-C', folder, ...words], { maxBuffer: 1 << 28 })).stdout;

/** A town used over several merges: people, badges and taps, gigs, and the same again after a restart. */
async function usedTown(t: Test): Promise<string> {
  const folder = join(t.testdir(), 'town');
  await makeTown(folder);
  await goOn(folder, 'A shelf');
  return folder;
}

/** Starts the daemon on the folder, records in several dapps what must become part of `main`, and stops it. */
async function goOn(folder: string, title: string): Promise<void> {
  const town = await startTown(folder, { driver: 'process' });
  try {
    const api = await signIn(town, 'Ada');
    await doorsServe(town);
    for (let round = 0; round < 2; round += 1) {
      await done(api, '/api/people', { name: `${title} ${round}`, contact: 'somebody@example.org' });
      await done(api, '/api/gigs', { title: `${title} ${round}`, description: 'of wood', price: 5 });
      await done(api, '/api/doors/front/tap', { badgeNumber: '123:4501' });
      await done(api, '/api/ledger/merge');
    }
  } finally {
    await town.stop();
  }
}

async function done(api: Api, path: string, body?: object): Promise<void> {
  const { status, body: answer } = await api('POST', path, body);
  if (status >= 300) throw new Error(`${path} gave ${status}: ${JSON.stringify(answer)}`);
}

/** Every file of a work tree by its path. */
async function filesOf(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(folder.length + 1);
    if (entry.isFile() && !name.startsWith('.git/')) files.set(name, await readFile(path, 'utf8'));
  }
  return files;
}

t.test('stock git takes the ledger of a town in every way there is', async (t) => {
  const folder = await usedTown(t);
  const gitdir = join(folder, 'ledger.git');
  const copies = join(folder, '..');
  await git(gitdir, 'fsck', '--strict', '--full');

  const full = join(copies, 'full');
  await run('git', ['-c', 'transfer.fsckObjects=true', 'clone', '-q', '--mirror', `file://${gitdir}`, full]);
  await git(full, 'fsck', '--strict', '--full');
  t.equal(await git(full, 'for-each-ref'), await git(gitdir, 'for-each-ref'), 'a clone has every ref');

  const refs = (await git(gitdir, 'for-each-ref', '--format=%(refname)')).trim().split('\n');
  t.ok(refs.includes('refs/heads/main') && refs.includes('refs/notes/proof-of-merge'));
  for (const ref of refs) {
    const commits = (await git(gitdir, 'rev-list', ref)).trim().split('\n');
    await git(gitdir, 'verify-commit', ...commits);
    t.pass(`verify-commit takes the ${commits.length} commits of ${ref}`);
  }

  const shallow = join(copies, 'shallow');
  await run('git', ['clone', '-q', '--depth', '1', `file://${gitdir}`, shallow]);
  await git(shallow, 'fsck', '--strict', '--full');
  const files = await filesOf(shallow);
  files.delete('receipt.json');
  const main = (await git(gitdir, 'rev-parse', 'main')).trim() as Oid;
  const objects = new GitObjects(gitdir);
  for await (const { dapp, collection, key, value } of readState(objects, main)) {
    const path = [...files.keys()].find((name) =>
      collection === 'charter' && dapp === 'kernel'
        ? name === 'charter.json'
        : name.startsWith(`state/${dapp}/${collection}/`) && name.endsWith(`/${key}.json`),
    );
    if (path === undefined || files.get(path) !== value)
      t.fail(`${dapp}/${collection}/${key} is another in the clone`);
    files.delete(path ?? '');
  }
  await objects.close();
  t.same([...files.keys()], [], 'the work tree of a shallow clone is the state, and nothing else');

  const bundle = join(copies, 'ledger.bundle');
  await git(gitdir, 'bundle', 'create', '-q', bundle, '--all');
  await git(gitdir, 'bundle', 'verify', '-q', bundle);
  const unbundled = join(copies, 'unbundled');
  await run('git', ['clone', '-q', '--mirror', bundle, unbundled]);
  t.equal(await git(unbundled, 'for-each-ref'), await git(gitdir, 'for-each-ref'));
});

t.test('after a git gc or a full repack the daemon reads its ledger and goes on writing', async (t) => {
  const folder = await usedTown(t);
  for (const treatment of [
    ['gc', '-q'],
    ['repack', '-adfq', '--depth=250'],
  ]) {
    const copy = join(folder, '..', treatment[0]!);
    await cp(folder, copy, { recursive: true });
    const gitdir = join(copy, 'ledger.git');
    const before = (await git(gitdir, 'rev-list', '--all')).trim().split('\n');
    await git(gitdir, ...treatment);
    await goOn(copy, 'Later');
    await git(gitdir, 'fsck', '--strict', '--full');
    const after = new Set((await git(gitdir, 'rev-list', '--all')).trim().split('\n'));
    t.ok(
      after.size >= before.length + 4,
      `${after.size - before.length} commits came after ${treatment.join(' ')}`,
    );
    t.same(
      before.filter((commit) => !after.has(commit)),
      [],
      'and none is gone',
    );
    await git(gitdir, 'verify-commit', ...after);
    await rm(copy, { recursive: true });
  }
});
