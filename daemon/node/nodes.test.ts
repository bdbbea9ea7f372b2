/** What stewards do with the nodes of a town: a real town of one node, and a network that says what the test says. */
import t, { type Test } from 'tap';
import { charterText } from '../ledger/charter.js';
import { sha256 } from '../ledger/hash.js';
import { signEntry } from '../ledger/entry.js';
import { TownError, type EntryId, type Millis, type NodeId, type Oid } from '../ledger/ids.js';
import { readKey } from '../ledger/kernel.js';
import { publicKeyOf } from '../ledger/signature.js';
import { secretOf } from '../ledger/testing/small-town.js';
import type { NewEntry } from '../store/rows.js';
import { readInvitationCode } from '../sync/invitation.js';
import { addressOf, brokerAt } from './config.js';
import { doorIdOf } from './door-id.js';
import { Asker, HostingTown, nodeOf, peerView } from './testing/hosting-town.js';
import { View } from './view.js';

t.setTimeout(600_000);

async function founded(t: Test): Promise<HostingTown> {
  const host = await HostingTown.found();
  t.teardown(() => host.end());
  return host;
}

/** A node that waits for a steward. */
async function asking(host: HostingTown, word: string, role: 'door' | 'hub' = 'door') {
  const { id, code } = await host.nodes.invite(host.session(), { role });
  const asker = new Asker(code, word);
  await asker.asks(host);
  return { invitation: id, node: asker.node, asker };
}

const shown = (host: HostingTown, node: string) =>
  host.nodes.list(host.session()).nodes.find(({ id }) => id === node);

function waiting(host: HostingTown, invitation: string) {
  const { asker } = host.invitations.record(invitation);
  if (!asker) throw new Error('nobody waits');
  return asker;
}

/** A node that was let in. */
async function place(host: HostingTown, word: string, merged = true): Promise<NodeId> {
  const { id, code } = await host.nodes.invite(host.session(), { role: 'hub' });
  const asker = new Asker(code, word);
  await asker.asks(host);
  await host.nodes.approve(host.session(), { invitation: id, node: asker.node });
  if (merged) await host.merge();
  return asker.node;
}

/** The first block of another node, with one entry, as it stands in the store before its merge. */
async function putBlock(
  host: HostingTown,
  node: NodeId,
  entry: Pick<NewEntry, 'id' | 'type' | 'kind' | 'by' | 'bytes'>,
): Promise<void> {
  const place = { node, line: 'main' };
  const raw = Buffer.from(`a block of ${node}`);
  await host.store.putBlock({
    block: {
      ...{
        ...place,
        id: sha256(raw),
        oid: sha256(raw).slice(0, 40) as Oid,
        seq: 1,
        prev: null,
        raw,
        entries: 1,
      },
      base: host.core.main.head.id,
    },
    newEntries: [{ ...place, ...entry, n: 1, member: null, at: 1 as Millis }],
    ...{ entryIds: [entry.id], objects: [], refs: [] },
  });
}

t.test('an invitation carries what a new node needs, and its bounds are kept', async (t) => {
  const host = await founded(t);
  const before = host.clock.now();
  const made = await host.nodes.invite(host.session(), { role: 'door' });
  const read = readInvitationCode(made.link, before);
  const { main } = host.core;
  t.match(read, {
    ...{ id: made.id, town: main.town, name: 'Wólka', host: host.keys.id, role: 'door' },
    brokers: ['mqtt://127.0.0.1:1883'],
    checkpoint: { height: main.head.height, id: main.head.id },
    expires: made.expiresAt,
  });
  t.ok(made.expiresAt >= before + 24 * 3_600_000 && made.expiresAt < before + 25 * 3_600_000, 'a day');
  t.match(made.qr.svg, /^<svg/);
  t.ok(made.qr.lines.length > 20 && made.link.endsWith(made.code));

  const brokers = ['mqtts://town.example:8883', 'mqtt://10.0.0.2:1883'];
  const elsewhere = await host.nodes.invite(host.session(), { role: 'hub', brokers, hours: 168 });
  t.same(readInvitationCode(elsewhere.code, before).brokers, brokers);
  const invite = (input: object) =>
    host.nodes.invite(host.session(), { role: 'door', ...input }).then(
      () => 'invited',
      ({ code }: { code: string }) => code,
    );
  t.equal(await invite({ hours: 0 }), 'bad-hours');
  t.equal(await invite({ hours: 169 }), 'bad-hours');
  t.equal(await invite({ hours: 1.5 }), 'bad-hours');
  t.equal(await invite({ brokers: ['http://town.example'] }), 'bad-invitation');
  t.equal(await invite({ brokers: Array(5).fill('mqtt://a:1') }), 'bad-invitation');
  host.brokerUrl = null;
  t.equal(await invite({}), 'no-broker');
  t.equal(await invite({ brokers }), 'invited');
  host.brokerUrl = 'mqtt://127.0.0.1:1883';
  let last = '';
  for (let made = 3; made < 40 && last !== 'too-many-invitations'; made += 1) last = await invite({});
  t.equal(last, 'too-many-invitations', 'their number is bounded');
  t.equal(host.store.nodeInvitations(100).length, 32);
});

t.test('the address of a broker with a name and password is read as it was written', async (t) => {
  const broker = { url: 'mqtt://town.example:1883', username: 'a b:%', password: 'ü@/' };
  t.same(brokerAt(addressOf(broker)), broker);
  t.equal(addressOf({ url: 'mqtts://town.example:8883' }), 'mqtts://town.example:8883');
});

t.test('the node that is let in is the one that the steward saw, with a door of its own', async (t) => {
  const host = await founded(t);
  const s = host.session();
  const open = await host.nodes.invite(s, { role: 'door' });
  await t.rejects(host.nodes.approve(s, { invitation: open.id, node: nodeOf('beta') }), {
    code: 'nobody-waits',
  });
  const { invitation, node, asker } = await asking(host, 'beta');
  t.match(
    host.nodes.list(s).invitations?.find(({ id }) => id === invitation),
    { state: 'asked', role: 'door', asker: { node, name: 'board beta' } },
  );
  await t.rejects(host.nodes.approve(s, { invitation, node: nodeOf('mallory') }), { code: 'other-asker' });
  t.equal(shown(host, node), undefined, 'nothing was recorded');

  const { entry } = await host.nodes.approve(s, { invitation, node });
  t.equal(host.store.entry(entry as EntryId)?.type, 'charter.change');
  t.match(shown(host, node), { name: 'board beta', roles: ['door'], state: 'pending', connected: false });
  await t.rejects(host.nodes.approve(s, { invitation, node }), { code: 'already-approved' });
  await t.rejects(host.nodes.withdraw(s, invitation), { code: 'already-approved' });
  await t.rejects(host.nodes.refuse(s, invitation, ''), { code: 'already-approved' });
  await host.merge();
  t.match(shown(host, node), { state: 'merged', validator: false, self: false, heardAt: null });
  const door = host.core.main.state.get('door-access', 'doors', doorIdOf('board beta', node));
  t.match(JSON.parse(door ?? 'null'), { name: 'board beta', node });
  await host.quiet();
  t.equal(asker.listens(host), 'joined');

  await t.test('what an interrupted approval has left is done by the next', async (t) => {
    const second = await asking(host, 'gamma');
    const { key, sealing, name } = waiting(host, second.invitation);
    const set = { [`/nodes/${second.node}`]: { name, key, sealing, roles: ['door'] } };
    await host.claim('charter.change', { set, remove: [] });
    const { entry } = await host.nodes.approve(s, second);
    t.equal(host.store.entry(entry as EntryId)?.type, 'door-access.add-door');
    await host.merge();
    await host.quiet();
    t.equal(second.asker.listens(host), 'joined');
  });

  await t.test('of two stewards who let it in at once one does, and no door is lost', async (t) => {
    const twice = await asking(host, 'zeta');
    const answers = await Promise.all(
      [1, 2, 3].map(() =>
        host.nodes.approve(s, twice).then(
          ({ state }) => state as string,
          ({ code }: { code: string }) => code,
        ),
      ),
    );
    t.same(answers, ['pending', 'already-approved', 'already-approved']);
    await host.merge();
    t.equal(shown(host, twice.node)?.state, 'merged');
    t.ok(host.core.main.state.get('door-access', 'doors', doorIdOf('board zeta', twice.node)));
  });

  await t.test(
    'a door that failed is added by the next approval, also when the node is at work',
    async (t) => {
      const late = await asking(host, 'eta');
      const { appender } = host.core;
      const claim = appender.claim.bind(appender);
      appender.claim = (type, ...rest) =>
        type === 'door-access.add-door'
          ? Promise.reject(new TownError('busy', 'Too much.'))
          : claim(type, ...rest);
      await t.rejects(host.nodes.approve(s, late), {
        code: 'busy',
        message: /is let in, but its first door could not be added: Too much/,
      });
      appender.claim = claim;
      await host.merge();
      await host.quiet();
      t.equal(late.asker.listens(host), 'joined');
      const { entry } = await host.nodes.approve(s, late);
      t.equal(host.store.entry(entry as EntryId)?.type, 'door-access.add-door');
      await t.rejects(host.nodes.approve(s, late), { code: 'already-approved' });
      await host.merge();
      t.ok(host.core.main.state.get('door-access', 'doors', doorIdOf('board eta', late.node)));
    },
  );

  await t.test('a node that the charter names otherwise than it asks is not taken for it', async (t) => {
    const third = await asking(host, 'delta');
    const { key, sealing, name } = waiting(host, third.invitation);
    const set = { [`/nodes/${third.node}`]: { name, key, sealing, roles: ['hub'] } };
    await host.claim('charter.change', { set, remove: [] });
    await host.merge();
    await host.quiet();
    t.equal(third.asker.listens(host), 'waiting', 'a hub gets no badge key by an invitation for a door');
    await host.nodes.approve(s, third);
    await host.merge();
    await host.quiet();
    t.equal(third.asker.listens(host), 'joined');
    t.same(shown(host, third.node)?.roles, ['door']);
  });

  await t.test('a key that has written here before does not begin anew', async (t) => {
    const fourth = await asking(host, 'epsilon', 'hub');
    const bytes = Buffer.from('an entry');
    const { key } = waiting(host, fourth.invitation);
    await putBlock(host, fourth.node, {
      ...{ id: sha256(bytes) as unknown as EntryId, type: 'notes.seen', kind: 'fact', by: key, bytes },
    });
    await t.rejects(host.nodes.approve(s, fourth), { code: 'known-node' });
  });
});

t.test('who may not change the charter sees the nodes, and no more', async (t) => {
  const host = await founded(t);
  const { invitation, node } = await asking(host, 'beta');
  const bob = host.session('bob');
  t.match(host.nodes.list(bob), {
    nodes: [{ id: host.keys.id, self: true, connected: true, validator: true, state: 'merged' }],
    validators: { count: 1, quorum: 1, mayBeOff: 0, heard: 1 },
    broker: { url: 'mqtt://127.0.0.1:1883' },
    pending: { entries: 0, blocks: 0 },
    invitations: null,
  });
  t.equal((await host.nodes.sync(bob)).nodes.length, 1);
  const denied = { code: 'not-allowed' };
  await t.rejects(host.nodes.invite(bob, { role: 'hub' }), denied);
  await t.rejects(host.nodes.withdraw(bob, invitation), denied);
  await t.rejects(host.nodes.refuse(bob, invitation, 'no'), denied);
  await t.rejects(host.nodes.approve(bob, { invitation, node }), denied);
  await t.rejects(host.nodes.setValidator(bob, { node, validator: true }), denied);
  await t.rejects(host.nodes.remove(bob, node), denied);
  t.throws(() => host.nodes.list('nobody'), { code: 'signed-out' });
  await t.rejects(host.nodes.sync('nobody'), { code: 'signed-out' });
});

t.test('validators change one at a time, and not so that nobody merges any more', async (t) => {
  const host = await founded(t);
  const s = host.session();
  const self = host.keys.id;
  const beta = await place(host, 'beta');
  const gamma = await place(host, 'gamma', false);
  const make = (node: string, validator = true, anyway = false) =>
    host.nodes.setValidator(s, { node, validator, anyway }).then(
      ({ state }) => state as string,
      ({ code }: { code: string }) => code,
    );
  t.equal(await make('00000000000000ff'), 'no-such-node');
  t.equal(await make(self), 'already-validator');
  t.equal(await make(beta, false), 'no-validator');
  t.equal(await make(self, false), 'last-validator');
  t.equal(await make(self, false, true), 'last-validator', 'whatever is said');
  t.equal(await make(beta), 'node-not-heard');
  host.views = [peerView(beta, { connected: false, heardAt: 5 })];
  t.equal(await make(beta), 'node-not-heard', 'heard once is not heard now');
  host.views = [peerView(beta, { behind: { blocks: 0, merges: 3 } })];
  t.equal(await make(beta), 'node-behind');
  host.views = [peerView(beta, { height: 1, behind: { blocks: 7, merges: 2 } })];
  t.match(shown(host, beta), { connected: true, height: 1, behind: { blocks: 7, merges: 2 } });
  t.equal(await make(beta), 'pending');
  t.match(shown(host, beta), { validator: true, state: 'pending' });
  t.match(host.nodes.list(s).validators, { count: 1, heard: 1 }, 'until it is merged');
  t.equal(await make(gamma, true, true), 'validators-changing');
  await host.merge();
  t.match(shown(host, beta), { validator: true, state: 'merged' });
  t.match(host.nodes.list(s).validators, { count: 2, quorum: 2, mayBeOff: 0, heard: 2 });
  host.views = [peerView(beta, { connected: false })];
  t.match(host.nodes.list(s).validators, { heard: 1 });
  host.views = [peerView(gamma), peerView(beta, { connected: false })];
  t.equal(await make(gamma), 'pending', 'of three two are enough: one may be off');
});

t.test('a validator is not taken away where the others are too few', async (t) => {
  const host = await founded(t);
  const s = host.session();
  const beta = await place(host, 'beta');
  const gamma = await place(host, 'gamma');
  host.views = [peerView(beta), peerView(gamma, { connected: false })];
  // Two merges, of which the second is beta's to sign too: put in place without them.
  const { state, charter } = host.core.main;
  const value = charterText({ ...charter, validators: [host.keys.id, beta, gamma] });
  state.apply([{ dapp: 'kernel', collection: 'charter', key: 'charter', value }]);
  await host.core.view.rebuild(() => Promise.resolve());
  t.match(host.nodes.list(s).validators, { count: 3, quorum: 2, mayBeOff: 1, heard: 2 });
  const take = (node: string, anyway?: boolean) =>
    host.nodes.setValidator(s, { node, validator: false, anyway });
  await t.rejects(take(beta), { code: 'too-few-heard' }, 'the one left beside this node is away');
  t.match(await take(gamma), { state: 'pending' }, 'the one that is away may go');
});

t.test('of two validators one that is lost is taken away only by both, and that is said', async (t) => {
  const host = await founded(t);
  const beta = await place(host, 'beta');
  host.views = [peerView(beta)];
  await host.nodes.setValidator(host.session(), { node: beta, validator: true });
  await host.merge();
  host.views = [peerView(beta, { connected: false })];
  const take = (anyway: boolean) =>
    host.nodes.setValidator(host.session(), { node: beta, validator: false, anyway });
  await t.rejects(take(false), {
    code: 'too-few-heard',
    message: /when 2 of the 2 validators sign it, and 1 is connected\. .*not possible yet/,
  });
  t.match(await take(true), { state: 'pending' });
});

t.test('a node is taken out, but neither a validator nor the node that is asked', async (t) => {
  const host = await founded(t);
  const s = host.session();
  const beta = await place(host, 'beta');
  const remove = (node: string) =>
    host.nodes.remove(s, node).then(
      ({ state }) => state as string,
      ({ code }: { code: string }) => code,
    );
  t.equal(await remove('nonsense'), 'no-such-node');
  t.equal(await remove('00000000000000ff'), 'no-such-node');
  t.equal(await remove(host.keys.id), 'own-node');
  t.equal(await remove(beta), 'pending');
  t.match(shown(host, beta), { state: 'pending' }, 'there until the merge');
  t.equal(await remove(beta), 'no-such-node');
  await host.merge();
  t.equal(shown(host, beta), undefined);

  const gamma = await place(host, 'gamma');
  host.views = [peerView(gamma)];
  await host.nodes.setValidator(s, { node: gamma, validator: true });
  t.equal(await remove(gamma), 'still-validator', 'also before the merge');
  await host.merge();
  t.equal(await remove(gamma), 'still-validator');
});

t.test(
  'a node whose blocks wait for their merge is not taken out; of one that was, nothing restricts',
  async (t) => {
    const host = await founded(t);
    const s = host.session();
    const beta = await place(host, 'beta');
    const { main } = host.core;
    const key = publicKeyOf(secretOf('somebody'));
    const { id, type, by, text } = signEntry(
      {
        ...{
          v: 1,
          town: main.town,
          line: 'main',
          base: main.head.id,
          node: beta,
          n: 1,
          at: host.clock.now(),
        },
        ...{ type: 'member.revoke-key', by: publicKeyOf(secretOf('ada')), body: { key } },
      },
      secretOf('ada'),
    );
    await putBlock(host, beta, { id, type, by, kind: 'claim', bytes: Buffer.from(text) });
    await t.rejects(host.nodes.remove(s, beta), { code: 'still-unmerged', message: /^1 block of/ });

    const { [beta]: _, ...nodes } = main.charter.nodes;
    const without = Object.create(main, { charter: { value: { ...main.charter, nodes } } }) as typeof main;
    const isRevoked = async (line: typeof main): Promise<boolean> => {
      const noContract = (): never => {
        throw new Error('The kernel judges it alone.');
      };
      const view = new View(line, host.store, host.keys.id, new Map(), host.clock, { exchange: noContract });
      await view.settle();
      return readKey(view.state, key)?.status === 'revoked';
    };
    t.equal(await isRevoked(main), true, 'before its merge, as of any node');
    t.equal(await isRevoked(without), false);
  },
);
