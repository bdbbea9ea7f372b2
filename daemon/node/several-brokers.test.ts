/** A town at two brokers: one dies, one lies; while one that is honest can be reached, it goes on. */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { Aedes } from 'aedes';
import { connectAsync } from 'mqtt';
import t from 'tap';
import { startBroker } from '../sync/broker.js';
import { MqttTransport } from '../sync/mqtt-transport.js';
import { SeveralBrokers } from '../sync/several-brokers.js';
import { agree, CoreNode, genesisOf, scratchFolder, until } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];

/** A broker that drops what it likes. */
async function liar(port = 0) {
  let drops: (topic: string) => boolean = () => false;
  const aedes = await Aedes.createBroker({
    authorizeForward: (_client, packet) => (drops(packet.topic) ? null : packet),
  });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    aedes.handle(socket);
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    drop: (which: (topic: string) => boolean) => void (drops = which),
    close: async () => {
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}

t.test(
  'a broker that lies, and one that dies, do not stop the town while an honest one is there',
  async (t) => {
    const folder = scratchFolder();
    let honest = await startBroker(0);
    const bad = await liar();
    const genesis = genesisOf(NAMES);
    const start = (name: string): Promise<CoreNode> =>
      CoreNode.start({
        ...{ folder: join(folder.path, name), name, genesis, url: null },
        makeTransport: (options) =>
          new SeveralBrokers(
            // Not all in one order.
            (name === 'beta' ? [bad.port, honest.port] : [honest.port, bad.port]).map(
              (port) => (each) =>
                new MqttTransport({ ...each, url: `mqtt://127.0.0.1:${port}`, reconnectMs: 100 }),
            ),
            options,
          ),
      });
    const all = (await Promise.all(NAMES.map(start))) as [CoreNode, CoreNode, CoreNode];
    const [alpha, beta, gamma] = all;
    const stranger = await connectAsync(`mqtt://127.0.0.1:${bad.port}`, { protocolVersion: 4 });
    stranger.on('error', () => undefined);
    const tapped: { topic: string; payload: Buffer }[] = [];
    stranger.on('message', (topic, payload) => void (tapped.length < 500 && tapped.push({ topic, payload })));
    await stranger.subscribeAsync('mergetown/#', { qos: 1 });
    t.teardown(async () => {
      for (const node of all) await node.stop();
      await stranger.endAsync(true);
      await bad.close();
      await honest.close();
      folder.remove();
    });
    let notes = 0;
    const goesOn = async (what: string): Promise<void> => {
      const keys = await Promise.all(
        all.map(async (node) => {
          const key = `n${(notes += 1)}`;
          await node.claim('ada', 'notes.put', { key, value: notes });
          return key;
        }),
      );
      const merged = (): boolean => all.every((node) => keys.every((key) => node.note(key) !== undefined));
      await until(what, () => merged() && agree(all), all);
    };

    await alpha.claim('ada', 'member.found', {}, ['alpha']);
    await until('the founding', () => agree(all) && alpha.head.height > 0, all);
    await goesOn('both are honest');
    t.same(
      all.map((node) => node.refused()['replayed'] ?? 0),
      [0, 0, 0],
      'nothing is heard twice',
    );

    bad.drop((topic) => topic.endsWith('/consensus') || /\/to\//.test(topic));
    await goesOn('one gives on nothing but heads');
    bad.drop(() => true);
    await goesOn('one gives on nothing at all');
    let turn = 0;
    bad.drop(() => (turn += 1) % 2 === 0);
    for (const { topic, payload } of tapped)
      await stranger.publishAsync(topic, payload, { qos: 1, retain: true });
    for (const node of all)
      await stranger.publishAsync(
        `mergetown/${alpha.core.main.town.slice(0, 16)}/heads/${node.keys.id}`,
        '',
        {
          qos: 1,
          retain: true,
        },
      );
    await goesOn('one replays, keeps junk, says that nodes are gone, and drops half');
    bad.drop(() => false);

    const { port } = honest;
    await honest.close();
    await goesOn('the honest one dies, the other has come to its senses');
    t.ok(
      all.every(({ peering }) => peering.isOnline),
      'nobody noticed more than that',
    );
    honest = await startBroker(port);
    bad.drop(() => true);
    await goesOn('the honest one is back, the other lies again');
    t.same(
      all.flatMap((node) => node.alarms),
      [],
    );
    void [beta, gamma];
  },
);
