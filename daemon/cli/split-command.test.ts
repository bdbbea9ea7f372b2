/** A town that splits: both go on by themselves, each whole, and neither takes what was signed for the other. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { NodeInvited, NodesView } from '../node/node-cases.js';
import type { SplitTown } from '../node/split-town.js';
import type { GigView, MemberView, PersonView, StatusView } from '../node/use-cases.js';
import { eventually } from '../testing/eventually.js';
import { runTown, startDaemon, type Daemon, type Ended } from './run-town.fixture.js';

const passphrases: Record<string, string> = {
  Ada: 'seven green bottles hanging',
  Carol: 'a quiet lathe at midnight',
};

// Each command is a process of its own.
t.setTimeout(600_000);

const place = t.testdir();
const folder = join(place, 'town');
const other = join(place, 'other');
const running: Daemon[] = [];
t.teardown(async () => {
  for (const daemon of running) await daemon.stop();
});

const town = (data: string, as: string | null, ...words: string[]): Promise<Ended> =>
  runTown(['--json', ...(as === null ? [] : ['--as', as]), ...words], {
    env: {
      TOWN_DATA: data,
      XDG_STATE_HOME: join(place, 'state'),
      TOWN_PASSPHRASE: passphrases[as ?? 'Ada'],
    },
  });

async function done<T>(t: Test, data: string, as: string | null, ...words: string[]): Promise<T> {
  const ended = await town(data, as, ...words);
  t.equal(ended.code, 0, `town ${words.join(' ')} → ${ended.stderr}`);
  return JSON.parse(ended.stdout || 'null') as T;
}

async function balances(t: Test, data: string): Promise<Record<string, unknown>> {
  const all = await done<MemberView[]>(t, data, 'Ada', 'member', 'list');
  return Object.fromEntries(all.map(({ name, balance, locked }) => [name ?? '', [balance, locked]]));
}

const git = (data: string, ...words: string[]): string =>
  execFileSync('git', ['-C', join(data, 'ledger.git'), ...words], { encoding: 'utf8', stdio: 'pipe' });

let split: SplitTown;

t.test('a town splits while its daemon runs', async (t) => {
  await done(t, folder, null, 'init', '--name', 'Testhausen');
  const daemon = await startDaemon(folder);
  running.push(daemon);
  await done(t, folder, 'Ada', 'setup', daemon.setupLink as string, '--name', 'Ada');
  const { code } = await done<{ code: string }>(t, folder, 'Ada', 'member', 'invite', 'Carol');
  await done(t, folder, 'Carol', 'member', 'join', code);
  await done(t, folder, 'Ada', 'person', 'add', 'Bob Badge');
  await done(t, folder, 'Ada', '--wait', 'badge', 'enrol', 'Bob Badge', '--number', '12345678');
  await done(
    t,
    folder,
    'Ada',
    '--wait',
    ...['gig', 'open', '--title', 'Shelf', '--description', 'A shelf', '--price', '100'],
  );
  split = await done<SplitTown>(t, folder, null, 'split', 'Neustadt', '--to', other);
  t.not(split.town, split.origin.town);
  const again = await town(folder, null, 'split', 'Neustadt', '--to', other);
  t.equal(again.code, 1);
  t.match(again.stderr, /folder-not-empty/);
  const genesis = JSON.parse(git(other, 'show', 'main:genesis.json')) as { origin: object };
  t.same(genesis.origin, split.origin);
});

t.test('both go on by themselves; the people and what is open went along', async (t) => {
  const daemon = await startDaemon(other);
  running.push(daemon);
  const status = await done<StatusView>(t, other, null, 'status');
  t.match(status, {
    town: { id: split.town, name: 'Neustadt' },
    needsSetup: false,
    supply: { total: 1_000_000 },
  });
  for (const name of ['Ada', 'Carol']) await done(t, other, name, 'login', name);
  t.same(await balances(t, other), await balances(t, folder));
  const people = await done<PersonView[]>(t, other, 'Ada', 'person', 'list');
  t.ok(
    people.some(({ name, badges }) => name === 'Bob Badge' && badges.length === 1),
    'names can be read there',
  );
  // The gig that was open is finished in both, by different people's decision.
  const [gig] = await done<GigView[]>(t, other, 'Carol', 'gig', 'list');
  t.equal(gig?.status, 'open');
  await done(t, other, 'Carol', '--wait', 'gig', 'take', 'Shelf');
  await done(t, folder, 'Ada', '--wait', 'gig', 'cancel', 'Shelf');
  await done(t, other, 'Ada', '--wait', 'member', 'grant', 'Carol', '5', '--reason', 'welcome');
  t.same((await balances(t, folder))['Carol'], [500, 0]);
  t.same((await balances(t, other))['Carol'], [505, 0]);
});

t.test('an entry of the one is nothing to the other', async (t) => {
  const line = git(folder, 'log', '-1', '--format=%H', `nodes/${(await nodeOf(folder)) ?? ''}/main`).trim();
  const entries = git(folder, 'show', `${line}:entries.jsonl`).trim().split('\n');
  for (const entry of entries)
    t.not((JSON.parse(entry) as { town: string }).town, split.town, 'each names its town, and is signed');
});

t.test('a node joins the new town: it is given the state that the town began with', async (t) => {
  const second = join(place, 'second');
  const env = { XDG_STATE_HOME: join(place, 'state'), TOWN_PASSPHRASE: passphrases['Ada'] };
  const invited = await done<NodeInvited>(t, other, 'Ada', 'node', 'invite');
  const joining = runTown(
    ['--json', '--data', second, 'join', invited.code, '--name', 'Workshop', '--port', '0', '--no-start'],
    { env },
  );
  await eventually(
    'it asks to be let in',
    async () => {
      const { invitations } = await done<NodesView>(t, other, 'Ada', 'node', 'list');
      return invitations?.some(({ state }) => state === 'asked') === true;
    },
    { withinMs: 240_000 },
  );
  await done(t, other, 'Ada', 'node', 'approve', '--yes', '--wait');
  const joined = await joining;
  t.equal(joined.code, 0, joined.stderr);
  const daemon = await startDaemon(second);
  running.push(daemon);
  const { main } = await done<StatusView>(t, other, null, 'status');
  await eventually(
    'it has the history',
    async () => (await done<StatusView>(t, second, null, 'status')).main === main,
    { withinMs: 240_000 },
  );
});

t.test('an older state can be split off too, and both verify', async (t) => {
  const third = join(place, 'third');
  const early = await done<SplitTown>(t, folder, null, 'split', 'Altstadt', '--to', third, '--from', '1');
  t.equal(early.origin.height, 1);
  for (const daemon of running.splice(0)) t.equal(await daemon.stop(), 0);
  for (const data of [folder, other, third, join(place, 'second')]) {
    const ended = await town(data, null, 'verify');
    t.equal(ended.code, 0, `${data}: ${ended.stdout}${ended.stderr}`);
    t.equal(git(data, 'fsck', '--strict', '--full').trim(), '');
  }
});

async function nodeOf(data: string): Promise<string | null> {
  const refs = git(data, 'for-each-ref', '--format=%(refname)', 'refs/heads/nodes');
  return /nodes\/([0-9a-f]{16})\/main/.exec(refs)?.[1] ?? null;
}
