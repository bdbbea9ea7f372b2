import { execFile } from 'node:child_process';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { findEngine } from './dapps/engine.js';
import { GateLink } from './gate/link.js';
import type { GateRecord } from './gate/shapes.js';
import { verifyTown } from './node/verify-town.js';
import {
  apiOf,
  gatePid,
  PASSPHRASE,
  setUp,
  signIn,
  startRefused,
  startTown,
  type Api,
} from './testing/running-town.js';

const run = promisify(execFile);
const packagesFolder = fileURLToPath(new URL('../packages', import.meta.url));
t.setTimeout(600_000);

const inCi = process.env['CI'] === 'true';

const gitOf =
  (folder: string) =>
  async (...words: string[]): Promise<string> =>
    (await run('git', ['-C', join(folder, 'ledger.git'), ...words], { maxBuffer: 64 * 1024 * 1024 })).stdout;

/** Stock git and our own verification agree that everything is whole. */
async function assertWhole(t: Test, folder: string): Promise<void> {
  const git = gitOf(folder);
  const fsck = await run('git', ['-C', join(folder, 'ledger.git'), 'fsck', '--strict', '--full']);
  t.notMatch(
    fsck.stdout + fsck.stderr,
    /error|missing|corrupt|dangling commit/,
    'git fsck --strict finds nothing',
  );
  const commits = (await git('rev-list', '--all')).trim().split('\n');
  await git('verify-commit', ...commits);
  t.pass(`git verify-commit takes all ${commits.length} commits`);
  const report = await verifyTown(folder, { packagesFolder, driver: 'process' });
  t.same(report.problems, [], `town verify finds nothing in ${report.checked.entries} entries`);
}

const merged = (api: Api) => api('POST', '/api/ledger/merge');

t.test('a badge comes from the first start to a proven merge', async (t) => {
  const folder = t.testdir();
  const engine = await findEngine().catch(() => null);
  if (!engine && inCi) t.fail('Docker must answer in CI');
  const town = await startTown(folder, { driver: engine ? 'container' : 'process' });
  t.teardown(() => town.stop());
  const { api } = await setUp(town);
  const { body: status } = await api('GET', '/api/status');
  t.equal(status.dapps.isolated, engine !== null, 'the contracts are isolated where there is an engine');
  if (!engine) t.match(town.said(), /not isolated/, 'and it is said plainly where there is none');

  const { body: person } = await api('POST', '/api/people', {
    name: 'Bob Badge',
    contact: 'bob@example.org',
  });
  const { body: enrolled } = await api('POST', '/api/badges', {
    person: person.person,
    badgeNumber: '123:4567',
  });
  const tapUntil = async (code: string) => {
    for (let tries = 0; tries < 1_000; tries += 1) {
      const { body } = await api('POST', '/api/doors/front/tap', { badgeNumber: '123:4567' });
      if (body.code === code) return body;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return null;
  };
  t.match(
    await tapUntil('granted'),
    { outcome: 'granted', personName: 'Bob Badge' },
    'the badge opens the door before any merge',
  );
  await api('POST', `/api/badges/${enrolled.badge}/revoke`, { reason: 'lost on the bus' });
  t.match(
    await tapUntil('badge-revoked'),
    { outcome: 'refused', reason: 'lost on the bus' },
    'revoked, it is refused with the reason',
  );

  // On a slow machine a merge may have come by itself meanwhile: the last one is looked at.
  await merged(api);
  const [last] = (await api('GET', '/api/ledger/merges?limit=1')).body.items;
  t.match(last, {
    attestedBy: [status.node.id],
    testedBy: [/membership@/, /door-access@/, /gigs@/],
  });
  t.equal(last.counts.rejected, 0);
  const git = gitOf(folder);
  t.match(
    await git('log', '--graph', '--format=%s', 'main'),
    /Merge \d+: \d+ accepted[^]*door-access\.event[^]*Genesis of/,
  );
  t.match(
    await git('log', '-1', '--notes=proof-of-merge', 'main'),
    new RegExp(`Attested-by: ${status.node.id}`),
  );
  const everything = await git('log', '--all', '-p');
  t.notMatch(
    everything,
    /Bob|bob@example|123:4567|lost on the bus.*Bob/,
    'no name, contact or badge number is in the ledger',
  );
  t.equal(await town.stop(), 0, 'it stops in order');
  await assertWhole(t, folder);
  const modes = await Promise.all(
    ['keys/node.key', 'keys/badge.key', 'town.db', 'config.json'].map((name) => stat(join(folder, name))),
  );
  t.same(
    modes.map(({ mode }) => mode & 0o777),
    [0o600, 0o600, 0o600, 0o600],
    'what is secret is for its owner alone',
  );
});

t.test('two members do a gig; credits are seen to move', async (t) => {
  const folder = t.testdir();
  const town = await startTown(folder);
  t.teardown(() => town.stop());
  const { api } = await setUp(town);
  const join = async (name: string): Promise<Api> => {
    const { body: invitation } = await api('POST', '/api/members/invitations', { name });
    const { body } = await apiOf(town)('POST', '/api/members/join', {
      code: invitation.code,
      passphrase: PASSPHRASE,
    });
    const again = await apiOf(town)('POST', '/api/members/join', {
      code: invitation.code,
      passphrase: PASSPHRASE,
      name: 'Eve',
    });
    t.match(
      again,
      { status: 409, body: { error: { code: 'invitation-used' } } },
      'an invitation admits once',
    );
    return apiOf(town, body.token);
  };
  const [carol, dave] = [await join('Carol'), await join('Dave')];
  await merged(api);
  const balances = async () => {
    const { body } = await api('GET', '/api/members');
    return Object.fromEntries(
      body.map((m: { name: string; balance: number; locked: number; incoming: number }) => [
        m.name,
        [m.balance, m.locked, m.incoming],
      ]),
    );
  };
  t.match(
    await balances(),
    { Carol: [500, 0, 0], Dave: [500, 0, 0] },
    'each joined with credits from the vault',
  );

  const tooMuch = await carol('POST', '/api/gigs', { title: 'A palace', description: '', price: 501 });
  t.match(tooMuch, { status: 422, body: { error: { code: 'not-enough-credits' } } });
  const before = (await api('GET', '/api/status')).body.pendingEntries;
  t.equal(before, 0, 'what was refused left nothing behind');

  const gig = async (stars: number) => {
    const { body } = await carol('POST', '/api/gigs', {
      title: 'Align the laser',
      description: 'Both mirrors',
      price: 101,
    });
    const step = (who: Api, name: string, more: object = {}) =>
      who('POST', `/api/gigs/${body.gig}/${name}`, more);
    t.match(await step(carol, 'take'), { status: 422, body: { error: { code: 'own-gig' } } });
    for (const [who, name] of [
      [dave, 'take'],
      [carol, 'accept'],
      [dave, 'submit'],
    ] as const)
      t.equal((await step(who, name)).status, 200, name);
    t.match(await step(dave, 'complete', { stars: 5 }), { body: { error: { code: 'not-yours' } } });
    t.equal((await step(carol, 'complete', { stars })).status, 200);
    return step;
  };
  await gig(5);
  t.match(
    await balances(),
    { Carol: [399, 0, 0], Dave: [500, 0, 101] },
    'five stars post at once; what arrives is pending till merged',
  );
  await merged(api);
  t.match(await balances(), { Carol: [399, 0, 0], Dave: [601, 0, 0] });
  const step = await gig(3);
  await merged(api);
  t.match(await balances(), { Carol: [298, 101, 0], Dave: [601, 0, 0] }, 'fewer stars wait for the taker');
  t.equal((await step(dave, 'accept-rating')).status, 200);
  await merged(api);
  t.match(await balances(), { Carol: [298, 0, 0], Dave: [661, 0, 0] }, '60 % of 101, rounded down');
  const { supply } = (await api('GET', '/api/status')).body;
  t.equal(supply.vault + supply.members + supply.locked, supply.total);
  t.equal(await town.stop(), 0);
  await assertWhole(t, folder);
});

t.test('killed at any point between acknowledge and merge, nothing acknowledged is lost', async (t) => {
  const folder = t.testdir();
  let town = await startTown(folder);
  t.teardown(() => town.stop());
  await setUp(town);
  const acknowledged: string[] = [];
  // The merge comes 2 s after a claim: the kills lie before, around and after it.
  const delays = [0, 40, 1950, 2000, 2020, 2040, 2060, 2080, 2100, 2150, 2300];
  for (const [round, delayMs] of delays.entries()) {
    const api = await signIn(town, 'Ada');
    const { status, body } = await api('POST', '/api/people', { name: `Person ${round}` });
    t.equal(status, 200);
    acknowledged.push(body.entry);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await town.kill();
    town = await startTown(folder);
  }
  const api = await signIn(town, 'Ada');
  await merged(api);
  for (const id of acknowledged) {
    const { body } = await api('GET', `/api/ledger/show/${id}`);
    t.match(body.entry, { id, state: 'merged', verdict: 'accepted' });
  }
  t.equal((await api('GET', '/api/people')).body.length, acknowledged.length + 1);
  t.equal(await town.stop(), 0);
  await assertWhole(t, folder);
});

t.test('the gate outlives the daemon and hands on what happened meanwhile, once', async (t) => {
  const folder = t.testdir();
  let town = await startTown(folder);
  t.teardown(() => town.stop());
  const { api } = await setUp(town);
  const { body: person } = await api('POST', '/api/people', { name: 'Night Owl' });
  await api('POST', '/api/badges', { person: person.person, badgeNumber: '42' });
  for (let tries = 0; tries < 1_000; tries += 1) {
    const { body } = await api('POST', '/api/doors/front/tap', { badgeNumber: '42' });
    if (body.outcome === 'granted') break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const pid = await gatePid(folder);
  await town.kill();
  // Held to the reader while nobody makes records durable: the gate goes by its table and keeps its own journal.
  const link = new GateLink(join(folder, 'gate'), {
    spawn: false,
    logger: { info: () => undefined, warn: () => undefined },
    onRecord: () => Promise.reject(new Error('no daemon here')),
  });
  link.start();
  let record: GateRecord | undefined;
  for (let tries = 0; tries < 1_000 && !record; tries += 1) {
    record = await link.tap('front', '42').catch(() => undefined);
    if (!record) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await link.stop({ gateToo: false });
  t.match(record, { outcome: 'granted' });
  town = await startTown(folder);
  t.equal(await gatePid(folder), pid, 'it is the same gate');
  const again = await signIn(town, 'Ada');
  let events: { id: string }[] = [];
  for (let tries = 0; tries < 1_000 && !events.some(({ id }) => id === record?.id); tries += 1) {
    events = (await again('GET', '/api/doors/events?limit=100')).body;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(events.filter(({ id }) => id === record?.id).length, 1, 'the record is in the ledger once');
  await merged(again);
  t.equal(await town.stop(), 0);
  t.equal(await gatePid(folder), null, 'a stop in order sends the gate home');
});

t.test('what is wrong at the start is said with what to do, and nothing is changed', async (t) => {
  const folder = t.testdir();
  const town = await startTown(folder);
  t.teardown(() => town.stop());
  const second = await startRefused(folder);
  t.equal(second.code, 1);
  t.match(
    second.said,
    new RegExp(`^error: .*${town.pid}`),
    'a second daemon on the folder is told who has it',
  );

  const wrong = await apiOf(town)('POST', '/api/setup', {
    token: 'x'.repeat(32),
    name: 'Eve',
    passphrase: PASSPHRASE,
  });
  t.match(wrong, { status: 410, body: { error: { code: 'setup-expired', advice: /last start/ } } });
  const weak = await apiOf(town)('POST', '/api/setup', {
    token: town.setupLink?.split('#')[1],
    name: 'Eve',
    passphrase: 'short',
  });
  t.match(weak.body.error.code, /weak-passphrase|invalid-input/);
  const { api } = await setUp(town);
  const used = await apiOf(town)('POST', '/api/setup', {
    token: town.setupLink?.split('#')[1],
    name: 'Eve',
    passphrase: PASSPHRASE,
  });
  t.match(used, { status: 409, body: { error: { code: 'setup-used' } } });
  const badPass = await apiOf(town)('POST', '/api/session', {
    name: 'Ada',
    passphrase: 'not the passphrase',
  });
  t.match(badPass, { status: 401, body: { error: { code: 'wrong-passphrase' } } });
  t.match(await api('POST', '/api/doors/front/tap', { badgeNumber: '999' }), {
    body: { outcome: 'refused', code: 'unknown-badge' },
  });
  await town.stop();

  const busy = createServer();
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve));
  const { port } = busy.address() as { port: number };
  const taken = await startRefused(folder, { port });
  t.equal(taken.code, 1);
  t.match(taken.said, new RegExp(`port ${port} is in use[^]*--port`));
  const mqttTaken = await startRefused(folder, { arguments: ['--mqtt-port', String(port)] });
  t.match(mqttTaken.said, new RegExp(`MQTT port ${port} is in use[^]*--mqtt-port`));
  busy.close();
  t.equal(await gatePid(folder), null, 'a start that was refused leaves no gate behind');

  const config = await readFile(join(folder, 'config.json'), 'utf8');
  await writeFile(join(folder, 'config.json'), config.slice(0, -20));
  t.match((await startRefused(folder)).said, /error: .*config\.json is not valid JSON/);
  await writeFile(join(folder, 'config.json'), config.replace('"spawn"', '"soon"'));
  t.match((await startRefused(folder)).said, /error: .*config\.json does not hold at \/gate\/start/);
  await writeFile(join(folder, 'config.json'), config);

  const db = await readFile(join(folder, 'town.db'));
  const torn = Buffer.from(db);
  torn.fill(0xa5, 8192, 8192 + 2048);
  await writeFile(join(folder, 'town.db'), torn);
  const corrupt = await startRefused(folder);
  t.equal(corrupt.code, 1);
  t.match(
    corrupt.said,
    /error: .*town\.db is damaged[^]*Move .*aside/,
    'a corrupt page refuses to start and names the repair',
  );
  await writeFile(join(folder, 'town.db'), db);
  const whole = await startTown(folder);
  t.match((await signIn(whole, 'Ada')) !== null, true, 'with the page mended it is all there');
  await whole.stop();
  t.notOk((await readdir(folder)).includes('daemon.json'));
  t.equal(await gatePid(folder), null);
});

t.test('stopped in the moment of its start, it leaves no gate behind', async (t) => {
  const folder = t.testdir();
  const town = await startTown(folder, { until: 'open' });
  t.equal(await town.stop(), 0);
  t.equal(await gatePid(folder), null);
});

t.test('a later start serves doors and API before its dapps are ready', async (t) => {
  const folder = t.testdir();
  const first = await startTown(folder);
  const { api } = await setUp(first);
  const { body: person } = await api('POST', '/api/people', { name: 'Early' });
  await first.kill();
  const town = await startTown(folder, { until: 'open' });
  t.teardown(() => town.stop());
  const ada = await signIn(town, 'Ada');
  const added = await ada('POST', '/api/badges', { person: person.person, badgeNumber: '7' });
  t.equal(added.status, 200, 'a claim made meanwhile waits for the contracts and is taken');
  t.equal(await town.stop(), 0);
});
