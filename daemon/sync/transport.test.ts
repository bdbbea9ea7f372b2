/** The transport over real brokers: the embedded one and, where it is installed, Mosquitto; cut, restarted, and fed with what is refused. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { connectAsync } from 'mqtt';
import t, { type Test } from 'tap';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { startBroker } from './broker.js';
import {
  consensusTopic,
  directTopic,
  headsTopic,
  Inbox,
  MESSAGE_BYTES_MAX,
  MessageCounter,
  sealMessage,
  topicsFor,
  type Delivery,
  type Message,
} from './message.js';
import { MqttTransport, QUEUE_MESSAGES_MAX } from './mqtt-transport.js';
import { PacketSieve } from './packet-sieve.js';

const WAIT_MS_MAX = 90_000;
t.setTimeout(600_000);

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + WAIT_MS_MAX; !holds();) {
    if (Date.now() > end) throw new Error(`It did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

interface Running {
  readonly port: number;
  close(): Promise<void>;
}
interface BrokerKind {
  readonly name: string;
  readonly skip: string | false;
  readonly start: (folder: string, port: number) => Promise<Running>;
  /** Whether it hands on messages beyond our bound. */
  readonly takesLarge: boolean;
}

const hasMosquitto = spawnSync('mosquitto', ['-h']).error === undefined;
const kinds: readonly BrokerKind[] = [
  {
    name: 'the embedded broker',
    skip: false,
    start: (_folder, port) => startBroker(port),
    takesLarge: false,
  },
  {
    name: 'Mosquitto',
    skip: hasMosquitto || process.env['CI'] === 'true' ? false : 'mosquitto is not installed',
    start: startMosquitto,
    takesLarge: true,
  },
];

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function startMosquitto(folder: string, wanted: number): Promise<Running> {
  const port = wanted === 0 ? await freePort() : wanted;
  const config = join(folder, 'mosquitto.conf');
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`);
  const child = spawn('mosquitto', ['-c', config], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  let isOpen = false;
  const probe = (): void => {
    const socket = connectTcp(port, '127.0.0.1');
    socket.once('connect', () => {
      isOpen = true;
      socket.destroy();
    });
    socket.once('error', () => setTimeout(probe, 20));
  };
  probe();
  await until('mosquitto listens', () => isOpen);
  return {
    port,
    close: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** A TCP way to the broker that can be cut. */
class Way {
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((from) => {
    if (this.isCut) return void from.destroy();
    const to = connectTcp(this.target, '127.0.0.1');
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      this.#sockets.add(one);
      one.on('error', () => undefined);
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  isCut = false;
  port = 0;

  constructor(public target: number) {}

  async open(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  cut(): void {
    this.isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

const town = sha256('town');
const townKey = randomBytes(32);
const secrets = [1, 2].map((n) => Buffer.alloc(32, n));
const keys = new Map<NodeId, KeyId>(
  secrets.map((secret) => [nodeIdOf(publicKeyOf(secret)), publicKeyOf(secret)]),
);
const [alpha, beta] = [...keys.keys()] as [NodeId, NodeId];

/** A node as far as messages go. */
class Peer {
  readonly inbox: Inbox;
  readonly messages: Message[] = [];
  readonly counter = new MessageCounter();
  readonly transport: MqttTransport;
  readonly gone: string[] = [];
  connections = 0;
  isConnected = false;
  deliveries = 0;

  constructor(
    readonly id: NodeId,
    port: number,
  ) {
    this.inbox = new Inbox(id, { town, townKey, keyOf: (node) => keys.get(node) });
    this.transport = new MqttTransport({
      url: `mqtt://127.0.0.1:${port}`,
      subscriptions: topicsFor(town, id),
      will: headsTopic(town, id),
      reconnectMs: 50,
      events: {
        connected: () => {
          this.connections++;
          this.isConnected = true;
        },
        disconnected: () => (this.isConnected = false),
        delivered: (delivery) => this.take(delivery),
        tooLarge: () =>
          this.inbox.refuse({ code: 'too-large', reason: 'A packet was not read.' }, Date.now()),
      },
    });
  }

  take(delivery: Delivery): void {
    this.deliveries++;
    if (delivery.payload.length === 0) this.gone.push(delivery.topic);
    const message = this.inbox.receive(delivery, Date.now());
    if (message !== null) this.messages.push(message);
  }

  sealed(topic: string, to: NodeId | null, kind: string, body: object): string {
    const at = Date.now();
    const secretKey = secrets[this.id === alpha ? 0 : 1] as Uint8Array;
    const content = { from: this.id, to, counter: this.counter.next(at), at, expires: at + 60_000, kind };
    return sealMessage(
      { ...content, body: body as never },
      topic,
      { town, townKey, secretKey },
      randomBytes(12),
    );
  }

  tell(n: number): boolean {
    const topic = headsTopic(town, this.id);
    return this.transport.publish(topic, this.sealed(topic, null, 'heads', { n }), true);
  }

  ask(other: NodeId, n: number): boolean {
    const topic = directTopic(town, other);
    return this.transport.publish(topic, this.sealed(topic, other, 'want', { n }), false);
  }

  got(kind: string): unknown[] {
    return this.messages.filter((message) => message.kind === kind).map(({ body }) => body['n']);
  }

  refusal(code: string): number {
    return this.inbox.refusals().find((refusal) => refusal.code === code)?.count ?? 0;
  }
}

for (const { name, skip, start, takesLarge } of kinds) {
  t.test(`over ${name}`, { skip }, async (t) => {
    const folder = t.testdir();
    let broker = await start(folder, 0);
    const way = await new Way(broker.port).open();
    const a = new Peer(alpha, way.port);
    const b = new Peer(beta, broker.port);
    t.teardown(async () => {
      await Promise.all([a.transport.stop(), b.transport.stop()]);
      await way.close();
      await broker.close();
    });

    t.test('messages go to all and to one, and heads to who comes later', async (t) => {
      a.transport.start();
      await until('alpha connects', () => a.isConnected);
      t.ok(a.tell(1));
      b.transport.start();
      await until('beta hears the heads', () => b.got('heads').includes(1));
      for (let n = 1; n <= 40; n++) t.ok(b.ask(alpha, n));
      await until('all wants arrive', () => a.got('want').length === 40);
      t.same(
        a.got('want'),
        Array.from({ length: 40 }, (_, i) => i + 1),
        'in order',
      );
      const topic = consensusTopic(town);
      t.ok(b.transport.publish(topic, b.sealed(topic, null, 'vote', { n: 9 }), false));
      await until('the vote arrives', () => a.got('vote').includes(9));
      t.same(b.got('vote'), [], 'not the own one');
      t.same([a.inbox.refusals(), b.inbox.refusals()], [[], []]);
    });

    t.test('who is cut off is told to be gone, comes back, and tells its heads again', async (t) => {
      way.cut();
      await until('alpha notices', () => !a.isConnected);
      await until('beta is told', () => b.gone.includes(headsTopic(town, alpha)));
      t.notOk(a.ask(beta, 1), 'nothing is kept for later');
      t.notOk(a.tell(2), 'but the newest heads');
      t.notOk(a.tell(3));
      way.isCut = false;
      await until('the newest heads arrive', () => b.got('heads').includes(3));
      t.notOk(b.got('heads').includes(2));
      t.ok(a.connections >= 2);
    });

    t.test('the broker may restart', async (t) => {
      const { port } = broker;
      await broker.close();
      await until('both notice', () => !a.isConnected && !b.isConnected);
      broker = await start(folder, port);
      await until('both are back', () => a.isConnected && b.isConnected);
      t.ok(b.ask(alpha, 50));
      await until('it goes on', () => a.got('want').includes(50));
    });

    t.test(
      'what is tampered with, replayed, foreign, retained or too large is refused by name',
      async (t) => {
        const stranger = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { protocolVersion: 4 });
        stranger.on('error', () => undefined);
        t.teardown(() => stranger.endAsync(true));
        const topic = directTopic(town, alpha);
        const send = (text: string | Buffer, retain = false, to = topic) =>
          stranger.publishAsync(to, text, { qos: 1, retain });
        const good = b.sealed(topic, alpha, 'want', { n: 60 });
        await send(good);
        await until('the good one arrives', () => a.got('want').includes(60));
        await send(good);
        await until('replayed', () => a.refusal('replayed') > 0);
        await send(`${good.slice(0, 100)}${good[100] === 'A' ? 'B' : 'A'}${good.slice(101)}`);
        await until('not sealed', () => a.refusal('not-sealed') > 0);
        await send(good, false, consensusTopic(town));
        await until('on another topic', () => a.refusal('not-sealed') > 1);
        const secretKey = Buffer.alloc(32, 7);
        const at = Date.now();
        const content = { to: alpha, counter: at, at, expires: at + 60_000, kind: 'want', body: {} };
        const foreign = { ...content, from: nodeIdOf(publicKeyOf(secretKey)) };
        await send(sealMessage(foreign, topic, { town, townKey, secretKey }, randomBytes(12)));
        await until('unknown node', () => a.refusal('unknown-node') > 0);
        const forged = { ...content, from: beta };
        await send(sealMessage(forged, topic, { town, townKey, secretKey }, randomBytes(12)));
        await until('bad signature', () => a.refusal('bad-signature') > 0);
        const old = { ...content, from: beta, at: at - 9_000, expires: at - 1_000 };
        const secretOfBeta = secrets[1] as Uint8Array;
        await send(sealMessage(old, topic, { town, townKey, secretKey: secretOfBeta }, randomBytes(12)));
        await until('expired', () => a.refusal('expired') > 0);
        // Retained: seen as such by who subscribes later.
        await send(b.sealed(topic, alpha, 'want', { n: 61 }), true);
        await until('it comes live', () => a.got('want').includes(61));
        const before = a.connections;
        way.cut();
        way.isCut = false;
        await until('alpha is back', () => a.connections > before && a.isConnected);
        await until('retained', () => a.refusal('retained-command') > 0);
        t.equal(a.got('want').filter((n) => n === 61).length, 1);
        await send('', true);
        if (takesLarge) {
          const connections = a.connections;
          // More than a broker has on its way to one client at once: each is acknowledged, or the rest would be held back.
          for (let i = 0; i < 25; i++) await send(Buffer.alloc(MESSAGE_BYTES_MAX + 2_000));
          await until('too large, not read', () => a.refusal('too-large') === 25);
          await send(Buffer.alloc(MESSAGE_BYTES_MAX + 1));
          await until('too large, read', () => a.refusal('too-large') === 26);
          t.equal(a.connections, connections, 'without a new connection');
        } else {
          // The embedded broker does not even take it.
          await Promise.race([
            send(Buffer.alloc(MESSAGE_BYTES_MAX + 1)).catch(() => undefined),
            new Promise((resolve) => stranger.once('close', () => resolve(null))),
          ]);
          t.equal(a.refusal('too-large'), 0);
        }
        t.ok(b.ask(alpha, 62));
        await until('it goes on', () => a.got('want').includes(62));
      },
    );

    t.test('what cannot be sent fast enough is dropped beyond a bound', async (t) => {
      let taken = 0;
      for (let n = 0; n < QUEUE_MESSAGES_MAX * 2; n++) taken += b.ask(alpha, 1000 + n) ? 1 : 0;
      t.ok(taken >= QUEUE_MESSAGES_MAX && taken < QUEUE_MESSAGES_MAX * 2, `${taken} taken`);
      await until('those arrive', () => a.got('want').filter((n) => Number(n) >= 1000).length === taken);
      t.notOk(b.transport.publish(consensusTopic(town), 'x'.repeat(MESSAGE_BYTES_MAX + 1), false));
    });

    t.test('who stops takes its heads back', async (t) => {
      const gone = b.gone.length;
      await a.transport.stop();
      await until('beta is told', () => b.gone.length > gone);
      t.notOk(a.tell(9));
    });
  });
}

t.test('why there is no connection is said in words, without name and password', async (t) => {
  let told = 0;
  let isConnected = false;
  const events = {
    connected: () => void (isConnected = true),
    disconnected: () => undefined,
    delivered: () => undefined,
    tooLarge: () => undefined,
    troubled: () => void (told += 1),
  };
  const secrets = { username: 'ada-at-home', password: 'hunter2' };
  const begin = (t: Test, url: string): MqttTransport => {
    const transport = new MqttTransport({ url, subscriptions: ['a/#'], events, reconnectMs: 20, ...secrets });
    transport.start();
    t.teardown(() => transport.stop());
    return transport;
  };
  /** A server that says a line of bytes to who connects, and ends. */
  let says = '';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    if (says === '') return void socket.end();
    socket.once('data', () => socket.end(Buffer.from(says, 'hex')));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const trouble = async (t: Test, url: string, words: RegExp): Promise<void> => {
    const transport = begin(t, url);
    await until(`it says ${words}`, () => words.test(transport.trouble() ?? ''));
    for (const secret of Object.values(secrets)) t.notOk(transport.trouble()?.includes(secret));
  };
  await t.test('nothing listens', (t) =>
    freePort().then((at) => trouble(t, `mqtt://127.0.0.1:${at}`, /^Nothing listens/)),
  );
  await t.test('no such name', (t) => trouble(t, 'mqtt://broker.invalid:1883', /name is found|looked up/));
  await t.test('no broker', (t) => trouble(t, `mqtt://127.0.0.1:${port}`, /does not answer as a broker/));
  says = '485454502f312e31';
  await t.test('no TLS', (t) => trouble(t, `mqtts://127.0.0.1:${port}`, /does not speak TLS/));
  says = '20020005';
  await t.test('refused', (t) => trouble(t, `mqtt://127.0.0.1:${port}`, /asks for a name and a password/));

  await t.test('a refusal is told once, tried again, and forgotten with the connection', async (t) => {
    says = '20020004';
    told = 0;
    const transport = begin(t, `mqtt://127.0.0.1:${port}`);
    await until('it is refused', () => transport.trouble() !== null);
    t.equal(transport.trouble(), 'The broker refuses the name or the password.');
    await new Promise((resolve) => setTimeout(resolve, 200));
    t.equal(told, 1);
    server.close();
    const broker = await startBroker(port);
    t.teardown(() => broker.close());
    await until('the next attempt goes through', () => isConnected);
    t.equal(transport.trouble(), null);
  });
});

t.test('the address of a broker is checked', async (t) => {
  const events = {} as never;
  for (const url of ['board.local', 'http://board.local', 'mqtt://', ''])
    t.throws(() => new MqttTransport({ url, subscriptions: [], events }), { code: 'bad-broker-url' });
  t.ok(new MqttTransport({ url: 'mqtts://[::1]', subscriptions: [], events }));
});

t.test('the sieve lets packets through up to its bound, however the stream is chunked', async (t) => {
  const packet = (first: number, body: Buffer): Buffer => {
    const length: number[] = [];
    for (let left = body.length, more = true; more; left = Math.floor(left / 128)) {
      more = left >= 128;
      length.push((left % 128) | (more ? 128 : 0));
    }
    return Buffer.concat([Buffer.from([first, ...length]), body]);
  };
  const publish = (size: number, id: number): Buffer =>
    packet(0x32, Buffer.concat([Buffer.from([0, 2, 97, 98, id >> 8, id & 255]), Buffer.alloc(size)]));
  const holds = fc.property(
    fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 1, max: 65_535 })), {
      maxLength: 8,
    }),
    fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
    (packets, cuts) => {
      const all = packets.map(([size, id]) => ({ id, bytes: publish(size, id), large: size + 6 > 200 }));
      const stream = Buffer.concat(all.map(({ bytes }) => bytes));
      const sieve = new PacketSieve(200);
      const passed: Buffer[] = [];
      const swallowed: (number | null)[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = cuts[i % cuts.length] as number;
        const sieved = sieve.take(stream.subarray(at, at + size));
        at += size;
        passed.push(...sieved.passed);
        swallowed.push(...sieved.swallowed);
        if (sieved.broken) return false;
      }
      const small = Buffer.concat(all.filter(({ large }) => !large).map(({ bytes }) => bytes));
      const ids = all.filter(({ large }) => large).map(({ id }) => id);
      return Buffer.concat(passed).equals(small) && swallowed.join() === ids.join();
    },
  );
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 200 }));
  t.ok(new PacketSieve(10).take(Buffer.from([0x30, 255, 255, 255, 255, 255])).broken);
  t.same(
    new PacketSieve(10).take(packet(0x30, Buffer.alloc(50))).swallowed,
    [null],
    'no acknowledgement is wanted',
  );
});
