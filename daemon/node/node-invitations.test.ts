/** The host of joining nodes against the asker's own machine: real store, real charter, merges; messages carried by hand. */
import t, { type Test } from 'tap';
import { hexOf } from '../ledger/hash.js';
import { parseCharter } from '../ledger/charter.js';
import { readGenesis } from '../ledger/merge.js';
import type { Sha256 } from '../ledger/ids.js';
import { GRACE_MS } from '../sync/joining.js';
import { Asker, HostingTown, nodeOf } from './testing/hosting-town.js';

t.setTimeout(600_000);

const HOUR_MS = 3_600_000;

async function founded(t: Test): Promise<{ host: HostingTown; restart: () => Promise<HostingTown> }> {
  let host = await HostingTown.found();
  t.teardown(() => host.end());
  return { host, restart: async () => (host = await host.restart()) };
}

const invited = async (host: HostingTown, role: 'door' | 'hub' = 'door', hours?: number) =>
  host.nodes.invite(host.session(), { role, hours });

const approve = (host: HostingTown, invitation: string, word: string) =>
  host.nodes.approve(host.session(), { invitation, node: nodeOf(word) });

function welcomeOf(asker: Asker) {
  const joined = asker.told.find((output) => output.t === 'joined');
  if (joined?.t !== 'joined') throw new Error(`not welcomed: ${JSON.stringify(asker.told)}`);
  return joined;
}

t.test('a node gets the keys of the town once the charter of main names it, and not before', async (t) => {
  const { host, restart } = await founded(t);
  const { id, code } = await invited(host);
  t.equal(host.stateOf(id), 'open');
  const beta = new Asker(code, 'beta');
  t.equal(await beta.asks(host), 'waiting');
  t.equal(host.stateOf(id), 'asked');
  t.ok(host.changes > 0, 'who looks at the list is told');

  const height = host.core.main.head.height;
  t.match(await approve(host, id, 'beta'), { state: 'pending' });
  t.equal(host.stateOf(id), 'approved');
  await host.quiet();
  t.equal(await beta.asks(host), 'waiting', 'a steward’s word alone gives nothing away');

  await host.merge();
  await host.quiet();
  t.equal(beta.listens(host), 'joined', 'told without being asked again');
  t.equal(host.stateOf(id), 'welcomed');
  const { welcome, genesis } = welcomeOf(beta);
  const { main, keys } = { main: host.core.main, keys: host.keys };
  t.ok(main.head.height > height);
  t.match(welcome, {
    town: main.town,
    townKey: hexOf(keys.townKey),
    badgeKey: hexOf(keys.badgeKey as Uint8Array),
    checkpoint: { height: main.head.height, id: main.head.id },
    nodes: { [beta.node]: { name: 'board beta', roles: ['door'] }, [keys.id]: {} },
  });
  t.equal(genesis.merge.id, host.store.merge(0)?.id);

  await t.test('the genesis is read from git, also when it is long in a pack', async (t) => {
    for (const name of ['Wólka one', 'Wólka two']) {
      await host.claim('charter.change', { set: { '/name': name }, remove: [] });
      await host.merge();
    }
    await host.repository.flush();
    const later = await restart();
    const second = await invited(later, 'hub');
    const gamma = new Asker(second.code, 'gamma');
    t.equal(gamma.invitation.name, 'Wólka two');
    t.equal(await gamma.asks(later), 'waiting');
    await approve(later, second.id, 'gamma');
    await later.merge();
    await later.quiet();
    t.equal(gamma.listens(later), 'joined');
    const told = welcomeOf(gamma).welcome;
    t.equal(told.badgeKey, null, 'a hub is not to tell badges apart');
    const raw = Buffer.from(told.genesis.raw, 'base64');
    const charter = parseCharter(told.genesis.charter);
    t.equal(charter.name, 'Wólka', 'the charter that the town was founded with');
    t.equal(readGenesis(raw, charter, told.genesis.nonce as Sha256).merge.town, later.core.main.town);
    t.equal(told.nodes[gamma.node]?.roles.join(), 'hub');
    t.same(later.warnings, []);
  });
});

t.test('an invitation lets in one node, in time, and nobody after it was taken back', async (t) => {
  const { host } = await founded(t);

  await t.test('used twice', async (t) => {
    const { id, code } = await invited(host);
    const [first, thief] = [new Asker(code, 'first'), new Asker(code, 'thief')];
    t.equal(await first.asks(host), 'waiting');
    t.equal(await thief.asks(host), 'invitation-used');
    await approve(host, id, 'first');
    await host.merge();
    await host.quiet();
    t.equal(first.listens(host), 'joined');
    t.equal(await new Asker(code, 'late').asks(host), 'invitation-used', 'also when all is over');
    t.match(host.refused(), { 'invitation-used': 2 });
  });

  await t.test('run out', async (t) => {
    const { id, code } = await invited(host, 'door', 1);
    host.clock.lateMs += HOUR_MS;
    t.equal(host.stateOf(id), 'expired');
    t.equal(await new Asker(code, 'slow').asks(host), 'invitation-expired');
    const other = await invited(host, 'door', 1);
    const inTime = new Asker(other.code, 'in-time');
    t.equal(await inTime.asks(host), 'waiting');
    host.clock.lateMs += 2 * HOUR_MS;
    await approve(host, other.id, 'in-time');
    await host.merge();
    await host.quiet();
    t.equal(inTime.listens(host), 'joined', 'who has shown it in time may be let in later');
  });

  await t.test('taken back', async (t) => {
    const { id, code } = await invited(host);
    await host.nodes.withdraw(host.session(), id);
    t.equal(host.stateOf(id), undefined, 'nobody has seen it: it is gone');
    t.equal(await new Asker(code, 'too-late').asks(host), undefined, 'as with any wrong code');
    t.match(host.refused(), { 'unknown-invitation': 1 });
    const shown = await invited(host);
    const asker = new Asker(shown.code, 'unwanted');
    await asker.asks(host);
    await host.nodes.withdraw(host.session(), shown.id);
    t.equal(asker.listens(host), 'invitation-withdrawn');
    t.equal(host.stateOf(shown.id), 'withdrawn');
    await t.rejects(host.nodes.withdraw(host.session(), shown.id), { code: 'already-answered' });
    await t.rejects(host.nodes.withdraw(host.session(), '00000000000000ff'), { code: 'no-such-invitation' });
  });

  await t.test('turned away, with a reason that is told', async (t) => {
    const { id, code } = await invited(host);
    await t.rejects(host.nodes.refuse(host.session(), id, 'no'), { code: 'nobody-waits' });
    const asker = new Asker(code, 'stranger');
    await asker.asks(host);
    await host.nodes.refuse(host.session(), id, 'We do not know you.');
    t.equal(asker.listens(host), 'turned-away');
    t.match(asker.told.at(-1), { t: 'failed', error: { message: 'We do not know you.' } });
    t.equal(host.stateOf(id), 'refused');
    await t.rejects(approve(host, id, 'stranger'), { code: 'already-answered' });
  });

  await t.test('for another town, forged, replayed by the broker: each is counted by its name', async (t) => {
    const { code } = await invited(host);
    const lost = new Asker(code, 'lost', { town: 'ab'.repeat(32) as Sha256 });
    await host.hears(lost.topic, lost.payload);
    const honest = new Asker(code, 'honest');
    await host.hears(honest.topic, honest.payload, true);
    await host.hears(honest.topic, 'x'.repeat(100_000));
    await host.hears(honest.topic, '{"no":"seal"}');
    await host.hears(honest.topic.replace(/ask$/, 'answer'), honest.payload);
    t.match(host.refused(), {
      'other-town': 1,
      'retained-command': 1,
      'too-large': 1,
      'not-sealed': 1,
      'foreign-topic': 1,
    });
    t.equal(await honest.asks(host), 'waiting', 'and the honest node is heard all the same');
    t.same(host.warnings, []);
  });
});

t.test('a host that stops at any point goes on where it was', async (t) => {
  const { host: first, restart } = await founded(t);
  const { id, code } = await invited(first);
  const beta = new Asker(code, 'beta');

  /** From here on what is kept is durable, and then the power goes. */
  const cutAfterKeeping = (host: HostingTown) => {
    let kept: () => void = () => undefined;
    const durable = new Promise<void>((resolve) => (kept = resolve));
    const { store } = host;
    const stand = host.makeInvitations({
      nodeInvitations: (limit) => store.nodeInvitations(limit),
      putNodeInvitation: async (key, text) => {
        await store.putNodeInvitation(key, text);
        kept();
        return new Promise(() => undefined);
      },
      forgetNodeInvitation: (key) => store.forgetNodeInvitation(key),
      merge: (height) => store.merge(height),
      lastBlock: (node, line) => store.lastBlock(node, line),
    });
    return { stand, durable };
  };

  const hearing = cutAfterKeeping(first);
  hearing.stand.receive({ topic: beta.topic, payload: Buffer.from(beta.payload), retained: false });
  await hearing.durable;
  t.same(first.sent, [], 'nothing was said before the end');
  let host = await restart();
  t.equal(host.stateOf(id), 'asked', 'who has shown the invitation has it');
  t.equal(await new Asker(code, 'thief').asks(host), 'invitation-used');
  t.equal(await beta.asks(host), 'waiting');

  await approve(host, id, 'beta');
  await host.invitations.stop();
  await host.merge();
  t.equal(host.stateOf(id), 'approved', 'main names it, the power went before the welcome');
  const welcoming = cutAfterKeeping(host);
  void welcoming.stand.welcomeAdmitted();
  await welcoming.durable;
  t.same(host.sent, []);
  const [kept] = host.store.nodeInvitations(10);

  host = await restart();
  await host.quiet();
  t.equal(host.stateOf(id), 'welcomed');
  t.same(host.sent, [], 'it has said its last word, as far as it knows');
  t.equal(await beta.asks(host), 'joined', 'and says it again to who asks');
  t.same(host.store.nodeInvitations(10), [kept], 'in the same words');

  await t.test('who was let in before a stop is welcomed at the start', async (t) => {
    const other = await invited(host);
    const gamma = new Asker(other.code, 'gamma');
    await gamma.asks(host);
    await approve(host, other.id, 'gamma');
    await host.invitations.stop();
    await host.merge();
    const later = await restart();
    await later.quiet();
    t.equal(gamma.listens(later), 'joined');
    host = later;
  });

  await t.test('a record that the disk does not take was not heard', async (t) => {
    const other = await invited(host);
    const delta = new Asker(other.code, 'delta');
    const { store } = host;
    const stand = host.makeInvitations({
      nodeInvitations: (limit) => store.nodeInvitations(limit),
      putNodeInvitation: () => Promise.reject(new Error('The disk is full.')),
      forgetNodeInvitation: (key) => store.forgetNodeInvitation(key),
      merge: (height) => store.merge(height),
      lastBlock: (node, line) => store.lastBlock(node, line),
    });
    stand.receive({ topic: delta.topic, payload: Buffer.from(delta.payload), retained: false });
    await stand.stop();
    t.same(host.sent, []);
    t.equal(stand.record(other.id).asker, null);
    t.match(host.warnings, [/disk is full/]);
    t.equal(await delta.asks(host), 'waiting', 'the next time it is');
  });

  await t.test('what is long over is dropped', async (t) => {
    host.clock.lateMs += GRACE_MS + 25 * HOUR_MS;
    t.ok(host.store.nodeInvitations(10).length > 0);
    host = await restart();
    await host.quiet();
    t.same(host.store.nodeInvitations(10), []);
    t.same(host.invitations.records(), []);
  });
});
