import fc from 'fast-check';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import Schema from 'typebox/schema';
import { buildApi } from './server.js';
import { memberOfTest, session, tokenOfTest, TownInMemory } from './town-in-memory.js';

interface Operation {
  readonly summary?: string;
  readonly tags?: string[];
  readonly security?: unknown[];
  readonly parameters?: { name: string; in: string; description?: string; schema: object }[];
  readonly requestBody?: {
    content: { 'application/json': { schema: { properties: Record<string, Described> } } };
  };
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
type Described = { readonly description?: string };
interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { schemas: Record<string, object> };
}

const passphrase = 'correct horse';
const badgeNumber = '12345678';
const person = 'p0123456789abcdef';

/** Every route with a request it accepts. Paths as OpenAPI writes them, with what stands in for `{…}`. */
const requests: [method: string, path: string, body?: object][] = [
  ['get', '/api/status'],
  ['post', '/api/setup', { token: 'abc', name: 'Ada', passphrase, doorName: 'Front' }],
  ['post', '/api/session', { name: 'Ada', passphrase }],
  ['get', '/api/session'],
  ['delete', '/api/session'],
  ['get', '/api/people'],
  ['post', '/api/people', { name: 'Grace', contact: 'grace@example.org' }],
  ['post', '/api/people/{id}/suspend', { reason: 'lost contact' }],
  ['post', '/api/people/{id}/reinstate'],
  ['post', '/api/people/{id}/erase'],
  ['get', '/api/records'],
  ['post', '/api/records/erase'],
  ['get', '/api/recovery'],
  ['post', '/api/recovery', { statement: {}, sigs: [] }],
  ['post', '/api/badges', { person, badgeNumber, doors: ['front'], until: 1_800_000_000_000 }],
  ['post', '/api/badges/{badge}/revoke', { reason: 'lost' }],
  ['post', '/api/enrolments', { person, door: 'front', doors: '*' }],
  ['get', '/api/enrolments/{id}'],
  ['delete', '/api/enrolments/{id}'],
  ['get', '/api/doors'],
  ['post', '/api/doors', { id: 'back', name: 'Back door' }],
  ['post', '/api/doors/{id}/tap', { badgeNumber }],
  ['post', '/api/doors/{id}/open'],
  ['post', '/api/doors/{id}/lockdown', { on: true }],
  ['get', '/api/doors/events'],
  ['get', '/api/members'],
  ['post', '/api/members/invitations', { name: 'Grace', roles: ['member'] }],
  ['post', '/api/members/join', { code: 'abc', name: 'Grace', passphrase }],
  ['post', '/api/credits/transfer', { to: memberOfTest, amount: 5, memo: 'thanks' }],
  ['post', '/api/credits/grant', { to: memberOfTest, amount: 5, reason: 'welcome' }],
  ['get', '/api/gigs'],
  ['post', '/api/gigs', { title: 'Fix the lathe', description: 'It squeaks.', price: 50 }],
  ['post', '/api/gigs/{id}/{step}', { stars: 4, sharePercent: 50 }],
  ['post', '/api/keys/requests', { member: memberOfTest, name: 'Ada at the shed', passphrase }],
  ['get', '/api/keys'],
  ['post', '/api/keys', { code: 'c0de.12345678' }],
  ['delete', '/api/keys/{key}'],
  ['get', '/api/notices'],
  ['post', '/api/notices/read', { upTo: 3 }],
  ['get', '/api/charter'],
  ['post', '/api/charter/changes', { set: { '/name': 'New Town' }, remove: ['/roles/guest'] }],
  ['get', '/api/ledger/log'],
  ['get', '/api/ledger/merges'],
  ['get', '/api/ledger/branches'],
  ['get', '/api/ledger/graph'],
  ['get', '/api/ledger/show/{id}'],
  ['post', '/api/ledger/merge'],
  ['get', '/api/nodes'],
  ['post', '/api/nodes/invitations', { role: 'door', brokers: ['mqtt://192.0.2.10:1883'], hours: 24 }],
  ['delete', '/api/nodes/invitations/{id}'],
  ['post', '/api/nodes/invitations/{id}/approve', { node: 'fedcba9876543210' }],
  ['post', '/api/nodes/invitations/{id}/refuse', { reason: 'another board' }],
  ['put', '/api/nodes/{id}/validator', { validator: true, anyway: true }],
  ['delete', '/api/nodes/{id}'],
  ['post', '/api/nodes/{id}/readmit', { from: 'abcdef0123456789' }],
  ['post', '/api/nodes/sync'],
  ['get', '/api/forks'],
  ['post', '/api/forks', { name: 'budget', from: 'abcdef0123456789' }],
  ['get', '/api/forks/{name}'],
  ['post', '/api/forks/{name}/drop'],
  ['post', '/api/forks/{name}/adopt', { cosigners: [{ name: 'Grace', passphrase }] }],
  ['get', '/api/allowances'],
  ['post', '/api/allowances', { node: '0123456789abcdef', amount: 50 }],
  ['post', '/api/allowances/payments', { to: 'vault', amount: 5, memo: 'coffee' }],
  ['post', '/api/allowances/returns', { member: 'm0123456789abcdef' }],
  [
    'post',
    '/api/allowances/fences',
    {
      member: 'm0123456789abcdef',
      node: '0123456789abcdef',
      n: 7,
      cosigners: [{ name: 'Grace', passphrase }],
    },
  ],
  ['get', '/api/dues'],
  ['post', '/api/dues/{due}/payments', { amount: 5 }],
  ['post', '/api/dues/{due}/waiver'],
  ['post', '/api/members/{id}/suspension', { reason: 'broke the lathe' }],
  ['delete', '/api/members/{id}/suspension'],
  ['post', '/api/members/leave'],
];

const inPath: Record<string, string> = {
  id: 'abcdef0123456789',
  badge: '9'.repeat(64),
  step: 'take',
  key: '7'.repeat(64),
  due: 'e'.repeat(64),
  name: 'budget',
};
const urlOf = (path: string): string => path.replace(/\{(\w+)\}/g, (_, name: string) => inPath[name] ?? name);

async function setUp(test: Test) {
  const node = new TownInMemory();
  const logger = pino({ level: 'silent' });
  const app = await buildApi({ node, logger, panelFolder: test.testdir({}), triesPerMinute: 10_000 });
  test.teardown(() => app.close());
  const send = (method: string, path: string, payload?: object) =>
    app.inject({
      method: method as 'GET',
      url: urlOf(path),
      headers: { authorization: `Bearer ${tokenOfTest}` },
      ...(payload === undefined ? {} : { payload }),
    });
  const doc = (await app.inject('/docs/json')).json<Document>();
  return { app, node, send, doc };
}

/** The routes fastify really has, from its own listing, in OpenAPI's writing. */
function routesOf(listing: string): string[] {
  const found: string[] = [];
  const above: string[] = [];
  for (const line of listing.split('\n')) {
    const match = /^((?:[│ ] {3})*)[├└]── (\S+)(?: \(([A-Z, ]+)\))?$/.exec(line);
    if (!match) continue;
    const depth = match[1]!.length / 4;
    above.length = depth;
    above.push(match[2]!);
    const path = above.join('').replace(/:(\w+)/g, '{$1}');
    for (const method of match[3]?.split(', ') ?? [])
      if (path.startsWith('/api') && method !== 'HEAD') found.push(`${method.toLowerCase()} ${path}`);
  }
  return found.sort();
}

t.test('every route of the API is described, and nothing else is', async (t) => {
  const { app, doc } = await setUp(t);
  const described = Object.entries(doc.paths)
    .flatMap(([path, operations]) => Object.keys(operations).map((method) => `${method} ${path}`))
    .sort();
  t.same(described, routesOf(app.printRoutes()));
  t.same(described, [...requests.map(([method, path]) => `${method} ${path}`), 'get /api/events'].sort());
});

t.test('each says what it is for, what it takes and who may ask', async (t) => {
  const { doc } = await setUp(t);
  t.equal(doc.openapi, '3.1.0');
  const open = new Set<string>();
  for (const [path, operations] of Object.entries(doc.paths))
    for (const [method, operation] of Object.entries(operations)) {
      const route = `${method} ${path}`;
      t.ok(operation.summary, `${route} has a summary`);
      t.equal(operation.tags?.length, 1, `${route} has a tag`);
      if (operation.security?.length === 0) open.add(route);
      const fields = operation.requestBody?.content['application/json'].schema.properties ?? {};
      for (const [name, field] of Object.entries(fields))
        t.ok(field.description, `${route} explains ${name}`);
      for (const parameter of operation.parameters ?? [])
        t.ok(parameter.description, `${route} explains ${parameter.name}`);
      t.ok(operation.responses['4XX']?.content?.['application/json'], `${route} describes its refusals`);
    }
  t.same(
    [...open].sort(),
    [
      'get /api/status',
      'post /api/keys/requests',
      'post /api/members/join',
      'post /api/session',
      'post /api/setup',
    ],
    'only these need no session',
  );
});

t.test('every answer is what the node said, whole, and is as described', async (t) => {
  const { node, send, doc } = await setUp(t);
  for (const [method, path, body] of requests) {
    node.sessions.set(tokenOfTest, session);
    node.lastAnswer = undefined;
    const answer = await send(method, path, body);
    const { responses } = doc.paths[path]![method]!;
    const described = responses[answer.statusCode];
    t.ok(described, `${method} ${path} describes ${answer.statusCode}`);
    if (answer.statusCode === 204) {
      t.equal(answer.body, '');
      continue;
    }
    const { schema } = described!.content!['application/json']!;
    const check = Schema.Compile({ ...schema, components: doc.components } as never);
    t.ok(check.Check(answer.json()), `${method} ${path} answers by its schema`);
    const said: Record<string, unknown> = {
      '/api/status': node.status(),
      '/api/session': session,
      '/api/ledger/merge': { merge: node.lastAnswer },
    };
    t.same(answer.json(), said[path] ?? node.lastAnswer, `${method} ${path} leaves nothing out`);
  }
});

t.test('each field that is wrong is named, on every route', async (t) => {
  const { node, send } = await setUp(t);
  for (const [method, path, body] of requests)
    for (const field of Object.keys(body ?? {})) {
      const answer = await send(method, path, { ...body, [field]: null });
      t.equal(answer.statusCode, 400, `${method} ${path} ${field}`);
      t.match(answer.json().error.message, new RegExp(`${field}: expected `));
    }
  t.same(node.calls, []);
});

t.test('the reader of the description needs nothing from elsewhere', async (t) => {
  const { app } = await setUp(t);
  const page = await app.inject('/docs');
  t.equal(page.statusCode, 200);
  t.notMatch(page.body, /(?:src|href)="(?:https?:)?\/\//);
  t.notMatch(page.body, /<script>|<style>|style="/, 'nor anything its policy forbids');
  for (const [, file] of page.body.matchAll(/(?:src|href)="\.?\/?([^"]+)"/g)) {
    const url = file!.startsWith('docs/') ? `/${file}` : `/docs/${file}`;
    t.equal((await app.inject(url)).statusCode, 200, url);
  }
});

t.test('what a session may not see by schema does not leave, whatever the node hands over', async (t) => {
  const { node, send } = await setUp(t);
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.stringMatching(/^x[a-z]{1,8}$/), fc.string()), async (extra) => {
      const status = { ...new TownInMemory().status(), ...extra };
      node.status = () => status;
      const answer = (await send('get', '/api/status')).json<object>();
      return Object.keys(answer).every((key) => !(key in extra));
    }),
    { numRuns: 50 },
  );
});
