import { get, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { TownEvent } from '../node/use-cases.js';
import { buildApi, type ApiOptions } from './server.js';
import { doorEvent, entry, merge, session, tokenOfTest, TownInMemory } from './town-in-memory.js';

const bearer = { authorization: `Bearer ${tokenOfTest}` };
const doorHappened: TownEvent = { kind: 'door', event: doorEvent };

async function setUp(test: Test, options: Partial<ApiOptions> = {}) {
  const node = new TownInMemory();
  const panelFolder = test.testdir({});
  const app = await buildApi({ node, logger: pino({ level: 'silent' }), panelFolder, ...options });
  test.teardown(() => app.close());
  await app.listen({ host: '127.0.0.1', port: 0 });
  return { app, node, port: (app.server.address() as AddressInfo).port };
}

interface Heard {
  readonly event: string;
  readonly data: unknown;
}

/** Reads a stream as the panel does. */
class Reader {
  #text = '';
  heartbeats = 0;
  ended = false;
  readonly heard: Heard[] = [];

  constructor(readonly response: IncomingMessage) {
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => this.#take(chunk));
    response.on('close', () => (this.ended = true));
    response.on('error', () => undefined);
  }

  #take(chunk: string): void {
    const frames = (this.#text + chunk).split('\n\n');
    this.#text = frames.pop() ?? '';
    for (const frame of frames) {
      if (frame === ': heartbeat') this.heartbeats += 1;
      const match = /^event: (\S+)\ndata: ([^\n]*)$/.exec(frame);
      if (match) this.heard.push({ event: match[1]!, data: JSON.parse(match[2]!) });
    }
  }
}

const open = (port: number, headers: Record<string, string> = bearer): Promise<Reader> =>
  new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/api/events', headers, agent: false }, (response) =>
      resolve(new Reader(response)),
    ).on('error', reject);
  });

async function until(holds: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 60_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`);
    await delay(5);
  }
}

t.test('a listener hears the present status first, then every event as it happens', async (t) => {
  const { node, port } = await setUp(t);
  const reader = await open(port);
  t.equal(reader.response.statusCode, 200);
  t.match(reader.response.headers['content-type'], 'text/event-stream');
  t.equal(reader.response.headers['cache-control'], 'no-store');
  t.match(reader.response.headers['content-security-policy'], "default-src 'none'");
  await until(() => reader.heard.length === 1, 'the status');
  t.same(reader.heard[0], { event: 'status', data: { kind: 'status', status: node.status() } });

  const odd: TownEvent = {
    kind: 'entry',
    entry: { ...entry, says: 'line one\nline two\r\n\n\u2028 event: x' },
  };
  node.tell(doorHappened);
  node.tell(odd);
  node.tell({ kind: 'merge', merge });
  await until(() => reader.heard.length === 4, 'three events');
  t.same(reader.heard[1], { event: 'door', data: doorHappened });
  t.same(reader.heard[2], { event: 'entry', data: odd }, 'line breaks in it break nothing');
  const { entries: _, ...summary } = merge;
  t.same(reader.heard[3], { event: 'merge', data: { kind: 'merge', merge: summary } }, 'without its entries');
});

t.test('it needs a session, and the node is listened to only while somebody listens', async (t) => {
  const { app, node, port } = await setUp(t);
  t.equal((await open(port, {})).response.statusCode, 401);
  t.equal(node.listeners.size, 0);
  const reader = await open(port, { cookie: `town_session=${tokenOfTest}` });
  t.equal(reader.response.statusCode, 200);
  t.equal(node.listeners.size, 1);
  t.equal((await open(port)).response.statusCode, 200);
  t.equal(node.listeners.size, 1, 'once for all');
  reader.response.destroy();
  await delay(50);
  t.equal(node.listeners.size, 1);
  t.equal((await app.inject({ method: 'HEAD', url: '/api/events', headers: bearer })).statusCode, 404);
});

t.test('a quiet town sends heartbeats', async (t) => {
  const { port } = await setUp(t, { streamLimits: { heartbeatMs: 20 } });
  const reader = await open(port);
  await until(() => reader.heartbeats >= 3, 'three heartbeats');
  t.equal(reader.heard.length, 1);
});

t.test('there are so many listeners and no more, of one session and in all', async (t) => {
  const { node, port } = await setUp(t);
  const tokens = 'ABCDEFGHI'.split('').map((letter) => letter.repeat(43));
  for (const token of tokens) node.sessions.set(token, { ...session, token });
  const openFor = (token: string) => open(port, { authorization: `Bearer ${token}` });
  const readers: Reader[] = [];
  for (const token of tokens.slice(0, 8)) {
    for (let i = 0; i < 8; i += 1) readers.push(await openFor(token));
    if (token === tokens[0])
      t.equal((await openFor(token)).response.statusCode, 503, 'a ninth of one session');
  }
  t.ok(readers.every(({ response }) => response.statusCode === 200));
  t.equal((await openFor(tokens[8]!)).response.statusCode, 503, 'the sixty-fifth');
  node.tell(doorHappened);
  await until(() => readers.every(({ heard }) => heard.at(-1)?.event === 'door'), 'all to hear it');

  readers[5]!.response.destroy();
  await until(() => node.listeners.size === 1 && readers[5]!.ended, 'one to leave');
  await delay(20);
  t.equal((await openFor(tokens[8]!)).response.statusCode, 200, 'a place that was left is free');
});

t.test('a listener that cannot keep up is dropped and told; the others hear everything', async (t) => {
  // Time enough to read the parting words, however busy the machine is.
  const { node, port } = await setUp(t, { streamLimits: { bufferBytes: 64 * 1024, partingMs: 120_000 } });
  const quick = await open(port);
  const slow = await new Promise<Socket>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(
        `GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${tokenOfTest}\r\n\r\n`,
      );
      socket.once('readable', () => resolve(socket));
    });
    socket.on('error', () => undefined);
  });
  const big: TownEvent = { kind: 'entry', entry: { ...entry, says: 'x'.repeat(16_000) } };
  let told = 0;
  const memoryBefore = process.memoryUsage().rss;
  while (told < 2_000) {
    node.tell(big);
    told += 1;
    if (told % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    await until(() => quick.heard.length >= told - 1, 'the quick one to read');
  }
  await until(() => quick.heard.length === told + 1, 'the quick one to hear everything');
  t.notOk(quick.ended);
  t.ok(process.memoryUsage().rss - memoryBefore < 200 * 1024 * 1024);

  let rest = '';
  slow.setEncoding('utf8');
  slow.on('data', (chunk: string) => (rest = (rest + chunk).slice(-2_000)));
  await until(() => slow.destroyed || slow.readableEnded, 'the slow one to be dropped');
  t.match(rest, /event: error\ndata: \{"error":\{"code":"too-slow"/);
});

t.test('signing out ends the streams of that session and of no other', async (t) => {
  const { app, node, port } = await setUp(t);
  const other = 'O'.repeat(43);
  node.sessions.set(other, { ...session, token: other });
  const mine = await open(port);
  const theirs = await open(port, { authorization: `Bearer ${other}` });
  await app.inject({ method: 'DELETE', url: '/api/session', headers: bearer });
  await until(() => mine.ended, 'the stream to end');
  t.match(mine.heard.at(-1), { event: 'error', data: { error: { code: 'signed-out' } } });
  node.tell(doorHappened);
  await until(() => theirs.heard.at(-1)?.event === 'door', 'the other to go on');
});

t.test('a stream does not outlive its session, and does not keep it alive', async (t) => {
  const { node, port } = await setUp(t, { streamLimits: { heartbeatMs: 20 } });
  node.sessions.set(tokenOfTest, { ...session, expiresAt: Date.now() + 150 });
  const reader = await open(port);
  let asked = 0;
  node.session = () => {
    asked += 1;
    return null;
  };
  await until(() => reader.heartbeats >= 2, 'heartbeats');
  t.equal(asked, 0, 'not asked for before its end');
  await until(() => reader.ended, 'the stream to end');
  t.match(reader.heard.at(-1), { event: 'error', data: { error: { code: 'signed-out' } } });
});

t.test('a session without the right hears what happens, not about whom', async (t) => {
  const { node, port } = await setUp(t);
  const member = 'M'.repeat(43);
  const permissions = ['credit.transfer', 'gigs.*'];
  node.sessions.set(member, { ...session, token: member, member: 'mffffffffffffffff', permissions });
  const steward = await open(port);
  const reader = await open(port, { authorization: `Bearer ${member}` });
  const enrol: TownEvent = {
    kind: 'enrol',
    enrolment: 'en1',
    status: 'read',
    person: 'p1',
    badge: '9'.repeat(64),
  };
  const strike: TownEvent = { kind: 'strike', door: 'front', on: true, at: 1 };
  const own: TownEvent = { kind: 'entry', entry: { ...entry, member: 'mffffffffffffffff' } };
  const events: TownEvent[] = [doorHappened, enrol, { kind: 'entry', entry }, own, strike];
  for (const event of events) node.tell(event);
  await until(() => steward.heard.length === 6, 'the steward to hear everything');
  t.same(
    steward.heard.slice(1).map(({ data }) => data),
    events,
  );
  await until(() => reader.heard.at(-1)?.event === 'strike', 'the member to hear the strike');
  const { reason: _, ...told } = entry;
  t.same(
    reader.heard.slice(1).map(({ data }) => data),
    [{ kind: 'entry', entry: { ...told, says: 'Ada: gigs.open', body: {} } }, own, strike],
  );
});

t.test(
  'a listener whose role was taken back hears no more of the doors, without a new connection',
  async (t) => {
    const { node, port } = await setUp(t);
    const reader = await open(port);
    await until(() => reader.heard.length === 1, 'the status');
    node.sessions.set(tokenOfTest, { ...session, roles: ['member'], permissions: [] });
    node.tell({ kind: 'merge', merge });
    node.tell(doorHappened);
    node.tell({ kind: 'strike', door: 'front', on: true, at: 1 });
    await until(() => reader.heard.at(-1)?.event === 'strike', 'the strike');
    t.same(
      reader.heard.map(({ event }) => event),
      ['status', 'merge', 'strike'],
    );
  },
);

t.test('closing tells the listeners and is done at once, also with one that does not read', async (t) => {
  const { app, node, port } = await setUp(t, { streamLimits: { partingMs: 200 } });
  const reader = await open(port);
  const deaf = connect(port, '127.0.0.1', () =>
    deaf.write(`GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${tokenOfTest}\r\n\r\n`),
  );
  deaf.on('error', () => undefined);
  await once(deaf);
  const kept = await fetch(`http://127.0.0.1:${port}/api/status`);
  await kept.arrayBuffer();
  const before = Date.now();
  await app.close();
  t.ok(Date.now() - before < 20_000, `took ${Date.now() - before} ms`);
  await until(() => reader.ended, 'the stream to end');
  t.match(reader.heard.at(-1), { event: 'error', data: { error: { code: 'stopping' } } });
  t.equal(node.listeners.size, 0);
  deaf.destroy();
});

const once = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('readable', () => resolve()));
