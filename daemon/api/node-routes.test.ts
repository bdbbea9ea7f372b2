import { get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { TownError } from '../ledger/ids.js';
import { buildApi } from './server.js';
import { nodes, tokenOfTest, TownInMemory } from './town-in-memory.js';

const bearer = { authorization: `Bearer ${tokenOfTest}` };
const invitation = 'abcdef0123456789';
const workshop = 'fedcba9876543210';

async function setUp(test: Test) {
  const node = new TownInMemory();
  const app = await buildApi({ node, logger: pino({ level: 'silent' }), panelFolder: test.testdir({}) });
  test.teardown(() => app.close());
  const send = (method: string, url: string, payload?: object, headers: Record<string, string> = bearer) =>
    app.inject({ method: method as 'GET', url, headers, ...(payload === undefined ? {} : { payload }) });
  return { app, node, send };
}

t.test('each request about nodes becomes the use case that it names', async (t) => {
  const { node, send } = await setUp(t);
  const broker = 'mqtts://broker.example:8883';
  const requests: [method: string, path: string, body: object | undefined, call: unknown[]][] = [
    ['GET', '', undefined, ['list']],
    ['POST', '/invitations', { role: 'hub' }, ['invite', { role: 'hub' }]],
    [
      'POST',
      '/invitations',
      { role: 'door', brokers: [broker], hours: 168 },
      ['invite', { role: 'door', brokers: [broker], hours: 168 }],
    ],
    ['DELETE', `/invitations/${invitation}`, undefined, ['withdraw', invitation]],
    [
      'POST',
      `/invitations/${invitation}/approve`,
      { node: workshop },
      ['approve', { invitation, node: workshop }],
    ],
    ['POST', `/invitations/${invitation}/refuse`, { reason: 'not ours' }, ['refuse', invitation, 'not ours']],
    [
      'PUT',
      `/${workshop}/validator`,
      { validator: false },
      ['setValidator', { node: workshop, validator: false }],
    ],
    [
      'PUT',
      `/${workshop}/validator`,
      { validator: true, anyway: true },
      ['setValidator', { node: workshop, validator: true, anyway: true }],
    ],
    ['DELETE', `/${workshop}`, undefined, ['remove', workshop]],
    ['POST', '/sync', undefined, ['sync']],
  ];
  for (const [method, path, body, [name, ...args]] of requests) {
    const answer = await send(method, `/api/nodes${path}`, body);
    t.ok([200, 204].includes(answer.statusCode), `${method} ${path}: ${answer.statusCode} ${answer.body}`);
    t.same(node.calls.at(-1), [`nodes.${String(name)}`, tokenOfTest, ...args]);
  }
  t.equal(node.calls.length, requests.length);
});

t.test('who may not change the charter sees the nodes, and null for the invitations', async (t) => {
  const { node, send } = await setUp(t);
  node.nodes = { ...node.nodes, list: () => ({ ...nodes, invitations: null }) };
  const answer = await send('GET', '/api/nodes');
  t.same(answer.json(), { ...nodes, invitations: null });
});

t.test('nothing of it is for who has not signed in, nor for a foreign page', async (t) => {
  const { node, send } = await setUp(t);
  const cookie = { cookie: `town_session=${tokenOfTest}` };
  for (const [method, path] of [
    ['GET', ''],
    ['POST', '/invitations'],
    ['DELETE', `/invitations/${invitation}`],
    ['POST', `/invitations/${invitation}/approve`],
    ['POST', `/invitations/${invitation}/refuse`],
    ['PUT', `/${workshop}/validator`],
    ['DELETE', `/${workshop}`],
    ['POST', '/sync'],
  ] as const) {
    const nobody = await send(method, `/api/nodes${path}`, undefined, {});
    t.equal(nobody.statusCode, 401, `${method} ${path}`);
    if (method === 'GET') continue;
    const foreign = await send(method, `/api/nodes${path}`, undefined, {
      ...cookie,
      origin: 'http://evil.example',
      'x-town-csrf': '1',
    });
    t.equal(foreign.statusCode, 403, `${method} ${path} from a foreign page`);
    const unmarked = await send(method, `/api/nodes${path}`, undefined, {
      ...cookie,
      origin: 'http://localhost',
    });
    t.equal(unmarked.statusCode, 403, `${method} ${path} without the header of the panel`);
  }
  t.same(node.calls, []);
});

t.test('what is wrong with a request is said before the node is asked', async (t) => {
  const { node, send } = await setUp(t);
  const invitations = '/api/nodes/invitations';
  const cases: [string, string, object | undefined, RegExp][] = [
    ['POST', invitations, {}, /role is missing: expected "door" for/],
    ['POST', invitations, { role: 'validator' }, /role: expected "door" for/],
    ['POST', invitations, { role: 'hub', brokers: [] }, /brokers: expected a list of 1 to 4/],
    ['POST', invitations, { role: 'hub', brokers: ['http://a'] }, /brokers: expected a list of 1 to 4/],
    ['POST', invitations, { role: 'hub', brokers: ['mqtt://a b'] }, /brokers: expected/],
    ['POST', invitations, { role: 'hub', brokers: Array(5).fill('mqtt://a') }, /brokers: expected/],
    ['POST', invitations, { role: 'hub', hours: 169 }, /hours: expected a whole number from 1 to 168/],
    ['POST', invitations, { role: 'hub', hours: 0.5 }, /hours: expected/],
    ['POST', invitations, { role: 'hub', name: 'x' }, /name not known here/],
    ['DELETE', `${invitations}/ABCDEF0123456789`, undefined, /id: expected the id of an invitation/],
    ['POST', `${invitations}/${invitation}/approve`, {}, /node is missing: expected the id of a node/],
    ['POST', `${invitations}/${invitation}/approve`, { node: 'fedc' }, /node: expected the id of a node/],
    ['POST', `${invitations}/${invitation}/refuse`, { reason: ' ' }, /reason: expected a reason/],
    ['PUT', '/api/nodes/attic/validator', { validator: true }, /id: expected the id of a node/],
    ['PUT', `/api/nodes/${workshop}/validator`, { validator: 'on' }, /validator: expected true to make/],
    ['DELETE', '/api/nodes/attic', undefined, /id: expected the id of a node/],
  ];
  for (const [method, url, payload, message] of cases) {
    const answer = await send(method, url, payload);
    t.equal(answer.statusCode, 400, `${method} ${url} ${JSON.stringify(payload)}`);
    t.match(answer.json().error, { code: 'invalid-input', message });
  }
  t.same(node.calls, []);
});

t.test('what the node refuses keeps its words, with the status that fits', async (t) => {
  const { node, send } = await setUp(t);
  for (const [code, status] of [
    ['bad-invitation', 400],
    ['not-allowed', 403],
    ['no-such-invitation', 404],
    ['unknown-node', 404],
    ['no-such-node', 404],
    ['nobody-waits', 409],
    ['other-asker', 409],
    ['already-answered', 409],
    ['too-many-invitations', 409],
    ['node-not-heard', 409],
    ['node-behind', 409],
    ['last-validator', 409],
    ['still-validator', 409],
    ['still-unmerged', 409],
    ['own-node', 409],
    ['no-validator', 409],
    ['already-validator', 409],
    ['validators-changing', 409],
    ['too-few-heard', 409],
    ['known-node', 409],
    ['no-badge-key', 409],
    ['no-broker', 409],
    ['invitation-expired', 410],
    ['invitation-too-long', 422],
    ['welcome-too-large', 422],
    ['bad-welcome', 500],
  ] as const) {
    node.nextError = new TownError(code, `It is ${code}.`, 'Do something else.');
    const answer = await send('PUT', `/api/nodes/${workshop}/validator`, { validator: true });
    t.equal(answer.statusCode, status, code);
    t.same(answer.json(), { error: { code, message: `It is ${code}.`, advice: 'Do something else.' } });
  }
});

t.test('a change among the nodes is told to every listener', async (t) => {
  const { app, node } = await setUp(t);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const heard = await new Promise<string>((resolve, reject) => {
    let text = '';
    const request = get({ port, path: '/api/events', headers: bearer, agent: false }, (response) => {
      response.setEncoding('utf8').on('data', (chunk: string) => {
        if (text === '') node.tell({ kind: 'nodes' });
        text += chunk;
        if (text.includes('event: nodes\ndata: {"kind":"nodes"}\n\n')) request.destroy();
      });
      response.on('close', () => resolve(text));
      response.on('error', () => undefined);
    });
    request.on('error', reject).setTimeout(10_000, () => request.destroy());
  });
  t.match(heard, /event: status\n[^]*event: nodes\n/, 'after the present status');
});
