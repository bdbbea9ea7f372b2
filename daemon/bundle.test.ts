/** Bundles and mirrors: real daemons, stock git, a stick that is a folder, a remote that is a bare repository on disk. */
import { execFile, spawnSync } from 'node:child_process';
import { copyFile, cp, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { runTown, type Ended } from './cli/run-town.fixture.js';
import { TownError } from './ledger/ids.js';
import { applyHistory } from './node/bundle-apply.js';
import { createBundle, openLedger } from './node/bundle-create.js';
import { inQuarantine, quarantineBounds, withBundle } from './node/bundle-quarantine.js';
import { applyBundle, type BringOptions, type Brought } from './node/bring-history.js';
import { systemClock } from './node/clock.js';
import { initTown } from './node/init-town.js';
import { readNodeKeys } from './node/key-files.js';
import { NOTES_REF } from './node/proof-notes.js';
import type { EntryView, Recorded } from './node/use-cases.js';
import { eventually } from './testing/eventually.js';
import { setUp, startTown } from './testing/running-town.js';
import { CONVERGE_MS_MAX, STEWARD_NAME, TownOfNodes, type Board } from './testing/town-of-nodes.js';

t.setTimeout(900_000);

const skip =
  spawnSync('git', ['--version']).status === 0 || process.env['CI'] === 'true'
    ? false
    : 'stock git is not installed';
const packagesFolder = fileURLToPath(new URL('../packages', import.meta.url));
const run = promisify(execFile);

const git = async (where: string, ...words: readonly string[]): Promise<string> =>
  (
    await run('git', ['-C', where, ...words], {
      maxBuffer: 64 * 1024 * 1024,
      env: { ...process.env, TZ: 'UTC' },
    })
  ).stdout.trimEnd();

/** With no daemon on the folder. */
const stopped: BringOptions = {
  packagesFolder,
  version: 'test',
  driver: 'process',
  daemon: () => Promise.reject(new Error('no daemon runs here')),
};

/** How applying ends: what was taken in, or the code of what refused it. */
const outcome = (
  folder: string,
  file: string,
  options: Partial<BringOptions> = {},
): Promise<Brought | string> =>
  applyBundle(folder, file, { ...stopped, ...options }).catch((error: unknown) => {
    if (error instanceof TownError) return error.code;
    throw error;
  });

const town = async (folder: string, ...words: readonly string[]): Promise<Ended> =>
  runTown(['--json', '--data', folder, ...words]);

async function said<T>(folder: string, ...words: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await town(folder, ...words);
  if (code !== 0) throw new Error(`town ${words.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** The bundle of a node, with all that was recorded at it. */
async function bundleOf(folder: string, file: string, since?: number): Promise<void> {
  await eventually(
    'all that was recorded stands in blocks',
    async () => (await createBundle(folder, file, { since: since?.toString() })).unblocked === 0,
    { withinMs: CONVERGE_MS_MAX },
  );
}

/** A folder as it is, without what its gate had open. */
const copied = (from: string, to: string): Promise<void> =>
  cp(from, to, { recursive: true, filter: (path) => basename(path) !== 'gate' });

const quarantined = async (folder: string): Promise<readonly string[]> =>
  (await readdir(join(folder, 'quarantine')).catch(() => [])).filter((name) => !name.startsWith('lock'));

const stateOf = async (board: Board, { entry }: Recorded): Promise<string> =>
  (await board.get<{ entry: EntryView }>(`/api/ledger/show/${entry}`)).entry.state;

t.test('stock git verifies, clones and fetches the bundle of a running town', { skip }, async (t) => {
  const root = t.testdir();
  const folder = join(root, 'town');
  const running = await startTown(folder);
  t.teardown(() => running.stop());
  const { api } = await setUp(running);
  await api('POST', '/api/people', { name: 'Bob Badge' });
  await api('POST', '/api/ledger/merge');

  const whole = join(root, 'whole.bundle');
  const made = await createBundle(folder, whole);
  t.match(made, { since: null, unblocked: 0 });
  const empty = join(root, 'empty');
  await git(root, 'init', '--quiet', empty);
  t.match((await run('git', ['-C', empty, 'bundle', 'verify', whole])).stderr, /is okay/);
  const clone = join(root, 'clone');
  await git(root, '-c', 'transfer.fsckObjects=true', 'clone', '--quiet', whole, clone);
  t.ok((await readdir(clone)).includes('charter.json'), 'it checks out main');
  const mirror = join(root, 'mirror.git');
  await git(root, 'clone', '--quiet', '--mirror', whole, mirror);
  t.equal(await git(mirror, 'fsck', '--strict', '--full', '--no-dangling'), '');
  t.match(await git(mirror, 'log', '--notes=proof-of-merge', '-1', '--format=%N', 'main'), /Attested-by: /);
  const signers = `gpg.ssh.allowedSignersFile=${join(folder, 'allowed_signers')}`;
  const commits = (await git(mirror, 'rev-list', '--all')).split('\n');
  await git(mirror, '-c', signers, 'verify-commit', ...commits);

  const { secretKey, sealingSecret, townKey, badgeKey } = await readNodeKeys(folder);
  const all = await git(mirror, 'cat-file', '--batch-all-objects', '--batch');
  for (const key of [secretKey, sealingSecret, townKey, badgeKey as Uint8Array])
    t.notOk(all.includes(Buffer.from(key).toString('hex')), 'no secret is in it');
  t.notOk(all.includes('Bob Badge'), 'nor a name in plain');

  await api('POST', '/api/people', { name: 'Clara' });
  await api('POST', '/api/ledger/merge');
  const more = join(root, 'more.bundle');
  const later = await createBundle(folder, more, { since: String(made.height) });
  t.equal(later.since, made.height);
  t.ok(later.objects < made.objects, 'it has only what is new');
  await t.rejects(run('git', ['-C', empty, 'bundle', 'verify', more]), /lacks these prerequisite commits/);
  t.match((await run('git', ['-C', clone, 'bundle', 'verify', more])).stderr, /is okay/);
  await git(clone, 'fetch', '--quiet', more, '+refs/heads/*:refs/remotes/stick/*');
  t.equal(
    await git(clone, 'rev-parse', 'stick/main'),
    await git(folder, '--git-dir=ledger.git', 'rev-parse', 'main'),
  );

  const other = join(root, 'letter.txt');
  await writeFile(other, 'Dear Bob');
  await t.rejects(createBundle(folder, other), { code: 'not-a-bundle' });
  t.equal(await readFile(other, 'utf8'), 'Dear Bob');
  await t.rejects(createBundle(folder, more, { since: '9999' }), { code: 'no-such-merge' });
});

t.test('two nodes without a network meet by a stick and by a mirror', { skip }, async (t) => {
  const root = t.testdir();
  const nodes = await TownOfNodes.prepare({ folder: root, names: ['House', 'Workshop'] });
  t.teardown(() => nodes.close());
  await nodes.found();
  const [house, workshop] = nodes.boards;
  if (!house || !workshop) throw new Error('There are two boards.');
  await nodes.join(workshop);
  const agree = async (): Promise<boolean> => (await house.status()).main === (await workshop.status()).main;
  await eventually('both have one main', agree, { withinMs: CONVERGE_MS_MAX });
  await nodes.giveKey(STEWARD_NAME, house, workshop);
  await nodes.converged();
  workshop.way?.cut();
  const start = (await house.status()).height;
  const stick = join(root, 'stick.bundle');

  await t.test('what both recorded goes to and fro until they agree', async (t) => {
    const near = await house.post(STEWARD_NAME, '/api/people', { name: 'Near' });
    await house.merge();
    const far = await workshop.post(STEWARD_NAME, '/api/people', { name: 'Far' });
    t.equal((await workshop.status()).height, start, 'nothing comes over the network');

    await bundleOf(house.folder, stick, start);
    const came = await said<Brought>(workshop.folder, 'bundle', 'apply', stick);
    t.match(came, { daemon: true, from: start, waiting: [] }, 'the daemon takes it in');
    t.equal(await stateOf(workshop, near), 'merged');
    t.match(await said(workshop.folder, 'bundle', 'apply', stick), { merges: 0, blocks: 0 });

    await eventually(
      'the block of the other one is in the bundle',
      async () => {
        await bundleOf(workshop.folder, stick);
        return (await said<Brought>(house.folder, 'bundle', 'apply', stick)).blocks > 0;
      },
      { withinMs: CONVERGE_MS_MAX },
    );
    await eventually('the founder merges it', async () => (await stateOf(house, far)) === 'merged', {
      withinMs: CONVERGE_MS_MAX,
    });

    await workshop.stop();
    const before = join(root, 'before');
    await copied(workshop.folder, before);
    await bundleOf(house.folder, stick, start);
    t.match(
      await outcome(workshop.folder, stick),
      { daemon: false },
      'the node takes it in while it is stopped',
    );
    t.match(await outcome(workshop.folder, stick), { merges: 0, blocks: 0 }, 'and nothing twice');
    await nodes.start(workshop);
    t.ok(await agree(), 'both have one main');
    t.equal(await stateOf(workshop, far), 'merged');
    t.same(await quarantined(workshop.folder), []);
    t.same(await nodes.gitProblems(), []);
  });

  await t.test('what does not hold is refused with its reason, and changes nothing', async (t) => {
    const before = join(root, 'before');
    await house.post(STEWARD_NAME, '/api/people', { name: 'Later' });
    await house.merge();
    const houseId = (await house.status()).node.id;
    const whole = join(root, 'whole.bundle');
    await bundleOf(house.folder, whole);
    const ledger = await openLedger(before);
    t.teardown(() => ledger.close());
    const head = ledger.store.lastMerge();
    const forged = join(root, 'forged.bundle');

    const strange = join(root, 'strange');
    await initTown(strange, { name: 'Strange', preset: 'makerspace', packagesFolder, clock: systemClock });
    const running = await startTown(strange);
    await setUp(running);
    await running.stop();
    await createBundle(strange, forged);
    t.equal(await outcome(before, forged), 'foreign-town');
    t.equal(await outcome(strange, whole), 'foreign-town');

    await createBundle(house.folder, forged, { since: String((await house.status()).height - 1) });
    t.equal(await outcome(before, forged), 'bundle-gap');
    t.equal(
      await outcome(before, whole, { bounds: { ...quarantineBounds, bytesMax: 1000 } }),
      'bundle-too-large',
    );
    t.equal(await outcome(before, join(root, 'nowhere')), 'no-such-file');
    t.equal(await outcome(root, whole), 'no-town');

    const clone = join(root, 'clone.git');
    await git(root, 'clone', '--quiet', '--mirror', whole, clone);
    const bundled = async (into: string, ...words: readonly string[]): Promise<string | Brought> => {
      await git(clone, 'bundle', 'create', forged, ...words);
      return outcome(into, forged);
    };
    t.equal(await bundled(before, 'main'), 'no-certificate');

    // Objects as stock git writes them, with names that are right: only what they say is not.
    const put = async (type: string, text: string): Promise<string> => {
      const file = join(root, 'object');
      await writeFile(file, text);
      return git(clone, 'hash-object', '-t', type, '-w', file);
    };
    // A branch of the other node: what looks like a block of its own is refused before anything else of it is read.
    const refs = (await git(clone, 'for-each-ref', '--format=%(refname)', 'refs/heads/nodes')).split('\n');
    const ref = refs.find((name) => name.includes(houseId)) as string;
    const commit = `${await git(clone, 'cat-file', 'commit', ref)}\n`;
    const seq = Number(/^Seq: (\d+)$/m.exec(commit)?.[1]);
    const real = await git(clone, 'rev-parse', ref);
    const next = commit.replace(/^Seq: .*$/m, `Seq: ${seq + 1}`).replace(/^parent .*\n/m, `parent ${real}\n`);
    await git(clone, 'update-ref', ref, await put('commit', next));
    const victim = join(root, 'victim');
    await copied(before, victim);
    t.equal(await bundled(victim, '--all'), 'bad-signature');
    await git(clone, 'update-ref', ref, real);

    const notes = await git(clone, 'rev-parse', NOTES_REF);
    const main = await git(clone, 'rev-parse', 'main');
    const note = await git(clone, 'notes', '--ref=proof-of-merge', 'show', main);
    const sig = /"sig":"([^"]+)"/.exec(note)?.[1] as string;
    const other = [...sig].reverse().join('');
    const identity = ['-c', 'user.name=x', '-c', 'user.email=x@y'];
    await git(
      clone,
      ...[...identity, 'notes', '--ref=proof-of-merge', 'add', '-f', '-m', note.replaceAll(sig, other), main],
    );
    // The last merge alone is refused: those before it are proven.
    const copy = join(root, 'copy');
    await copied(before, copy);
    t.equal(await bundled(copy, '--all'), 'bad-certificate');
    await git(clone, 'update-ref', NOTES_REF, notes);

    const zeros = await put('blob', '0'.repeat(quarantineBounds.objectBytesMax + 1));
    const treeFile = join(root, 'tree');
    await writeFile(treeFile, `100644 blob ${zeros}\tzeros\n`);
    const tree = (await run('sh', ['-c', 'git -C "$1" mktree < "$2"', 'sh', clone, treeFile])).stdout.trim();
    const bomb = await git(clone, ...identity, 'commit-tree', '-m', 'bomb', tree);
    await git(clone, 'update-ref', 'refs/heads/bomb', bomb);
    t.equal(await bundled(before, '--all'), 'bundle-too-large');
    await git(clone, 'update-ref', '-d', 'refs/heads/bomb');
    t.equal(ledger.store.lastMerge()?.id, head?.id, 'nothing was taken in');
    t.same(await quarantined(before), [], 'nothing half-done stays');
    t.match(
      await outcome(before, whole),
      { height: (await house.status()).height },
      'the true one is taken in',
    );
  });

  await t.test('a bundle that was changed or cut anywhere brings nothing that is not so', async (t) => {
    const file = join(root, 'whole.bundle');
    const bytes = await readFile(file);
    const packAt = bytes.indexOf('\n\nPACK') + 2;
    const folder = join(root, 'copy');
    const ledger = await openLedger(folder);
    t.teardown(() => ledger.close());
    const refused = async (changed: string): Promise<string> => {
      let taken = false;
      const never = {
        take: () => ((taken = true), Promise.reject(new TownError('taken', 'It was offered.'))),
      };
      const { id } = await readNodeKeys(folder);
      const code = await inQuarantine(folder, (work) =>
        withBundle(changed, work, (history) => applyHistory(history, ledger.store, id, never)),
      ).then(
        () => 'nothing new',
        (error: unknown) => {
          if (error instanceof TownError) return error.code;
          throw error;
        },
      );
      return taken ? 'taken' : code;
    };
    const changed = join(root, 'changed.bundle');
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: packAt, max: bytes.length - 1 }), fc.nat(7), async (at, bit) => {
        const other = Buffer.from(bytes);
        other[at] = (other[at] as number) ^ (1 << bit);
        await writeFile(changed, other);
        return (await refused(changed)) === 'bundle-damaged';
      }),
      { numRuns: 100 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(packAt - 1), fc.nat(7), async (at, bit) => {
        const other = Buffer.from(bytes);
        other[at] = (other[at] as number) ^ (1 << bit);
        await writeFile(changed, other);
        // A ref that is called otherwise is not looked at; what the others lead to is as true as before.
        return /^(bundle-(damaged|incomplete|gap)|foreign-town|no-certificate|taken|nothing new)$/.test(
          await refused(changed),
        );
      }),
      { numRuns: 100 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), async (length) => {
        await copyFile(file, changed);
        await truncate(changed, length);
        return (await refused(changed)) === 'bundle-damaged';
      }),
      { numRuns: 60 },
    );
    t.same(await quarantined(folder), []);
  });

  await t.test('a plain git remote carries it too, and nothing is ever forced', async (t) => {
    const remote = join(root, 'remote.git');
    await git(root, 'init', '--quiet', '--bare', remote);
    for (const board of [house, workshop]) await said(board.folder, 'mirror', 'add', 'shelf', remote);
    t.same(await said(house.folder, 'mirror', 'list'), [{ name: 'shelf', url: remote }]);
    for (const url of ['ext::sh -c x', '--upload-pack=x', 'https://a:b@c/d', 'http://a/b', 'relative/path'])
      t.match((await town(house.folder, 'mirror', 'add', '--', 'other', url)).stderr, /bad-mirror/, url);

    const far = await workshop.post(STEWARD_NAME, '/api/people', { name: 'Farther' });
    await house.post(STEWARD_NAME, '/api/people', { name: 'Nearer' });
    await house.merge();
    t.match(await said(house.folder, 'mirror', 'push', 'shelf'), { height: (await house.status()).height });
    t.same((await said<{ moved: string[] }>(house.folder, 'mirror', 'push', 'shelf')).moved, []);
    t.equal(await git(remote, 'fsck', '--strict', '--full', '--no-dangling'), '');
    t.match(await git(remote, 'log', '--notes=proof-of-merge', '-1', '--format=%N', 'main'), /Attested-by: /);

    t.match((await town(workshop.folder, 'mirror', 'push', 'shelf')).stderr, /mirror-ahead/);
    t.match(await said(workshop.folder, 'mirror', 'pull', 'shelf'), { daemon: true, waiting: [] });
    t.ok(await agree());
    await eventually(
      'the block goes by the mirror',
      async () => {
        await said(workshop.folder, 'mirror', 'push', 'shelf');
        return (await said<Brought>(house.folder, 'mirror', 'pull', 'shelf')).blocks > 0;
      },
      { withinMs: CONVERGE_MS_MAX },
    );
    await eventually('the founder merges it', async () => (await stateOf(house, far)) === 'merged', {
      withinMs: CONVERGE_MS_MAX,
    });
    await said(house.folder, 'mirror', 'push', 'shelf');
    await workshop.stop();
    const { daemon } = await said<Brought>(workshop.folder, 'mirror', 'pull', 'shelf', '--driver', 'process');
    t.notOk(daemon);
    await nodes.start(workshop);
    t.ok(await agree());

    const strange = join(root, 'strange');
    await said(strange, 'mirror', 'add', 'shelf', remote);
    const before = await git(remote, 'for-each-ref');
    t.match((await town(strange, 'mirror', 'push', 'shelf')).stderr, /mirror-ahead/);
    t.match((await town(strange, 'mirror', 'pull', 'shelf')).stderr, /foreign-town/);
    t.equal(await git(remote, 'for-each-ref'), before);

    const bin = join(root, 'bin');
    await mkdir(bin);
    const without = await runTown(['--json', '--data', house.folder, 'mirror', 'push', 'shelf'], {
      env: { PATH: bin },
    });
    t.match(without.stderr, /no-git/);
    await said(house.folder, 'mirror', 'remove', 'shelf');
    t.match((await town(house.folder, 'mirror', 'push', 'shelf')).stderr, /no-such-mirror/);
    t.same(await nodes.gitProblems(), []);
  });
});
