/** The broker that `town node broker-config` sets up, as a real Mosquitto: who may do what there, and that another one is noticed. */
import { spawn, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import t, { type Test } from 'tap';
import type { Charter } from '../ledger/charter.js';
import { hexOf } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { writeFileDurably } from '../store/durable-file.js';
import { Store } from '../store/store.js';
import { isPinned } from '../sync/broker-pin.js';
import { joinAskFilter, joinTopic } from '../sync/joining.js';
import { consensusTopic, directTopic, headsTopic } from '../sync/message.js';
import { MqttTransport } from '../sync/mqtt-transport.js';
import { eventually } from '../testing/eventually.js';
import { refreshUsers, writeBrokerFiles, type BrokerFiles } from './broker-config.js';
import { guestLogin, loginAt } from './broker-login.js';
import { addressOf, brokerAt, defaultConfig, readConfig, writeConfig } from './config.js';
import { storeGenesis } from './genesis-store.js';
import { putTownKeys } from './key-files.js';
import { genesisOf, keysOf, withSealing } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta'];
const has = (program: string): boolean => spawnSync(program, ['-h']).error === undefined;
const skip = has('mosquitto') || process.env['CI'] === 'true' ? false : 'mosquitto is not installed';

function emptyFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-broker-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A data folder of alpha, in a town of alpha and beta. */
async function folderOfAlpha(t: Test): Promise<{ folder: string; town: ReturnType<typeof genesisOf> }> {
  const folder = emptyFolder(t);
  const genesis = genesisOf(NAMES, withSealing);
  const keys = keysOf('alpha');
  mkdirSync(join(folder, 'keys'), { recursive: true });
  await putTownKeys(folder, { townKey: hexOf(keys.townKey), badgeKey: null });
  await writeFileDurably(join(folder, 'keys', 'node.key'), `${hexOf(keys.secretKey)}\n`, 0o600);
  await writeFileDurably(join(folder, 'keys', 'sealing.key'), `${hexOf(keys.sealingSecret)}\n`, 0o600);
  await writeConfig(folder, defaultConfig('alpha'));
  const store = await Store.open(folder, { onFatal: () => undefined });
  await storeGenesis(store, genesis);
  await store.close();
  return { folder, town: genesis };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const make = (folder: string, port: number): Promise<BrokerFiles> =>
  writeBrokerFiles(folder, {
    out: join(folder, 'broker'),
    hosts: ['127.0.0.1', 'board.local', 'fd00::1:2'],
    port,
    use: true,
    now: Date.now(),
  });

/** Mosquitto with these files; ready when it resolves. */
async function mosquitto(t: Test, folder: string, port: number): Promise<() => Promise<void>> {
  // As root it would become the user mosquitto, who cannot read a test's folder.
  const user = process.getuid?.() === 0 ? ['user root'] : [];
  const file = join(folder, 'broker', 'mosquitto.conf');
  const own = join(folder, 'broker', 'test.conf');
  await writeFileDurably(own, `${readFileSync(file, 'utf8')}${user.join('\n')}\n`, 0o600);
  const child = spawn('mosquitto', ['-c', own], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = `${said}${String(chunk)}`.slice(-4_000)));
  const ended = once(child, 'exit');
  const end = async (): Promise<void> => {
    if (child.exitCode === null) child.kill('SIGTERM');
    await ended;
  };
  t.teardown(end);
  await eventually('mosquitto listens', async () => {
    if (child.exitCode !== null) throw new Error(`mosquitto ended: ${said}`);
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    const isOpen = await Promise.race([
      once(socket, 'secureConnect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    return isOpen || undefined;
  });
  return end;
}

t.test(
  'the files are those of a broker, private where they have to be, and the address says it all',
  async (t) => {
    const { folder, town: genesis } = await folderOfAlpha(t);
    const made = await make(folder, 8884);
    const [alpha, beta] = NAMES.map(keysOf) as [ReturnType<typeof keysOf>, ReturnType<typeof keysOf>];
    t.same([...made.nodes].sort(), [alpha.id, beta.id].sort());
    t.same(made.without, []);
    const path = (name: string): string => join(made.folder, name);
    for (const name of ['server.key', 'passwords', 'acl'])
      t.equal(statSync(path(name)).mode & 0o777, 0o600, name);
    const authority = new X509Certificate(readFileSync(path('ca.crt')));
    const own = new X509Certificate(readFileSync(path('server.crt')));
    t.ok(authority.ca && own.checkIssued(authority) && own.verify(authority.publicKey));
    t.ok(authority.verify(authority.publicKey));
    t.equal(own.checkHost('board.local'), 'board.local');
    t.equal(own.checkIP('127.0.0.1'), '127.0.0.1');
    t.ok(own.checkIP('fd00::1:2'));
    t.notOk(own.checkHost('other.local'));
    t.ok(isPinned([own.raw, authority.raw], made.pin));
    t.notOk(isPinned([own.raw], made.pin));
    if (has('openssl')) {
      const verified = spawnSync('openssl', [
        'verify',
        '-x509_strict',
        '-CAfile',
        path('ca.crt'),
        path('server.crt'),
      ]);
      t.equal(verified.status, 0, String(verified.stderr));
    }
    const broker = brokerAt(made.address);
    t.match(broker, { url: 'mqtts://127.0.0.1:8884', pin: made.pin, keeper: alpha.id });
    t.equal(addressOf(broker), made.address);
    t.same((await readConfig(folder)).broker, broker);
    t.ok(made.address.length <= 200, 'it fits an invitation');
    const again = await make(folder, 8884);
    t.equal(again.address, made.address, 'written anew, it is the same broker');
    const acl = (): string => readFileSync(path('acl'), 'utf8');
    const charter = JSON.parse(
      genesis.writes.find(({ collection }) => collection === 'charter')?.value ?? '',
    ) as Charter;
    const id = genesis.merge.content;
    t.equal(await refreshUsers(folder, alpha, id, charter), false, 'nobody came or went: nothing is written');
    const { [beta.id]: _, ...left } = charter.nodes;
    t.equal(await refreshUsers(folder, alpha, id, { ...charter, nodes: left }), true);
    t.notMatch(acl(), beta.id);
    t.notMatch(readFileSync(path('passwords'), 'utf8'), beta.id);
    t.match(readFileSync(path('passwords'), 'utf8'), /^joining:\$7\$/m);
    const another = await folderOfAlpha(t);
    const other = await make(another.folder, 8884);
    const foreign = new X509Certificate(readFileSync(join(other.folder, 'server.crt')));
    t.notOk(
      isPinned([foreign.raw, authority.raw], made.pin),
      'what another authority signed is not of this one',
    );
    await t.rejects(writeBrokerFiles(folder, { out: made.folder, hosts: ['a b'], now: 0 }), {
      code: 'bad-host',
    });
    await t.rejects(writeBrokerFiles(folder, { out: made.folder, hosts: [], now: 0 }), { code: 'bad-host' });
    await t.rejects(writeBrokerFiles(emptyFolder(t), { out: made.folder, hosts: ['x'], now: 0 }), {
      code: 'no-town',
    });
    for (const bad of ['mqtt://a#sha256=AAAA', 'mqtts://a#sha256=AAAA', 'mqtts://u@a#of=0123456789abcdef'])
      t.throws(() => brokerAt(bad), { code: 'bad-broker-url' }, bad);
  },
);

t.test('at a real Mosquitto each may do its own, and a stranger nothing', { skip }, async (t) => {
  const { folder, town: genesis } = await folderOfAlpha(t);
  const town = genesis.merge.content;
  const port = await freePort();
  const made = await make(folder, port);
  const end = await mosquitto(t, folder, port);
  const [alpha, beta] = NAMES.map(keysOf) as [ReturnType<typeof keysOf>, ReturnType<typeof keysOf>];
  const broker = brokerAt(made.address);
  const charter = {
    [alpha.id]: {
      name: 'alpha',
      key: alpha.key,
      roles: [],
      sealing: sealingKeyOf(alpha.sealingSecret) as string,
    },
  };
  const url = `mqtts://127.0.0.1:${port}`;
  const dial = (login: IClientOptions): Promise<MqttClient> =>
    connectAsync(url, { protocolVersion: 4, rejectUnauthorized: false, reconnectPeriod: 0, ...login });
  const heard = new Map<string, string[]>();
  const listen = async (name: string, login: IClientOptions): Promise<MqttClient> => {
    const client = await dial(login);
    client.on('error', () => undefined);
    t.teardown(() => client.endAsync(true));
    const lines: string[] = [];
    heard.set(name, lines);
    client.on('message', (topic, payload) => void lines.push(`${topic} ${payload.toString()}`));
    // What a broker does not grant it may leave out, or refuse.
    await client
      .subscribeAsync(['#', 'mergetown/#', directTopic(town, alpha.id), joinAskFilter(town)], { qos: 1 })
      .catch(() => undefined);
    return client;
  };

  await t.rejects(dial({}), /[Nn]ot authori/, 'without a name');
  await t.rejects(
    dial({ username: beta.id, password: 'guess' }),
    /[Nn]ot authori/,
    'with a guessed password',
  );
  const guest = await listen('guest', guestLogin(broker));
  const other = await listen('beta', loginAt(broker, beta, town, charter));

  const inbox: string[] = [];
  let isConnected = false;
  const transport = new MqttTransport({
    ...{ url: broker.url, pin: made.pin, ...loginAt(broker, alpha, town, charter) },
    subscriptions: [
      headsTopic(town, '+' as NodeId),
      directTopic(town, alpha.id),
      consensusTopic(town),
      joinAskFilter(town),
    ],
    will: headsTopic(town, alpha.id),
    events: {
      connected: () => (isConnected = true),
      disconnected: () => (isConnected = false),
      delivered: ({ topic, payload }) => void inbox.push(`${topic} ${Buffer.from(payload).toString()}`),
      tooLarge: () => undefined,
    },
  });
  transport.start();
  t.teardown(() => transport.stop());
  await eventually('the node is at the broker, by its fingerprint alone', () => isConnected || undefined);
  t.equal(transport.trouble(), null);

  const say = (client: MqttClient, topic: string, text: string) =>
    client.publishAsync(topic, text, { qos: 1 });
  await say(other, headsTopic(town, alpha.id), 'beta as alpha');
  await say(guest, headsTopic(town, alpha.id), 'a guest as alpha');
  await say(guest, directTopic(town, alpha.id), 'a guest to alpha');
  await say(guest, consensusTopic(town), 'a guest votes');
  const invitation = '0123456789abcdef';
  await say(guest, joinTopic(town, invitation, 'answer'), 'a guest answers');
  await say(other, headsTopic(town, beta.id), 'heads of beta');
  await say(other, directTopic(town, alpha.id), 'beta to alpha');
  await say(other, consensusTopic(town), 'beta votes');
  await say(guest, joinTopic(town, invitation, 'ask'), 'may I');
  const all = (): boolean =>
    ['heads of beta', 'beta to alpha', 'beta votes', 'may I'].every((text) =>
      inbox.some((line) => line.endsWith(text)),
    );
  await eventually('alpha hears what is said rightly', () => all() || undefined);
  t.equal(inbox.length, 4, `and nothing else: ${inbox.join(', ')}`);
  transport.publish(joinTopic(town, invitation, 'answer'), 'wait', false);
  await eventually(
    'a guest hears an answer',
    () => heard.get('guest')?.some((line) => line.endsWith('wait')) || undefined,
  );
  t.same(
    heard.get('guest')?.filter((line) => !line.includes('/join/')),
    [],
    'a guest hears nothing of the town',
  );
  t.same(
    heard.get('beta')?.filter((line) => line.includes(`/to/${alpha.id}`)),
    [],
    'a node hears nothing that is for another',
  );

  await t.test('another broker at that address is noticed before anything is said to it', async (t) => {
    const liar = await folderOfAlpha(t);
    const at = await freePort();
    await make(liar.folder, at);
    await mosquitto(t, liar.folder, at);
    const fooled = new MqttTransport({
      ...{ url: `mqtts://127.0.0.1:${at}`, pin: made.pin, username: 'ada', password: 'secret' },
      subscriptions: ['a/#'],
      reconnectMs: 50,
      events: {
        connected: () => t.fail('it must not connect'),
        disconnected: () => undefined,
        delivered: () => undefined,
        tooLarge: () => undefined,
      },
    });
    fooled.start();
    t.teardown(() => fooled.stop());
    await eventually('it says so', () => /another fingerprint/.test(fooled.trouble() ?? '') || undefined);
  });
  await end();
});
