/**
 * A node signed two histories of its own, and honest nodes hold different ones: each comes to what a quorum merged, by itself,
 * keeps the other as evidence, and loses nothing of its own.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { signVote, type Vote } from '../consensus/vote.js';
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { isSuspended, readStanding } from '../ledger/kernel-evidence.js';
import { startBroker } from '../sync/broker.js';
import { consensusTopic, openMessage } from '../sync/message.js';
import { agree, CoreNode, genesisOf, keysOf, scratchFolder, until } from './testing/core-town.js';
import { HostileNode, placeOf, rawOf, tipOf } from './testing/hostile-node.js';
import { headsOf } from './testing/hostile-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma', 'delta'];
const liar = keysOf('gamma').id;

/** Four validators, of whom three decide, and two brokers; alpha founds the town with everybody. */
async function townInTwo(t: Test) {
  const folder = scratchFolder();
  const [here, there] = await Promise.all([startBroker(0), startBroker(0)]);
  const urls = { here: `mqtt://127.0.0.1:${here.port}`, there: `mqtt://127.0.0.1:${there.port}` };
  const genesis = genesisOf(NAMES, (charter) => ({ ...charter, quorum: 'two-thirds' }));
  const running = new Set<CoreNode>();
  const start = async (name: string, where: keyof typeof urls, place = name): Promise<CoreNode> => {
    const url = urls[where];
    const node = await CoreNode.start({ folder: join(folder.path, place), name, genesis, url });
    running.add(node);
    return node;
  };
  const stop = async (node: CoreNode): Promise<void> => {
    running.delete(node);
    await node.stop();
  };
  t.teardown(async () => {
    for (const node of running) await node.stop();
    await Promise.all([here.close(), there.close()]);
    folder.remove();
  });
  const all = await Promise.all(NAMES.map((name) => start(name, 'here')));
  const [alpha, beta, gamma, delta] = all as [CoreNode, CoreNode, CoreNode, CoreNode];
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await until('the founding', () => agree(all) && alpha.head.height > 0, all);
  await stop(beta);
  await stop(gamma);
  const town = genesis.merge.content;
  return { alpha, delta, beta: await start('beta', 'there'), start, stop, folder, urls, town };
}

/** Gamma's card was copied, and each half of the town has one of the two. */
async function townWithCopy(t: Test) {
  const { folder, start, ...town } = await townInTwo(t);
  cpSync(join(folder.path, 'gamma'), join(folder.path, 'copy'), { recursive: true });
  const [one, other] = [await start('gamma', 'here'), await start('gamma', 'there', 'copy')];
  return { ...town, one, other, start };
}

/** Facts of the liar, each in a block of its own; `at` is who has to hold them. */
async function blocksOf(node: CoreNode, names: readonly string[], at: CoreNode): Promise<void> {
  for (const key of names) {
    const before = at.store.lastBlock(liar, 'main')?.seq ?? 0;
    await node.core.appender.fact('notes.seen', { key });
    await until(`the block with ${key}`, () => at.store.lastBlock(liar, 'main')?.seq === before + 1, [
      node,
      at,
    ]);
  }
}

const namesOf = (word: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${word}-${i + 1}`);

for (const [merged, held] of [
  [1, 1],
  [3, 1],
  [1, 3],
] as const)
  t.test(
    `who holds ${held} of a copied node's blocks comes to the other ${merged}, which a quorum merged`,
    async (t) => {
      const { alpha, delta, one, other, beta: before, start, stop } = await townWithCopy(t);
      // Here a quorum merges what the one says; there two of four can merge nothing.
      const here = namesOf('here', merged);
      await blocksOf(one, here, alpha);
      await until('the merges here', () => here.every((key) => delta.note(key) !== undefined), [
        alpha,
        delta,
      ]);
      await blocksOf(other, namesOf('there', held), before);
      await before.claim('ada', 'notes.put', { key: 'own', value: 1 });
      await before.core.appender.fact('notes.seen', { key: 'own-fact' });
      await until('a block of that', () => before.store.lastBlock(before.keys.id, 'main') !== null, [before]);
      const dropped = before.store.blocksUnmerged(liar, 'main', 10).map(({ id }) => id);
      t.equal(dropped.length, held);
      await Promise.all([stop(one), stop(other), stop(before)]);

      const began = Date.now();
      const since = (what: string): void => t.comment(`${what}: ${Date.now() - began} ms`);
      const beta = await start('beta', 'here');
      const all = [alpha, beta, delta];
      await until(
        'beta to hold what was merged',
        () => here.every((key) => beta.note(key) !== undefined),
        all,
      );
      since('beta holds what was merged');
      const own = ['own', 'own-fact'];
      await until(
        'what beta recorded to be merged',
        () => own.every((key) => all.every((node) => node.note(key) !== undefined)) && agree(all),
        all,
      );
      since('what beta recorded is merged');
      for (const { core } of all) t.match(readStanding(core.main.state, liar), { status: 'suspended' });
      const gone = (id: Sha256): boolean => all.every(({ store }) => store.block(id) === null);
      t.ok(dropped.every(gone), 'of the others nothing is in any branch');
      const last = dropped[dropped.length - 1] as Sha256;
      t.ok(
        beta.store.ref(`refs/evidence/${liar}/${held}-void-${last.slice(0, 12)}`) !== null,
        'git keeps them',
      );
      await alpha.core.appender.fact('notes.seen', { key: 'on' });
      await until('the town to go on', () => all.every((node) => node.note('on') !== undefined), all);
    },
  );

t.test('the power goes when the one history has left and the other has not come', async (t) => {
  const { alpha, delta, one, other, beta: before, start, stop } = await townWithCopy(t);
  await blocksOf(one, ['here-1', 'here-2'], alpha);
  await blocksOf(other, ['there-1', 'there-2'], before);
  await until('the merges here', () => delta.note('here-2') !== undefined, [alpha, delta]);
  await before.claim('ada', 'notes.put', { key: 'own', value: 1 });
  await Promise.all([stop(one), stop(other), stop(before)]);
  const cut = await start('beta', 'here');
  const { store } = cut;
  let isCut = false;
  const cutBranch = store.cutBranch.bind(store);
  store.cutBranch = async (batch) => {
    const count = await cutBranch(batch);
    isCut = true;
    store.putBlock = () => new Promise(() => undefined);
    return count;
  };
  await until('the cut', () => isCut, [cut]);
  t.equal(store.lastBlock(liar, 'main'), null, 'nothing is left of the branch');
  await stop(cut);

  const beta = await start('beta', 'here');
  const all = [alpha, beta, delta];
  const keys = ['here-1', 'here-2', 'own'];
  const merged = (): boolean => keys.every((key) => all.every((node) => node.note(key) !== undefined));
  await until('all to be merged', () => merged() && agree(all), all);
  for (const { core } of all) t.match(readStanding(core.main.state, liar), { status: 'suspended' });
});

t.test(
  'the others are locked on what the liar told them, and need the vote of who was told otherwise',
  async (t) => {
    const { alpha, beta: before, delta, start, stop, urls, town } = await townInTwo(t);
    const at = placeOf(alpha);
    const open = async (url: string): Promise<HostileNode> => {
      const gamma = await HostileNode.open('gamma', town, url, NAMES);
      t.teardown(() => gamma.client.endAsync(true));
      return gamma;
    };
    const [here, there] = [await open(urls.here), await open(urls.there)];
    const tell = async (gamma: HostileNode, key: string, to: readonly CoreNode[]): Promise<void> => {
      const block = gamma.block(null, at, [gamma.entry('notes.seen', { key }, at.id)]);
      gamma.answer = (want) => ('blocks' in want ? gamma.blocks(1, [rawOf(block)]) : null);
      await gamma.heads(headsOf(alpha, { [liar]: tipOf(block) }));
      await until(key, () => to.every(({ store }) => store.block(block.id) !== null), to);
      await gamma.leave();
    };
    await tell(there, 'there', [before]);
    await stop(before);

    // It votes as alpha does, but never at the end for what alpha wants: without a fourth vote nothing is decided.
    const locked = new Set<string>();
    const topic = consensusTopic(town);
    const keyOf = (id: NodeId) => NAMES.map(keysOf).find((keys) => keys.id === id)?.key;
    const opening = { town, townKey: here.keys.townKey, keyOf };
    here.client.on('message', (of, payload) => {
      if (of !== topic) return;
      const opened = openMessage({ topic, payload, retained: false }, opening, Date.now());
      const vote = 'message' in opened ? (opened.message.body['vote'] as Vote | undefined) : undefined;
      if (!vote || vote.node === liar) return;
      if (vote.step === 'precommit' && vote.value !== null) return void locked.add(vote.node);
      if (vote.node !== alpha.keys.id) return;
      const { line, epoch, height, round, step, value, parent } = vote;
      const words = { town, line, epoch, height, round, step, value, parent };
      void here.declare('vote', { vote: signVote(words, liar, here.keys.secretKey) } as never);
    });
    await here.client.subscribeAsync(topic, { qos: 1 });
    await tell(here, 'here', [alpha, delta]);
    await until('both to be locked', () => locked.size === 2, [alpha, delta], 120_000);
    t.equal(alpha.note('here'), undefined, 'two of four decide nothing');

    const beta = await start('beta', 'here');
    const all = [alpha, beta, delta];
    await until('the vote of beta', () => all.every((node) => node.note('here') !== undefined), all, 120_000);
    await until('the proof to be merged', () => agree(all) && isSuspended(alpha.core.main.state, liar), all);
    t.equal(beta.note('there'), undefined);
  },
);
