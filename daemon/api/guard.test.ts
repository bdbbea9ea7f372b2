import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { buildApi, type ApiOptions } from './server.js';
import { tokenOfTest, TownInMemory } from './town-in-memory.js';

const bearer = { authorization: `Bearer ${tokenOfTest}` };
const panelCookie = { cookie: `town_session=${tokenOfTest}` };
const ownPage = { origin: 'http://localhost', 'x-town-csrf': '1' };

async function setUp(test: Test, options: Partial<ApiOptions> = {}) {
  const node = new TownInMemory();
  const panelFolder = test.testdir({});
  const app = await buildApi({ node, logger: pino({ level: 'silent' }), panelFolder, ...options });
  test.teardown(() => app.close());
  return { app, node };
}

t.test('a page of a name that was re-pointed at this address gets nothing', async (t) => {
  const { app } = await setUp(t, { hostNames: ['board.example'] });
  for (const host of [
    'evil.example',
    'evil.example:80',
    'localhost.evil.example',
    'a@localhost',
    '[::1',
    '10.0.0.9',
  ])
    for (const url of ['/api/status', '/', '/docs', '/nowhere']) {
      const answer = await app.inject({ url, headers: { host } });
      t.equal(answer.statusCode, 403, `${host} ${url}`);
      t.equal(answer.json().error.code, 'not-this-host');
    }
  for (const host of [
    'localhost',
    'LOCALHOST:4870',
    '127.0.0.1:4870',
    '[::1]:4870',
    'localhost.',
    'board.example',
  ])
    t.equal((await app.inject({ url: '/api/status', headers: { host } })).statusCode, 200, host);
});

t.test('the address a connection came in on is a name of the daemon', async (t) => {
  const { app } = await setUp(t);
  await app.listen({ host: '127.0.0.2', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const statusWith = (host: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      httpRequest(
        { host: '127.0.0.2', port, path: '/api/status', headers: { host }, agent: false },
        (response) => {
          response.resume();
          resolve(response.statusCode);
        },
      )
        .on('error', reject)
        .end();
    });
  t.equal(await statusWith(`127.0.0.2:${port}`), 200);
  t.equal(await statusWith(`127.0.0.3:${port}`), 403);
});

t.test('a change asked for with the cookie needs the own origin and the header', async (t) => {
  const { app, node } = await setUp(t);
  const post = (headers: Record<string, string>) =>
    app.inject({ method: 'POST', url: '/api/people', payload: { name: 'Grace' }, headers });
  const refused = [
    { ...panelCookie },
    { ...panelCookie, 'x-town-csrf': '1' },
    { ...panelCookie, origin: 'http://localhost' },
    { ...panelCookie, origin: 'http://localhost:3000', 'x-town-csrf': '1' },
    { ...panelCookie, origin: 'null', 'x-town-csrf': '1' },
    { ...panelCookie, origin: 'file://localhost', 'x-town-csrf': '1' },
    { ...panelCookie, ...ownPage, 'x-town-csrf': '0' },
    { ...bearer, origin: 'http://evil.example' },
  ];
  for (const headers of refused) {
    const answer = await post(headers);
    t.equal(answer.statusCode, 403, JSON.stringify(headers));
    t.equal(answer.json().error.code, 'not-this-origin');
  }
  t.same(node.calls, []);
  t.equal((await post({ ...panelCookie, ...ownPage })).statusCode, 200);
  t.equal(
    (await post({ ...panelCookie, ...ownPage, host: 'localhost:4870', origin: 'http://localhost:4870' }))
      .statusCode,
    200,
  );
  t.equal((await post(bearer)).statusCode, 200);
  t.equal((await app.inject({ url: '/api/people', headers: panelCookie })).statusCode, 200);
});

t.test('nor can a foreign page sign a person in as somebody else', async (t) => {
  const { app, node } = await setUp(t);
  const foreign = await app.inject({
    method: 'POST',
    url: '/api/session',
    payload: { name: 'Eve', passphrase: 'correct horse' },
    headers: { origin: 'http://evil.example' },
  });
  t.equal(foreign.statusCode, 403);
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    const answer = await app.inject({
      method: 'POST',
      url: '/api/session',
      payload: '{"name":"Eve","passphrase":"correct horse"}',
      headers: { 'content-type': type },
    });
    t.equal(answer.statusCode, 415, type);
    t.equal(answer.json().error.code, 'not-json-type');
  }
  t.same(node.calls, []);
});

t.test('every answer forbids scripts that are not files of our own, and framing', async (t) => {
  const { app } = await setUp(t);
  for (const url of ['/', '/api/status', '/nowhere', '/docs', '/docs/static/swagger-ui.css']) {
    const { headers } = await app.inject({ url });
    const policy = String(headers['content-security-policy']);
    t.match(policy, /default-src 'none';script-src 'self';style-src 'self';/, url);
    t.match(policy, /frame-ancestors 'none'/);
    t.notMatch(policy, /unsafe|https?:|upgrade-insecure/);
    t.equal(headers['x-content-type-options'], 'nosniff');
    t.equal(headers['referrer-policy'], 'same-origin');
    t.notOk(headers['access-control-allow-origin']);
  }
});
