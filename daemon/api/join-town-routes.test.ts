/** The routes by which a fresh board joins: open to who has no session, described, and only there where a board may join. */
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { TownError } from '../ledger/ids.js';
import type { JoiningCase, JoiningView } from '../node/joining-case.js';
import { buildApi } from './server.js';
import { TownInMemory } from './town-in-memory.js';

const asking: JoiningView = {
  state: 'asking',
  node: '0123456789abcdef',
  town: 'Wólka',
  broker: { url: 'mqtt://192.0.2.1:1883', reached: 'trying' },
  error: null,
};

async function apiOf(t: Test, joining?: JoiningCase) {
  const app = await buildApi({
    node: new TownInMemory(),
    logger: pino({ level: 'silent' }),
    panelFolder: t.testdir({}),
    triesPerMinute: 3,
    ...(joining ? { joining } : {}),
  });
  t.teardown(() => app.close());
  const post = (payload: object) => app.inject({ method: 'POST', url: '/api/node/join', payload });
  return { app, post };
}

t.test('a board asks with token, code and name, and tells how far it is', async (t) => {
  const asked: object[] = [];
  let view: JoiningView = { ...asking, state: 'idle', town: null, broker: null };
  const { app, post } = await apiOf(t, {
    view: () => view,
    start: async (input) => {
      asked.push(input);
      return (view = asking);
    },
  });
  const get = async () => (await app.inject('/api/node/join')).json<JoiningView>();
  t.same(await get(), view);
  const body = { token: 'abc', code: 'mergetown:join#AAAA\n BBBB', name: 'Back room' };
  const answer = await post(body);
  t.equal(answer.statusCode, 200);
  t.same(answer.json(), asking);
  t.same(asked, [body]);
  view = { ...asking, state: 'failed', error: { code: 'not-now', message: 'No.', advice: 'Later.' } };
  t.same(await get(), view);

  const doc = (await app.inject('/docs/json')).json<{
    paths: Record<string, Record<string, { summary: string; security: unknown[]; tags: string[] }>>;
  }>();
  for (const method of ['get', 'post']) {
    const route = doc.paths['/api/node/join']?.[method];
    t.ok(route?.summary, `${method} is described`);
    t.same([route?.security, route?.tags], [[], ['nodes']]);
  }
});

t.test('what is wrong is named, refusals have their status, and tries are few', async (t) => {
  const { post } = await apiOf(t, {
    view: () => asking,
    start: async () => {
      throw new TownError('setup-used', 'This node has a town that was set up.');
    },
  });
  const body = { token: 'abc', code: 'AAAA', name: 'Back room' };
  const bad = await post({ ...body, code: 'A'.repeat(3000) });
  t.equal(bad.statusCode, 400);
  t.match(bad.json(), { error: { message: /code: expected the code of an invitation/ } });
  const used = await post(body);
  t.equal(used.statusCode, 409);
  t.match(used.json(), { error: { code: 'setup-used' } });
  await post(body);
  t.equal((await post(body)).statusCode, 429);
});

t.test('where nothing can join there is no such route', async (t) => {
  const { app, post } = await apiOf(t);
  t.equal((await post({ token: 'abc', code: 'AAAA', name: 'x' })).statusCode, 404);
  t.equal((await app.inject('/api/node/join')).statusCode, 404);
});
