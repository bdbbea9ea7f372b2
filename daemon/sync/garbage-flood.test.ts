/**
 * The same garbage (garbage.test.ts) over a real broker to real daemons, in the name of a node of the town that lies: they go on merging
 * with each other. GARBAGE=1000000 sends a 30th of so many.
 */
// Before what it is about.
import './small-packets.js';
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { connectAsync } from 'mqtt';
import { generate, parser as mqttParser, type Packet } from 'mqtt-packet';
import t, { type Test } from 'tap';
import type { Charter } from '../ledger/charter.js';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { SmallTown } from '../ledger/testing/small-town.js';
import { readNodeKeys } from '../node/key-files.js';
import type { NodesView } from '../node/node-cases.js';
import { eventually } from '../testing/eventually.js';
import { gitProblems } from '../testing/left-on-disk.js';
import { STEWARD_NAME as ADA, TownOfNodes, type Board } from '../testing/town-of-nodes.js';
import type { WantBody } from './bodies.js';
import { startBroker } from './broker.js';
import { directTopic, openMessage } from './message.js';
import { bytesHeld } from './testing/bytes-held.js';
import { Dice } from './testing/dice.js';
import { GarbageMaker, type Asked } from './testing/garbage.js';

t.setTimeout(3_600_000);

const MESSAGES = Math.ceil(Number(process.env['GARBAGE'] ?? 100_000) / 30);
const SEED = Number(process.env['GARBAGE_SEED'] ?? randomInt(2 ** 31));
/** Not yet acknowledged by the broker, at once. */
const WINDOW = 32;
const WAIT = { withinMs: 240_000 };

/** A bare connection to the broker: what is written is what goes over the line. */
class BareLine {
  #socket: Socket | null = null;
  #waiting = 0;
  #broken = false;

  constructor(private readonly port: number) {}

  async #open(): Promise<Socket> {
    this.#waiting = 0;
    this.#broken = false;
    const socket = connect(this.port, '127.0.0.1');
    const parser = mqttParser({ protocolVersion: 4 });
    let isOpen = false;
    parser.on('packet', ({ cmd }: Packet) => {
      isOpen ||= cmd === 'connack';
      if (cmd === 'puback') this.#waiting -= 1;
    });
    socket.on('data', (chunk: Buffer) => void parser.parse(chunk));
    for (const event of ['error', 'close']) socket.on(event, () => (this.#broken = true));
    const clientId = `liar-${randomInt(2 ** 31)}`;
    socket.write(
      generate({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: true,
        clientId,
        keepalive: 0,
      }),
    );
    await eventually('the broker lets it in', () => isOpen || this.#broken, WAIT);
    this.#socket = socket;
    return socket;
  }

  async write(line: Buffer): Promise<void> {
    const socket = this.#socket === null || this.#broken ? await this.#open() : this.#socket;
    socket.write(line);
    this.#waiting += 1;
    if (this.#waiting >= WINDOW)
      await eventually('the broker has taken some', () => this.#waiting < WINDOW / 2 || this.#broken, {
        ...WAIT,
        everyMs: 2,
      });
  }

  close(): void {
    this.#socket?.destroy();
  }
}

const residentMib = async ({ town }: Board): Promise<number> => {
  const text = await readFile(`/proc/${town.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1]) / 1024;
};

async function townWithLiar(t: Test) {
  const town = await TownOfNodes.prepare({ folder: t.testdir(), names: ['House', 'Workshop', 'Liar'] });
  t.teardown(() => town.close());
  const [house, workshop, third] = town.boards as [Board, Board, Board];
  await town.found();
  await town.join(workshop);
  await town.makeValidator(workshop);
  await town.giveKey(ADA, house, workshop);
  await town.join(third);
  await third.stop();
  await town.converged();
  return { town, house, workshop, keys: await readNodeKeys(third.folder) };
}

t.test(`${MESSAGES} pieces of garbage hold up no daemon`, async (t) => {
  t.comment(`GARBAGE_SEED=${SEED}`);
  const { town, house, workshop, keys } = await townWithLiar(t);
  const status = await house.status();
  const id = status.town.id as Sha256;
  const port = status.broker.port as number;
  const [victim, honest] = [status.node.id, (await workshop.status()).node.id] as [NodeId, NodeId];
  const charterKeys = await keysOfCharter(house);
  t.ok(charterKeys.has(keys.id), 'the liar is in the charter');

  // What goes over the broker, and what the victim asks the liar.
  const overheard: { topic: string; payload: Buffer }[] = [];
  const questions: Asked[] = [];
  let place = { height: status.height, id: sha256('none'), oid: status.main as Oid };
  const opening = { town: id, townKey: keys.townKey, keyOf: (node: NodeId) => charterKeys.get(node) };
  const ear = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 });
  t.teardown(() => ear.endAsync(true));
  const line = new BareLine(port);
  t.teardown(() => line.close());
  const sent = new Set<string>();
  ear.on('message', (topic, payload, { retain }) => {
    if (payload.length === 0 || payload.length > 20_000 || sent.has(sha256(payload))) return;
    overheard.push({ topic, payload });
    if (overheard.length > 100) overheard.shift();
    const opened = openMessage({ topic, payload, retained: retain }, opening, Date.now());
    if (!('message' in opened)) return;
    const { kind, from, body } = opened.message;
    if (kind === 'heads' && from === victim) place = { ...place, id: body['main'] as Sha256 };
    const asked = kind === 'want' && topic === directTopic(id, keys.id) ? askedIn(from, body as never) : null;
    if (asked !== null) questions.push(asked);
    if (questions.length > 8) questions.shift();
  });
  await ear.subscribeAsync('mergetown/#', { qos: 1 });
  let note = 0;
  const record = async (): Promise<void> => {
    for (const board of [house, workshop])
      await board.post(ADA, '/api/people', { name: `Person ${(note += 1)}` });
  };
  await record();
  await eventually('something is heard', () => overheard.length > 3, WAIT);

  const elsewhere = new SmallTown(['alpha']).people('bea', 'cyd');
  const garbage = new GarbageMaker({
    ...{ dice: new Dice(SEED), town: id, townKey: keys.townKey, victim, honest, liar: keys },
    stranger: { id: 'e'.repeat(16) as NodeId, secretKey: Buffer.alloc(32, 9) },
    now: () => Date.now(),
    overheard: () => overheard,
    asked: () => questions.pop() ?? null,
    blocks: () => elsewhere.branches.get('alpha')?.blocks ?? [],
    main: () => place,
  });
  const before = { house: 0, workshop: 0 };
  const heights: number[] = [];
  const began = Date.now();
  for (let i = 0; i < MESSAGES; i += 1) {
    const { line: bytes } = garbage.next();
    sent.add(sha256(payloadOf(bytes)));
    if (sent.size > 2_000) sent.delete(sent.values().next().value as string);
    await line.write(bytes);
    if (i === Math.floor(MESSAGES / 5))
      Object.assign(before, { house: await residentMib(house), workshop: await residentMib(workshop) });
    if (i % Math.ceil(MESSAGES / 8) === 0) {
      await record();
      const { height, main } = await house.status();
      heights.push(height);
      place = { ...place, height, oid: main as Oid };
    }
  }
  const seconds = (Date.now() - began) / 1000;
  const last = (await house.status()).height;
  await town.converged();
  t.ok(last > (heights[0] as number), `merges went on meanwhile: ${heights.join()}, ${last}`);
  for (const [name, board] of [
    ['house', house],
    ['workshop', workshop],
  ] as const) {
    const { refused } = await board.get<NodesView>('/api/nodes');
    t.comment(`${name}: ${refused.map(({ code, count }) => `${code} ${count}`).join(', ')}`);
    const grown = (await residentMib(board)) - before[name];
    t.comment(`${seconds.toFixed(0)} s, ${grown.toFixed(0)} MiB more resident than after a fifth of it`);
    t.ok(grown < 160, `in bounded memory: ${grown} MiB`);
    t.ok(refused.length <= 64);
    const names = new Set(refused.map(({ code }) => code));
    const common = ['not-sealed', 'other-topic', 'replayed', 'malformed'];
    const alone = ['bad-signature', 'misaddressed', 'expired', 'unsolicited', 'unknown-node'];
    const absent = [...common, ...(board === house ? alone : [])].filter((code) => !names.has(code));
    t.same(MESSAGES >= 3_000 ? absent : [], [], 'each by its name');
    // What a node of the town says in its own name and what is not so, is told: that there are other blocks, or more of one's own.
    const { alarm } = await board.status();
    t.match(
      alarm?.code ?? 'none',
      /^(none|own-branch-longer|branches-differ|equivocation)$/,
      `${name}: ${alarm?.message}`,
    );
  }
  // What the broker was made to keep is there for who comes back.
  await workshop.stop();
  await town.start(workshop);
  await workshop.as(ADA);
  await record();
  await town.converged();
  const both = [house, workshop];
  const { refused } = await workshop.get<NodesView>('/api/nodes');
  t.ok(
    refused.some(({ code }) => code === 'not-sealed'),
    'junk that was kept is refused again',
  );
  t.same(await gitProblems(both), []);
});

t.test('what one client leaves at the embedded broker is bounded', async (t) => {
  const broker = await startBroker(0);
  t.teardown(() => broker.close());
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const away = await connectAsync(url, { protocolVersion: 4, clean: false, clientId: 'away' });
  await away.subscribeAsync('#', { qos: 1 });
  await away.endAsync(true);
  const client = await connectAsync(url, { protocolVersion: 4 });
  t.teardown(() => client.endAsync(true));
  const before = await bytesHeld();
  for (let i = 0; i < 800; i += 1)
    await client.publishAsync(`mergetown/junk/${i}`, Buffer.alloc(200_000, i), { qos: 1, retain: true });
  const grown = ((await bytesHeld()) - before) / 1024 / 1024;
  t.comment(`of 160 MB that were to be kept twice ${grown.toFixed(0)} MiB are`);
  t.ok(grown < 48, `in bounded memory: ${grown} MiB`);
  const kept = new Set<string>();
  const late = await connectAsync(url, { protocolVersion: 4 });
  t.teardown(() => late.endAsync(true));
  late.on('message', (topic, payload) => void kept.add(`${topic} ${payload.length}`));
  await late.subscribeAsync('mergetown/#', { qos: 1 });
  await eventually('what is kept is handed out', () => kept.has('mergetown/junk/0 200000'), WAIT);
  // There is room again when something is taken back.
  for (let i = 0; i < 800; i += 1)
    await client.publishAsync(`mergetown/junk/${i}`, '', { qos: 1, retain: true });
  await client.publishAsync('mergetown/heads', 'heads', { qos: 1, retain: true });
  const next = await connectAsync(url, { protocolVersion: 4 });
  t.teardown(() => next.endAsync(true));
  const again = new Set<string>();
  next.on('message', (topic) => void again.add(topic));
  await next.subscribeAsync('mergetown/#', { qos: 1 });
  await eventually('the heads are kept', () => again.has('mergetown/heads'), WAIT);
  t.same([...again], ['mergetown/heads']);
});

const payloadOf = (line: Buffer): Buffer => {
  let payload: Buffer = line;
  const parser = mqttParser({ protocolVersion: 4 });
  parser.on('error', () => undefined);
  parser.on('packet', (packet: Packet) => {
    if (packet.cmd === 'publish') payload = Buffer.from(packet.payload);
  });
  parser.parse(line);
  return payload;
};

async function keysOfCharter(board: Board): Promise<ReadonlyMap<string, KeyId>> {
  const { nodes } = await board.get<Pick<Charter, 'nodes'>>('/api/charter');
  return new Map(Object.entries(nodes).map(([id, { key }]) => [id, key as KeyId]));
}

function askedIn(from: NodeId, body: WantBody): Asked | null {
  if ('merges' in body) return { kind: 'merges', node: from, from: body.merges.from, isBehind: true };
  if (!('blocks' in body)) return null;
  return { kind: 'blocks', node: body.blocks.node as NodeId, from: body.blocks.from, isBehind: true };
}
