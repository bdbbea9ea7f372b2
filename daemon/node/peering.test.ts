/** Nodes that meet at a real broker: what one records all have, whatever the network does, and nothing else gets in. */
import t, { type Test } from 'tap';
import { DEFAULT_TIMEOUTS } from '../consensus/height-state.js';
import type { Charter } from '../ledger/charter.js';
import type { JsonObject } from '../ledger/ids.js';
import { memberIdOf, publicKeyOf } from '../ledger/signature.js';
import { secretOf } from '../ledger/testing/small-town.js';
import { startBroker } from '../sync/broker.js';
import { TcpProxy } from '../testing/tcp-proxy.js';
import { agree, foundTown, until, type CoreNode } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];

/** Three validators, the third behind a way that can be cut. */
async function threeNodes(t: Test, pace = { interactiveMs: 50, factsMs: 50 }) {
  const charter = (base: Charter): Charter => ({ ...base, pace });
  const way = await TcpProxy.open(0);
  t.teardown(() => way.close());
  const portFor = (name: string, broker: number): number => {
    if (name !== 'gamma') return broker;
    way.retarget(broker);
    return way.port;
  };
  const town = await foundTown(t, { names: NAMES, charter, portFor });
  const all = town.nodes(...NAMES) as readonly [CoreNode, CoreNode, CoreNode];
  const [alpha, beta, gamma] = all;
  return { ...town, way, alpha, beta, gamma, all };
}

t.test('what each of three validators records is merged by all of them', async (t) => {
  const { alpha, beta, gamma, all } = await threeNodes(t);
  await alpha.claim('ada', 'notes.put', { key: 'a', value: 1 });
  await beta.claim('ada', 'notes.put', { key: 'b', value: 2 });
  await gamma.claim('ada', 'notes.put', { key: 'c', value: 3 });
  await until('all three', () => agree(all) && ['a', 'b', 'c'].every((key) => alpha.note(key)), all);
  for (const node of all)
    t.same(
      ['a', 'b', 'c'].map((key) => node.note(key)),
      ['1', '2', '3'],
    );
  const { votes } = JSON.parse(alpha.store.certificate(alpha.head.height) ?? '{}') as { votes: JsonObject[] };
  t.ok(votes.length >= 2, 'a majority attested it');
  t.same(
    all.flatMap((node) => node.alarms),
    [],
  );
  t.same(alpha.refused(), {});
});

t.test('a merge that is asked for waits until a quorum has the blocks', async (t) => {
  const { beta, all } = await threeNodes(t);
  await beta.claim('ada', 'notes.put', { key: 'now', value: 1 });
  t.equal(await beta.core.merger.mergeNow(), true);
  t.equal(beta.note('now'), '1');
  t.equal(await beta.core.merger.mergeNow(), false, 'there is nothing more');
  await until('one main', () => agree(all), all);
});

t.test(
  'a node that was cut off went on alone; connected again, both sides are one history, and who lost has a reason',
  async (t) => {
    const { alpha, beta, gamma, way, all } = await threeNodes(t);
    const ada = memberIdOf(publicKeyOf(secretOf('ada')));
    way.freeze();
    way.cut();
    const before = gamma.head.height;
    await alpha.claim('ada', 'notes.hold', { id: 'near', amount: 400 });
    await until('the majority to merge without the third', () => agree([alpha, beta]), [alpha, beta]);
    const twice = await gamma.claim('ada', 'notes.hold', { id: 'far', amount: 400 });
    await gamma.claim('ada', 'notes.forbid', { key: 'shed' });
    await t.rejects(gamma.claim('ada', 'notes.put', { key: 'shed', value: 1 }), { code: 'forbidden' });
    await beta.claim('ada', 'notes.put', { key: 'shed', value: 'open' });
    await until('the majority to merge again', () => beta.note('shed') !== undefined, [alpha, beta]);
    t.equal(gamma.head.height, before, 'alone it decides nothing');
    t.equal(
      alpha.peering.views().find(({ node }) => node === gamma.keys.id)?.connected,
      false,
      'the others know that it is gone',
    );
    way.heal();
    await until('one history', () => agree(all), all);
    for (const node of all) {
      t.match(node.store.entry(twice.id), { state: 'rejected', code: 'not-enough-credits' });
      t.equal(node.core.main.state.get('notes', 'forbidden', 'shed'), 'true');
      t.same(node.alarms, []);
    }
    t.match(alpha.core.main.state.get('kernel', 'accounts', `member.${ada}`), /"available":100,"locked":400/);
  },
);

t.test('a line that lets messages through one way only loses nothing', async (t) => {
  const { alpha, beta, gamma, way, all } = await threeNodes(t);
  for (const direction of ['up', 'down'] as const) {
    way.freeze(direction);
    await alpha.claim('ada', 'notes.put', { key: `near-${direction}`, value: 1 });
    await gamma.claim('ada', 'notes.put', { key: `far-${direction}`, value: 2 });
    await until('the two to merge theirs', () => beta.note(`near-${direction}`) !== undefined, all);
    t.equal(beta.note(`far-${direction}`), undefined, 'of the third they know nothing yet');
    way.heal();
    await until('one history', () => agree(all) && alpha.note(`far-${direction}`) === '2', all);
    t.equal(gamma.note(`near-${direction}`), '1');
  }
  t.same(
    all.flatMap((node) => node.alarms),
    [],
  );
});

t.test('a restriction holds at the other nodes long before it is merged', async (t) => {
  const { alpha, beta, gamma, all } = await threeNodes(t, { interactiveMs: 60_000, factsMs: 60_000 });
  const forbidden = (node: CoreNode) => node.core.view.state.get('notes', 'forbidden', 'shed');
  const put = (node: CoreNode) => node.core.view.state.get('notes', 'notes', 'shed');
  // How each stood when it heard of it: what others recorded is merged a moment later, whatever the pace.
  const heard = new Map<CoreNode, { height: number; put: string | undefined }>();
  for (const node of [beta, gamma])
    node.core.view.watch(() => {
      if (forbidden(node) === 'true' && !heard.has(node))
        heard.set(node, { height: node.head.height, put: put(node) });
    });
  await alpha.claim('ada', 'notes.put', { key: 'shed', value: 'open' });
  await alpha.claim('ada', 'notes.forbid', { key: 'shed' });
  await until('the others to know', () => heard.size === 2, all);
  const first = [...heard.values()][0];
  t.equal(first?.height, 1, 'no merge was needed');
  t.equal(first?.put, undefined, 'what grants waits for its merge');
  await t.rejects(beta.claim('ada', 'notes.put', { key: 'shed', value: 'ajar' }), { code: 'forbidden' });
});

t.test('a proposer that goes away in its round is not waited for', async (t) => {
  const { alpha, beta, gamma, way, all } = await threeNodes(t);
  const { validators } = alpha.core.main.charter;
  for (let turn = 0; ; turn += 1) {
    if (validators[(alpha.head.height + 1) % validators.length] === gamma.keys.id) break;
    await alpha.claim('ada', 'notes.put', { key: `turn ${turn}`, value: 1 });
    await until('a merge', () => agree(all) && alpha.note(`turn ${turn}`) !== undefined, all);
  }
  way.freeze();
  await alpha.claim('ada', 'notes.put', { key: 'silent', value: 1 });
  await until('the round of the third', () => alpha.core.merger.isMerging && beta.core.merger.isMerging, all);
  const start = Date.now();
  way.cut();
  await until('the others go on', () => agree([alpha, beta]) && beta.note('silent') !== undefined, all);
  const { proposeMs } = DEFAULT_TIMEOUTS;
  t.ok(Date.now() - start < proposeMs / 2, `after ${Date.now() - start} ms, not after ${proposeMs}`);
});

t.test('a node that was away for long fetches what it missed, in many pieces', async (t) => {
  const { alpha, beta, start, stop, all } = await threeNodes(t);
  await stop('gamma');
  for (let round = 0; round < 6; round += 1) {
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        [alpha, beta][i % 2]!.claim('ada', 'notes.put', { key: `k${round}-${i}`, value: 'x'.repeat(200) }),
      ),
    );
    await alpha.core.merger.mergeNow();
  }
  await until('the two to agree', () => agree([alpha, beta]), all);
  const again = await start('gamma');
  await until('the third to catch up', () => agree([alpha, beta, again]), [alpha, beta, again]);
  t.equal(again.note('k5-99'), alpha.note('k5-99'));
  t.same(again.alarms, []);
});

t.test('however many ask for a sync, one looks whether all is here, and all are told', async (t) => {
  const { alpha } = await threeNodes(t);
  const { views } = alpha.peering;
  let looks = 0;
  alpha.peering.views = () => {
    looks += 1;
    return views.call(alpha.peering);
  };
  await Promise.all(Array.from({ length: 200 }, () => alpha.peering.syncNow()));
  t.ok(looks > 0 && looks < 20, `${looks} looks`);
  await alpha.peering.syncNow();
});

t.test('the broker is started again: the nodes find each other again by themselves', async (t) => {
  const { broker, alpha, beta, gamma, way, all } = await threeNodes(t);
  const { port } = broker;
  await broker.close();
  await alpha.claim('ada', 'notes.put', { key: 'without', value: 1 });
  await until('nobody is heard', () => !alpha.peering.isOnline && !gamma.peering.isOnline);
  const again = await startBroker(port);
  t.teardown(() => again.close());
  way.heal();
  await until('one history', () => agree(all) && beta.note('without') !== undefined, all);
  t.equal(gamma.note('without'), '1');
});
