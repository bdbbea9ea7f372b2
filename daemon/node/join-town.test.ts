/** Joining over a real broker: what lies in the folder then, and what of it outlives refusals, cuts and kills. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { DappPackage } from '../dapps/package.js';
import { hexOf, sha256 } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import { openForReading } from '../store/database.js';
import { StoreReads } from '../store/reads.js';
import { startBroker } from '../sync/broker.js';
import { readInvitationCode } from '../sync/invitation.js';
import type { Asker } from '../sync/joining-host.js';
import type { JoinProgress } from './ask-to-join.js';
import { systemClock } from './clock.js';
import { brokerAt, defaultConfig, otherBroker, readConfig, writeConfig } from './config.js';
import { readPackages } from './dapp-set.js';
import { doorIdOf } from './door-id.js';
import { initTown } from './init-town.js';
import { joinTown, type JoinOptions } from './join-town.js';
import { configOf, finishJoining, isJoining, putJoined, readAsking } from './joining-files.js';
import { makeOwnKeys, readNodeKeys } from './key-files.js';
import { JoiningHostOverMqtt } from './testing/joining-host-over-mqtt.js';

const built = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const packagesFolder = built('../../packages');
const packages = await readPackages(packagesFolder);
const dapps = packages.map(({ manifest, digest }) => ({
  name: manifest.name,
  version: manifest.version,
  digest,
}));

const noOpenssl =
  process.env['CI'] !== 'true' && spawnSync('openssl', ['version']).status !== 0
    ? 'openssl is not installed'
    : false;

t.setTimeout(600_000);

type Steward = ConstructorParameters<typeof JoiningHostOverMqtt>[2];
const letsIn: Steward = (host, id, asker) => host.approve(id, asker, asker.name);

async function setUp(t: Test, steward: Steward = letsIn) {
  const broker = await startBroker(0);
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const host = new JoiningHostOverMqtt(dapps, url, steward);
  const root = await mkdtemp(join(tmpdir(), 'mergetown-join-'));
  t.teardown(async () => {
    await host.stop();
    await broker.close();
    await rm(root, { recursive: true, force: true });
  });
  const progress: JoinProgress[] = [];
  const options = (code: string, more: Partial<JoinOptions> = {}): JoinOptions => ({
    code,
    name: 'Back room',
    packages,
    clock: systemClock,
    onProgress: (at) => progress.push(at),
    brokerWaitMs: 300,
    ...more,
  });
  return { broker, host, url, progress, options, folder: join(root, 'node') };
}

/** What the database of a folder says, read by a connection of the test's. */
function inStore<T>(folder: string, read: (reads: StoreReads) => T): T {
  const db = openForReading(folder);
  try {
    return read(new StoreReads(db));
  } finally {
    db.close();
  }
}

const text = (folder: string, name: string): Promise<string> => readFile(join(folder, name), 'utf8');

t.test('a node that is let in has the genesis as the host has it, the keys, and its own door', async (t) => {
  const { host, options, folder, progress, url } = await setUp(t);
  const joined = await joinTown(folder, options(host.invite()));
  const keys = await readNodeKeys(folder);
  t.equal(joined.id, host.welcome.town);
  t.equal(joined.node, keys.id);
  t.equal(hexOf(keys.townKey), host.welcome.townKey);
  t.equal(keys.badgeKey && hexOf(keys.badgeKey), host.welcome.badgeKey);
  inStore(folder, (reads) => {
    const genesis = reads.merge(0);
    t.equal(Buffer.from(genesis?.raw ?? []).toString('base64'), host.welcome.genesis.raw);
    t.equal(genesis?.content, host.welcome.town);
    t.equal(reads.ref('refs/heads/main'), genesis?.oid);
    t.ok(reads.stateValue('kernel', 'charter', 'charter'));
    t.match(JSON.parse(reads.meta('welcome') ?? 'null'), {
      checkpoint: { height: 0, id: genesis?.id as string },
      nodes: { [keys.id]: { name: 'Back room' } },
    });
  });
  const config = await readConfig(folder);
  t.same(config.broker, { url });
  t.equal(config.nodeName, 'Back room');
  t.same(
    config.gate.doors.map(({ id, name }) => [id, name]),
    [[doorIdOf('Back room', keys.id), 'Back room']],
  );
  t.same(
    (await readdir(folder)).filter((name) => /^jo/.test(name)),
    [],
    'nothing of the way is left',
  );
  for (const name of ['config.json', 'town.db', 'keys/node.key', 'keys/town.key', 'keys/badge.key'])
    t.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
  t.ok(progress.some(({ reached }) => reached === 'connected'));

  const again = await joinTown(folder, options(host.invite()));
  t.equal(again.node, keys.id, 'joining once more is no error');
  t.equal(host.asked.length, 1, 'and asks nobody');
});

t.test('a hub is not given the badge key, and has no doors', async (t) => {
  const { host, options, folder } = await setUp(t);
  await joinTown(folder, options(host.invite('hub')));
  t.equal(await text(folder, 'keys/badge.key'), 'none\n');
  t.equal((await readNodeKeys(folder)).badgeKey, null);
  t.same((await readConfig(folder)).gate.doors, []);
});

t.test('brokers are tried in their order, again and again, until one answers', async (t) => {
  const { host, url, options, folder, progress } = await setUp(t);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  server.close();
  const dead = `mqtt://127.0.0.1:${port}`;
  const code = host.invite('door', ['wss://town.example/mqtt', dead, url]);
  await joinTown(folder, options(code));
  t.same(
    progress.slice(0, 4).map(({ broker, reached, state }) => [broker, reached, state]),
    [
      [dead, 'trying', 'asking'],
      [dead, 'away', 'asking'],
      [url, 'trying', 'asking'],
      [url, 'connected', 'asking'],
    ],
  );
  t.same((await readConfig(folder)).broker, { url }, 'the one that answered is kept');

  const far = join(folder, '..', 'far');
  const stop = new AbortController();
  let away = 0;
  await t.rejects(
    joinTown(
      far,
      options(host.invite('door', [dead]), {
        brokerWaitMs: 30,
        signal: stop.signal,
        onProgress: ({ reached }) => {
          if (reached === 'away' && ++away === 3) stop.abort();
        },
      }),
    ),
    { code: 'join-stopped' },
    'with none it goes on until it is stopped',
  );
  await t.rejects(joinTown(far, options(host.invite('door', ['wss://town.example/mqtt']))), {
    code: 'bad-broker-url',
  });
});

t.test(
  'a broker behind TLS is trusted by the authorities that were named',
  { skip: noOpenssl },
  async (t) => {
    const { host, broker, options, folder } = await setUp(t);
    const root = join(folder, '..');
    const [key, cert] = [join(root, 'key.pem'), join(root, 'cert.pem')];
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const words = ['req', '-x509', ...curve, '-nodes', '-keyout', key, '-out', cert, '-days', '1', ...names];
    t.equal(spawnSync('openssl', words, { stdio: 'ignore' }).status, 0);
    const server = createTlsServer({ key: await readFile(key), cert: await readFile(cert) }, (socket) => {
      const onward = connect(broker.port, '127.0.0.1');
      socket.pipe(onward).pipe(socket);
      for (const end of [socket, onward])
        end.on('error', () => {
          socket.destroy();
          onward.destroy();
        });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const url = `mqtts://localhost:${(server.address() as { port: number }).port}`;
    const code = host.invite('door', [url]);
    await t.rejects(joinTown(folder, options(code, { ca: join(root, 'none.pem') })), { code: 'no-ca-file' });
    const stop = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ reached }: JoinProgress): void => {
      seen.push(reached);
      if (reached === 'away') stop.abort();
    };
    await t.rejects(joinTown(folder, options(code, { onProgress, signal: stop.signal })), {
      code: 'join-stopped',
    });
    t.same(seen, ['trying', 'away'], 'not without them');
    await joinTown(folder, options(code, { ca: cert, brokerWaitMs: 5_000 }));
    t.same((await readConfig(folder)).broker, { url, ca: cert });
  },
);

t.test('who is turned away has no town, and is the same node with the next invitation', async (t) => {
  let isOpen = false;
  const { host, options, folder } = await setUp(t, (host, id, asker) => {
    if (isOpen) host.approve(id, asker, asker.name);
    else
      host.step({ t: 'refuse', id, code: 'not-now', reason: 'Come back in spring.', now: systemClock.now() });
  });
  await t.rejects(joinTown(folder, options(host.invite())), {
    code: 'not-now',
    message: 'Come back in spring.',
  });
  t.equal(await readAsking(folder), null);
  t.notOk((await readdir(folder)).includes('town.db'));
  isOpen = true;
  const joined = await joinTown(folder, options(host.invite()));
  t.equal(joined.node, host.asked[0]?.node);
  t.equal(host.asked[1]?.node, host.asked[0]?.node);
});

t.test('a node that stops while it waits goes on as the same node with the same code', async (t) => {
  const { host, options, folder } = await setUp(t, () => undefined);
  const code = host.invite();
  const untilWaiting = async (more: Partial<JoinOptions> = {}): Promise<void> => {
    const stop = new AbortController();
    const onProgress = ({ state }: JoinProgress): void => {
      if (state === 'waiting') stop.abort();
    };
    await t.rejects(joinTown(folder, options(code, { onProgress, signal: stop.signal, ...more })), {
      code: 'join-stopped',
    });
  };
  await untilWaiting();
  t.match(await readAsking(folder), { code, name: 'Back room', waiting: true });
  await t.rejects(
    initTown(folder, { name: 'Own', preset: 'makerspace', packagesFolder, clock: systemClock }),
    { code: 'joining' },
    'no town is founded here by the way',
  );
  const late = { ...systemClock, now: () => (Date.now() + 2 * 3_600_000) as never };
  await untilWaiting({ clock: late });
  const stranger = join(folder, '..', 'stranger');
  await t.rejects(joinTown(stranger, options(code, { clock: late })), { code: 'invitation-expired' });
  const joining = joinTown(folder, options(code));
  await sleep(500);
  const [asker] = host.asked;
  host.approve(readInvitationCode(code, 0).id, asker as Asker, 'Back room');
  t.equal((await joining).node, asker?.node);
  t.equal(host.asked.length, 1, 'the steward was asked once');
});

t.test(
  'a town that this build cannot run, or a folder with a town, is refused before anything is written',
  async (t) => {
    const { host, options, folder } = await setUp(t);
    const lacking: readonly DappPackage[] = packages.slice(1);
    await t.rejects(joinTown(folder, options(host.invite(), { packages: lacking })), {
      code: 'dapp-missing',
      message: new RegExp(packages[0]?.manifest.name ?? '-'),
    });
    t.same((await readdir(folder)).sort(), ['keys', 'lock.held']);
    t.same((await readdir(join(folder, 'keys'))).sort(), ['members', 'node.key', 'sealing.key']);

    const founded = join(folder, '..', 'founded');
    await initTown(founded, { name: 'Own', preset: 'makerspace', packagesFolder, clock: systemClock });
    const before = await text(founded, 'config.json');
    await t.rejects(joinTown(founded, options(host.invite())), { code: 'town-exists' });
    t.equal(await text(founded, 'config.json'), before);
    for (const code of ['', 'hello', `${host.invite()}A`])
      await t.rejects(joinTown(folder, options(code)), { code: 'bad-invitation-code' });
    await t.rejects(joinTown(folder, options(host.invite(), { name: ' \n' })), { code: 'bad-name' });
  },
);

t.test(
  'killed while it puts a town in the place of its own, it ends with one town whole and the other aside',
  async (t) => {
    const { host, url, folder } = await setUp(t);
    await initTown(folder, { name: 'Own', preset: 'makerspace', packagesFolder, clock: systemClock });
    const own = await readNodeKeys(folder);
    const ownTown = inStore(folder, (reads) => reads.merge(0)?.content);
    const config = configOf(
      await readConfig(folder),
      { id: own.id, name: 'Back room', isHub: false },
      brokerAt(url),
    );
    await putJoined(folder, { v: 1, aside: 'set-aside-then', config, welcome: host.welcome });
    for (let round = 0; round < 10; round += 1) {
      const copy = join(folder, '..', `round-${round}`);
      await cp(folder, copy, { recursive: true });
      const child = spawn(process.execPath, [built('testing/finish-joining.js'), copy], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      // Listened for from the start: a quick machine is done before it is killed.
      const closed = once(child, 'close');
      await once(child.stdout, 'data');
      await sleep(round * 12);
      child.kill('SIGKILL');
      await closed;
      await finishJoining(copy);
      t.notOk(await isJoining(copy));
      const keys = await readNodeKeys(copy);
      t.equal(keys.id, own.id);
      t.same(keys.sealingSecret, own.sealingSecret);
      t.equal(hexOf(keys.townKey), host.welcome.townKey);
      t.equal(
        inStore(copy, (reads) => reads.merge(0)?.content),
        host.welcome.town,
      );
      t.same((await readConfig(copy)).broker, { url });
      const aside = join(copy, 'set-aside-then');
      t.equal(
        inStore(aside, (reads) => reads.merge(0)?.content),
        ownTown,
        `the town that was there is whole, after ${round * 12} ms`,
      );
      t.equal((await text(aside, 'keys/town.key')).slice(0, 64), hexOf(own.townKey));
      t.notOk((await readdir(join(aside, 'keys'))).includes('node.key'));
    }
  },
);

t.test('the door of a node is named alike on both sides, whatever the node is called', async (t) => {
  const node = sha256('node').slice(0, 16) as NodeId;
  const end = node.slice(0, 4);
  t.equal(doorIdOf('Wólka, Back  Room', node), `wolka-back-room-${end}`);
  t.equal(doorIdOf('Łąka ß', node), `laka-ss-${end}`);
  t.equal(doorIdOf('木工', node), `door-${end}`);
  t.equal(doorIdOf('-'.repeat(60), node), `door-${end}`);
  t.equal(doorIdOf('a'.repeat(60), node).length, 32);
  t.notOk(/--|^-/.test(doorIdOf(`${'a'.repeat(26)} b`, node)));
});

t.test('a broker named at the start takes no password along, and loses none', async (t) => {
  const before = { url: 'mqtts://town.example', username: 'me', password: 'p', ca: '/ca.pem' };
  t.same(otherBroker(undefined, 'mqtt://a:b@c'), { url: 'mqtt://c', username: 'a', password: 'b' });
  t.same(otherBroker(before, 'mqtts://town.example'), before);
  t.same(otherBroker(before, 'mqtts://town.example:8883'), before, 'the same place');
  const { ca } = before;
  t.same(otherBroker(before, 'mqtts://you@town.example'), {
    url: 'mqtts://town.example',
    username: 'you',
    ca,
  });
  t.same(otherBroker(before, 'mqtts://else.example'), { url: 'mqtts://else.example', ca });
  t.same(otherBroker(before, 'mqtt://town.example'), { url: 'mqtt://town.example', ca });
});

t.test('an address of a broker gives up its name and password, and what is none is refused', async (t) => {
  t.same(brokerAt('mqtt://board.local'), { url: 'mqtt://board.local' });
  t.same(brokerAt('mqtts://me:p%40ss@town.example:8884/x'), {
    url: 'mqtts://town.example:8884',
    username: 'me',
    password: 'p@ss',
  });
  t.same(brokerAt('mqtt://[fe80::1]:1883'), { url: 'mqtt://[fe80::1]:1883' });
  for (const bad of [
    '',
    'board.local',
    'http://a',
    'mqtt://',
    'mqtt://a b',
    'mqtt://%zz@a',
    `mqtt://${'a'.repeat(300)}`,
  ])
    t.throws(() => brokerAt(bad), { code: 'bad-broker-url' }, bad);
  const folder = t.testdir({});
  const broker = { url: 'mqtt://town.example:1883', username: 'me', password: 'p@ss' };
  await writeConfig(folder, { ...defaultConfig('board'), broker });
  t.same((await readConfig(folder)).broker, broker);
  await writeConfig(folder, { ...defaultConfig('board'), broker: { url: 'mqtt://me:pass@town.example' } });
  await t.rejects(readConfig(folder), { code: 'bad-config', message: /\/broker\/url/ });
  const first = await makeOwnKeys(folder);
  t.equal((await makeOwnKeys(folder)).id, first.id, 'keys that are there are kept');
});
