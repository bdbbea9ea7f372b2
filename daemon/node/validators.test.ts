/** Three validators in one process: real stores, real signatures, a network that loses and a cut that heals. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Message } from '../consensus/gossip.js';
import type { Block } from '../ledger/block.js';
import { readBlock, entriesText } from '../ledger/block.js';
import type { JsonObject, KeyId, Millis, Sha256 } from '../ledger/ids.js';
import { makeMerge } from '../ledger/merge.js';
import { replay } from '../ledger/replay.js';
import { memberIdOf, publicKeyOf } from '../ledger/signature.js';
import { MANIFESTS, secretOf } from '../ledger/testing/small-town.js';
import type { Store } from '../store/store.js';
import { Blocks } from './blocks.js';
import { systemClock } from './clock.js';
import type { Core } from './core.js';
import type { NodeKeys } from './key-files.js';
import { MergeWorkshop } from './merge-workshop.js';
import { claimOf, genesisOf, openHeart, scratchFolder, type Heart } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];

const genesis = genesisOf(NAMES);

/** The wire between the nodes: loses a share of messages, and can be cut. */
class Wire {
  readonly nodes = new Map<string, Running>();
  readonly off = new Set<string>();
  loss = 0;
  private seed = 1;

  private luck(): number {
    this.seed = (this.seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return this.seed / 2_147_483_648;
  }

  broadcast(from: string, message: Message): void {
    for (const [name, node] of this.nodes) {
      if (name === from || this.off.has(name) !== this.off.has(from) || this.luck() < this.loss) continue;
      setTimeout(() => node.core.merger.receive(message), 1 + this.luck() * 10).unref();
    }
  }

  /** What each node lacks and another on its side has: blocks first, then decided merges. */
  async sync(): Promise<void> {
    for (const [name, node] of this.nodes)
      for (const [other, peer] of this.nodes)
        if (name !== other && this.off.has(name) === this.off.has(other)) await node.catchUp(peer);
  }
}

class Running {
  readonly store: Store;
  readonly core: Core;
  readonly keys: NodeKeys;
  readonly alarms: readonly string[];

  private constructor(readonly heart: Heart) {
    ({ store: this.store, core: this.core, keys: this.keys, alarms: this.alarms } = heart);
  }

  static async start(folder: string, name: string, wire: Wire, silentUpTo?: number): Promise<Running> {
    const heart = await openHeart(
      { folder, name, genesis },
      {
        heldByQuorum: () => undefined,
        broadcast: (message) => wire.broadcast(name, message),
        silentUpTo,
      },
    );
    await heart.core.view.rebuild(() => Promise.resolve());
    heart.core.merger.start();
    const running = new Running(heart);
    wire.nodes.set(name, running);
    return running;
  }

  claim(who: string, type: string, body: JsonObject, cosigners: readonly string[] = []) {
    return claimOf(this, who, type, body, cosigners);
  }

  async catchUp(peer: Running): Promise<void> {
    for (const { node } of peer.store.branches(10)) {
      const mine = this.store.lastBlock(node, 'main')?.seq ?? 0;
      const key = this.core.main.charter.nodes[node]?.key as KeyId;
      for (let seq = mine + 1; ; seq += 1) {
        const row = [...peer.store.blocksUnmerged(node, 'main', 1000), ...peer.merged(node)].find(
          (b) => b.seq === seq,
        );
        const base =
          row &&
          (row.base === this.core.main.head.id
            ? this.core.main.head.oid
            : this.store.mergeById(row.base)?.oid);
        if (!row || !base) break;
        const before = row.prev === null ? null : this.store.block(row.prev);
        const texts = peer.store
          .blockEntries(row.id)
          .map(({ bytes }) => ({ text: Buffer.from(bytes).toString('utf8') }));
        const parents = { prev: before?.oid ?? null, main: before?.base === row.base ? null : base };
        const block: Block = readBlock(row.raw, Buffer.from(entriesText(texts)), key, parents);
        await this.core.peerBlocks.take([block]);
      }
    }
    for (let height = this.core.main.head.height + 1; ; height += 1) {
      const merge = peer.store.merge(height);
      if (!merge) return;
      const adopted = await this.core.merger
        .adoptDecided(merge.raw, peer.store.certificate(height) ?? '')
        .catch((error: { code: string }) => (error.code === 'unknown-head' ? false : Promise.reject(error)));
      if (!adopted) return;
    }
  }

  merged(node: string) {
    const { height } = this.core.main.head;
    return Array.from({ length: height }, (_, i) => this.store.blocksOfMerge(i + 1, 1000))
      .flat()
      .filter((block) => block.node === node);
  }

  get head(): { height: number; id: Sha256 } {
    const { height, id } = this.core.main.head;
    return { height, id };
  }

  async stop(): Promise<void> {
    await this.core.merger.stop();
    await this.heart.repository.close();
    await this.store.close();
  }
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Lets the wire work until something holds. */
async function settle(wire: Wire, what: string, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 4800; turn += 1) {
    if (holds()) return;
    await wire.sync();
    await wait(25);
  }
  const heads = [...wire.nodes].map(
    ([name, node]) => `${name} ${node.head.height} ${node.store.pendingCount()} ${node.alarms.join()}`,
  );
  throw new Error(`never came: ${what}; ${heads.join(' | ')}`);
}

async function threeNodes(t: Test) {
  // Not a fixture of the test runner's: that is gone before the nodes have stopped.
  const scratch = scratchFolder();
  const folder = scratch.path;
  const wire = new Wire();
  const nodes = await Promise.all(NAMES.map((name) => Running.start(join(folder, name), name, wire)));
  const [alpha, beta, gamma] = nodes as [Running, Running, Running];
  t.teardown(async () => {
    for (const node of wire.nodes.values()) await node.stop();
    scratch.remove();
  });
  const agree = (pending = 0) => {
    const running = [...wire.nodes.values()];
    // The store is a step ahead of memory for a moment.
    return running.every(
      (n) =>
        n.head.id === running[0]?.head.id &&
        n.store.lastMerge()?.id === n.head.id &&
        n.store.pendingCount() === pending,
    );
  };
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await settle(wire, 'the founding merged by all', () => agree() && alpha.head.height > 0);
  return { folder, wire, alpha, beta, gamma, agree };
}

const value = (node: Running, key: string) => node.core.main.state.get('notes', 'notes', key);

t.test('three validators merge to one content, also when messages are lost', async (t) => {
  const { wire, alpha, beta, gamma, agree } = await threeNodes(t);
  wire.loss = 0.15;
  await alpha.claim('ada', 'notes.put', { key: 'a', value: 1 });
  await beta.claim('ada', 'notes.put', { key: 'b', value: 2 });
  await gamma.claim('ada', 'notes.put', { key: 'c', value: 3 });
  await settle(
    wire,
    'one main with all three',
    () => agree() && ['a', 'b', 'c'].every((key) => value(alpha, key) !== undefined),
  );
  t.same(
    [alpha, beta, gamma].map((node) => ['a', 'b', 'c'].map((key) => value(node, key))),
    Array(3).fill(['1', '2', '3']),
  );
  const certificate = JSON.parse(alpha.store.certificate(alpha.head.height) ?? '{}');
  t.ok(certificate.votes.length >= 2, 'a majority attested it');
});

t.test(
  'a cut-off node goes on alone; reconnected, both sides are in one history and what lost by rule has its reason',
  async (t) => {
    const { folder, wire, alpha, beta, gamma, agree } = await threeNodes(t);
    const ada = memberIdOf(publicKeyOf(secretOf('ada')));
    wire.off.add('gamma');
    const before = gamma.head.height;
    await alpha.claim('ada', 'notes.hold', { id: 'near', amount: 400 });
    const twice = await gamma.claim('ada', 'notes.hold', { id: 'far', amount: 400 });
    const forbid = await gamma.claim('ada', 'notes.forbid', { key: 'shed' });
    await t.rejects(
      gamma.claim('ada', 'notes.put', { key: 'shed', value: 1 }),
      { code: 'forbidden' },
      'a restriction holds at once on its own side',
    );
    await beta.claim('ada', 'notes.put', { key: 'shed', value: 'open' });
    await settle(
      wire,
      'the majority to merge without the third',
      () => value(beta, 'shed') !== undefined && alpha.head.id === beta.head.id,
    );
    await wait(300);
    t.equal(gamma.head.height, before, 'alone it decides nothing');
    wire.off.clear();
    await settle(wire, 'one history', () => agree());
    for (const node of [alpha, beta, gamma]) {
      t.match(
        node.store.entry(twice.id),
        { state: 'rejected', code: 'not-enough-credits' },
        'the second spend lost, with its reason',
      );
      t.match(node.store.entry(forbid.id), { state: 'merged', verdict: 'accepted' });
      t.match(
        node.store.notices(ada, 10).find(({ entry }) => entry === twice.id)?.text,
        /^This was rejected \(not-enough-credits\): /,
        'its author is told on every node',
      );
      t.equal(node.core.main.state.get('notes', 'forbidden', 'shed'), 'true');
      t.same(node.alarms, []);
    }
    t.match(alpha.core.main.state.get('kernel', 'accounts', `member.${ada}`), /"available":100,"locked":400/);

    const late = await Running.start(join(folder, 'delta'), 'delta', wire, alpha.head.height);
    await settle(wire, 'one history, with who came late', () => agree());
    t.match(late.store.entry(twice.id), { state: 'rejected' });
    t.same(late.store.notices(ada, 10), [], 'who comes late tells nobody what others were told long ago');
    wire.off.add('gamma');
    await alpha.claim('ada', 'notes.hold', { id: 'near-too', amount: 80 });
    const again = await gamma.claim('ada', 'notes.hold', { id: 'far-too', amount: 80 });
    await settle(wire, 'the first of two merged', () => alpha.store.pendingCount() === 0);
    wire.off.clear();
    await settle(wire, 'one history again', () => agree());
    t.same(
      late.store.notices(ada, 10).map(({ entry }) => entry),
      [again.id],
      'and from then on tells what is rejected',
    );
  },
);

t.test('a node that stops in the middle of a height goes on from its vote log', async (t) => {
  const { folder, wire, alpha, beta, agree } = await threeNodes(t);
  for (let round = 0; round < 4; round += 1) {
    await beta.claim('ada', 'notes.put', { key: `k${round}`, value: round });
    await wait(40 + round * 15);
    const gamma = wire.nodes.get('gamma') as Running;
    wire.nodes.delete('gamma');
    await gamma.stop();
    await alpha.claim('ada', 'notes.put', { key: `l${round}`, value: round });
    await Running.start(join(folder, 'gamma'), 'gamma', wire);
  }
  await settle(wire, 'one main on all', () => agree());
  t.equal(value(wire.nodes.get('gamma') as Running, 'k3'), '3');
  t.equal(value(wire.nodes.get('gamma') as Running, 'l3'), '3');
});

t.test(
  'what a proposer folds in is each branch once, in order, and no more than a merge holds',
  async (t) => {
    const { wire, alpha, beta, gamma } = await threeNodes(t);
    // Nobody merges: what is replayed here stands still.
    for (const name of NAMES) wire.off.add(name);
    for (const node of [alpha, beta, gamma]) await node.core.merger.stop();
    const { main, view } = alpha.core;
    const heightBefore = main.head.height;
    const ofAlpha = new Blocks(alpha.store, main, alpha.keys, systemClock, () => Infinity);
    const chainOf = async (node: Running, blocks: Blocks, text: string): Promise<void> => {
      for (const key of ['a', 'b', 'c']) {
        await node.claim('ada', 'notes.put', { key: `${node.keys.id}${key}`, value: text });
        await blocks.cut();
      }
    };
    await chainOf(alpha, ofAlpha, 'short');
    const ofBeta = new Blocks(beta.store, beta.core.main, beta.keys, systemClock, () => Infinity);
    await chainOf(beta, ofBeta, 'short');
    wire.off.clear();
    await alpha.catchUp(beta);
    const blocksOf = (node: Running) => alpha.store.blocksUnmerged(node.keys.id, 'main', 10);
    const [[a1, a2, a3], [b1, , b3]] = [blocksOf(alpha), blocksOf(beta)].sort(([x], [y]) =>
      x!.node < y!.node ? -1 : 1,
    ) as [ReturnType<typeof blocksOf>, ReturnType<typeof blocksOf>];
    const limited = (limits: object) => ({ limits: { ...main.charter.limits, ...limits } });
    const workshopWith = (change: object): MergeWorkshop =>
      new MergeWorkshop({
        store: alpha.store,
        main: Object.create(main, {
          charter: { value: { ...main.charter, ...change } },
        }),
        view,
        blocks: ofAlpha,
        keys: alpha.keys,
        clock: systemClock,
        manifests: MANIFESTS,
        heldByQuorum: () => undefined,
        adopted: () => undefined,
        readObject: (oid) => alpha.heart.repository.read(oid),
      });
    /** A merge that replays to exactly what it says. */
    const proposalOf = async (folded: readonly (typeof a1)[]): Promise<Uint8Array> => {
      const blocks = folded.filter((block) => block !== undefined);
      const heads = blocks.map(({ id }) => id);
      const { head, town, state, tree } = main;
      const place = {
        town,
        line: 'main',
        height: head.height + 1,
        time: Date.now() as Millis,
        parent: head.id,
      };
      const result = await view.conversations.run(
        replay({
          ...{ ...place, state, manifests: MANIFESTS },
          parts: ofAlpha.partsOf(heads),
          baseTime: (base) => main.timeOf(base),
        }),
      );
      const parents = { main: head.oid, heads: blocks.map(({ oid }) => oid) };
      return makeMerge({ ...place, heads, node: gamma.keys.id }, parents, tree, result, gamma.keys.secretKey)
        .merge.raw;
    };
    const judged = async (folded: readonly (typeof a1)[], change: object = {}): Promise<unknown> =>
      workshopWith(change).replayOf(await proposalOf(folded));

    for (const folded of [[a1], [a3, b1], [a2, b3], [b3]]) await t.resolves(judged(folded));
    for (const folded of [[], [b1, a1], [a1, a2], [a2, a1], [a1, b1, b3]])
      await t.rejects(judged(folded), { code: 'bad-merge' });
    await t.resolves(judged([a1, b1], limited({ mergeEntries: 2 })));
    await t.rejects(judged([a2, b1], limited({ mergeEntries: 2 })), { code: 'bad-merge' });
    await t.rejects(judged([a3, b3], limited({ mergeBytes: 1000 })), { code: 'bad-merge' });
    await t.resolves(judged([a1], limited({ mergeEntries: 0, mergeBytes: 1 })), 'one block always goes');
    const { [b3!.node]: _, ...nodes } = main.charter.nodes;
    await t.resolves(judged([a3], { nodes }));
    await t.rejects(judged([b3], { nodes }), { code: 'bad-merge' }, 'nothing of who was taken out');
    t.equal(main.head.height, heightBefore);
  },
);

t.test(
  'a node that stops waits for no quorum: for a height that just begins, and for who asked for a merge',
  async (t) => {
    const { wire, alpha, beta } = await threeNodes(t);
    wire.off.add('alpha');
    await alpha.claim('ada', 'notes.put', { key: 'alone', value: 1 });
    const asked = alpha.core.merger.mergeNow();
    // Its entry is on the way into a block: the height has not begun yet.
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(alpha.core.merger.isMerging, true);
    await alpha.core.merger.stop();
    t.equal(await asked, false);
    t.equal(alpha.core.merger.isMerging, false);

    wire.off.add('beta');
    await beta.claim('ada', 'notes.put', { key: 'alone-too', value: 1 });
    const late = beta.core.merger.mergeNow();
    await wait(300);
    await beta.core.merger.stop();
    t.equal(await late, false, 'told at once, not after a minute');
  },
);

t.test('between a merge that is durable and the main that it becomes, nothing is replayed', async (t) => {
  const { wire, alpha } = await threeNodes(t);
  wire.off.add('alpha');
  await alpha.core.merger.stop();
  const { store, keys } = alpha;
  const { main, view } = alpha.core;
  const blocks = new Blocks(store, main, keys, systemClock, () => Infinity);
  const workshop = new MergeWorkshop({
    ...{ store, main, view, blocks, keys, clock: systemClock, manifests: MANIFESTS },
    heldByQuorum: () => undefined,
    adopted: () => undefined,
    readObject: (oid) => alpha.heart.repository.read(oid),
  });
  await alpha.claim('ada', 'notes.put', { key: 'between', value: 1 });
  await blocks.cut();
  const built = await workshop.propose();
  // One is under way all the while: of the state it reads some before the merge, and some after.
  const { conversations } = view;
  const { run } = conversations;
  let goOn = (): void => undefined;
  const adopted = new Promise<void>((resolve) => (goOn = resolve));
  conversations.run = async () => {
    await adopted;
    throw new Error('It does not add up.');
  };
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => null,
      (error: { code?: string }) => error.code,
    );
  const underWay = codeOf(workshop.propose());
  conversations.run = run;
  const { adopt } = store;
  let codes: unknown[] = [];
  store.adopt = async (batch) => {
    await adopt.call(store, batch);
    codes = await Promise.all([codeOf(workshop.replayOf(built.merge.raw)), codeOf(workshop.propose())]);
  };
  await workshop.adopt(built, '{"round":0,"votes":[]}');
  goOn();
  codes.push(await underWay);
  t.same(codes, ['moved-on', 'moved-on', 'moved-on'], 'others were faster: that is no reason for an alarm');
  t.equal(main.head.id, built.merge.id);
});
