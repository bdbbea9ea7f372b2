/** Boards whose clocks are wrong, by hours or by decades: they are heard, hear, and merge; and what is sent once more is refused. */
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import t from 'tap';
import type { Millis } from '../ledger/ids.js';
import { startBroker } from '../sync/broker.js';
import { systemClock, type Clock } from './clock.js';
import { agree, CoreNode, genesisOf, scratchFolder, until } from './testing/core-town.js';

t.setTimeout(600_000);

const HOUR_MS = 3_600_000;
const NAMES = ['alpha', 'beta', 'gamma'];

/** A clock that is off by so much. */
const off = (ms: number): Clock => ({ ...systemClock, now: () => (systemClock.now() + ms) as Millis });

for (const [what, ms] of [
  ['stands at 1970', 1_000_000 - Date.now()],
  ['is five hours slow', -5 * HOUR_MS],
  ['is five hours fast', 5 * HOUR_MS],
] as const)
  t.test(`a board whose clock ${what} takes part as the others do`, async (t) => {
    const folder = scratchFolder();
    const broker = await startBroker(0);
    const url = `mqtt://127.0.0.1:${broker.port}`;
    const genesis = genesisOf(NAMES);
    const tapped: { topic: string; payload: Buffer }[] = [];
    const listener = await connectAsync(url, { protocolVersion: 4 });
    listener.on('message', (topic, payload) => void tapped.push({ topic, payload }));
    await listener.subscribeAsync('mergetown/#', { qos: 1 });
    const start = (name: string): Promise<CoreNode> =>
      CoreNode.start({
        ...{ folder: join(folder.path, name), name, genesis, url },
        clock: name === 'gamma' ? off(ms) : systemClock,
      });
    const all = (await Promise.all(NAMES.map(start))) as [CoreNode, CoreNode, CoreNode];
    const [alpha, beta, gamma] = all;
    t.teardown(async () => {
      for (const node of all) await node.stop();
      await listener.endAsync(true);
      await broker.close();
      folder.remove();
    });
    const hear = (): boolean =>
      all.every(({ peering }) => peering.views().every(({ connected }) => connected));
    await until('all hear each other', hear, all);
    await alpha.claim('ada', 'member.found', {}, ['alpha']);
    await until('the founding', () => agree(all) && alpha.head.height > 0, all);
    await gamma.claim('ada', 'notes.put', { key: 'far', value: 1 });
    await beta.claim('ada', 'notes.put', { key: 'near', value: 2 });
    const merged = (): boolean => all.every((node) => node.note('far') === '1' && node.note('near') === '2');
    await until('what each recorded is merged by all', () => merged() && agree(all), all);
    t.same(
      all.flatMap((node) => node.alarms),
      [],
    );

    const sent = tapped.splice(0);
    const before = all.map((node) => JSON.stringify(node.head));
    for (const { topic, payload } of sent)
      if (payload.length > 0) await listener.publishAsync(topic, payload, { qos: 1 });
    await until(
      'the replays are refused',
      () => all.every((node) => (node.refused()['replayed'] ?? 0) > 0),
      all,
    );
    t.same(
      all.map((node) => JSON.stringify(node.head)),
      before,
      'and do nothing',
    );
    await alpha.claim('ada', 'notes.put', { key: 'after', value: 3 });
    await until('it goes on', () => agree(all) && gamma.note('after') === '3', all);
  });

t.test(
  'a clock that is fast does not take the time of merges along, though another is seconds slow',
  async (t) => {
    const folder = scratchFolder();
    const broker = await startBroker(0);
    const genesis = genesisOf(NAMES);
    const clocks: Record<string, Clock> = { alpha: off(-8_000), beta: systemClock, gamma: off(HOUR_MS / 2) };
    const start = (name: string): Promise<CoreNode> =>
      CoreNode.start({
        ...{ folder: join(folder.path, name), name, genesis, url: `mqtt://127.0.0.1:${broker.port}` },
        clock: clocks[name] as Clock,
      });
    const all = (await Promise.all(NAMES.map(start))) as [CoreNode, CoreNode, CoreNode];
    const [alpha] = all;
    t.teardown(async () => {
      for (const node of all) await node.stop();
      await broker.close();
      folder.remove();
    });
    await alpha.claim('ada', 'member.found', {}, ['alpha']);
    await until('the founding', () => agree(all) && alpha.head.height > 0, all);
    for (let turn = 0; turn < 3; turn += 1) {
      await alpha.claim('ada', 'notes.put', { key: 'turn', value: turn });
      await until(`turn ${turn}`, () => agree(all) && alpha.note('turn') === String(turn), all);
    }
    t.ok(
      alpha.core.main.head.time <= Date.now() + 10_000,
      `main is ${alpha.core.main.head.time - Date.now()} ms ahead`,
    );
  },
);
