/** A node of the charter that lies, a stranger, and a broker that lies: refused by name, in bounds, and the town goes on. */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Aedes } from 'aedes';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { valueIdOf, signVote } from '../consensus/vote.js';
import { signProposal } from '../consensus/proposal.js';
import type { JsonObject, Millis, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { makeMerge } from '../ledger/merge.js';
import { consensusTopic, directTopic, headsTopic, MESSAGE_BYTES_MAX } from '../sync/message.js';
import { agree, genesisOf, keysOf, until } from './testing/core-town.js';
import { goOn, hash, headsOf, NAMES, refusedBy, stranger, townWithLiar } from './testing/hostile-town.js';

t.setTimeout(600_000);

t.test('whatever comes on the topics of the town is refused by name', async (t) => {
  const direct = directTopic(genesisOf(NAMES).merge.content, keysOf('alpha').id);
  const { alpha, beta, gamma, all, town } = await townWithLiar(t, {
    before: async (gamma) => {
      await gamma.publish(
        direct,
        gamma.seal(direct, 'want', { merges: { from: 1, to: 1 } }, { to: keysOf('alpha').id }),
        true,
      );
    },
  });
  t.equal(alpha.refused()['retained-command'], 1, 'a command that the broker kept');
  const mine = headsTopic(town, gamma.keys.id);
  const validators = consensusTopic(town);
  const node = alpha.keys.id;
  const body = { merges: { from: 1, to: 1 } };

  for (const topic of [mine, direct, validators])
    for (const junk of [randomBytes(5000), Buffer.from('{"enc":1}'), Buffer.from('null'), '[]', '{', '\0'])
      await refusedBy([alpha], 'not-sealed', () => gamma.publish(topic, junk));
  await gamma.publish(validators, '');
  await gamma.publish(direct, '');
  await refusedBy(all, 'other-topic', () =>
    gamma.publish(`mergetown/${town.slice(0, 16)}/heads/nobody`, 'x'),
  );
  await refusedBy(all, 'not-sealed', () =>
    gamma.publish(validators, gamma.seal(validators, 'vote', {}, { townKey: randomBytes(32) })),
  );
  await refusedBy(all, 'unknown-node', () => {
    const topic = headsTopic(town, stranger.id);
    const { id, secretKey } = stranger;
    return gamma.publish(topic, gamma.seal(topic, 'heads', headsOf(alpha) as never, { from: id, secretKey }));
  });
  const { secretKey } = stranger;
  await refusedBy([alpha], 'bad-signature', () => gamma.tell(node, 'want', body, { secretKey }));
  await refusedBy([alpha], 'bad-signature', () =>
    gamma.tell(node, 'want', body, { town: hash('elsewhere') }),
  );
  await refusedBy([alpha], 'bad-signature', () => gamma.tell(node, 'want', body, { from: beta.keys.id }));
  await refusedBy([alpha], 'misaddressed', () => gamma.tell(node, 'want', body, { to: beta.keys.id }));
  await refusedBy(all, 'misaddressed', () => gamma.declare('vote', {}, { to: node }));
  await refusedBy(all, 'misaddressed', () => {
    const topic = headsTopic(town, beta.keys.id);
    return gamma.publish(topic, gamma.seal(topic, 'heads', headsOf(alpha) as never));
  });
  await refusedBy([alpha], 'not-sealed', () =>
    gamma.publish(direct, gamma.seal(directTopic(town, beta.keys.id), 'want', body, { to: beta.keys.id })),
  );
  const past = Date.now() - 3_600_000;
  await refusedBy([alpha], 'expired', () => gamma.tell(node, 'want', body, { at: past }));
  await refusedBy([alpha], 'malformed', () => gamma.tell(node, 'want', body, { expires: Date.now() + 1e9 }));
  await refusedBy([alpha], 'malformed', () => gamma.tell(node, 'want', body, { more: { cc: 'all' } }));
  await refusedBy([alpha], 'malformed', () => gamma.tell(node, 'Want', body));
  await refusedBy([alpha], 'malformed', () => gamma.tell(node, 'obey', {}));
  await refusedBy([alpha], 'malformed', () => gamma.tell(node, 'want', []));
  const twice = gamma.seal(mine, 'heads', headsOf(alpha) as never);
  await refusedBy(all, 'replayed', async () => {
    await gamma.publish(mine, twice);
    await gamma.publish(mine, twice);
  });

  const tips = (value: unknown): JsonObject => ({ height: 1, main: hash('x'), tips: value as never });
  const odd: [string, JsonObject][] = [
    ['heads', tips(null)],
    ['heads', tips([])],
    ['heads', tips({ nobody: { seq: 1, head: hash('x') } })],
    ['heads', tips({ [node]: { seq: 0, head: hash('x') } })],
    ['heads', tips({ [node]: { seq: 1e300, head: hash('x') } })],
    ['heads', tips({ [node]: { seq: 1, head: hash('x'), more: 1 } })],
    ['heads', tips(JSON.parse(`{"__proto__":{"seq":1,"head":"${hash('x')}"}}`))],
    [
      'heads',
      tips(
        Object.fromEntries(
          Array.from({ length: 1001 }, (_, i) => [`${i}`.padStart(16, '0'), { seq: 1, head: hash('x') }]),
        ),
      ),
    ],
    ['want', {}],
    ['want', { merges: { from: 0, to: 1 } }],
    ['want', { merges: { from: 1, to: 65 } }],
    ['want', { blocks: { node, from: 5, to: 4 } }],
    ['want', { blocks: { node, from: 1, to: 257 } }],
    ['want', { blocks: { node: 'x', from: 1, to: 2 } }],
    ['have', { merges: { from: 1 } }],
    ['have', { merges: { from: 1, packed: 7 } }],
    ['have', { blocks: { node, from: 1, packed: 'x'.repeat(190_001) } }],
  ];
  for (const [kind, value] of odd)
    await refusedBy([alpha], 'malformed', () =>
      kind === 'heads' ? gamma.publish(mine, gamma.seal(mine, kind, value)) : gamma.tell(node, kind, value),
    );
  await refusedBy([alpha], 'unsolicited', () =>
    gamma.tell(node, 'have', { merges: { from: 1, packed: 'AAAA' } }),
  );
  await gamma.leave();
  await goOn(t, all);
});

t.test('votes and proposals that nobody signed, or none of the validators, count for nothing', async (t) => {
  const { alpha, gamma, all, town } = await townWithLiar(t);
  const at = () => ({
    town,
    line: 'main',
    epoch: 0,
    height: alpha.head.height + 1,
    round: 0,
    parent: alpha.head.id,
  });
  const { id, secretKey } = gamma.keys;
  const vote = (change: object, signer = gamma.keys) =>
    ({
      ...signVote(
        { ...at(), step: 'precommit', value: hash('v'), ...change } as never,
        signer.id,
        signer.secretKey,
      ),
    }) as JsonObject;
  await refusedBy(all, 'bad-vote', () => gamma.declare('vote', { vote: { ...vote({}), round: 1 } }));
  await refusedBy(all, 'bad-vote', () =>
    gamma.declare('vote', { vote: { ...vote({}), node: alpha.keys.id } }),
  );
  await refusedBy(all, 'bad-vote', () => gamma.declare('vote', { vote: vote({ step: 'propose' }) }));
  await refusedBy(all, 'not-a-validator', () => gamma.declare('vote', { vote: vote({}, stranger) }));
  const bytes = Buffer.from('no merge at all');
  const proposal = (change: object, signer = gamma.keys) =>
    ({
      ...signProposal(
        { ...at(), validRound: -1, value: valueIdOf(bytes), ...change } as never,
        signer.id,
        signer.secretKey,
      ),
    }) as JsonObject;
  const sent = (value: JsonObject, text = bytes.toString('base64')) =>
    gamma.declare('proposal', { proposal: value, bytes: text });
  await refusedBy(all, 'bad-proposal', () => sent({ ...proposal({}), round: 3 }));
  await refusedBy(all, 'bad-proposal', () => sent(proposal({}), 'other bytes'));
  await refusedBy(all, 'bad-proposal', () => sent(proposal({ validRound: 0 })));
  await refusedBy(all, 'not-a-validator', () => sent(proposal({}, stranger)));
  const odd: [string, JsonObject][] = [
    ['vote', {}],
    ['vote', { vote: [] }],
    ['vote', { vote: {} }],
    ['vote', { vote: { ...vote({}), node: { toString: 1, valueOf: 2 } } }],
    ['vote', { vote: { ...vote({}), node: '__proto__' } }],
    ['vote', { vote: { ...vote({}), node: 7 } }],
    ['proposal', { proposal: { ...proposal({}), node: { toString: null } }, bytes: '' }],
    ['proposal', { proposal: proposal({}) }],
    ['proposal', { proposal: proposal({}), bytes: {} }],
    ['decree', { decree: {} }],
  ];
  const counted = (): number => Object.values(alpha.refused()).reduce((sum, count) => sum + count, 0);
  for (const [kind, body] of odd) {
    const before = counted();
    await gamma.declare(kind, body);
    await until(`${kind} ${JSON.stringify(body)} refused`, () => counted() > before, [alpha], 90_000);
  }
  // Of other heights: who is late or ahead says such things too. They are passed over, and nothing comes of them.
  const { head } = alpha;
  for (const height of [1, head.height, head.height + 2, 1_000_000, Number.MAX_SAFE_INTEGER]) {
    await gamma.declare('vote', { vote: vote({ height }) });
    await sent(proposal({ height }));
  }
  for (const round of [1, 7, 1_000_000_000]) await gamma.declare('vote', { vote: vote({ round }) });
  await gamma.declare('vote', { vote: vote({ parent: hash('other') }) });
  await sleep(300);
  t.same(alpha.head, head, 'main is where it was');
  await goOn(t, all);
  t.equal(id, keysOf('gamma').id);
  t.ok(secretKey.length);
});

t.test('what the proposer proposes is held against what the others arrive at', async (t) => {
  const { alpha, gamma, all, town } = await townWithLiar(t);
  const turnOfGamma = (): boolean => (alpha.head.height + 1) % NAMES.length === NAMES.indexOf('gamma');
  const result = { writes: [], testedBy: [], receipt: { height: 0, entries: [], expired: [], notices: [] } };
  const forged = (heads: readonly Sha256[], change: object = {}): Uint8Array => {
    const { main } = alpha.core;
    const place = {
      town,
      line: 'main',
      height: main.head.height + 1,
      time: Date.now() as Millis,
      parent: main.head.id,
    };
    const oids = [
      ...new Set(heads.map((head) => alpha.store.block(head)?.oid ?? hash(head).slice(0, 40))),
    ] as Oid[];
    const all = { ...place, heads, node: gamma.keys.id, ...change };
    return makeMerge(all, { main: main.head.oid, heads: oids }, main.tree, result, gamma.keys.secretKey).merge
      .raw;
  };
  const last = (): Sha256 => alpha.store.lastBlock(alpha.keys.id, 'main')?.id as Sha256;
  const lies: [string, () => Uint8Array][] = [
    ['no merge at all', () => Buffer.from('tree of lies')],
    ['of no block', () => forged([])],
    ['of a block that is merged already', () => forged([last()])],
    ['of one block twice', () => forged([last(), last()])],
    ['of a block that nobody has', () => forged([hash('block')])],
    ['of the past', () => forged([last()], { time: 1 })],
    ['of another town', () => forged([last()], { town: hash('town') })],
    ['of another height', () => forged([last()], { height: 1 })],
  ];
  for (const [what, bytesOf] of lies) {
    while (!turnOfGamma()) await goOn(t, all, /bad-merge|bad-commit|content-differs|equivocation/);
    // It is there: it is waited for.
    await gamma.heads(headsOf(alpha));
    const bytes = bytesOf();
    const { head } = alpha;
    const place = { town, line: 'main', epoch: 0, height: head.height + 1, round: 0, parent: head.id };
    const proposal = signProposal(
      { ...place, validRound: -1, value: valueIdOf(bytes) },
      gamma.keys.id,
      gamma.keys.secretKey,
    );
    await gamma.declare('proposal', {
      proposal: proposal as never,
      bytes: Buffer.from(bytes).toString('base64'),
    });
    await gamma.leave();
    t.comment(what);
    await goOn(t, all, /bad-merge|bad-commit|content-differs|equivocation/);
    t.not(alpha.store.merge(head.height + 1)?.node, gamma.keys.id, `a merge ${what} is not adopted`);
  }
});

t.test('a flood is refused in bounded time and memory, and the town goes on', async (t) => {
  const { alpha, gamma, all, town } = await townWithLiar(t);
  for (let i = 0; i < 60; i += 1)
    await alpha.claim('ada', 'notes.put', { key: `f${i}`, value: randomBytes(3000).toString('base64') });
  await alpha.core.merger.mergeNow();
  await until('a town with something in it', () => agree(all), all);
  let sent = 0;
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const bytes = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = bytes();
  const began = Date.now();
  const node = alpha.keys.id;
  const { height } = alpha.head;
  const mine = headsTopic(town, gamma.keys.id);
  const junk = [randomBytes(100_000), randomBytes(200), Buffer.from('{'.repeat(50_000)), Buffer.from('[1]')];
  const floods: (() => Promise<unknown>)[] = [
    () => gamma.publish(directTopic(town, node), junk[sent % 4] as Buffer),
    () => gamma.tell(node, 'want', { blocks: { node, from: 1, to: 200 } }),
    () => gamma.tell(node, 'want', { merges: { from: 1, to: height } }),
    () => gamma.tell(node, 'have', { blocks: { node: gamma.keys.id, from: 1, packed: 'A'.repeat(100_000) } }),
    () =>
      gamma.publish(
        mine,
        gamma.seal(
          mine,
          'heads',
          headsOf(alpha, { [gamma.keys.id]: { seq: 7, head: hash(`${sent}`) } }, 3) as never,
        ),
      ),
    () => gamma.declare('vote', { vote: { sig: `${sent}` } }),
    () => gamma.declare('proposal', { proposal: { node: gamma.keys.id }, bytes: 'A'.repeat(100_000) }),
    () => gamma.publish(headsTopic(town, `${sent}`.padStart(16, '0') as NodeId), 'x'),
  ];
  let tick = Date.now();
  let slowest = 0;
  const pulse = setInterval(() => {
    slowest = Math.max(slowest, Date.now() - tick);
    tick = Date.now();
  }, 20);
  for (let i = 0; i < 2000; i += 20) {
    await Promise.all(
      Array.from({ length: 20 }, () => {
        sent += 1;
        return (floods[sent % floods.length] as () => Promise<unknown>)();
      }),
    );
    if (i % 400 === 0) await alpha.claim('ada', 'notes.put', { key: `under-${i}`, value: 1 });
  }
  clearInterval(pulse);
  const seconds = (Date.now() - began) / 1000;
  await gamma.leave();
  await goOn(t, all);
  const grown = (bytes() - before) / 1024 / 1024;
  t.comment(
    `2,000 messages in ${seconds.toFixed(1)} s, the loop held for ${slowest} ms at most, ${grown.toFixed(0)} MiB more`,
  );
  t.ok(seconds < 120, `in bounded time: ${seconds} s`);
  t.ok(grown < 64, `in bounded memory: ${grown} MiB`);
  t.ok(all.every(({ peering }) => peering.refusals().length <= 64));
});

t.test('a broker that lies is not believed', async (t) => {
  const aedes = await Aedes.createBroker();
  const seen: { topic: string; payload: Buffer }[] = [];
  aedes.on('publish', ({ topic, payload }) => {
    if (topic.startsWith('mergetown/') && seen.length < 500 && payload.length > 0)
      seen.push({ topic, payload: Buffer.from(payload) });
  });
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((socket) => {
    sockets.add(socket);
    aedes.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    await new Promise<void>((resolve) => aedes.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  const { alpha, all, town } = await townWithLiar(t, { url: `mqtt://127.0.0.1:${port}` });
  const say = (topic: string, payload: Buffer, retain = false): Promise<void> =>
    new Promise((resolve, reject) =>
      aedes.publish({ cmd: 'publish', topic, payload, qos: 1, retain, dup: false }, (error) =>
        error ? reject(error) : resolve(),
      ),
    );
  await goOn(t, all);
  const known = seen.splice(0);
  await refusedBy(all, 'replayed', async () => {
    for (const { topic, payload } of known) await say(topic, payload);
  });
  await refusedBy(all, 'not-sealed', async () => {
    for (const { topic, payload } of known) {
      const flipped = Buffer.from(payload);
      flipped[flipped.length >> 1] = (flipped[flipped.length >> 1] as number) ^ 4;
      await say(topic, flipped);
    }
  });
  const topics = [
    consensusTopic(town),
    directTopic(town, alpha.keys.id),
    headsTopic(town, keysOf('beta').id),
  ];
  for (const topic of topics) for (const { payload } of known.slice(0, 20)) await say(topic, payload, true);
  for (const size of [MESSAGE_BYTES_MAX + 1, 4_000_000])
    await refusedBy(all, 'too-large', () => say(consensusTopic(town), Buffer.alloc(size, 0x20)));
  await say(headsTopic(town, keysOf('beta').id), Buffer.alloc(0), true);
  await say(headsTopic(town, alpha.keys.id), Buffer.alloc(0), true);
  await goOn(t, all);
  // It throws everybody out, and keeps junk for who comes back.
  for (const socket of sockets) socket.destroy();
  await until('they are back', () => all.every(({ peering }) => peering.isOnline), all);
  await goOn(t, all);
});
