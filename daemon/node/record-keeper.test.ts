/** Keys of sealed records among real nodes at a real broker: who gets them, who does not, and when they are destroyed. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import t, { type Test } from 'tap';
import type { Charter } from '../ledger/charter.js';
import { isEnvelope } from '../ledger/envelope.js';
import type { Json, JsonObject } from '../ledger/ids.js';
import { monthOf } from '../ledger/record-key.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { startBroker } from '../sync/broker.js';
import { TcpProxy } from '../testing/tcp-proxy.js';
import { systemClock } from './clock.js';
import { PrivateRecords } from './private-records.js';
import { RecordKeeper } from './record-keeper.js';
import { agree, CoreNode, genesisOf, keysOf, scratchFolder, until } from './testing/core-town.js';

t.setTimeout(600_000);

const ANN = 'p00000000000000aa';
const BEN = 'p00000000000000bb';
const ABOUT = 'notes.about';
const MONTH_MS = 31 * 86_400_000;

/** A node's heart with its records. */
class RecordNode {
  private constructor(
    readonly core: CoreNode,
    readonly records: PrivateRecords,
    readonly keeper: RecordKeeper,
    readonly erased: string[],
    /** What the database still had whenever copies of it had to go. */
    readonly copiesGone: ReadonlySet<string>[],
    readonly failures: unknown[],
  ) {}

  static async start(options: {
    readonly folder: string;
    readonly name: string;
    readonly genesis: ReturnType<typeof genesisOf>;
    readonly url: string;
  }): Promise<RecordNode> {
    const core: CoreNode = await CoreNode.start({
      ...options,
      records: {
        receive: (...message) => keeper?.receive(...message) ?? null,
        peersChanged: () => keeper?.peersChanged(),
        stored: () => keeper?.stored(),
        adopted: () => keeper?.adopted(),
      },
    });
    const erased: string[] = [];
    const copiesGone: Set<string>[] = [];
    const failures: unknown[] = [];
    const { store } = core;
    const keeper: RecordKeeper | undefined = new RecordKeeper({
      ...{ store, main: core.core.main, keys: core.keys, clock: systemClock },
      random: randomBytes,
      steady: () => performance.now(),
      connected: () => core.peering.heard(),
      send: (kind, to, body) => core.peering.sendWhileOnline(kind, to, body),
      changed: () => records.forget(),
      forgetCopies: async () => void copiesGone.push(new Set(store.records.handlesBefore('9999-12', 1_000))),
      erased: async (owners) => void erased.push(...owners),
      failed: (error) => void failures.push(error),
    });
    const records = new PrivateRecords({
      store,
      state: core.core.main.state,
      made: (row) => keeper.made(row),
    });
    keeper.start();
    keeper.peersChanged();
    return new RecordNode(core, records, keeper, erased, copiesGone, failures);
  }

  get id(): string {
    return this.core.keys.id;
  }

  /** Writes a sealed note. @returns the name of its key */
  async write(subject: string, key: string, text: string, at = Date.now()): Promise<string> {
    const value = await this.records.seal(subject, ABOUT, text, at);
    await this.core.claim('ada', 'notes.put', { key, value });
    return value['key'] as string;
  }

  /** What a note says, as far as it can be read here. */
  reads(key: string): Json {
    const text = this.core.note(key);
    const value = text === undefined ? null : (JSON.parse(text) as Json);
    return isEnvelope(value) ? this.records.open(ABOUT, value) : value;
  }

  has(handle: string): boolean {
    return this.core.store.records.key(handle) !== null;
  }

  async stop(): Promise<void> {
    await this.keeper.stop();
    await this.core.stop();
  }
}

const NAMES = ['alpha', 'beta', 'hub', 'late'];

/** Two doors, a hub, and a door that comes later; the first merges. The second is behind a way that can be cut. */
async function town(t: Test) {
  const folder = scratchFolder();
  const broker = await startBroker(0);
  const way = await TcpProxy.open(broker.port);
  const genesis = genesisOf(NAMES, (charter): Charter => {
    const nodes = NAMES.map((name) => {
      const { id, key, sealingSecret } = keysOf(name);
      const roles = [name === 'hub' ? 'hub' : 'door'];
      return [id, { name, key, sealing: sealingKeyOf(sealingSecret), roles }] as const;
    });
    return { ...charter, nodes: Object.fromEntries(nodes), validators: [keysOf('alpha').id] };
  });
  const running: RecordNode[] = [];
  const start = async (name: string): Promise<RecordNode> => {
    const port = name === 'beta' ? way.port : broker.port;
    const url = `mqtt://127.0.0.1:${port}`;
    const node = await RecordNode.start({ folder: join(folder.path, name), name, genesis, url });
    running.push(node);
    return node;
  };
  t.teardown(async () => {
    for (const node of running) await node.stop();
    await way.close();
    await broker.close();
    folder.remove();
  });
  const alpha = await start('alpha');
  const beta = await start('beta');
  const hub = await start('hub');
  await alpha.core.claim('ada', 'member.found', {}, ['alpha']);
  await alpha.core.core.merger.mergeNow();
  const settled = (what: string, holds: () => boolean = () => true): Promise<void> => {
    const cores = running.map(({ core }) => core);
    return until(what, () => agree(cores) && holds(), cores);
  };
  await settled('the founding', () => alpha.core.head.height > 0);
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  return { alpha, beta, hub, way, start, settled, pause, running };
}

t.test('who may read can read at once, who may not gets no key, also when it asks', async (t) => {
  const { alpha, beta, hub, settled, pause, running } = await town(t);
  const handle = await alpha.write(ANN, 'ann', 'Ann');
  await settled('beta to read it', () => beta.reads('ann') === 'Ann');
  t.notOk(hub.has(handle));
  t.equal(hub.reads('ann'), null);
  await until('the hub to know that it lacks a key', () => hub.core.store.records.isMissing(handle));
  t.equal(hub.records.whyNot(JSON.parse(hub.core.note('ann') ?? '{}') as JsonObject), 'not-here');
  for (const other of [alpha, beta])
    hub.core.peering.sendWhileOnline('keys-ask', other.core.keys.id, { handles: [handle] });
  await until('both to refuse it', () =>
    [alpha, beta].every((node) => (node.core.refused()['keys-not-permitted'] ?? 0) > 0),
  );
  await pause(300);
  t.notOk(hub.has(handle));
  // What the hub itself writes about somebody it can read, and those who may read get the key.
  await hub.write(BEN, 'ben', 'Ben');
  await settled('the doors to read it', () => [alpha, beta].every((node) => node.reads('ben') === 'Ben'));
  t.equal(hub.reads('ben'), 'Ben');
  t.same(
    running.flatMap(({ failures }) => failures),
    [],
  );
});

t.test(
  'what was written while a node was cut off comes afterwards; a door that comes late reads it all',
  async (t) => {
    const { alpha, beta, way, start, settled, running } = await town(t);
    const old = Date.now() - 3 * MONTH_MS;
    await alpha.write(ANN, 'before', 'three months ago', old);
    await settled('before the cut', () => beta.reads('before') === 'three months ago');
    way.freeze();
    way.cut();
    const near = await alpha.write(BEN, 'near', 'near');
    const far = await beta.write(BEN, 'far', 'far');
    t.not(near, far, 'two made a key for the same person and month');
    way.heal();
    await settled(
      'each to read the other',
      () => alpha.reads('far') === 'far' && beta.reads('near') === 'near',
    );
    await until('both to have both', () => [alpha, beta].every((node) => node.has(near) && node.has(far)));
    const chosen = [alpha, beta].map(
      ({ core }) => core.store.records.keyFor(BEN, monthOf(Date.now()))?.handle,
    );
    t.same(chosen, [[near, far].sort()[0], [near, far].sort()[0]], 'and go by one of them from now on');

    const late = await start('late');
    await settled('the late one to read all', () =>
      ['before', 'near', 'far'].every((key) => late.reads(key) === alpha.reads(key)),
    );
    await until('it lacks nothing', () => late.core.store.records.missingCount() === 0);

    const change = { set: {}, remove: [`/nodes/${late.id}`] };
    await alpha.core.claim('ada', 'charter.change', change);
    await until('it is out', () => alpha.core.core.main.charter.nodes[late.id] === undefined);
    const after = await alpha.write('p00000000000000cc', 'after', 'not for all');
    await until('beta to read it', () => beta.reads('after') === 'not for all');
    late.core.peering.sendWhileOnline('keys-ask', alpha.core.keys.id, { handles: [after] });
    await until('it is refused', () => (alpha.core.refused()['unknown-node'] ?? 0) > 0);
    t.notOk(late.has(after), 'a node that was removed gets no more');
    t.same(
      running.flatMap(({ failures }) => failures),
      [],
    );
  },
);

t.test('erasure destroys the keys everywhere, also those that come later', async (t) => {
  const { alpha, beta, hub, way, settled, running } = await town(t);
  const first = await alpha.write(ANN, 'first', 'Ann');
  const own = await hub.write(`${ANN} doors`, 'own', 'was here');
  await alpha.write(BEN, 'ben', 'Ben');
  await settled('all to have it', () => beta.reads('first') === 'Ann' && alpha.reads('own') === 'was here');
  way.freeze();
  way.cut();
  const apart = await beta.write(`${ANN} doors`, 'apart', 'sealed before it knew', Date.now() - MONTH_MS);
  await alpha.core.claim('ada', 'record.erase', { subject: ANN });
  await until('the erasure', () => !alpha.has(first) && !hub.has(own), [alpha.core, hub.core]);
  t.equal(alpha.reads('first'), null);
  t.equal(alpha.records.whyNot(JSON.parse(alpha.core.note('first') ?? '{}') as JsonObject), 'erased');
  way.heal();
  await settled('the other side to know it');
  const nodes = [alpha, beta, hub];
  await until('no key is left', () =>
    nodes.every((node) => ![first, own, apart].some((handle) => node.has(handle))),
  );
  for (const node of nodes) {
    for (const key of ['first', 'own', 'apart']) t.equal(node.reads(key), null);
    t.same(node.erased, [ANN]);
    t.ok(node.copiesGone.length > 0);
    await t.rejects(node.records.seal(`${ANN} doors`, ABOUT, 'again', Date.now()), { code: 'record-erased' });
  }
  t.equal(beta.reads('ben'), 'Ben', 'others are as they were');
  t.same(
    running.flatMap(({ failures }) => failures),
    [],
  );
});

t.test(
  'keys of months that are over go, but not what the state still names; who may not read any more keeps its own',
  async (t) => {
    const { alpha, beta, hub, settled, running } = await town(t);
    const old = Date.now() - 3 * MONTH_MS;
    const gone = await alpha.write(`${ANN} doors`, 'gone', 'long ago', old);
    const kept = await alpha.write(ANN, 'kept', 'Ann', old);
    const fresh = await alpha.write(`${ANN} doors`, 'fresh', 'today');
    const hubs = await hub.write(BEN, 'hubs', 'Ben');
    await settled(
      'all to have them',
      () => beta.reads('gone') === 'long ago' && beta.reads('hubs') === 'Ben',
    );
    await alpha.core.claim('ada', 'notes.put', { key: 'gone', value: 1 });
    await alpha.core.claim('ada', 'charter.change', { set: { '/records/retentionMonths': 1 }, remove: [] });
    await settled('the old key to go', () => [alpha, beta].every((node) => !node.has(gone)));
    for (const node of [alpha, beta]) {
      t.ok(node.has(fresh));
      t.ok(
        node.copiesGone.some((had) => had.has(gone)),
        'copies of the database went before',
      );
      t.equal(node.reads('kept'), 'Ann', 'what people still go by is not over');
    }
    await alpha.core.claim('ada', 'charter.change', {
      set: { [`/nodes/${beta.id}/roles`]: ['hub'] },
      remove: [],
    });
    await settled(
      'beta to forget what it was given',
      () => !beta.has(kept) && !beta.has(fresh) && !beta.has(hubs),
    );
    t.ok(
      beta.copiesGone.some((had) => had.has(kept) && !had.has(gone)),
      'in copies as well',
    );
    t.ok(hub.has(hubs), 'who made a key keeps it');
    await alpha.core.claim('ada', 'charter.change', {
      set: { '/records/readers': ['hub', 'door'] },
      remove: [],
    });
    await settled('all to read all', () =>
      [alpha, beta, hub].every((node) => ['kept', 'fresh', 'hubs'].every((key) => node.reads(key) !== null)),
    );
    t.same(
      running.flatMap(({ failures }) => failures),
      [],
    );
  },
);
