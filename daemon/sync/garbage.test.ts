/**
 * Garbage of every kind on every topic: each piece is refused by its name, memory stays in bounds, and the honest go on meanwhile.
 * GARBAGE=1000000 sends so many messages through the node without a network (100,000 else) and a 30th of them through a broker to a
 * real daemon; GARBAGE_SEED repeats a run.
 */
// Before what it is about.
import './small-packets.js';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { generate, parser as mqttParser, type Packet } from 'mqtt-packet';
import t from 'tap';
import { verifyProposal } from '../consensus/proposal.js';
import { verifyVote } from '../consensus/vote.js';
import { sha256 } from '../ledger/hash.js';
import type { JsonObject, KeyId, NodeId } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { entriesText } from '../ledger/block.js';
import { SmallTown, secretOf } from '../ledger/testing/small-town.js';
import { readConsensus } from '../node/consensus-body.js';
import { packBlocks, packMerges, type RawMerge } from './block-batch.js';
import type { HaveBody, WantBody } from './bodies.js';
import { directTopic, headsTopic, MessageCounter, sealMessage, type Message } from './message.js';
import { eventually } from '../testing/eventually.js';
import { MqttTransport } from './mqtt-transport.js';
import { bytesHeld } from './testing/bytes-held.js';
import { Dice } from './testing/dice.js';
import type { Signer } from './testing/false-answers.js';
import { GarbageMaker } from './testing/garbage.js';
import { ListeningNode, type MergeHere } from './testing/listening-node.js';

t.setTimeout(3_600_000);

const MESSAGES = Number(process.env['GARBAGE'] ?? 100_000);
const SEED = Number(process.env['GARBAGE_SEED'] ?? randomInt(2 ** 31));

const MIB = 1024 * 1024;

/** The honest node of the town: writes, merges, tells its heads and answers what it is asked. */
class Honest {
  readonly town = new SmallTown(['alpha', 'beta', 'gamma']);
  readonly genesis: MergeHere = { ...this.town.head };
  readonly merges: (MergeHere & { readonly raw: Uint8Array })[] = [];
  readonly id = signerOf('alpha').id;
  readonly #counter = new MessageCounter();
  #notes = 0;

  constructor() {
    this.town.block('alpha', [this.town.entry('alpha', 'ada', 'member.found', {}, { cosigners: ['alpha'] })]);
    this.merge();
  }

  get blocks() {
    return this.town.branches.get('alpha')?.blocks ?? [];
  }

  write(): void {
    const body = { key: `n${(this.#notes += 1) % 50}`, value: this.#notes } as JsonObject;
    this.town.block('alpha', [this.town.entry('alpha', 'ada', 'notes.put', body)]);
  }

  merge(): void {
    const { merge } = this.town.merge();
    this.merges.push({ height: merge.height, id: merge.id, oid: merge.oid, raw: merge.raw });
  }

  /** @returns topic and text */
  say(kind: string, to: NodeId | null, body: object, now: number): readonly [string, string] {
    const topic = to === null ? headsTopic(this.town.town, this.id) : directTopic(this.town.town, to);
    const content = {
      from: this.id,
      to,
      counter: this.#counter.next(now),
      at: now,
      expires: now + 60_000,
      kind,
    };
    const keys = { town: this.town.town, townKey, secretKey: signerOf('alpha').secretKey };
    return [topic, sealMessage({ ...content, body: body as JsonObject }, topic, keys, dice.bytes(12))];
  }

  heads(now: number): readonly [string, string] {
    const last = this.blocks[this.blocks.length - 1];
    const { height, id } = this.town.head;
    const tips = last ? { [this.id]: { seq: last.seq, head: last.id } } : {};
    return this.say('heads', null, { height, main: id, tips }, now);
  }

  answer(body: WantBody): HaveBody | null {
    if ('merges' in body) {
      const { from, to } = body.merges;
      const wanted = this.merges.filter(({ height }) => height >= from && height <= to);
      const { packed } = packMerges(wanted.map(({ raw }) => ({ raw, certificate: '{}' })));
      return { merges: { from, packed } };
    }
    if (!('blocks' in body) || body.blocks.node !== this.id) return null;
    const { node, from, to } = body.blocks;
    const raw = this.blocks
      .slice(from - 1, to)
      .map((block) => ({ raw: block.raw, entries: Buffer.from(entriesText(block.entries)) }));
    return { blocks: { node, from, packed: packBlocks(raw).packed } };
  }
}

const dice = new Dice(SEED);
const townKey = Buffer.alloc(32, 5);
const keyOf = (name: string): KeyId => publicKeyOf(secretOf(name));
const signerOf = (name: string): Signer => ({ id: nodeIdOf(keyOf(name)), secretKey: secretOf(name) });

function consensus(message: Message, keys: ReadonlyMap<NodeId, KeyId>): string | null {
  const read = readConsensus(message);
  const key = keys.get(message.from) as KeyId;
  if (read.t === 'vote') return verifyVote(read.vote, key) ? null : 'bad-vote';
  return verifyProposal(read.proposal, read.bytes, key) ? null : 'bad-proposal';
}

t.test(`${MESSAGES} pieces of garbage are refused by name, and the honest get on`, async (t) => {
  t.comment(`GARBAGE_SEED=${SEED}`);
  const honest = new Honest();
  const { town } = honest.town;
  const keys = new Map(['alpha', 'beta', 'gamma'].map((name) => [signerOf(name).id, keyOf(name)] as const));
  const self = signerOf('beta').id;
  const liar = signerOf('gamma');
  const node = new ListeningNode({
    ...{ self, town, townKey, keys },
    genesis: honest.genesis,
    proven: ({ raw }: RawMerge) => honest.merges.find(({ id }) => id === sha256(raw)) ?? null,
    consensus: (message) => consensus(message, keys),
  });
  const overheard: { topic: string; payload: Buffer }[] = [];
  const garbage: GarbageMaker = new GarbageMaker({
    ...{ dice, town, townKey, victim: self, liar, stranger: signerOf('stranger'), honest: honest.id },
    now: () => node.now,
    overheard: () => overheard,
    asked: () => {
      const { wants, following } = node.state;
      const waits = [...wants.values()].filter(({ phase }) => phase === 'asked');
      const found = [...waits, ...following.values()].find(({ peer }) => peer === liar.id);
      if (found === undefined) return null;
      const isBehind = !('phase' in found);
      const { body } = found;
      if ('merges' in body) return { kind: 'merges', node: liar.id, from: body.merges.from, isBehind };
      if (!('blocks' in body)) return null;
      return { kind: 'blocks', node: body.blocks.node as NodeId, from: body.blocks.from, isBehind };
    },
    blocks: () => honest.blocks,
    main: () => honest.town.head,
  });
  const hear = ([topic, text]: readonly [string, string], retain = false): void => {
    overheard.push({ topic, payload: Buffer.from(text) });
    if (overheard.length > 40) overheard.shift();
    node.hear(garbage.packet(topic, text, { retain }));
  };
  const answerAll = (): void => {
    for (let at = 0; (at = node.asked.findIndex(({ to }) => to === honest.id)) >= 0;) {
      const { body } = node.asked.splice(at, 1)[0] as { body: WantBody };
      const have = honest.answer(body);
      if (have !== null) hear(honest.say('have', self, have, node.now));
    }
  };
  const goOn = (): void => {
    hear(honest.heads(node.now));
    answerAll();
  };
  goOn();

  const counted = new Map<string, Map<string, number>>();
  const wrong: string[] = [];
  let before = 0;
  let waited = 0;
  const began = Date.now();
  for (let i = 0; i < MESSAGES; i += 1) {
    node.now += 700;
    if (i % 200 === 0) honest.write();
    if (i % 2_000 === 0) honest.merge();
    if (i % 50 === 0) goOn();
    if (i === Math.floor(MESSAGES / 5)) before = await bytesHeld();
    const { kind, line, ends } = garbage.next();
    const then = node.refusals();
    // As the line cuts it.
    const cut = dice.next() < 0.1 ? dice.below(line.length) : 0;
    if (node.hear(line.subarray(0, cut))) node.hear(line.subarray(cut));
    const codes = [...node.refusals()]
      .filter(([code, count]) => count > (then.get(code) ?? 0))
      .map(([code]) => code);
    const end = codes.join('+') || 'taken';
    if (!ends.includes(end) && wrong.length < 20)
      wrong.push(`${i} ${kind}: ${end}, not ${ends.join(' or ')}`);
    const of = counted.get(kind) ?? new Map<string, number>();
    counted.set(kind, of.set(end, (of.get(end) ?? 0) + 1));
    waited = Math.max(waited, node.bytesWaiting());
    answerAll();
  }
  const seconds = (Date.now() - began) / 1000;
  const grown = ((await bytesHeld()) - before) / MIB;
  t.same(wrong, [], 'each by one of the names that it may have');
  for (const [kind, ends] of [...counted].sort())
    t.comment(`${kind}: ${[...ends].map(([end, count]) => `${end} ${count}`).join(', ')}`);
  const refused = [...node.refusals()].sort(([, a], [, b]) => b - a);
  t.comment(`refused: ${refused.map(([code, count]) => `${code} ${count}`).join(', ')}`);
  t.comment(
    `${seconds.toFixed(1)} s, ${grown.toFixed(1)} MiB more, at most ${(waited / 1024).toFixed(0)} KiB waited unbelieved`,
  );
  const named = [
    'not-sealed',
    'malformed',
    'replayed',
    'other-topic',
    'bad-signature',
    'misaddressed',
    'unknown-node',
    'expired',
    'retained-command',
    'too-large',
    'unsolicited',
    'bad-batch',
    'batch-too-large',
    'other-branch',
    'gap',
    'bad-certificate',
    'bad-vote',
    'not-mqtt',
  ];
  const absent = named.filter((code) => !node.refusals().has(code));
  t.same(MESSAGES >= 20_000 ? absent : [], [], 'every name was needed');
  t.ok(grown < 48, `in bounded memory: ${grown} MiB more`);
  t.ok(node.state.answering.size <= 64 && node.state.peers.size <= 3 && node.state.failures.size < 64);

  for (let i = 0; i < 5; i += 1) {
    node.now += 120_000;
    node.feed({ t: 'tick' });
    goOn();
  }
  t.same(
    node.reached(honest.id),
    { main: honest.town.head.id, seq: honest.blocks.length },
    'all that the honest one wrote is here',
  );
  t.ok(honest.merges.length > MESSAGES / 2_000);
  t.equal(node.reached(liar.id).seq, 0, 'and nothing of the liar');
});

t.test('packets of ever other lengths leave nothing behind', async (t) => {
  const before = await bytesHeld();
  for (let length = 1; length < 16_000; length += 1) {
    generate({
      cmd: 'publish',
      topic: 't',
      payload: Buffer.alloc(length),
      qos: 0,
      retain: false,
      dup: false,
    });
    // What else a daemon has in its hands meanwhile.
    for (let i = 0; i < 4; i += 1) Buffer.allocUnsafe(2_000);
  }
  const grown = ((await bytesHeld()) - before) / MIB;
  t.ok(grown < 10, `${grown.toFixed(1)} MiB are kept of 16,000 packets that are gone`);
});

t.test('a broker that sends what no broker sends fills no memory, and is asked again', async (t) => {
  let connections = 0;
  let sent = 0;
  let most = 0;
  const waiting = new Map<Socket, () => void>();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    connections += 1;
    const turn = connections;
    const parser = mqttParser({ protocolVersion: 4 });
    socket.on('error', () => undefined);
    for (const event of ['drain', 'close']) socket.on(event, () => waiting.get(socket)?.());
    socket.on('data', (chunk: Buffer) => void parser.parse(chunk));
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd === 'connect')
        socket.write(generate({ cmd: 'connack', returnCode: 0, sessionPresent: false }));
      if (packet.cmd !== 'subscribe') return;
      socket.write(
        generate({
          cmd: 'suback',
          messageId: packet.messageId as number,
          granted: packet.subscriptions.map(() => 1),
        }),
      );
      if (turn === 1) void twice(socket);
      else if (turn < 8) socket.write(Buffer.concat([Buffer.from([0x36, 3, 0, 1, 97]), dice.bytes(5_000)]));
    });
  });
  /** Messages that are to be kept until the broker says that they count; it never does. */
  const twice = async (socket: Socket): Promise<void> => {
    const payload = dice.bytes(200_000);
    for (let messageId = 1; messageId <= 600 && !socket.destroyed; messageId += 1) {
      sent += 1;
      const packet = generate({
        cmd: 'publish',
        topic: 'mergetown/x',
        payload,
        qos: 2,
        retain: false,
        dup: false,
        messageId,
      });
      if (!socket.write(packet)) await new Promise((resolve) => waiting.set(socket, resolve as () => void));
    }
    most = Math.max(most, await bytesHeld());
    socket.destroy();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  let connected = 0;
  const before = await bytesHeld();
  const transport = new MqttTransport({
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    subscriptions: ['mergetown/#'],
    reconnectMs: 20,
    events: {
      connected: () => void (connected += 1),
      disconnected: () => undefined,
      delivered: () => undefined,
      tooLarge: () => undefined,
    },
  });
  t.teardown(async () => {
    await transport.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  transport.start();
  await eventually('it came back', () => connections >= 2, { withinMs: 300_000 });
  const grown = (most - before) / MIB;
  t.comment(`${sent} messages of quality 2, ${grown.toFixed(1)} MiB more`);
  t.ok(grown < 16, `in bounded memory: ${grown} MiB`);
  await eventually(
    'it is asked again and again, and heard when it behaves',
    () => connected >= 2 && connections >= 8,
    {
      withinMs: 300_000,
    },
  );
});
