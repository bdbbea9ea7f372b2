import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import type { Oid } from '../ledger/ids.js';
import { packsBeforeCombining } from './pack-plan.js';
import { Repository } from './repository.js';
import { GitObjects } from './repository-reader.js';
import { Store } from './store.js';
import { node, sampleBlock, sampleEntry, sampleMerge } from './testing/samples.js';
import { unreadable } from './testing/pack-folders.js';
import type { GitObject } from '../ledger/git-object.js';

t.setTimeout(900_000);
const run = promisify(execFile);
const git = (folder: string, ...args: string[]): string =>
  execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8', stdio: 'pipe', maxBuffer: 1 << 28 });

async function opened(
  t: Test,
  folder: string,
): Promise<{ store: Store; repository: Repository; gitdir: string }> {
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  t.teardown(() => store.close());
  const gitdir = join(folder, 'ledger.git');
  const onTrouble = (error: Error): void => void t.fail(error.message);
  return { store, gitdir, repository: await Repository.open(gitdir, store, { onTrouble }) };
}

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-combine-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A block and a merge of it, in git: a pack. @returns the objects it put there */
async function grow(store: Store, repository: Repository): Promise<GitObject[]> {
  const first = store.lastN(node, 'main') + 1;
  await store.appendEntries({ entries: [sampleEntry(first), sampleEntry(first + 1, 'y'.repeat(500))] });
  const block = sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 10));
  await store.putBlock(block);
  const merge = sampleMerge(store);
  await store.adopt(merge);
  await repository.flush();
  return [...block.objects, ...merge.objects];
}

const packsIn = (gitdir: string): string[] =>
  readdirSync(join(gitdir, 'objects', 'pack')).filter((name) => name.endsWith('.idx'));

t.test('stock git clones, and we read, while packs come, are combined and go', async (t) => {
  const folder = temporaryFolder(t);
  const { store, repository, gitdir } = await opened(t, folder);
  const objects: GitObject[] = [];
  let combined = 0;
  let done = false;
  const live = async (): Promise<void> => {
    while (!done) {
      objects.push(...(await grow(store, repository)));
      combined += (await repository.combine()).length;
    }
  };
  const look = async (): Promise<void> => {
    const bystander = new GitObjects(gitdir);
    for (let at = 0; !done; at += 7) {
      const some = objects.slice(at % Math.max(1, objects.length)).slice(0, 5);
      t.same(await unreadable(repository, some), []);
      t.same(await unreadable(bystander, some), []);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await bystander.close();
  };
  // What was combined stays a minute: here until the clone is there.
  const clone = async (): Promise<void> => {
    for (let round = 0; round < 12 || combined < 4; round += 1) {
      const copy = join(folder, `copy-${round}`);
      const how = round % 3 === 2 ? ['--bare', gitdir] : ['--bare', `file://${gitdir}`];
      await run('git', ['-c', 'transfer.fsckObjects=true', 'clone', '-q', ...how, copy]);
      await run('git', ['-C', copy, 'fsck', '--strict', '--full']);
      rmSync(copy, { recursive: true });
      await repository.removeCombined();
    }
    done = true;
  };
  await Promise.all([live(), look(), clone()]);
  t.ok(combined >= 4, `${combined} combinings`);
  await repository.removeCombined();
  t.ok(packsIn(gitdir).length < packsBeforeCombining, `${packsIn(gitdir).length} packs`);
  t.same(await unreadable(repository, objects), []);
  git(gitdir, 'fsck', '--strict', '--full');
  await repository.close();
  await store.close();

  const again = await opened(t, folder);
  t.same(await unreadable(again.repository, objects), []);
  await again.repository.close();
});

t.test(
  'after a git gc, a repack and with a multi-pack-index the daemon reads everything and goes on',
  async (t) => {
    const from = temporaryFolder(t);
    const first = await opened(t, from);
    const objects: GitObject[] = [];
    for (let round = 0; round < 15; round += 1) objects.push(...(await grow(first.store, first.repository)));
    await first.repository.combine();
    await first.repository.close();
    await first.store.close();
    const treatments = [
      ['gc', '-q'],
      ['gc', '-q', '--aggressive', '--prune=now'],
      ['repack', '-adfq', '--depth=250'],
      ['multi-pack-index', 'write'],
      ['repack', '-q', '--geometric=2', '-d', '--write-midx'],
    ];
    for (const treatment of treatments) {
      const folder = temporaryFolder(t);
      rmSync(folder, { recursive: true });
      cpSync(from, folder, { recursive: true });
      git(join(folder, 'ledger.git'), ...treatment);
      const { store, repository, gitdir } = await opened(t, folder);
      const all = [...objects];
      t.same(await unreadable(repository, all), [], treatment.join(' '));
      for (let round = 0; round < 12; round += 1) all.push(...(await grow(store, repository)));
      // And once more while it runs.
      git(gitdir, ...treatment);
      t.same(await unreadable(repository, all), []);
      await repository.combine({ all: true });
      await repository.removeCombined();
      t.equal(packsIn(gitdir).length, 1);
      t.same(await unreadable(repository, all), []);
      git(gitdir, 'fsck', '--strict', '--full');
      t.equal(git(gitdir, 'rev-parse', 'main').trim(), store.lastMerge()!.oid);
      await repository.close();
      await store.close();
    }
  },
);

t.test(
  'it combines by itself once it is quiet, and a combining that is cut off at closing does no harm',
  async (t) => {
    const folder = temporaryFolder(t);
    let { store, repository, gitdir } = await opened(t, folder);
    const objects: GitObject[] = [];
    for (let round = 0; round < packsBeforeCombining + 1; round += 1)
      objects.push(...(await grow(store, repository)));
    const marker = join(gitdir, 'objects', 'info');
    while (!readdirSync(marker).includes('superseded-packs'))
      await new Promise((resolve) => setTimeout(resolve, 100));
    t.same(await unreadable(repository, objects), []);
    await repository.removeCombined();
    t.ok(packsIn(gitdir).length < packsBeforeCombining);
    for (let round = 0; round < 6; round += 1) {
      for (let more = 0; more < packsBeforeCombining; more += 1)
        objects.push(...(await grow(store, repository)));
      const ended = repository
        .combine({ all: true })
        .catch((error: unknown) => (error as { code: Oid }).code);
      await new Promise((resolve) => setTimeout(resolve, round * 30));
      await repository.close();
      t.ok(Array.isArray(await ended) || (await ended) === 'closing');
      await store.close();
      git(gitdir, 'fsck', '--strict', '--full');
      ({ store, repository, gitdir } = await opened(t, folder));
      t.same(await unreadable(repository, objects), []);
    }
    await repository.close();
    await store.close();
  },
);
