/** Further keys of a member, what becomes of what a revoked one signed, and who is told: the real daemon, by its API. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import type { KeyId, MemberId, NodeId, Sha256 } from '../ledger/ids.js';
import { sha256 } from '../ledger/hash.js';
import { memberIdOf, nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { eventually } from '../testing/eventually.js';
import {
  apiOf,
  PASSPHRASE,
  setUp,
  signIn,
  startTown,
  type Api,
  type RunningTown,
} from '../testing/running-town.js';
import type { KeyRequested, OwnKeyView } from './key-cases.js';
import { makeKeyCode, readKeyCode, writeKeyCode } from './key-code.js';
import { KeyStore } from './key-files.js';
import type { LedgerGraph } from './ledger-graph.js';
import type { NoticesView } from './notice-cases.js';
import type { MemberView, SessionView } from './use-cases.js';

t.setTimeout(600_000);

const secretKey = new Uint8Array(32).fill(5);
const key = publicKeyOf(secretKey);
const place = {
  town: sha256('town') as Sha256,
  member: memberIdOf(key),
  key: key as KeyId,
  node: nodeIdOf(key) as NodeId,
};

t.test('the code of a key comes through whole or not at all', async (t) => {
  const code = makeKeyCode(place, secretKey);
  t.match(code, /^[A-Za-z0-9_-]+\.[0-9a-f]{8}$/, 'one line');
  t.match(readKeyCode(code), place);
  t.match(
    readKeyCode(` ${code.slice(0, 70)}\n ${code.slice(70)}\n`),
    place,
    'broken into lines by a mail program',
  );
  fc.assert(
    fc.property(fc.nat(code.length - 1), fc.constantFrom('', 'A', 'b', '0', '.', '-'), (at, other) => {
      const wrong = code.slice(0, at) + other + code.slice(at + 1);
      return wrong === code || isRefused(wrong);
    }),
  );
  const otherMember = memberIdOf(publicKeyOf(new Uint8Array(32).fill(6)));
  t.ok(isRefused(writeKeyCode({ ...readKeyCode(code), member: otherMember })), 'a proof is for one member');
  t.ok(isRefused(writeKeyCode({ ...readKeyCode(code), town: sha256('another') as Sha256 })), 'of one town');
});

function isRefused(code: string): boolean {
  try {
    readKeyCode(code);
    return false;
  } catch (error) {
    return (error as { code?: string }).code === 'bad-key-code';
  }
}

t.test('a key that was only asked for gives nobody a name', async (t) => {
  const folder = t.testdir();
  const store = await KeyStore.open(folder);
  const member = 'm0123456789abcdef' as MemberId;
  await store.put(member, 'Not Ada', secretKey, PASSPHRASE, 1_000);
  for (const kept of [store, await KeyStore.open(folder)]) {
    t.equal(kept.has(member), false);
    t.equal(kept.nameOf(member), null);
    t.same(kept.requests, [{ key, member, requested: 1_000 }]);
    t.throws(() => kept.assertFree('not ada'), { code: 'name-taken' });
  }
  await store.settle(key);
  for (const kept of [store, await KeyStore.open(folder)]) {
    t.equal(kept.nameOf(member), 'Not Ada');
    t.same(kept.requests, []);
  }
  await store.remove(key);
  t.equal(store.has(member), false);
  t.same(await readdir(join(folder, 'keys', 'members')), []);
});

const merge = async (api: Api): Promise<void> => void (await api('POST', '/api/ledger/merge'));

t.test('a second key is asked for, registered, signs, is revoked, and signs no more', async (t) => {
  const folder = t.testdir();
  let town = await startTown(folder);
  t.teardown(() => town.stop());
  const { api: ada } = await setUp(town);
  await ada('POST', '/api/charter/changes', { set: { '/pace/interactiveMs': 3_600_000 }, remove: [] });
  await merge(ada);
  const { body: me } = (await ada('GET', '/api/session')) as { body: SessionView };
  const asNobody = apiOf(town);
  const wanted = { member: me.member, name: 'Ada at the shed', passphrase: PASSPHRASE };
  const { status, body } = await asNobody('POST', '/api/keys/requests', wanted);
  t.equal(status, 200, JSON.stringify(body));
  const { code, key: second } = body as KeyRequested;
  const add = (api: Api, text: string) => api('POST', '/api/keys', { code: text });
  const enter = () =>
    apiOf(town)('POST', '/api/session', { name: 'Ada at the shed', passphrase: PASSPHRASE });

  await t.test('until it is registered nobody signs in with it', async (t) => {
    t.match(await enter(), {
      status: 403,
      body: { error: { code: 'key-not-registered', advice: /town key add/ } },
    });
    t.same((await asNobody('POST', '/api/keys/requests', wanted)).body, body, 'a lost code is had again');
    t.match(await asNobody('POST', '/api/keys/requests', { ...wanted, passphrase: 'another passphrase' }), {
      status: 409,
      body: { error: { code: 'name-taken' } },
    });
    t.match(await asNobody('POST', '/api/keys/requests', { ...wanted, member: 'm0000000000000000' }), {
      status: 404,
      body: { error: { code: 'not-found' } },
    });
  });

  await t.test('its code is of this member of this town', async (t) => {
    t.match((await add(ada, `${code.slice(0, -1)}x`)).body.error, { code: 'bad-key-code' });
    const foreign = makeKeyCode({ ...place, member: me.member as MemberId }, secretKey);
    t.match((await add(ada, foreign)).body.error, { code: 'other-town' });
    const invited = await ada('POST', '/api/members/invitations', { name: 'Bob' });
    await asNobody('POST', '/api/members/join', { code: invited.body.code, passphrase: PASSPHRASE });
    t.match((await add(await signIn(town, 'Bob'), code)).body.error, { code: 'other-member' });
  });

  t.match(await add(ada, code), { status: 200, body: { state: 'pending' } });
  t.match(await add(ada, code), { status: 409, body: { error: { code: 'already-registered' } } });
  await merge(ada);
  await town.stop();
  town = await startTown(folder);
  const shed = await signIn(town, 'Ada at the shed');
  const first = await signIn(town, 'Ada');
  const keys = async (api: Api) => (await api('GET', '/api/keys')).body as OwnKeyView[];
  t.match(await keys(shed), [
    { status: 'active', state: 'merged', here: true, current: false },
    { key: second, status: 'active', state: 'merged', here: true, current: true },
  ]);
  t.match((await shed('GET', '/api/session')).body, { member: me.member, roles: ['member', 'steward'] });

  const members = (await first('GET', '/api/members')).body as MemberView[];
  const bob = members.find(({ name }) => name === 'Bob') as MemberView;
  const paid = await shed('POST', '/api/credits/transfer', { to: bob.id, amount: 30, memo: 'in secret' });
  t.equal(paid.status, 200, 'it signs');
  const bobs = await signIn(town, 'Bob');
  const incoming = async () =>
    ((await bobs('GET', '/api/members')).body as MemberView[]).find(({ id }) => id === bob.id)?.incoming;
  t.equal(await incoming(), 30);

  const heard = await listen(town.url, 'Ada');
  t.match(await first('DELETE', `/api/keys/${second}`), { status: 200, body: { state: 'pending' } });
  await t.test('a revoked key signs nothing more, and says so', async (t) => {
    for (const [method, path, sent] of [
      ['POST', '/api/credits/transfer', { to: bob.id, amount: 1 }],
      ['GET', '/api/session', undefined],
    ] as const)
      t.match(await shed(method, path, sent), { status: 401, body: { error: { code: 'key-revoked' } } });
    t.match((await enter()).body.error, { code: 'key-revoked' });
    t.match(await first('DELETE', `/api/keys/${second}`), { status: 409 }, 'once');
    const [only] = await keys(first);
    t.match((await first('DELETE', `/api/keys/${only?.key}`)).body.error, { code: 'last-key' });
    t.match((await bobs('DELETE', `/api/keys/${only?.key}`)).body.error, { code: 'not-your-key' });
  });

  await merge(first);
  t.equal(await incoming(), 0);
  await t.test('who lost by it is told: the author, and who saw credits coming', async (t) => {
    for (const api of [first, bobs]) {
      const { items, unread } = (await api('GET', '/api/notices')).body as NoticesView;
      t.match(items[0], { entry: paid.body.entry, code: 'key-revoked', read: false });
      t.match(items[0]?.text, /^Ada sent 30 credits to Bob\. This was rejected \(key-revoked\): The key /);
      t.notMatch(items[0]?.text, /secret/);
      t.equal(unread, items.length);
    }
    const [newest] = ((await bobs('GET', '/api/notices')).body as NoticesView).items;
    t.same((await bobs('POST', '/api/notices/read', { upTo: newest?.id })).body, { unread: 0 });
    t.equal(
      ((await first('GET', '/api/notices')).body as NoticesView).unread > 0,
      true,
      'each reads their own',
    );
    const notices = (await heard()).filter(({ kind }) => kind === 'notice');
    t.same(
      notices.map(({ member }) => member),
      [me.member],
      'live, and only to whom it is for',
    );
  });

  await t.test('its name is free for the next key', async (t) => {
    const { body: next } = await apiOf(town)('POST', '/api/keys/requests', wanted);
    t.not((next as KeyRequested).key, second);
    await add(first, next.code);
    await merge(first);
    t.match((await (await signIn(town, 'Ada at the shed'))('GET', '/api/session')).body, {
      member: me.member,
    });
  });

  await t.test('the history as a graph', async (t) => {
    const graph = (await first('GET', '/api/ledger/graph?limit=2')).body as LedgerGraph;
    t.equal(graph.merges.length, 2);
    t.equal(graph.truncated, false);
    const heights = graph.merges.map(({ height }) => height);
    t.ok(graph.blocks.length > 0);
    for (const block of graph.blocks)
      t.ok(block.own && (block.height === null || heights.includes(block.height)), `block ${block.seq}`);
    for (const { heads } of graph.merges)
      t.ok(heads.every((id) => graph.blocks.some((block) => block.id === id)));
  });
});

interface Heard {
  readonly kind: string;
  readonly member?: string;
}

/** Follows the live events of a session; gives what came so far when it is asked, and ends. */
async function listen(url: string, name: string): Promise<() => Promise<readonly Heard[]>> {
  const signedIn = await apiOf({ url } as RunningTown)('POST', '/api/session', {
    name,
    passphrase: PASSPHRASE,
  });
  const control = new AbortController();
  const answer = await fetch(`${url}/api/events`, {
    headers: { authorization: `Bearer ${signedIn.body.token}` },
    signal: control.signal,
  });
  let text = '';
  const ended = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>)
      text += decoder.decode(chunk, { stream: true });
  })().catch(() => undefined);
  return async () => {
    await eventually('a notice', () => text.includes('"kind":"notice"'), { withinMs: 90_000 });
    control.abort();
    await ended;
    return [...text.matchAll(/^data: ?(.*)$/gm)].map(([, data]) => JSON.parse(data as string) as Heard);
  };
}
