/** Draft forks through the real daemon and the `town` command: work on a line of its own, and what becomes of it. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ForkDetails, ForkEntryView, ForkView } from '../node/fork-cases.js';
import { Store } from '../store/store.js';
import type { EntryView, MemberView, MergeView, Page, Recorded } from '../node/use-cases.js';
import { runTown, startDaemon, type Daemon, type Ended } from './run-town.fixture.js';

const passphrases: Record<string, string> = {
  Ada: 'seven green bottles hanging',
  Carol: 'a quiet lathe at midnight',
};

// Each command is a process of its own.
t.setTimeout(600_000);

const place = t.testdir();
const folder = join(place, 'town');
const state = join(place, 'state');
let daemon: Daemon;
t.teardown(() => daemon?.stop());

const town = (as: string | null, words: readonly string[], input = ''): Promise<Ended> =>
  runTown(['--json', ...(as === null ? [] : ['--as', as]), ...words], {
    env: { TOWN_DATA: folder, XDG_STATE_HOME: state, TOWN_PASSPHRASE: passphrases[as ?? 'Ada'] },
    input,
  });

/** A command that must go well; its JSON answer. */
async function done<T>(t: Test, as: string | null, ...words: string[]): Promise<T> {
  const ended = await town(as, words);
  t.equal(ended.code, 0, `town ${words.join(' ')} → ${ended.stderr}`);
  return JSON.parse(ended.stdout || 'null') as T;
}

/** A command that must not; its error's code. */
async function refused(t: Test, as: string | null, ...words: string[]): Promise<string> {
  const ended = await town(as, words);
  t.equal(ended.code, 1, `town ${words.join(' ')} is refused: ${ended.stdout}`);
  return (JSON.parse(ended.stderr) as { error: { code: string } }).error.code;
}

const on = (line: string, ...words: string[]): string[] => ['--line', line, ...words];

async function balances(t: Test, ...options: string[]): Promise<Record<string, number | null>> {
  const all = await done<MemberView[]>(t, 'Ada', ...options, 'member', 'list');
  return Object.fromEntries(all.map((member) => [member.name ?? '', member.balance]));
}

const git = (...words: string[]): string =>
  execFileSync('git', ['-C', join(folder, 'ledger.git'), ...words], { encoding: 'utf8', stdio: 'pipe' });

/** Every commit of the draft and of the node's branch on it is signed and sound, for stock git. */
function checkGit(t: Test, ...refs: string[]): void {
  t.equal(git('fsck', '--strict', '--full').trim(), '');
  for (const ref of refs)
    for (const commit of git('rev-list', ref).trim().split('\n'))
      t.doesNotThrow(
        () =>
          git('-c', `gpg.ssh.allowedSignersFile=${join(folder, 'allowed_signers')}`, 'verify-commit', commit),
        `${ref}: ${commit}`,
      );
}

t.before(async () => {
  await runTown(['init', '--name', 'Testhausen', '--data', folder], { env: {} });
  daemon = await startDaemon(folder);
});

t.test('a draft goes off main and is worked on beside it', async (t) => {
  await done(t, 'Ada', 'setup', daemon.setupLink as string, '--name', 'Ada');
  const { code } = await done<{ code: string }>(t, 'Ada', 'member', 'invite', 'Carol');
  await done(t, 'Carol', 'member', 'join', code);
  // Some of it may be merged by itself before it is asked for.
  await done(t, 'Ada', 'merge');
  const [merge] = (await done<Page<MergeView>>(t, 'Ada', 'log', '--merges', '-n', '1')).items;
  if (!merge) throw new Error('There is a merge.');

  const fork = await done<ForkView>(t, 'Ada', 'fork', 'budget');
  t.match(fork, {
    name: 'budget',
    status: 'open',
    base: { height: merge.height, oid: merge.oid },
    entries: 0,
  });
  t.equal(git('rev-parse', 'budget').trim(), merge.oid, 'stock git shows it at once');
  t.equal(await refused(t, 'Ada', 'fork', 'budget'), 'fork-exists');
  t.equal(await refused(t, 'Carol', 'fork', 'mine'), 'not-allowed');
  t.equal(await refused(t, 'Ada', ...on('nothing', 'member', 'list')), 'no-such-fork');

  const before = await balances(t);
  await done(t, 'Ada', '--wait', ...on('budget', 'member', 'grant', 'Carol', '100', '--reason', 'a trial'));
  await done(t, 'Carol', '--wait', ...on('budget', 'member', 'transfer', 'Ada', '550'));
  await done(t, 'Ada', ...on('budget', 'charter', 'set', '/pace/factsMs=60000'));
  const shown = await done<Recorded>(
    t,
    'Ada',
    '--wait',
    ...on('budget', 'gig', 'open', '--title', 'Shelf', '--description', 'A shelf', '--price', '10'),
  );
  t.same(await balances(t), before, 'main has nothing of it');
  t.same(await balances(t, '--line', 'budget'), {
    Ada: (before['Ada'] ?? 0) + 540,
    Carol: (before['Carol'] ?? 0) - 450,
  });
  t.equal((await done<unknown[]>(t, 'Ada', 'gig', 'list')).length, 0);
  t.equal((await done<unknown[]>(t, 'Ada', ...on('budget', 'gig', 'list'))).length, 1);
  const entry = await done<{ entry: EntryView }>(t, 'Ada', ...on('budget', 'show', shown.entry));
  t.match(entry.entry, { state: 'merged', verdict: 'accepted', line: 'budget' });

  t.equal(
    await refused(t, 'Carol', ...on('budget', 'member', 'transfer', 'Ada', '500')),
    'not-enough-credits',
  );
  t.equal(await refused(t, 'Ada', ...on('budget', 'door', 'tap', 'front', '12345')), 'main-only');
});

t.test('it says what main would be with it, by trying', async (t) => {
  // What Carol gave away on the draft with the grant she has there alone, she has not got on main any more.
  await done(t, 'Carol', '--wait', 'member', 'transfer', 'Ada', '200');
  const { entries, changes, fork } = await done<ForkDetails>(t, 'Ada', 'fork', 'show', 'budget');
  t.equal(fork.entries, 4);
  t.match(
    entries.map(({ type, onDraft, onMain }) => [type, onDraft?.verdict, onMain?.verdict]),
    [
      ['credit.grant', 'accepted', 'accepted'],
      ['credit.transfer', 'accepted', 'rejected'],
      ['charter.change', 'accepted', 'accepted'],
      ['gigs.open', 'accepted', 'accepted'],
    ],
  );
  t.match(
    changes?.charter.find(({ at }) => at === '/pace/factsMs'),
    { after: 60000 },
  );
  t.ok(changes?.balances.some(({ name, before, after }) => name === 'Carol' && after - before === 100));
});

t.test('a restart finds it as it was, and its history is plain git', async (t) => {
  const before = await balances(t, '--line', 'budget');
  t.equal(await daemon.stop(), 0);
  daemon = await startDaemon(folder);
  for (const name of ['Ada', 'Carol']) await done(t, name, 'login', name);
  t.same(await balances(t, '--line', 'budget'), before);
  const merges = (await done<Page<MergeView>>(t, 'Ada', ...on('budget', 'log', '--merges'))).items;
  t.ok(merges.length > 0);
  t.equal(git('rev-parse', 'budget').trim(), merges[0]?.oid);
  const node = merges[0]?.by as string;
  checkGit(t, 'budget', `nodes/${node}/budget`);
  t.match(git('diff', '--name-only', 'main~1', 'budget', '--', 'state'), /state\//);
});

t.test(
  'adopted, its entries are replayed on main; what holds no more is rejected, with the reason',
  async (t) => {
    const before = await balances(t);
    await done(t, 'Ada', '--wait', 'fork', 'adopt', 'budget');
    t.equal(await refused(t, 'Carol', ...on('budget', 'member', 'transfer', 'Ada', '1')), 'fork-closed');
    t.equal(await refused(t, 'Ada', 'fork', 'adopt', 'budget'), 'fork-closed');
    await done(t, 'Ada', 'merge');
    const { entries, fork } = await done<ForkDetails>(t, 'Ada', 'fork', 'show', 'budget');
    t.equal(fork.status, 'adopted');
    t.match(
      entries.map(({ type, onMain }) => [type, onMain?.verdict, onMain?.code]),
      [
        ['credit.grant', 'accepted', undefined],
        ['credit.transfer', 'rejected', 'not-enough-credits'],
        ['charter.change', 'accepted', undefined],
        ['gigs.open', 'accepted', undefined],
      ],
    );
    t.same(await balances(t), { Ada: (before['Ada'] ?? 0) - 10, Carol: (before['Carol'] ?? 0) + 100 });
    const log = (await done<Page<EntryView>>(t, 'Ada', 'log', '-n', '200')).items;
    t.equal(new Set(log.map(({ id }) => id)).size, log.length, 'no entry comes twice');
    t.equal(log.filter(({ line }) => line === 'budget').length, 4);
    checkGit(t, 'main', 'budget');
  },
);

t.test('from an older merge; given up, it is closed and stays in git', async (t) => {
  const base = (await done<Page<MergeView>>(t, 'Ada', 'log', '--merges')).items.find(
    ({ height }) => height === 1,
  ) as MergeView;
  const fork = await done<ForkView>(t, 'Ada', 'fork', 'old-times', '--from', base.oid.slice(0, 12));
  t.equal(fork.base.id, base.id);
  t.equal(await refused(t, 'Ada', 'fork', 'older', '--from', '4711'), 'no-such-merge');
  await done(t, 'Ada', '--wait', ...on('old-times', 'charter', 'set', '/name=Altstadt'));
  t.equal((await town('Ada', ['fork', 'drop', 'old-times'])).code, 2, 'nobody is there to say yes');
  await done(t, 'Ada', 'fork', 'drop', 'old-times', '--yes');
  t.equal(await refused(t, 'Ada', ...on('old-times', 'charter', 'set', '/name=Neustadt')), 'fork-closed');
  t.equal(await refused(t, 'Ada', 'fork', 'old-times'), 'fork-exists');
  t.match(git('show', 'old-times:charter.json'), /Altstadt/);
  t.same(
    (await done<ForkView[]>(t, 'Ada', 'fork', 'list')).map(({ name, status }) => [name, status]),
    [
      ['budget', 'adopted'],
      ['old-times', 'dropped'],
    ],
  );
});

t.test('where the charter wants two stewards, both sign', async (t) => {
  const carol = (await done<MemberView[]>(t, 'Ada', 'member', 'list')).find(({ name }) => name === 'Carol');
  const { code } = await done<{ code: string }>(t, 'Ada', 'member', 'invite', 'Dora', '--role', 'steward');
  await done(t, null, '--as', 'Dora', 'member', 'join', code);
  await done(t, 'Ada', 'merge');
  await done(t, 'Ada', '--wait', 'charter', 'set', '/amend=2');
  await done(t, 'Ada', 'fork', 'two');
  await done(t, 'Ada', '--wait', ...on('two', 'member', 'grant', carol?.id as string, '7', '--reason', 'x'));
  t.equal(await refused(t, 'Ada', 'fork', 'adopt', 'two'), 'too-few-signatures');
  const ended = await town(
    'Ada',
    ['--wait', 'fork', 'adopt', 'two', '--with', 'Dora', '--passphrase-file', '-'],
    `${passphrases['Ada']}\n`,
  );
  t.equal(ended.code, 0, ended.stderr);
  await done(t, 'Ada', 'merge');
  const { fork, entries } = await done<ForkDetails>(t, 'Ada', 'fork', 'show', 'two');
  t.equal(fork.status, 'adopted');
  t.same(
    entries.map(({ onMain }) => onMain?.verdict),
    ['accepted'],
  );
});

t.test(
  'years later only git has its entries: a draft that came home is shown whole all the same',
  async (t) => {
    const look = async () => {
      const [merge] = (await done<Page<MergeView>>(t, 'Ada', ...on('budget', 'log', '--merges', '-n', '1')))
        .items;
      return {
        draft: await done<ForkDetails>(t, 'Ada', 'fork', 'show', 'budget'),
        log: await done<Page<EntryView>>(t, 'Ada', ...on('budget', 'log', '-n', '3')),
        merge: await done<{ merge: MergeView }>(t, 'Ada', ...on('budget', 'show', merge?.oid ?? '')),
      };
    };
    const before = await look();
    t.equal(before.log.items.length, 3);
    t.equal(await daemon.stop(), 0);
    const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
    while ((await store.archiveStep({ entriesKept: 0, recordsPerDoor: 3 })) > 0);
    for (const { id } of before.draft.entries)
      t.equal(store.entry(id), null, `the database has ${id} no more`);
    await store.close();
    daemon = await startDaemon(folder);
    await done(t, 'Ada', 'login', 'Ada');
    t.same(await look(), before);
    const next = before.log.next as string;
    const rest = await done<Page<EntryView>>(t, 'Ada', ...on('budget', 'log', '--before', next));
    t.same(
      [...before.log.items, ...rest.items].map(({ id }) => id).reverse(),
      before.draft.entries.map(({ id }) => id),
      'and page by page',
    );
    const [{ id, type }] = before.draft.entries as [ForkEntryView];
    t.match(await done(t, 'Ada', ...on('budget', 'show', id)), { kind: 'entry', entry: { id, type } });
  },
);

t.test('all of it verifies', async (t) => {
  t.equal(await daemon.stop(), 0);
  const ended = await town(null, ['verify']);
  t.equal(ended.code, 0, ended.stdout + ended.stderr);
  checkGit(t, 'main', 'budget', 'two', 'old-times');
});
