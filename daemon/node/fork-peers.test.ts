/** A draft that was made on one node of three, adopted: its blocks travel, everybody replays them, and all are one history. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MANIFESTS, secretOf } from '../ledger/testing/small-town.js';
import { startBroker } from '../sync/broker.js';
import { systemClock } from './clock.js';
import { Fork, type ForkParts } from './fork.js';
import { agree, CoreNode, genesisOf, scratchFolder, until } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];

async function town(t: Test) {
  const folder = scratchFolder();
  const broker = await startBroker(0);
  const genesis = genesisOf(NAMES);
  const running: CoreNode[] = [];
  const start = async (name: string): Promise<CoreNode> => {
    const url = `mqtt://127.0.0.1:${broker.port}`;
    const node = await CoreNode.start({ folder: join(folder.path, name), name, genesis, url });
    running.push(node);
    return node;
  };
  t.teardown(async () => {
    for (const node of running) await node.stop();
    await broker.close();
    folder.remove();
  });
  return { folder, start, running };
}

/** A draft of a node, off the head of `main`. */
async function draftOf(t: Test, node: CoreNode, name: string): Promise<Fork> {
  const { store, repository, core, keys } = node;
  const { height, id, oid, time } = core.main.head;
  const parts: ForkParts = {
    ...{ store, keys, clock: systemClock, main: core.main },
    manifests: MANIFESTS,
    contracts: core.view.conversations,
    readObject: (object) => repository.read(object),
    changed: () => undefined,
    trouble: (code, message) => t.fail(`${code}: ${message}`),
  };
  await store.putRefs({ objects: [], refs: [{ name: `refs/heads/${name}`, oid }] });
  const fork = await Fork.load(name, { height, id, oid, time }, parts, () => undefined);
  t.teardown(() => fork.stop());
  return fork;
}

const put = (fork: Fork, key: string, value: number) =>
  fork.appender.claim('notes.put', { key, value }, { secretKey: secretOf('ada') });

/** Asks the town to take a draft in, as far as it goes by now. */
async function adopt(node: CoreNode, fork: Fork): Promise<void> {
  await fork.mergeNow();
  const last = node.store.lastBlock(node.keys.id, fork.name);
  if (!last) throw new Error('nothing was recorded on the draft');
  const { id: head, seq } = last;
  const body = { line: fork.name, node: node.keys.id, head, seq, base: fork.base.id };
  await node.claim('ada', 'fork.adopt', body);
}

t.test('made on one, adopted by all; who comes late gets it too', async (t) => {
  const { folder, start, running } = await town(t);
  const alpha = await start('alpha');
  const beta = await start('beta');
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await alpha.core.merger.mergeNow();
  await until('the founding', () => agree(running) && alpha.head.height > 0, running);

  const fork = await draftOf(t, alpha, 'plan');
  for (let i = 0; i < 5; i += 1) {
    await put(fork, `draft-${i}`, i);
    if (i % 2 === 0) await fork.mergeNow();
  }
  await put(fork, 'both', 1);
  await fork.mergeNow();
  // Meanwhile main goes on.
  await beta.claim('ada', 'notes.put', { key: 'main', value: 1 });
  await until('main goes on', () => agree(running) && alpha.note('main') === '1', running);
  t.equal(alpha.note('draft-0'), undefined, 'main has nothing of the draft');
  t.equal(beta.store.lastBlock(alpha.keys.id, 'plan'), null, 'it lives on its node alone');

  await adopt(alpha, fork);
  const has = (node: CoreNode): boolean =>
    ['draft-0', 'draft-4', 'both'].every((key) => node.note(key) !== undefined);
  await until('the draft on main', () => agree(running) && running.every(has), running);
  t.equal(alpha.store.pendingCount('plan'), 0);

  const gamma = await start('gamma');
  await until('all of it at who comes late', () => agree([alpha, gamma]) && has(gamma), [alpha, beta, gamma]);
  // The late one takes part in what comes.
  await gamma.claim('ada', 'notes.put', { key: 'late', value: 1 });
  await until('one main', () => agree(running) && alpha.note('late') === '1', running);

  for (const node of running) {
    t.same(node.alarms, [], `${node.name} has no trouble`);
    const entries = node.store.blocksFrom(alpha.keys.id, 'plan', 1, 100);
    t.equal(
      entries.reduce((sum, block) => sum + block.entries, 0),
      6,
      'each entry once',
    );
    await node.repository.flush();
    const git = (...words: string[]): string =>
      execFileSync('git', ['-C', join(folder.path, node.name, 'ledger.git'), ...words], {
        encoding: 'utf8',
        stdio: 'pipe',
      });
    t.equal(git('fsck', '--strict', '--full').trim(), '');
    t.match(git('log', '--format=%B', `nodes/${alpha.keys.id}/plan`), /Line: plan/);
    t.equal(
      git('merge-base', '--is-ancestor', `nodes/${alpha.keys.id}/plan`, 'main'),
      '',
      'main folds the draft in',
    );
  }
});

t.test('of a draft nothing is merged before all that the stewards signed is here', async (t) => {
  const { start, running } = await town(t);
  const alpha = await start('alpha');
  const beta = await start('beta');
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await alpha.core.merger.mergeNow();
  await until('the founding', () => agree(running) && alpha.head.height > 0, running);
  const fork = await draftOf(t, alpha, 'plan');
  await put(fork, 'wanted', 1);
  await fork.mergeNow();
  const last = alpha.store.lastBlock(alpha.keys.id, 'plan');
  const body = { line: 'plan', node: alpha.keys.id, head: 'f'.repeat(64), seq: 2, base: fork.base.id };
  t.ok(last);
  await alpha.claim('ada', 'fork.adopt', body);
  await until('the claim is merged', () => agree(running), running);
  await alpha.claim('ada', 'notes.put', { key: 'next', value: 1 });
  await until('the town goes on', () => agree(running) && beta.note('next') === '1', running);
  t.equal(beta.note('wanted'), undefined);
  t.same(
    running.flatMap((node) => node.alarms),
    [],
  );
});
