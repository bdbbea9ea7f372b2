/** The `town` command against the real daemon: what a person does on the first evening, and what goes wrong. */
import { chmod, copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { EntryView, GigView, MemberView, PersonView, Shown, StatusView } from '../node/use-cases.js';
import {
  collect,
  parse,
  runDaemon,
  runTown,
  startDaemon,
  type Daemon,
  type Ended,
} from './run-town.fixture.js';

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

/** A command that must go well, as the person named; its JSON answer. */
async function done<T>(t: Test, as: string | null, ...words: string[]): Promise<T> {
  const ended = await town(as, ...words);
  t.equal(ended.code, 0, `town ${words.join(' ')} → ${ended.stderr}`);
  return JSON.parse(ended.stdout || 'null') as T;
}

/** A command that must not; its error. */
async function refused(
  t: Test,
  as: string | null,
  ...words: string[]
): Promise<{ code: string; message: string; advice?: string }> {
  const ended = await town(as, ...words);
  t.equal(ended.code, 1, `town ${words.join(' ')} is refused: ${ended.stdout}`);
  t.equal(ended.stdout, '', 'and nothing is printed as a result');
  return (JSON.parse(ended.stderr) as { error: { code: string; message: string; advice?: string } }).error;
}

const town = (as: string | null, ...words: string[]): Promise<Ended> =>
  runTown(['--json', ...(as === null ? [] : ['--as', as]), ...words], {
    env: { TOWN_DATA: folder, XDG_STATE_HOME: state, TOWN_PASSPHRASE: passphrases[as ?? 'Ada'] },
  });

const balances = async (t: Test): Promise<Record<string, readonly [number, number]>> => {
  const all = await done<MemberView[]>(t, 'Ada', 'member', 'list');
  return Object.fromEntries(all.map((member) => [member.name, [member.balance, member.locked] as const]));
};

t.test('a town is founded without a daemon, once', async (t) => {
  const first = await done<{ town: string }>(t, null, 'init', '--name', 'Testhausen');
  t.match(first.town, /^[0-9a-f]{64}$/);
  t.equal((await refused(t, null, 'init')).code, 'town-exists');
  t.equal((await town(null, 'status')).code, 3, 'no daemon runs yet');
  daemon = await startDaemon(folder);
  const status = await done<StatusView>(t, null, 'status');
  t.equal(status.town.name, 'Testhausen');
  t.equal(status.town.id, first.town);
  t.equal(status.needsSetup, true);
});

t.test('the setup link makes the steward, once; what is wrong with it is said', async (t) => {
  const link = daemon.setupLink!;
  t.match(link, /#.+/);
  const wrong = await refused(
    t,
    null,
    'setup',
    `${daemon.url}/setup#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA`,
    '--name',
    'Eve',
  );
  t.match(wrong.message, /setup link/);
  const short = await runTown(['--json', 'setup', link, '--name', 'Ada'], {
    env: { XDG_STATE_HOME: state, TOWN_PASSPHRASE: 'short' },
  });
  t.equal(short.code, 1, 'a weak passphrase is refused');
  const session = await done<{ name: string; token?: string; roles: string[] }>(
    t,
    null,
    'setup',
    link,
    '--name',
    'Ada',
  );
  t.match(session, { name: 'Ada', roles: ['member', 'steward'] });
  t.notOk('token' in session, 'the token is not printed');
  t.match((await refused(t, null, 'setup', link, '--name', 'Eve')).message, /works once/);

  const file = await stat(join(state, 'mergetown', 'sessions.json'));
  t.equal(file.mode & 0o777, 0o600, 'saved sessions are for the owner alone');
  t.match(await done(t, null, 'whoami'), { name: 'Ada' });
});

t.test('the charter is changed by a steward', async (t) => {
  // Also makes the rest of this file fast.
  await done(t, 'Ada', 'charter', 'set', '/pace/interactiveMs=0', '--wait');
  t.match(await done(t, 'Ada', 'charter', 'show'), { pace: { interactiveMs: 0 } });
  t.ok((await refused(t, 'Ada', 'charter', 'set', 'no-pointer=1')).advice);
});

t.test('a badge opens the door until it is revoked; each tap is in the ledger with its reason', async (t) => {
  const { person } = await done<{ person: string }>(
    t,
    'Ada',
    'person',
    'add',
    'Bob Badge',
    '--contact',
    'bob@example.org',
    '--wait',
  );
  const unknown = await town('Ada', 'door', 'tap', 'front', '12345678');
  t.equal(unknown.code, 1);
  t.match(parse(unknown), { outcome: 'refused', code: 'unknown-badge' });
  const { badge } = await done<{ badge: string }>(
    t,
    'Ada',
    'badge',
    'enrol',
    'bob badge',
    '--number',
    '12345678',
    '--wait',
  );
  t.match(await done(t, 'Ada', 'door', 'tap', 'Front door', '12345678'), {
    outcome: 'granted',
    personName: 'Bob Badge',
  });
  await done(t, 'Ada', 'badge', 'revoke', badge.slice(0, 10), '--reason', 'lost on the tram');
  const revoked = await town('Ada', 'door', 'tap', 'front', '12345678');
  t.equal(revoked.code, 1, 'at once, before any merge');
  t.match(parse(revoked), { outcome: 'refused', code: 'badge-revoked', reason: 'lost on the tram' });

  const events = await done<{ code: string }[]>(t, 'Ada', 'door', 'log', 'front');
  t.same(
    events.map((event) => event.code),
    ['unknown-badge', 'granted', 'badge-revoked'],
  );
  await done(t, 'Ada', 'merge');
  const log = await done<{ items: EntryView[] }>(t, 'Ada', 'log', '-n', '50');
  const taps = log.items.filter((entry) => entry.type === 'door-access.event');
  t.equal(taps.length, 3);
  t.ok(taps.every((entry) => entry.state === 'merged'));
  t.notMatch(
    await readFile(join(folder, 'town.db'), 'latin1'),
    /Bob Badge|bob@example/,
    'persons are not in the clear',
  );
  const people = await done<PersonView[]>(t, 'Ada', 'person', 'list');
  t.match(
    people.find((each) => each.id === person),
    {
      name: 'Bob Badge',
      contact: 'bob@example.org',
      badges: [{ status: 'revoked', reason: 'lost on the tram' }],
    },
  );
});

t.test('a badge is enrolled by holding it to the reader', async (t) => {
  await done(t, 'Ada', 'person', 'add', 'Dora', '--wait');
  const enrolling = town('Ada', 'badge', 'enrol', 'Dora', '--tap', 'front');
  // The reader takes unknown badges for the enrolment only once it waits; until then they are plain refusals.
  const tapping = (async () => {
    for (let round = 0; round < 40; round++) {
      await town('Ada', 'door', 'tap', 'front', '777');
      const people = await done<PersonView[]>(t, 'Ada', 'person', 'list');
      if (people.some((person) => person.name === 'Dora' && person.badges.length > 0)) return;
    }
  })();
  const [enrolled] = await Promise.all([enrolling, tapping]);
  t.equal(enrolled.code, 0, enrolled.stderr);
  await done(t, 'Ada', 'merge');
  t.match(await done(t, 'Ada', 'door', 'tap', 'front', '777'), { outcome: 'granted', personName: 'Dora' });
});

t.test('a lockdown refuses everybody until it ends', async (t) => {
  await done(t, 'Ada', 'door', 'lockdown', 'front');
  t.match(parse(await town('Ada', 'door', 'tap', 'front', '777')), { code: 'lockdown' });
  await done(t, 'Ada', 'door', 'lockdown', 'front', '--off', '--wait');
  t.match(await done(t, 'Ada', 'door', 'tap', 'front', '777'), { outcome: 'granted' });
  t.match(await done(t, 'Ada', 'door', 'open', 'front'), { outcome: 'granted', kind: 'open' });
});

t.test('members join by invitation, each with a session of their own', async (t) => {
  const { code, link } = await done<{ code: string; link: string }>(t, 'Ada', 'member', 'invite', 'Carol');
  t.ok(link.endsWith(`#${code}`));
  const joined = await runTown(['--json', 'member', 'join', link], {
    env: { XDG_STATE_HOME: state, TOWN_PASSPHRASE: passphrases['Carol'] },
  });
  t.equal(joined.code, 0, joined.stderr);
  t.match(parse(joined), { name: 'Carol', roles: ['member'] });
  t.match((await refused(t, 'Carol', 'member', 'join', code)).message, /used/);
  t.match(await done(t, 'Carol', 'whoami'), { name: 'Carol' });
  t.match(await done(t, 'Ada', 'whoami'), { name: 'Ada' });
  await done(t, 'Ada', 'merge');
  t.match(await balances(t), { Ada: [500, 0], Carol: [500, 0] });
  t.equal((await refused(t, 'Carol', 'member', 'grant', 'Carol', '5', '--reason', 'me')).code, 'not-allowed');
});

t.test('credits go where they are sent, and never further than there are', async (t) => {
  await done(t, 'Ada', 'member', 'transfer', 'Carol', '100', '--memo', 'wood', '--wait');
  t.match(await balances(t), { Ada: [400, 0], Carol: [600, 0] });
  const tooMuch = await refused(t, 'Carol', 'member', 'transfer', 'Ada', '100000', '--wait');
  t.ok(tooMuch.message, 'the reason is said');
  t.match(await balances(t), { Ada: [400, 0], Carol: [600, 0] });
  await done(t, 'Ada', 'member', 'grant', 'Carol', '50', '--reason', 'swept the yard', '--wait');
  t.match(await balances(t), { Ada: [400, 0], Carol: [650, 0] });
  const seen = await runTown(['--as', 'Carol', 'member', 'list'], {
    env: { TOWN_DATA: folder, XDG_STATE_HOME: state },
  });
  t.match(seen.stdout, /Carol .* 650 /);
  t.match(seen.stdout, /Ada .* - +- +- /, 'what others own is not shown as nothing');
  t.match(
    (await done<MemberView[]>(t, 'Carol', 'member', 'list')).find(({ name }) => name === 'Ada'),
    { balance: null, locked: null, incoming: null },
    'nor given as nothing to programs',
  );
});

t.test('a gig with five stars pays at once', async (t) => {
  await done(
    t,
    'Ada',
    'gig',
    'open',
    '--title',
    'Shelf',
    '--description',
    'Build a shelf',
    '--price',
    '100',
    '--wait',
  );
  t.match(await balances(t), { Ada: [300, 100], Carol: [650, 0] }, 'the price is locked');
  t.match((await done<GigView[]>(t, 'Carol', 'gig', 'list'))[0], { status: 'open', can: ['take'] });
  await done(t, 'Carol', 'gig', 'take', 'Shelf', '--wait');
  await done(t, 'Ada', 'gig', 'accept', 'Shelf', '--wait');
  await done(t, 'Carol', 'gig', 'submit', 'Shelf', '--wait');
  await done(t, 'Ada', 'gig', 'complete', 'Shelf', '--stars', '5', '--wait');
  t.match(await balances(t), { Ada: [300, 0], Carol: [750, 0] });
  t.match((await done<GigView[]>(t, 'Carol', 'gig', 'list'))[0], { status: 'completed', can: [] });
});

t.test('fewer stars wait for the taker; what is not paid goes to the vault', async (t) => {
  await done(
    t,
    'Carol',
    'gig',
    'open',
    '--title',
    'Paint',
    '--description',
    'Paint the gate',
    '--price',
    '50',
    '--wait',
  );
  await done(t, 'Ada', 'gig', 'take', 'Paint', '--wait');
  await done(t, 'Carol', 'gig', 'accept', 'Paint', '--wait');
  await done(t, 'Ada', 'gig', 'submit', 'Paint', '--wait');
  await done(t, 'Carol', 'gig', 'complete', 'Paint', '--stars', '4', '--wait');
  t.match(await balances(t), { Ada: [300, 0], Carol: [700, 50] }, 'nothing moved yet');
  await done(t, 'Ada', 'gig', 'accept-rating', 'Paint', '--wait');
  t.match(await balances(t), { Ada: [340, 0], Carol: [700, 0] });
  const { supply } = await done<StatusView>(t, null, 'status');
  t.match(supply, { total: 1_000_000, vault: 1_000_000 - 1040, members: 1040, locked: 0 });
});

t.test('the ledger can be read, by the command and as it lies in the folder', async (t) => {
  const merges = await done<{ items: { id: string; height: number }[] }>(t, 'Ada', 'log', '--merges');
  const newest = merges.items[0]!;
  t.match(await done(t, 'Ada', 'show', newest.id.slice(0, 12)), {
    kind: 'merge',
    merge: { height: newest.height },
  });
  const first = await done<{ items: EntryView[]; next: string }>(t, 'Ada', 'log', '-n', '2');
  const second = await done<{ items: EntryView[] }>(t, 'Ada', 'log', '-n', '2', '--before', first.next);
  t.equal(
    new Set([...first.items, ...second.items].map((entry) => entry.id)).size,
    4,
    'pages do not overlap',
  );
  const rated = first.items.find(({ type }) => type === 'gigs.accept-rating');
  const shown = await done<Shown>(t, 'Ada', 'show', rated!.id);
  t.match(shown, { kind: 'entry', entry: { id: rated!.id } });
  t.match(
    shown.explained?.story.join(' '),
    /^Ada accepted the rating .*Merge \d+ .* accepted it\. .* proved/,
  );
  const accounts = shown.explained?.changes?.filter(({ path }) => path.startsWith('kernel/accounts/member.'));
  const moved = accounts?.map(({ before, after }) => `${before} → ${after}`).join(' ');
  t.match(moved, /"available":300,"locked":0} → {"available":340,"locked":0/, 'what it changed, before');
  t.match(moved, /"available":700,"locked":50} → {"available":700,"locked":0/, 'and after');
  const merged = await done<{ kind: 'merge'; merge: { oid: string } }>(t, 'Ada', 'show', newest.id);
  t.match(
    await done(t, 'Ada', 'show', merged.merge.oid.slice(0, 12)),
    { kind: 'merge', merge: { height: newest.height }, explained: { changes: Array } },
    'by its git id as well',
  );
  t.equal((await done<unknown[]>(t, 'Ada', 'log', '--branches')).length, 1);
  t.match(await done(t, null, 'verify', '--driver', 'process'), { ok: true, problems: [] });
  t.same(await done(t, 'Ada', 'merge'), { merge: null }, 'there is nothing left to merge');
  for (const words of [
    ['log'],
    ['log', '--merges'],
    ['show', newest.id],
    ['member', 'list'],
    ['gig', 'list'],
    ['status'],
  ]) {
    const ended = await runTown(['--as', 'Ada', ...words], {
      env: { TOWN_DATA: folder, XDG_STATE_HOME: state },
    });
    t.equal(ended.code, 0, `town ${words.join(' ')} speaks to people as well`);
    t.ok(ended.stdout.split('\n').length > 1);
  }
});

t.test('a wrong passphrase opens nothing; signing out ends the session', async (t) => {
  const wrong = await runTown(['--json', 'login', 'Ada'], {
    env: { TOWN_DATA: folder, XDG_STATE_HOME: join(place, 'other'), TOWN_PASSPHRASE: 'not this one at all' },
  });
  t.equal(wrong.code, 1);
  t.match(JSON.parse(wrong.stderr), { error: { code: 'wrong-passphrase' } });
  await done(t, 'Carol', 'logout');
  t.equal((await refused(t, 'Carol', 'whoami')).code, 'signed-out');
  await done(t, 'Carol', 'login', 'Carol');
  await done(t, 'Carol', 'logout');
  const nobody = await town(null, 'whoami');
  t.equal(nobody.code, 1, 'after that nobody acts as somebody else by surprise');
  t.match(await done(t, 'Ada', 'whoami'), { name: 'Ada' });
});

t.test('a second daemon on the folder is refused, and one on a taken port', async (t) => {
  const second = await collect(runDaemon(folder, ['--port', '0']));
  t.equal(second.code, 1);
  t.match(second.stderr, /another|in use|runs/i);
  t.notMatch(second.stderr, /\n\s+at /, 'no stack is shown for what a person did');
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as AddressInfo;
  const blocked = await collect(runDaemon(join(place, 'elsewhere'), ['--port', String(port)]));
  blocker.close();
  t.equal(blocked.code, 1);
  t.match(blocked.stderr, new RegExp(`${port}.*in use`));
  t.match(await done(t, 'Ada', 'whoami'), { name: 'Ada' }, 'the first one goes on');
});

t.test('all is there after a restart; sessions have to be opened again', async (t) => {
  const before = await balances(t);
  const status = await done<StatusView>(t, null, 'status');
  t.equal(await daemon.stop(), 0);
  t.equal((await town(null, 'status')).code, 3);
  t.match(await done(t, null, 'verify', '--driver', 'process'), { ok: true }, 'verify needs no daemon');
  daemon = await startDaemon(folder);
  t.equal(daemon.setupLink, null, 'a town that has a steward offers no setup');
  await done(t, 'Ada', 'login', 'Ada');
  t.same(await balances(t), before);
  t.ok((await done<StatusView>(t, null, 'status')).height >= status.height);
});

t.test('a broken config is refused by name and left as it is', async (t) => {
  t.equal(await daemon.stop(), 0);
  const config = join(folder, 'config.json');
  await copyFile(config, `${config}.good`);
  for (const broken of ['{"version": 1,', '{"version":1,"port":"eighty"}']) {
    await writeFile(config, broken);
    const ended = await collect(runDaemon(folder, ['--port', '0']));
    t.equal(ended.code, 1);
    t.match(ended.stderr, /config\.json/);
    t.notMatch(ended.stderr, /\n\s+at /);
    t.equal(await readFile(config, 'utf8'), broken);
  }
  await copyFile(`${config}.good`, config);
  daemon = await startDaemon(folder);
  await done(t, 'Ada', 'login', 'Ada');
});

t.test('`town start` runs the daemon, and ends with it', async (t) => {
  const other = join(place, 'started');
  await mkdir(other);
  await chmod(other, 0o700);
  const started = runTown(['start', '--data', other, '--port', 'nonsense'], {});
  const ended = await started;
  t.not(ended.code, 0, 'its exit code is the daemon’s');
  t.match(ended.stderr, /port/);
});

t.teardown(async () => {
  await daemon?.stop();
});
