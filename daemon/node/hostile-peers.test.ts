/** A node of the charter that lies, a stranger, and a broker that lies: refused by name, in bounds, and the town goes on. */
import { deflateSync } from 'node:zlib';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Aedes } from 'aedes';
import t, { type Test } from 'tap';
import { valueIdOf, signVote } from '../consensus/vote.js';
import { signProposal } from '../consensus/proposal.js';
import { sha256 } from '../ledger/hash.js';
import type { JsonObject, Millis, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { makeMerge } from '../ledger/merge.js';
import { packMerges } from '../sync/block-batch.js';
import type { HaveBody, HeadsBody } from '../sync/bodies.js';
import { startBroker } from '../sync/broker.js';
import { consensusTopic, directTopic, headsTopic, MESSAGE_BYTES_MAX } from '../sync/message.js';
import { agree, CoreNode, genesisOf, keysOf, scratchFolder, until } from './testing/core-town.js';
import { certify, HostileNode, placeOf, rawOf, tipOf } from './testing/hostile-node.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];
const hash = (word: string): Sha256 => sha256(word);
const stranger = keysOf('stranger');

/** The real nodes alpha and beta, and gamma, whom the test plays. */
async function townWithLiar(
  t: Test,
  { url, before }: { url?: string; before?: (gamma: HostileNode) => Promise<void> } = {},
) {
  const folder = scratchFolder();
  const broker = url === undefined ? await startBroker(0) : null;
  const address = url ?? `mqtt://127.0.0.1:${broker?.port}`;
  const genesis = genesisOf(NAMES);
  const town = genesis.merge.content;
  const gamma = await HostileNode.open('gamma', town, address, NAMES);
  await before?.(gamma);
  const start = (name: string): Promise<CoreNode> =>
    CoreNode.start({ folder: join(folder.path, name), name, genesis, url: address });
  const [alpha, beta] = (await Promise.all(['alpha', 'beta'].map(start))) as [CoreNode, CoreNode];
  const all = [alpha, beta];
  t.teardown(async () => {
    for (const node of all) await node.stop();
    await gamma.client.endAsync(true);
    await broker?.close();
    folder.remove();
  });
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await until('the founding', () => agree(all) && alpha.head.height > 0, all);
  return { alpha, beta, gamma, all, town, url: address };
}

let notes = 0;

/** Both record something, merge it, and complain of nothing but what they should. */
async function goOn(t: Test, all: readonly CoreNode[], alarms: RegExp | null = null): Promise<void> {
  const heights = all.map(({ head }) => head.height);
  const keys = await Promise.all(
    all.map(async (node) => {
      const key = `on-${(notes += 1)}`;
      await node.claim('ada', 'notes.put', { key, value: notes });
      return key;
    }),
  );
  const merged = (): boolean => keys.every((key) => all.every((node) => node.note(key) !== undefined));
  await until('the town to go on', () => merged() && new Set(all.map(({ head }) => head.id)).size === 1, all);
  t.ok(
    all.every(({ head }, i) => head.height > (heights[i] as number)),
    'the nodes go on merging',
  );
  const undeserved = all.flatMap((node) => node.alarms).filter((alarm) => !alarms?.test(alarm));
  t.same(undeserved, [], 'no alarm that is not deserved');
}

const countOf = (node: CoreNode, code: string): number => node.refused()[code] ?? 0;

/** Does something, and waits until each of these nodes has refused something by that name. */
async function refusedBy(nodes: readonly CoreNode[], code: string, act: () => unknown): Promise<void> {
  const before = nodes.map((node) => countOf(node, code));
  await act();
  const all = (): boolean => nodes.every((node, i) => countOf(node, code) > (before[i] as number));
  await until(`a refusal ${code}`, all, nodes, 20_000);
}

/** As people do with `town sync`: who failed before is asked again at once. */
function syncAll(nodes: readonly CoreNode[]): void {
  for (const { peering } of nodes) void peering.syncNow();
}

const headsOf = ({ head }: CoreNode, tips: HeadsBody['tips'] = {}, more = 0): HeadsBody => ({
  height: head.height + more,
  main: more > 0 ? hash('a promise') : head.id,
  tips,
});

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
    await until(`${kind} ${JSON.stringify(body)} refused`, () => counted() > before, [alpha], 10_000);
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

t.test('heads that promise what is not there are asked for, then ever more rarely', async (t) => {
  const { alpha, beta, gamma, all, town } = await townWithLiar(t);
  const promise = headsOf(alpha, { [gamma.keys.id]: { seq: 500, head: hash('gone') } }, 1000);
  await gamma.heads(promise);
  await until('both asked', () => gamma.wants.length >= 4, all);
  await sleep(3000);
  t.equal(
    gamma.wants.length,
    4,
    'each asked once for the merges and once for the branch, and waits for an answer',
  );
  gamma.wants.length = 0;
  gamma.answer = (want): HaveBody =>
    'merges' in want
      ? { merges: { from: want.merges.from, packed: 'junk' } }
      : { blocks: { node: want.blocks.node, from: want.blocks.from, packed: 'junk' } };
  await until('the first to be asked again', () => gamma.wants.length >= 4, all, 20_000);
  // A stranger at the broker takes their heads back again and again; gamma tells its own as often as it can.
  for (let i = 0; i < 24; i += 1) {
    await gamma.publish(headsTopic(town, alpha.keys.id), '', true);
    await gamma.heads(promise);
    await sleep(250);
  }
  const most = Math.max(
    ...all.flatMap(({ keys }) =>
      ['blocks', 'merges'].map(
        (what) => gamma.wants.filter(({ from, body }) => from === keys.id && what in body).length,
      ),
    ),
  );
  t.ok(most <= 3, `in six seconds of junk each thing is asked for at most three times (${most})`);
  t.ok((alpha.refused()['bad-batch'] ?? 0) >= 2 && (beta.refused()['bad-batch'] ?? 0) >= 2);
  await gamma.leave();
  await goOn(t, all);
});

t.test('of the branch that a liar offers, nothing is taken but what holds', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const at = (): ReturnType<typeof placeOf> => placeOf(alpha);
  const me = gamma.keys.id;
  /** The answer to the next want of gamma's branch, whoever asks. */
  const offer = async (tip: { seq: number; id: Sha256 }, answer: HaveBody): Promise<void> => {
    gamma.answer = (want) => ('blocks' in want ? answer : null);
    await gamma.heads(headsOf(alpha, { [me]: tipOf(tip) }));
  };
  let last = gamma.block(null, at(), [gamma.entry('notes.put', { key: 'g', value: 1 }, at().id)]);
  await offer(last, gamma.blocks(1, [rawOf(last)]));
  const has = (): boolean => all.every(({ store }) => store.block(last.id) !== null);
  await until('its first block', has, all);
  const flipped = (bytes: Uint8Array, i: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[i] = (copy[i] as number) ^ 1;
    return copy;
  };
  const next = (n?: number) =>
    gamma.block(last, at(), [
      gamma.entry('notes.put', { key: 'g', value: 2 }, at().id, n === undefined ? {} : { n }),
    ]);
  const own = alpha.store.lastBlock(alpha.keys.id, 'main');
  const foreign = { raw: own?.raw as Uint8Array, entries: Buffer.from('{}\n') };
  const packed = (bytes: Buffer): HaveBody => ({
    blocks: { node: me, from: last.seq + 1, packed: bytes.toString('base64') },
  });
  const lies: [string, () => HaveBody][] = [
    [
      'bad-signature',
      () => {
        const { raw, entries } = rawOf(next());
        return gamma.blocks(last.seq + 1, [
          { raw: flipped(raw, Buffer.from(raw).indexOf('notes.put')), entries },
        ]);
      },
    ],
    [
      'bad-signature',
      () => {
        const { raw, entries } = rawOf(next());
        const text = Buffer.from(entries).toString().replace('"value":2', '"value":3');
        return gamma.blocks(last.seq + 1, [{ raw, entries: Buffer.from(text) }]);
      },
    ],
    ['bad-block', () => gamma.blocks(last.seq + 1, [{ ...rawOf(next()), entries: rawOf(next()).entries }])],
    [
      'bad-signature',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(
            gamma.block(last, at(), [gamma.entry('notes.put', {}, at().id)], {
              secretKey: stranger.secretKey,
            }),
          ),
        ]),
    ],
    [
      'gap',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(gamma.block(next(), at(), [gamma.entry('notes.put', {}, at().id)])),
        ]),
    ],
    ['other-branch', () => gamma.blocks(last.seq + 1, [foreign])],
    [
      'other-predecessor',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(gamma.block(last, at(), [gamma.entry('notes.put', {}, at().id)], { prev: hash('other') })),
        ]),
    ],
    [
      'bad-signature',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(
            gamma.block(last, { ...at(), id: hash('no merge') }, [gamma.entry('notes.put', {}, at().id)], {
              secretKey: stranger.secretKey,
            }),
          ),
        ]),
    ],
    [
      'unknown-base',
      () =>
        gamma.blocks(last.seq + 1, [
          rawOf(gamma.block(last, at(), [gamma.entry('notes.put', {}, hash('no merge'))])),
        ]),
    ],
    ['duplicate-entry', () => gamma.blocks(last.seq + 1, [rawOf(next(1))])],
    ['batch-too-large', () => packed(deflateSync(Buffer.alloc(100_000_000, 0x20)))],
    ['bad-batch', () => packed(deflateSync(Buffer.from('{"raw":"","entries":"","more":1}\n')))],
    ['bad-batch', () => packed(deflateSync(Buffer.from('[]\n')))],
    ['bad-batch', () => packed(randomBytes(50_000))],
    [
      'bad-commit',
      () => gamma.blocks(last.seq + 1, [{ raw: Buffer.from('tree'), entries: Buffer.from('\n') }]),
    ],
  ];
  for (const [code, lie] of lies) {
    t.comment(code);
    const answer = lie();
    syncAll(all);
    await refusedBy(all, code, () => offer({ seq: last.seq + 5, id: hash('further') }, answer));
    // What holds is taken as before.
    syncAll(all);
    const good = next();
    await offer(good, gamma.blocks(good.seq, [rawOf(good)]));
    last = good;
    await until('a good block after it', has, all, 20_000);
  }
  await gamma.leave();
  await goOn(t, all);
});

t.test(
  'two blocks with one number are evidence, told to people; of that branch nothing more is taken',
  async (t) => {
    const { alpha, gamma, all } = await townWithLiar(t);
    const me = gamma.keys.id;
    const block = (key: string) =>
      gamma.block(null, placeOf(alpha), [gamma.entry('notes.put', { key, value: 1 }, alpha.head.id)]);
    const [one, other] = [block('one'), block('other')];
    gamma.answer = () => gamma.blocks(1, [rawOf(one)]);
    await gamma.heads(headsOf(alpha, { [me]: tipOf(one) }));
    await until('the one', () => all.every(({ store }) => store.block(one.id) !== null), all);
    gamma.answer = () => gamma.blocks(1, [rawOf(other)]);
    await refusedBy(all, 'equivocation', () => gamma.heads(headsOf(alpha, { [me]: tipOf(other) })));
    t.ok(
      all.every(({ alarms }) => alarms.some((alarm) => alarm.startsWith('equivocation'))),
      'people are told',
    );
    gamma.wants.length = 0;
    await gamma.heads(headsOf(alpha, { [me]: { seq: 9, head: hash('more') } }));
    await sleep(1000);
    t.same(
      gamma.wants.filter(({ body }) => 'blocks' in body),
      [],
      'it is not asked for more',
    );
    await gamma.leave();
    await goOn(t, all, /equivocation|branches-differ/);
  },
);

t.test('a block on a merge that never comes waits within a bound, and nobody waits for it', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const me = gamma.keys.id;
  const stuck = gamma.block(null, { ...placeOf(alpha), id: hash('never') }, [
    gamma.entry('notes.put', {}, alpha.head.id),
  ]);
  gamma.answer = () => gamma.blocks(1, [rawOf(stuck)]);
  await gamma.heads(headsOf(alpha, { [me]: tipOf(stuck) }));
  await until('both asked', () => gamma.wants.length >= 2, all);
  await goOn(t, all);
  await goOn(t, all);
  t.equal(gamma.wants.length, 2, 'it is asked for once');
});

t.test('entries that a liar puts into sound blocks are judged, not stumbled over', async (t) => {
  const { alpha, gamma, all } = await townWithLiar(t);
  const base = alpha.head.id;
  const odd: [string, JsonObject][] = [
    ['constructor.put', {}],
    ['notes.constructor', {}],
    ['kernel.constructor', {}],
    ['nobody.knows', {}],
    ['notes.put', { key: { toString: 1 } }],
    ['notes.put', { key: '../../etc', value: null }],
    ['notes.forbid', { key: [] }],
    ['credit.transfer', { to: {}, amount: '7' }],
    ['credit.transfer', { to: '__proto__', amount: -1 }],
    ['member.found', {}],
    ['member.join', { invitation: {} }],
    ['member.join', { invitation: { town: 1, by: 'x', sig: {} } }],
    ['member.add-key', { key: 7 }],
    ['member.suspend', { member: { a: 1 } }],
    ['key.revoke', { key: null }],
    ['member.revoke-key', { key: {} }],
    ['charter.change', { set: { '/__proto__/x': 1 }, remove: ['/'] }],
    ['charter.change', { set: [], remove: {} }],
    ['allowance.open', { node: {}, amount: 1e15 }],
    ['evidence.equivocation', { first: {}, second: [] }],
  ];
  const entries = odd.map(([type, body], i) =>
    gamma.entry(type, body, base, { at: i % 2 === 0 ? 0 : Number.MAX_SAFE_INTEGER }),
  );
  const block = gamma.block(null, placeOf(alpha), entries);
  gamma.answer = (want) => ('blocks' in want ? gamma.blocks(1, [rawOf(block)]) : null);
  await gamma.heads(headsOf(alpha, { [gamma.keys.id]: tipOf(block) }));
  await until('its block', () => all.every(({ store }) => store.block(block.id) !== null), all);
  await gamma.leave();
  await goOn(t, all);
  await until(
    'all judged',
    () => entries.every(({ id }) => alpha.store.entry(id)?.state === 'rejected'),
    all,
  );
  t.match(alpha.store.entry(entries[0]?.id as never)?.code, /^[a-z-]+$/);
});

t.test('a merge without its proof is not taken, whatever else it has', async (t) => {
  const { alpha, beta, gamma, all, town } = await townWithLiar(t);
  const result = { writes: [], testedBy: [], receipt: { height: 0, entries: [], expired: [], notices: [] } };
  const next = (more = 1) => ({ town, height: alpha.head.height + more, parent: alpha.head.id });
  const raw = (): Uint8Array => {
    const { main } = alpha.core;
    const place = { ...next(), line: 'main', time: Date.now() as Millis, heads: [], node: gamma.keys.id };
    return makeMerge(place, { main: main.head.oid, heads: [] }, main.tree, result, gamma.keys.secretKey).merge
      .raw;
  };
  const offered = (bytes: Uint8Array, certificate: string): HaveBody => ({
    merges: { from: alpha.head.height + 1, packed: packMerges([{ raw: bytes, certificate }]).packed },
  });
  const proven = alpha.store.merge(alpha.head.height);
  const certificate = alpha.store.certificate(alpha.head.height) ?? '';
  const lies: [string, () => HaveBody][] = [
    ['bad-certificate', () => offered(raw(), certify(['gamma'], next(), raw()))],
    [
      'bad-certificate',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['gamma', 'stranger'], next(), bytes));
      },
    ],
    [
      'bad-certificate',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['gamma', 'gamma'], next(), bytes));
      },
    ],
    [
      'bad-certificate',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['gamma', 'beta'], next(), bytes).replace(/"sig":"../, '"sig":"00'));
      },
    ],
    [
      'bad-certificate',
      () => offered(raw(), certify(['beta', 'gamma'], next(), Buffer.from('another merge'))),
    ],
    ['bad-certificate', () => offered(raw(), '{}')],
    ['not-canonical', () => offered(raw(), `${certificate} `)],
    ['not-canonical', () => offered(raw(), '')],
    ['gap', () => offered(raw(), certify(['beta', 'gamma'], next(1000), raw()))],
    ['other-line', () => offered(raw(), certify(['beta', 'gamma'], { ...next(), parent: hash('x') }, raw()))],
    // Even where a quorum stands behind it: what does not replay is not taken.
    [
      'bad-merge',
      () => {
        const bytes = raw();
        return offered(bytes, certify(['beta', 'gamma'], next(), bytes));
      },
    ],
    [
      'bad-commit',
      () => {
        const bytes = Buffer.from('no merge');
        return offered(bytes, certify(['beta', 'gamma'], next(), bytes));
      },
    ],
  ];
  t.ok(proven);
  for (const [i, [code, lie]] of lies.entries()) {
    t.comment(code);
    const { head } = alpha;
    const answer = lie();
    gamma.answer = (want) => ('merges' in want ? answer : null);
    syncAll(all);
    await refusedBy(all, code, () => gamma.heads(headsOf(alpha, {}, 1)));
    t.same(
      all.map((node) => node.head),
      [head, head],
      'main is where it was',
    );
    await gamma.leave();
    if (code === 'bad-merge')
      for (const node of all)
        t.match(node.alarms, [/^bad-merge: /], 'people are told that a quorum signed it');
    if (i % 3 === 2) await goOn(t, all, /^bad-/);
  }
  await goOn(t, all, /^bad-/);
  t.equal(beta.head.id, alpha.head.id);
});

t.test('a flood is refused in bounded time and memory, and the town goes on', async (t) => {
  const { alpha, gamma, all, town } = await townWithLiar(t);
  for (let i = 0; i < 60; i += 1)
    await alpha.claim('ada', 'notes.put', { key: `f${i}`, value: randomBytes(3000).toString('base64') });
  await alpha.core.merger.mergeNow();
  await until('a town with something in it', () => agree(all), all);
  const collect = (globalThis as { gc?: () => void }).gc;
  const bytes = (): number => {
    collect?.();
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
    () => gamma.publish(directTopic(town, node), junk[notes % 4] as Buffer),
    () => gamma.tell(node, 'want', { blocks: { node, from: 1, to: 200 } }),
    () => gamma.tell(node, 'want', { merges: { from: 1, to: height } }),
    () => gamma.tell(node, 'have', { blocks: { node: gamma.keys.id, from: 1, packed: 'A'.repeat(100_000) } }),
    () =>
      gamma.publish(
        mine,
        gamma.seal(
          mine,
          'heads',
          headsOf(alpha, { [gamma.keys.id]: { seq: 7, head: hash(`${notes}`) } }, 3) as never,
        ),
      ),
    () => gamma.declare('vote', { vote: { sig: `${notes}` } }),
    () => gamma.declare('proposal', { proposal: { node: gamma.keys.id }, bytes: 'A'.repeat(100_000) }),
    () => gamma.publish(headsTopic(town, `${notes}`.padStart(16, '0') as NodeId), 'x'),
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
        notes += 1;
        return (floods[notes % floods.length] as () => Promise<unknown>)();
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
  t.ok(seconds < 60, `in bounded time: ${seconds} s`);
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
