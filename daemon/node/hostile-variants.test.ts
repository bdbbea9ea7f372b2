/**
 * A node signed two histories of its own, and honest nodes hold different ones: each comes to what a quorum merged, by itself,
 * keeps the other as evidence, and loses nothing of its own.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Sha256 } from '../ledger/ids.js';
import { readStanding } from '../ledger/kernel-evidence.js';
import { startBroker } from '../sync/broker.js';
import { agree, CoreNode, genesisOf, keysOf, scratchFolder, until } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma', 'delta'];
const liar = keysOf('gamma').id;

/** Four validators, of whom three decide; gamma's card was copied, and each half of the town has one of the two. */
async function townWithCopy(t: Test) {
  const folder = scratchFolder();
  const [here, there] = await Promise.all([startBroker(0), startBroker(0)]);
  const genesis = genesisOf(NAMES, (charter) => ({ ...charter, quorum: 'two-thirds' }));
  const running = new Set<CoreNode>();
  const start = async (name: string, where: 'here' | 'there', place = name): Promise<CoreNode> => {
    const url = `mqtt://127.0.0.1:${(where === 'here' ? here : there).port}`;
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
  cpSync(join(folder.path, 'gamma'), join(folder.path, 'copy'), { recursive: true });
  const [one, other] = [await start('gamma', 'here'), await start('gamma', 'there', 'copy')];
  return { alpha, delta, one, other, beta: await start('beta', 'there'), start, stop };
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
  [4, 4],
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
