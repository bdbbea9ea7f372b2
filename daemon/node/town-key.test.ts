/** The town's key changes when a node is taken out: who stays has the new one, who is out reads nothing new, who was away gets it. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Charter } from '../ledger/charter.js';
import { hexOf, sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId } from '../ledger/ids.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { isBetter } from '../sync/key-ring.js';
import { openMessage } from '../sync/message.js';
import { looksLikeGift, makeGift, readGift, type HeldKey } from '../sync/town-key-gift.js';
import { agree, foundTown, keysOf, until, withSealing, type CoreNode } from './testing/core-town.js';
import { TownKeys } from './town-keys.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma', 'delta'];
const outcast = 'delta';

/** Alpha, beta and gamma are validators, delta is none; each publishes the key that things are sealed to. */
const threeOfFour = (charter: Charter): Charter => ({
  ...withSealing(charter),
  validators: charter.validators.filter((id) => id !== keysOf(outcast).id),
});

/** Reads along with the keys that the outcast has. */
class Eavesdropper {
  readonly read: string[] = [];
  unread = 0;

  constructor(
    private readonly town: CoreNode['core']['main']['town'],
    client: MqttClient,
    private readonly townKeys: () => readonly Uint8Array[],
  ) {
    client.on('message', (topic, payload, { retain }) => {
      // What the broker had kept from before is not new.
      if (retain || payload.length === 0 || looksLikeGift({ topic, payload, retained: retain })) return;
      const keyOf = (id: NodeId): KeyId | undefined => NAMES.map(keysOf).find((keys) => keys.id === id)?.key;
      for (const townKey of this.townKeys()) {
        const opened = openMessage(
          { topic, payload, retained: false },
          { town: this.town, townKey, keyOf },
          0,
        );
        if ('message' in opened) return void this.read.push(`${opened.message.from} ${opened.message.kind}`);
      }
      this.unread += 1;
    });
  }
}

async function townOfFour(t: Test) {
  const town = await foundTown(t, { names: NAMES, charter: threeOfFour, keepsTownKeys: true });
  const { rings, url, node: nodeOf, nodes: of } = town;
  const client = await connectAsync(url, { protocolVersion: 4 });
  t.teardown(() => client.endAsync(true));
  const keyOf = (name: string): string => hexOf(rings.get(name)?.current.key as Uint8Array);
  const generationOf = (name: string): number => rings.get(name)?.current.generation ?? -1;
  const expel = (): Promise<unknown> =>
    nodeOf('alpha').claim('ada', 'charter.change', { set: {}, remove: [`/nodes/${keysOf(outcast).id}`] });
  return { ...town, client, of, nodeOf, keyOf, generationOf, expel };
}

t.test('who stays has one new key, who was taken out reads nothing more, who was away gets it', async (t) => {
  const town = await townOfFour(t);
  const { client, start, stop, of, nodeOf, rings, keyOf, generationOf, expel, folder } = town;
  const first = keyOf('alpha');
  await stop('gamma');
  await expel();
  const stay = ['alpha', 'beta'];
  const isChanged = (names: readonly string[]): boolean =>
    new Set(names.map(keyOf)).size === 1 &&
    names.every((name) => keyOf(name) !== first && generationOf(name) > 0);
  await until('a new key', () => isChanged(stay), of(...stay));
  t.equal(keyOf(outcast), first, 'the one that is out has not got it');
  await until('the town at rest', () => agree(of(...stay)), of(...stay));

  const { town: id } = nodeOf('alpha').core.main;
  const ear = new Eavesdropper(id, client, () => [
    rings.get(outcast)?.current.key as Uint8Array,
    ...(rings.get(outcast)?.opening() ?? []).map(({ key }) => key),
  ]);
  await client.subscribeAsync('mergetown/#', { qos: 1 });
  await nodeOf('alpha').claim('ada', 'notes.put', { key: 'secret', value: 1 });
  await until(
    'the others go on',
    () => agree(of(...stay)) && nodeOf('beta').note('secret') === '1',
    of(...stay),
  );
  const outcastId = keysOf(outcast).id;
  t.same(
    ear.read.filter((line) => !line.startsWith(outcastId)),
    [],
    'it can read what nobody but itself sent',
  );
  t.ok(ear.unread > 0);
  t.equal(nodeOf(outcast).note('secret'), undefined);

  // Gamma comes back with the old key and without the merge that took delta out, while delta still talks to it.
  const gamma = await start('gamma');
  const all = ['alpha', 'beta', 'gamma'];
  await until(
    'the one that was away catches up',
    () => agree(of(...all)) && gamma.note('secret') === '1',
    of(...all),
  );
  await until('and has the key', () => isChanged(all), of(...all));
  await gamma.claim('ada', 'notes.put', { key: 'back', value: 2 });
  await until('it takes part', () => agree(of(...all)) && nodeOf('beta').note('back') === '2', of(...all));
  t.ok((nodeOf('alpha').refused()['old-key'] ?? 0) > 0, 'what it sent under the old key was not taken');
  const kept = JSON.parse(readFileSync(join(folder, 'gamma', 'keys', 'town-keys.json'), 'utf8')) as {
    key: string;
  };
  t.equal(kept.key, keyOf('gamma'));
  t.equal(readFileSync(join(folder, 'gamma', 'keys', 'town.key'), 'utf8').slice(0, 64), kept.key);
  const known = rings.get('gamma')?.current.knownBy ?? [];
  t.notOk(known.includes(outcastId));

  const key = keyOf('gamma');
  await stop('gamma');
  await start('gamma');
  t.equal(keyOf('gamma'), key, 'after a start it is still there');
  for (const node of of(...all)) t.same(node.alarms, []);
});

t.test(
  'keys that were made at once become one; a key that was due is made up for at the next start',
  async (t) => {
    const { stop, start, of, keyOf, generationOf, expel, rings, nodeOf } = await townOfFour(t);
    await expel();
    const stay = ['alpha', 'beta', 'gamma'];
    const isOne = (): boolean =>
      new Set(stay.map(keyOf)).size === 1 && stay.every((name) => generationOf(name) > 0);
    await until('one key', isOne, of(...stay));
    // As after a cut: each side has a key of its own, of the same height.
    for (const name of stay) await stop(name);
    const { generation, knownBy } = rings.get('alpha')?.current as HeldKey;
    for (const name of stay) await rings.get(name)?.change({ key: randomBytes(32), generation, knownBy });
    t.equal(new Set(stay.map(keyOf)).size, 3);
    await Promise.all(stay.map(start));
    await nodeOf('alpha').claim('ada', 'notes.put', { key: 'one', value: 1 });
    await until('one key again', isOne, of(...stay));
    await until('one history', () => agree(of(...stay)) && nodeOf('gamma').note('one') === '1', of(...stay));
    t.pass('one key again');
    // A node noted that somebody knows the key who is out, and its power went before it made a new one.
    const before = keyOf('alpha');
    for (const name of stay) {
      await stop(name);
      await rings.get(name)?.knownTo([keysOf(outcast).id]);
    }
    await Promise.all(stay.map(start));
    await until(
      'a key that the outcast does not know',
      () => isOne() && keyOf('alpha') !== before,
      of(...stay),
    );
  },
);

const held = (n: number, generation: number): HeldKey => ({
  key: Buffer.alloc(32, n),
  generation,
  knownBy: [],
});

t.test('keys have one order, whoever asks', async (t) => {
  const keys = fc.record({ n: fc.nat(255), generation: fc.nat(3) }).map((k) => held(k.n, k.generation));
  const holds = fc.property(keys, keys, keys, (a, b, c) => {
    const same = a.generation === b.generation && hexOf(a.key) === hexOf(b.key);
    const total = same ? !isBetter(a, b) && !isBetter(b, a) : isBetter(a, b) !== isBetter(b, a);
    return total && (!(isBetter(a, b) && isBetter(b, c)) || isBetter(a, c));
  });
  t.doesNotThrow(() => fc.assert(holds, { numRuns: 300 }));
});

t.test('a gift opens for its reader alone, and says who gave it', async (t) => {
  const town = sha256('town');
  const [alpha, beta] = [keysOf('alpha'), keysOf('beta')];
  const keyOf = (node: NodeId): KeyId | undefined => (node === alpha.id ? alpha.key : undefined);
  const way = { town, from: alpha.id, to: beta.id };
  const reader = sealingKeyOf(beta.sealingSecret);
  const given: HeldKey = { ...held(7, 12), knownBy: [alpha.id, beta.id] };
  const text = makeGift(way, given, alpha.secretKey, reader, randomBytes(32));
  const deliver = (payload: string, retained = false) => ({
    topic: 'x',
    payload: Buffer.from(payload),
    retained,
  });
  const place = { town, self: beta.id };
  t.ok(looksLikeGift(deliver(text)));
  t.notOk(looksLikeGift(deliver('{"ct":"')));
  const read = readGift(deliver(text), place, keyOf, beta.sealingSecret);
  t.same(read, { from: alpha.id, held: { ...given, key: new Uint8Array(given.key) } });
  const code = (payload: string, change: object = {}): string => {
    try {
      const all = { ...place, keyOf, secret: beta.sealingSecret, retained: false, ...change };
      readGift(deliver(payload, all.retained), { town: all.town, self: all.self }, all.keyOf, all.secret);
      return 'taken';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  t.equal(code(text, { self: alpha.id }), 'misaddressed');
  t.equal(code(text, { town: sha256('other') }), 'bad-signature');
  t.equal(code(text, { keyOf: () => undefined }), 'unknown-node');
  t.equal(code(text, { keyOf: () => beta.key }), 'bad-signature');
  t.equal(code(text, { secret: alpha.sealingSecret }), 'sealed');
  t.equal(code(text, { retained: true }), 'retained-command');
  t.equal(code('{"from":"'), 'malformed');
  t.equal(code(text.replace('"v":1', '"v":2')), 'malformed');
  t.equal(code(text.replace('{', '{"a":1,')), 'malformed');
});

t.test('what lies in the place of the keys and is none is named', async (t) => {
  const folder = t.testdir({ keys: {} });
  const ring = await TownKeys.open(folder, Buffer.alloc(32, 1));
  await ring.knownTo(['0123456789abcdef' as NodeId]);
  await ring.knownTo(['0123456789abcdef' as NodeId]);
  await ring.change(held(2, 5));
  const again = await TownKeys.open(folder, Buffer.alloc(32, 1));
  t.match(again.current, { generation: 5, knownBy: [] });
  t.ok(again.opening().some(({ key, retired }) => retired && hexOf(key) === '01'.repeat(32)));
  for (let n = 3; n < 12; n += 1) await again.change(held(n, 5 + n));
  t.ok(again.opening().length < 8, 'not all are kept');
  writeFileSync(join(folder, 'keys', 'town-keys.json'), '{"v":1}');
  await t.rejects(TownKeys.open(folder, Buffer.alloc(32, 1)), { code: 'no-keys' });
});
