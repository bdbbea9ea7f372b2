import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import {
  apiOf,
  PASSPHRASE,
  setUp,
  signIn,
  startRefused,
  startTown,
  type Api,
} from '../testing/running-town.js';
import { GateLink } from '../gate/link.js';
import { passphraseLengthMin } from '../panel/src/passphrase-strength.js';
import { assertPassphrase, KeyStore, PASSPHRASE_MAX, PASSPHRASE_MIN } from './key-files.js';
import { publicKeyOf, memberIdOf } from '../ledger/signature.js';

const run = promisify(execFile);
t.setTimeout(600_000);

async function invited(api: Api, name: string): Promise<string> {
  return (await api('POST', '/api/members/invitations', { name })).body.code as string;
}

t.test('what the gate saw while the daemon was away does not hold up the start of the dapps', async (t) => {
  const folder = t.testdir();
  const first = await startTown(folder);
  await setUp(first);
  await first.kill();
  const link = new GateLink(join(folder, 'gate'), {
    spawn: false,
    logger: { info: () => undefined, warn: () => undefined },
    onRecord: () => Promise.reject(new Error('The disk is away.')),
  });
  link.start();
  for (let tries = 0; tries < 200 && !link.hello; tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 25));
  await link.tap('front', '4711').catch(() => undefined);
  await link.stop({ gateToo: false });
  const started = Date.now();
  const town = await startTown(folder);
  t.teardown(() => town.stop());
  t.ok(Date.now() - started < 45_000, `ready after ${Date.now() - started} ms`);
  const api = await signIn(town, 'Ada');
  let seen = 0;
  for (let tries = 0; tries < 200 && seen === 0; tries += 1) {
    seen = (await api('GET', '/api/doors/events')).body.length;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(seen, 1, 'and the record is there');
});

t.test('what members do with one another, by the API', async (t) => {
  const folder = t.testdir();
  // The power went between key and entry of a first setup.
  const first = await startTown(folder);
  await first.kill();
  const secretKey = new Uint8Array(32).fill(7);
  const left = memberIdOf(publicKeyOf(secretKey));
  await (await KeyStore.open(folder)).put(left, 'Ada', secretKey, PASSPHRASE);

  const town = await startTown(folder);
  t.teardown(() => town.stop());

  const token = town.setupLink?.split('#')[1];
  const half = await apiOf(town)('POST', '/api/setup', {
    token,
    name: 'Ada',
    passphrase: PASSPHRASE,
    doorName: 'x'.repeat(70),
  });
  t.match(half, { status: 400, body: { error: { code: 'bad-name' } } });
  t.equal((await apiOf(town)('GET', '/api/status')).body.needsSetup, true, 'nothing was founded by halves');
  const { api } = await setUp(town);
  t.match((await readdir(join(folder, 'keys', 'members'))).sort().join(' '), `${left}.json.unused`);

  await t.test(
    'of two who join with one name at once, one gets it and the other may choose again',
    async (t) => {
      const [one, two] = [await invited(api, 'Bob'), await invited(api, 'Bob')];
      const join = (code: string, name: string) =>
        apiOf(town)('POST', '/api/members/join', { code, name, passphrase: PASSPHRASE });
      const both = await Promise.all([join(one, 'Bob'), join(two, 'bob')]);
      t.same(both.map(({ status }) => status).sort(), [200, 409]);
      const loser = both[0].status === 409 ? one : two;
      t.match(await join(loser, 'Bobby'), { status: 200 });
      await signIn(town, 'Bob');
    },
  );

  await t.test(
    'a badge revoked again after it was reactivated stays revoked through the merge',
    async (t) => {
      const { person } = (await api('POST', '/api/people', { name: 'Cleo' })).body;
      const badge = (await api('POST', '/api/badges', { person, badgeNumber: '1234' })).body.badge;
      await api('POST', `/api/doors/front/lockdown`, { on: true });
      await api('POST', '/api/ledger/merge');
      await api('POST', `/api/people/${person}/suspend`, { reason: 'unpaid' });
      await api('POST', '/api/ledger/merge');
      await api('POST', `/api/people/${person}/reinstate`);
      await api('POST', `/api/people/${person}/suspend`, { reason: 'again' });
      await api('POST', `/api/doors/front/lockdown`, { on: false });
      await api('POST', `/api/doors/front/lockdown`, { on: true });
      await api('POST', '/api/ledger/merge');
      const [door] = (await api('GET', '/api/doors')).body;
      const people = (await api('GET', '/api/people')).body as { id: string; status: string }[];
      t.equal(door.mode, 'lockdown');
      t.equal(people.find(({ id }) => id === person)?.status, 'suspended');
      t.ok(badge);
    },
  );

  await t.test('a change of the charter that would stop all merging is refused', async (t) => {
    const charter = (await api('GET', '/api/charter')).body;
    const ghost = { ...charter.dapps[0], name: 'ghost' };
    const change = (dapps: object[]) =>
      api('POST', '/api/charter/changes', { set: { '/dapps': dapps }, remove: [] });
    t.match(await change([...charter.dapps, ghost]), { body: { error: { code: 'dapp-missing' } } });
    t.match(await change([...charter.dapps, { ...ghost, enabled: false }]), { status: 200 });
    t.match(await api('POST', '/api/ledger/merge'), { status: 200 });
  });

  await t.test('what others own is not told to a member, and is no zero either', async (t) => {
    const ada = (await api('GET', '/api/session')).body.member as string;
    const bob = await signIn(town, 'Bob');
    type Owner = { id: string; name: string; balance: number | null; locked: number | null };
    const seen = (await bob('GET', '/api/members')).body as Owner[];
    t.match(
      seen.find(({ id }) => id === ada),
      { balance: null, locked: null, incoming: null },
    );
    t.match(
      seen.find(({ name }) => name.toLowerCase() === 'bob'),
      { balance: Number, locked: 0, incoming: 0 },
    );
    const all = (await api('GET', '/api/members')).body as Owner[];
    t.notOk(all.some(({ balance, locked }) => balance === null || locked === null));
  });

  await t.test('why somebody was suspended is for the door and for stewards, and not in git', async (t) => {
    const because = 'did not give the planer back';
    const lost = 'left in the tram to Ústí';
    const { person } = (await api('POST', '/api/people', { name: 'Emil' })).body;
    const enrol = async (badgeNumber: string) =>
      (await api('POST', '/api/badges', { person, badgeNumber })).body.badge as string;
    await enrol('8881');
    const badge = await enrol('8882');
    await api('POST', '/api/ledger/merge');
    const revoked = (await api('POST', `/api/badges/${badge}/revoke`, { reason: lost })).body;
    const twoLines = await api('POST', `/api/people/${person}/suspend`, { reason: 'a\nb' });
    t.match(twoLines, { status: 400, body: { error: { code: 'bad-reason' } } });
    const suspended = (await api('POST', `/api/people/${person}/suspend`, { reason: because })).body;
    await api('POST', '/api/ledger/merge');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const tap = async (badgeNumber: string) =>
      (await api('POST', '/api/doors/front/tap', { badgeNumber })).body;
    t.match(await tap('8881'), { outcome: 'refused', code: 'person-suspended', reason: because });
    t.match(await tap('8882'), { outcome: 'refused', code: 'badge-revoked', reason: lost });

    const emil = ((await api('GET', '/api/people')).body as { id: string; badges: object[] }[]).find(
      ({ id }) => id === person,
    );
    t.match(emil, { status: 'suspended', reason: because });
    t.ok(emil?.badges.some((badge) => (badge as { reason?: string }).reason === lost));

    const bob = await signIn(town, 'Bob');
    for (const [entry, reason] of [
      [suspended.entry, because],
      [revoked.entry, lost],
    ] as const) {
      const forAda = (await api('GET', `/api/ledger/show/${entry}`)).body.entry;
      t.ok(forAda.says.endsWith(`: ${reason}`));
      t.equal(forAda.body.reason, reason);
      const forBob = (await bob('GET', `/api/ledger/show/${entry}`)).body.entry;
      t.equal(forBob.body.reason, '(private)');
      t.notMatch(forBob.says, reason);
    }
    const { stdout } = await run(
      'git',
      ['-C', join(folder, 'ledger.git'), 'log', '--all', '-p', '-m', '-U0'],
      {
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    t.match(stdout, 'membership.suspend');
    for (const reason of [because, lost, 'unpaid']) t.notMatch(stdout, reason);
  });

  await t.test('the name of the key of a door record does not lead to the person', async (t) => {
    await api('POST', `/api/doors/front/lockdown`, { on: false });
    const { person } = (await api('POST', '/api/people', { name: 'Dora' })).body;
    await api('POST', '/api/badges', { person, badgeNumber: '777' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.match((await api('POST', '/api/doors/front/tap', { badgeNumber: '777' })).body, { outcome: 'granted' });
    await api('POST', '/api/ledger/merge');
    const { stdout } = await run(
      'git',
      ['-C', join(folder, 'ledger.git'), 'log', '--all', '-p', '-m', '-U0'],
      {
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    const handles = (pattern: RegExp): string[] =>
      [...stdout.matchAll(pattern)].map((found) => found[1] ?? '');
    const people = handles(/"profile":\{[^}]*"key":"([^"]+)"/g);
    const events = handles(/"record":\{[^}]*"key":"([^"]+)"/g);
    t.ok(people.length > 0 && events.length > 0);
    t.same(
      events.filter((key) => people.includes(key)),
      [],
    );
  });
});

t.test('a dapp that was disabled is enabled again after a restart, and merging goes on', async (t) => {
  const folder = t.testdir();
  let town = await startTown(folder);
  let { api } = await setUp(town);
  const turn = async (enabled: boolean) => {
    const { dapps } = (await api('GET', '/api/charter')).body as { dapps: { name: string }[] };
    const set = { '/dapps': dapps.map((dapp) => (dapp.name === 'gigs' ? { ...dapp, enabled } : dapp)) };
    const change = await api('POST', '/api/charter/changes', { set, remove: [] });
    t.match(change, { status: 200 });
    t.match(await api('POST', '/api/ledger/merge'), { status: 200 });
    t.match((await api('GET', `/api/ledger/show/${change.body.entry}`)).body.entry, { verdict: 'accepted' });
  };
  await turn(false);
  await town.stop();
  town = await startTown(folder);
  t.teardown(() => town.stop());
  api = await signIn(town, 'Ada');
  await turn(true);
  t.match(await api('POST', '/api/gigs', { title: 'Sweep', description: '', price: 5 }), { status: 200 });
});

t.test('a clock that ran ahead and was set right again stops neither merging nor inviting', async (t) => {
  const folder = t.testdir();
  const before = process.env['NODE_OPTIONS'];
  const ahead = 'const{now}=Date;Date.now=()=>now()+86400000*10';
  process.env['NODE_OPTIONS'] = `${before ?? ''} --import=data:text/javascript,${encodeURIComponent(ahead)}`;
  const first = await startTown(folder);
  if (before === undefined) delete process.env['NODE_OPTIONS'];
  else process.env['NODE_OPTIONS'] = before;
  const { api: early } = await setUp(first);
  await early('POST', '/api/ledger/merge');
  const [last] = (await early('GET', '/api/ledger/merges?limit=1')).body.items;
  t.ok(last.time > Date.now() + 86_400_000 * 9, 'main is days ahead');
  await first.stop();
  t.notMatch(first.said(), 'could not be renewed', 'a stop in order is no reason to warn');
  const town = await startTown(folder);
  t.teardown(() => town.stop());
  const api = await signIn(town, 'Ada');
  const code = await invited(api, 'Bob');
  const joined = await apiOf(town)('POST', '/api/members/join', { code, passphrase: PASSPHRASE });
  t.match(joined, { status: 200 });
  const started = Date.now();
  t.match(await api('POST', '/api/ledger/merge'), { status: 200 });
  // Asked for, or come by itself a moment before.
  t.match((await api('GET', `/api/ledger/show/${joined.body.entry}`)).body.entry, { state: 'merged' });
  t.ok(Date.now() - started < 120_000, `merged in ${Date.now() - started} ms`);
});

t.test(
  'node and panel ask for a passphrase of the same length, in characters as people count them',
  async (t) => {
    t.equal(passphraseLengthMin, PASSPHRASE_MIN);
    for (const letter of ['x', '🗝']) {
      assertPassphrase(letter.repeat(PASSPHRASE_MIN));
      assertPassphrase(letter.repeat(PASSPHRASE_MAX));
      t.throws(() => assertPassphrase(letter.repeat(PASSPHRASE_MIN - 1)), { code: 'weak-passphrase' });
      t.throws(() => assertPassphrase(letter.repeat(PASSPHRASE_MAX + 1)), { code: 'weak-passphrase' });
    }
    const longest = '🗝'.repeat(PASSPHRASE_MAX);
    const keyStore = await KeyStore.open(t.testdir());
    const secretKey = new Uint8Array(32).fill(9);
    await keyStore.put(memberIdOf(publicKeyOf(secretKey)), 'Ada', secretKey, longest);
    t.same((await keyStore.unlock('Ada', longest)).secretKey, secretKey);
  },
);

t.test('a preset is one that there is, not whatever the language calls by that name', async (t) => {
  const folder = t.testdir();
  const { code, said } = await startRefused(folder, { arguments: ['--preset', 'constructor'] });
  t.equal(code, 1);
  t.match(said, /There is no preset "constructor"/);
  t.rejects(readFile(join(folder, 'config.json')));
});
