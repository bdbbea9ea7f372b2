/** The cut of the tests is what it says: seen at once or not at all, in one direction or both, and nothing lost that heals. */
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { TcpProxy } from './tcp-proxy.js';

const WAIT_MS_MAX = 5_000;
/** Long enough that what may pass has passed. */
const QUIET_MS = 60;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + WAIT_MS_MAX; !holds(); await sleep(5))
    if (Date.now() > end) throw new Error(`It did not come about: ${what}`);
}

/** A side of a connection that keeps what it hears. */
class Side {
  heard = '';
  gone = false;
  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => (this.heard += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => (this.gone = true));
  }
  say(text: string): void {
    this.socket.write(text);
  }
}

/** A socket that nobody holds and nobody closed: a process with one of them does not end. */
const openSockets = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;

async function stage(t: Test): Promise<{ proxy: TcpProxy; server: Side[]; dial: () => Promise<Side> }> {
  const server: Side[] = [];
  const listener = createServer((socket) => server.push(new Side(socket))).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const proxy = await TcpProxy.open((listener.address() as AddressInfo).port);
  t.teardown(async () => {
    await proxy.close();
    for (const side of server) side.socket.destroy();
    listener.close();
  });
  return {
    proxy,
    server,
    dial: async () => {
      const socket = connect(proxy.port, '127.0.0.1');
      const side = new Side(socket);
      await until('it is through or gone', () => side.gone || !socket.connecting);
      t.teardown(() => socket.destroy());
      return side;
    },
  };
}

t.test('it carries both ways, and an end on one side is an end on the other', async (t) => {
  const { proxy, server, dial } = await stage(t);
  const [one, other] = [await dial(), await dial()];
  one.say('hello');
  await until('the server hears it', () => server.some(({ heard }) => heard === 'hello'));
  const far = server.find(({ heard }) => heard === 'hello') as Side;
  far.say('welcome');
  await until('the answer comes back', () => one.heard === 'welcome');
  t.equal(other.heard, '', 'to the one who asked alone');
  one.say('last words');
  one.socket.end();
  await until('the server sees the end', () => far.gone);
  t.equal(far.heard, 'hellolast words', 'after the last words');
  await until('one connection is left', () => proxy.connections === 1);
});

t.test('cut, every connection is reset and new ones are refused; healed, new ones pass', async (t) => {
  const { proxy, server, dial } = await stage(t);
  const before = await dial();
  before.say('hello');
  await until('the server hears it', () => server[0]?.heard === 'hello');
  proxy.cut();
  await until('both sides see it', () => before.gone && server[0]?.gone === true);
  const during = await dial();
  await until('it is refused', () => during.gone);
  proxy.heal();
  const after = await dial();
  after.say('again');
  await until('the server hears it', () => server[1]?.heard === 'again');
});

t.test('frozen, nothing passes and nobody is told; healed, everything passes in order', async (t) => {
  const { proxy, server, dial } = await stage(t);
  const client = await dial();
  client.say('a');
  await until('the server hears it', () => server[0]?.heard === 'a');
  const far = server[0] as Side;
  proxy.freeze('up');
  client.say('b');
  far.say('1');
  await until('the other direction goes on', () => client.heard === '1');
  await sleep(QUIET_MS);
  t.equal(far.heard, 'a', 'the frozen direction is still');
  proxy.freeze();
  far.say('2');
  client.say('c');
  const swallowed = await dial();
  swallowed.say('anyone?');
  const leaving = await dial();
  leaving.socket.destroy();
  await sleep(QUIET_MS);
  t.same([far.heard, client.heard, server.length], ['a', '1', 1]);
  t.notOk(client.gone || far.gone || swallowed.gone, 'no side is told');
  proxy.heal();
  await until('what was held passes', () => far.heard === 'abc' && client.heard === '12');
  await until('so does the new connection', () => server[1]?.heard === 'anyone?');
  t.equal(server.length, 2, 'the one that left is never dialled');
});

t.test('an end during a freeze is seen only when it heals', async (t) => {
  const { proxy, server, dial } = await stage(t);
  const client = await dial();
  client.say('a');
  await until('the server hears it', () => server[0]?.heard === 'a');
  proxy.freeze();
  client.socket.destroy();
  await sleep(QUIET_MS);
  t.notOk(server[0]?.gone);
  proxy.heal();
  await until('the server sees the end', () => server[0]?.gone === true);
  await until('nothing is left', () => proxy.connections === 0);
});

t.test('cut in the moment when an end passes, it leaves no socket behind', async (t) => {
  const { proxy, server, dial } = await stage(t);
  const before = openSockets();
  const client = await dial();
  client.say('a');
  await until('the server hears it', () => server[0]?.heard === 'a');
  proxy.freeze();
  server[0]?.socket.destroy();
  await sleep(QUIET_MS);
  t.notOk(client.gone, 'the end is held back');
  proxy.heal();
  proxy.cut();
  await until('the client sees it', () => client.gone);
  await until('nothing is open', () => openSockets() === before);
});

t.test('slow, bytes come late and whole; what a frozen way holds is bounded', async (t) => {
  const { proxy, server, dial } = await stage(t);
  const client = await dial();
  proxy.delay(100);
  const began = Date.now();
  client.say('x');
  client.say('y');
  await until('they come', () => server[0]?.heard === 'xy');
  t.ok(Date.now() - began >= 95, `after ${Date.now() - began} ms`);
  proxy.delay(0);
  proxy.freeze();
  const size = 24 * 1024 * 1024;
  client.socket.write(Buffer.alloc(size, 'z'));
  await sleep(5 * QUIET_MS);
  t.ok(client.socket.writableLength > size / 4, 'the sender is held back');
  proxy.heal();
  await until('all of it comes', () => server[0]?.heard.length === size + 2);
});
