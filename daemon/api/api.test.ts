import { connect } from 'node:net';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { TownError } from '../ledger/ids.js';
import { Refused } from '../node/appender.js';
import { buildApi, type ApiOptions } from './server.js';
import { session, tokenOfTest, TownInMemory } from './town-in-memory.js';

const bearer = { authorization: `Bearer ${tokenOfTest}` };
const panelCookie = { cookie: `town_session=${tokenOfTest}` };
const ownPage = { origin: 'http://localhost', 'x-town-csrf': '1' };

async function setUp(test: Test, options: Partial<ApiOptions> = {}) {
  const node = new TownInMemory();
  const logged: string[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const app = await buildApi({
    node,
    logger,
    panelFolder: options.panelFolder ?? test.testdir({}),
    ...options,
  });
  test.teardown(() => app.close());
  return { app, node, logged };
}

t.test('sessions', async (t) => {
  t.test(
    'signing in gives a token, and a cookie that scripts cannot read and other sites cannot send',
    async (t) => {
      const { app } = await setUp(t);
      const answer = await app.inject({
        method: 'POST',
        url: '/api/session',
        payload: { name: 'Ada', passphrase: 'correct horse' },
      });
      t.equal(answer.statusCode, 200);
      t.same(answer.json(), session);
      t.equal(answer.headers['set-cookie'], `town_session=${tokenOfTest}; Path=/; HttpOnly; SameSite=Strict`);
      t.equal(answer.headers['cache-control'], 'no-store');
    },
  );

  t.test('setup and joining sign in as well', async (t) => {
    const { app, node } = await setUp(t);
    const setup = { token: 'abc', name: 'Ada', passphrase: 'correct horse', doorName: 'Front' };
    const join = { code: 'abc', passphrase: 'correct horse' };
    for (const [url, payload] of [['/api/setup', setup] as const, ['/api/members/join', join] as const]) {
      const answer = await app.inject({ method: 'POST', url, payload });
      t.equal(answer.statusCode, 200, url);
      t.match(answer.headers['set-cookie'], /^town_session=T{43};/);
    }
    t.same(node.calls, [
      ['setup', setup],
      ['join', join],
    ]);
  });

  t.test('a wrong passphrase is 401 in the words of the node', async (t) => {
    const { app } = await setUp(t);
    const payload = { name: 'Ada', passphrase: 'wrong' };
    const answer = await app.inject({ method: 'POST', url: '/api/session', payload });
    t.equal(answer.statusCode, 401);
    t.same(answer.json(), {
      error: { code: 'wrong-passphrase', message: 'The name or the passphrase is wrong.' },
    });
    t.notOk(answer.headers['set-cookie']);
  });

  t.test(
    'sign-in, setup, join and a request for a key each allow a client a few tries a minute',
    async (t) => {
      const { app } = await setUp(t, { triesPerMinute: 3 });
      const tries = {
        '/api/session': { name: 'Ada', passphrase: 'wrong' },
        '/api/setup': { token: '', name: '', passphrase: '' },
        '/api/members/join': { code: 'abc', passphrase: 'short' },
        '/api/keys/requests': { member: 'm0', name: 'Ada', passphrase: 'short' },
      };
      for (const [url, payload] of Object.entries(tries)) {
        const statuses: number[] = [];
        for (let i = 0; i < 4; i += 1)
          statuses.push((await app.inject({ method: 'POST', url, payload })).statusCode);
        t.equal(statuses[3], 429, url);
        t.notOk(statuses.slice(0, 3).includes(429));
        const last = await app.inject({ method: 'POST', url, payload });
        t.equal(last.json().error.code, 'too-many-tries');
        t.match(last.json().error.advice, /^Try again in \d+ seconds\.$/);
        t.ok(Number(last.headers['retry-after']) > 0);
      }
      const elsewhere = await app.inject({
        method: 'POST',
        url: '/api/session',
        payload: { name: 'Ada', passphrase: 'correct horse' },
        remoteAddress: '192.0.2.7',
      });
      t.equal(elsewhere.statusCode, 200, 'another client is not held up');
      t.equal((await app.inject('/api/status')).statusCode, 200, 'nor is anything else');
    },
  );

  t.test('what needs a session is refused without one, before the input is looked at', async (t) => {
    const { app, node } = await setUp(t);
    const wrong = [
      {},
      { authorization: 'Bearer nope' },
      { authorization: `Basic ${tokenOfTest}` },
      { authorization: `Bearer ${'x'.repeat(43)}` },
      { cookie: 'town_session=nope', ...ownPage },
    ];
    for (const headers of wrong) {
      const answer = await app.inject({ method: 'POST', url: '/api/people', headers, payload: { bad: 1 } });
      t.equal(answer.statusCode, 401, JSON.stringify(headers));
      t.equal(answer.json().error.code, 'signed-out');
      t.ok(answer.json().error.advice);
    }
    t.same(node.calls, []);
    const stale = await app.inject({ url: '/api/people', headers: { cookie: 'town_session=nope' } });
    t.match(stale.headers['set-cookie'], /^town_session=; Max-Age=0; Path=\/; .*HttpOnly; SameSite=Strict/);
  });

  t.test('the session is told to whoever holds it; its token is not read out to a page', async (t) => {
    const { app } = await setUp(t);
    t.same((await app.inject({ url: '/api/session', headers: bearer })).json(), session);
    t.same((await app.inject({ url: '/api/session', headers: panelCookie })).json(), {
      ...session,
      token: '',
    });
    t.equal((await app.inject('/api/session')).statusCode, 401);
  });

  t.test('signing out ends the session and takes the cookie away', async (t) => {
    const { app, node } = await setUp(t);
    const headers = { ...panelCookie, ...ownPage };
    const answer = await app.inject({ method: 'DELETE', url: '/api/session', headers });
    t.equal(answer.statusCode, 204);
    t.equal(answer.body, '');
    t.match(answer.headers['set-cookie'], /^town_session=; Max-Age=0; Path=\/; .*HttpOnly; SameSite=Strict/);
    t.equal(node.sessions.size, 0);
    t.equal((await app.inject({ url: '/api/people', headers: bearer })).statusCode, 401);
  });

  t.test('the simulated reader may be tried without a session only until the town is set up', async (t) => {
    const { app, node } = await setUp(t);
    const tap = () =>
      app.inject({ method: 'POST', url: '/api/doors/front/tap', payload: { badgeNumber: '42' } });
    t.equal((await tap()).statusCode, 401);
    node.needsSetup = true;
    t.equal((await tap()).statusCode, 200);
    t.same(node.calls, [['tap', '', 'front', '42']]);
  });
});

t.test('bad input', async (t) => {
  t.test('it is told which field is wrong and what was expected, never what was sent', async (t) => {
    const { app, node } = await setUp(t);
    const cases: [string, string, unknown, RegExp][] = [
      ['POST', '/api/people', {}, /^In the body: name is missing: expected a name, 1 to 80 characters\.$/],
      ['POST', '/api/people', { name: ' ' }, /name: expected a name/],
      ['POST', '/api/people', { name: 'x', nam: 's3cret' }, /nam not known here \(known: name, contact\)/],
      ['POST', '/api/people', ['s3cret'], /expected a JSON object/],
      ['POST', '/api/people', undefined, /expected a JSON object/],
      [
        'POST',
        '/api/gigs',
        { title: 'a', description: 'b', price: 1.5 },
        /price: expected a whole number of credits/,
      ],
      ['POST', '/api/gigs', { title: 'a', description: 'b', price: '5' }, /price: expected a whole number/],
      ['POST', '/api/gigs/g1/burn', {}, /^In the path: step: expected one of take, /],
      ['POST', '/api/gigs/g1/complete', { stars: 6 }, /stars: expected a whole number from 1 to 5/],
      [
        'POST',
        '/api/session',
        { name: 'Ada', passphrase: 's3cret'.repeat(90) },
        /passphrase: expected the passphrase/,
      ],
      ['GET', '/api/ledger/show/nothex', undefined, /id: expected 8 to 64 lower-case hex digits/],
      [
        'GET',
        '/api/ledger/log?limit=0',
        undefined,
        /^In the query: limit: expected a whole number from 1 to 200/,
      ],
      ['GET', '/api/ledger/log?limit=s3cret', undefined, /limit: expected a whole number/],
      ['GET', '/api/ledger/log?limit=1&limit=2', undefined, /limit: expected a whole number/],
      [
        'POST',
        '/api/badges',
        { person: 'p1', badgeNumber: '1', doors: ['../x'] },
        /doors: expected a list of door ids/,
      ],
    ];
    for (const [method, url, payload, message] of cases) {
      const answer = await app.inject({
        method: method as 'GET',
        url,
        headers: bearer,
        ...(payload === undefined ? {} : { payload: payload as object }),
      });
      t.equal(answer.statusCode, 400, `${method} ${url}`);
      t.equal(answer.json().error.code, 'invalid-input');
      t.match(answer.json().error.message, message);
      t.notMatch(answer.body, /s3cret/);
    }
    t.same(node.calls, []);
  });

  t.test('what is not JSON, too large or nowhere is refused in the one shape', async (t) => {
    const { app, logged } = await setUp(t);
    const json = { ...bearer, 'content-type': 'application/json' };
    const post = (payload: string) =>
      app.inject({ method: 'POST', url: '/api/people', headers: json, payload });
    for (const [answer, status, code] of [
      [await post('{"name":'), 400, 'not-json'],
      [await post('{"__proto__": {"admin": true}, "name": "x"}'), 400, 'not-json'],
      [await post(JSON.stringify({ name: 'x'.repeat(65 * 1024) })), 413, 'too-large'],
      [await app.inject({ method: 'PUT', url: '/api/people', headers: bearer }), 404, 'not-found'],
      [await app.inject({ url: '/api/nowhere?token=s3cret', headers: bearer }), 404, 'not-found'],
      [await app.inject({ url: '/api/people/%zz', headers: bearer }), 400, 'bad-request'],
    ] as const) {
      t.equal(answer.statusCode, status, code);
      t.equal(answer.json().error.code, code);
      t.notMatch(answer.body, /s3cret|stack|node_modules/);
    }
    t.notMatch(logged.join(''), /s3cret/, 'nor does the log hold the query');
  });

  t.test(
    'steps and actions that say all in the path need no body, whatever type it is said to have',
    async (t) => {
      const { app, node } = await setUp(t);
      const typed = { ...bearer, 'content-type': 'application/json' };
      for (const url of [
        '/api/gigs/g1/take',
        '/api/people/p1/reinstate',
        '/api/doors/front/open',
        '/api/ledger/merge',
      ])
        for (const headers of [bearer, typed])
          t.equal((await app.inject({ method: 'POST', url, headers })).statusCode, 200, url);
      t.equal(node.calls.length, 8);
      t.same(node.calls[0], ['gigStep', tokenOfTest, 'g1', 'take', {}]);
    },
  );

  t.test('bytes that are not HTTP get an answer in the one shape', async (t) => {
    const { app } = await setUp(t);
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as AddressInfo;
    const heard = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connect(port, '127.0.0.1', () => socket.write('NONSENSE\r\n\r\n'));
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    t.match(heard, /^HTTP\/1\.1 400 /);
    t.match(JSON.parse(heard.split('\r\n\r\n')[1] ?? ''), { error: { code: 'bad-request' } });
  });

  t.test('nothing anyone sends makes the daemon fail', async (t) => {
    const { app } = await setUp(t, { triesPerMinute: 1_000_000 });
    const posts = [
      '/api/setup',
      '/api/session',
      '/api/people',
      '/api/badges',
      '/api/doors/front/tap',
      '/api/members/join',
      '/api/keys/requests',
      '/api/keys',
      '/api/notices/read',
      '/api/credits/transfer',
      '/api/gigs',
      '/api/gigs/g1/settle',
      '/api/charter/changes',
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...posts),
        fc.json(),
        fc.webQueryParameters(),
        async (url, payload, query) => {
          const headers = { ...bearer, 'content-type': 'application/json' };
          const posted = await app.inject({ method: 'POST', url, payload, headers });
          const got = await app.inject({ url: `/api/ledger/log?${query}`, headers: bearer });
          for (const { statusCode } of [posted, got])
            if (![200, 400, 401].includes(statusCode)) throw new Error(`${statusCode}: ${posted.body}`);
        },
      ),
      { numRuns: 100 },
    );
  });
});

t.test('errors of the node', async (t) => {
  t.test('keep their code, words and advice, with the status that fits', async (t) => {
    const { app, node } = await setUp(t);
    const fitting: [string, number][] = [
      ['signed-out', 401],
      ['not-allowed', 403],
      ['not-found', 404],
      ['unknown-door', 404],
      ['wrong-status', 409],
      ['name-taken', 409],
      ['setup-expired', 410],
      ['rejected', 422],
      ['members-only', 422],
      ['too-many-tries', 429],
      ['weak-passphrase', 400],
      ['gate-away', 503],
      ['disk-full', 507],
    ];
    for (const [code, status] of fitting) {
      node.nextError = new TownError(code, `It is ${code}.`, 'Do something else.');
      const answer = await app.inject({ url: '/api/people', headers: bearer });
      t.equal(answer.statusCode, status, code);
      t.same(answer.json(), { error: { code, message: `It is ${code}.`, advice: 'Do something else.' } });
    }
  });

  t.test('what a rule of the ledger refuses is 422, unless its code says better', async (t) => {
    const { app, node } = await setUp(t);
    for (const [code, status] of [
      ['own-gig', 422],
      ['lock-differs', 422],
      ['not-enough-credits', 422],
      ['wrong-status', 409],
      ['badge-taken', 409],
      ['unknown-person', 404],
      ['contract-error', 500],
    ] as const) {
      node.nextError = new Refused(code, 'Because.');
      const answer = await app.inject({ method: 'POST', url: '/api/gigs/g1/take', headers: bearer });
      t.equal(answer.statusCode, status, code);
      t.equal(answer.json().error.code, code);
    }
  });

  t.test('a fault of the program is told without its text, and logged with it', async (t) => {
    const { app, node, logged } = await setUp(t);
    node.nextError = Object.assign(new Error('SQLITE_IOERR at /var/lib/secret'), { code: 'SQLITE_IOERR' });
    const answer = await app.inject({ url: '/api/people', headers: bearer });
    t.equal(answer.statusCode, 500);
    t.equal(answer.json().error.code, 'internal');
    t.notMatch(answer.body, /SQLITE|secret/);
    const line = logged.find((text) => text.includes('SQLITE_IOERR'));
    t.ok(line, 'the log has it');
    t.match(answer.json().error.advice, JSON.parse(line ?? '{}').reqId);
  });
});

t.test('the panel', async (t) => {
  t.test(
    'its pages are one file; files named by their content are kept for ever, others asked for again',
    async (t) => {
      const panelFolder = t.testdir({
        'index.html': '<!doctype html><title>panel</title>',
        'main-X7Q2AB4C.js': 'export {}',
        'icon.svg': '<svg/>',
        '.secret': 'no',
      });
      mkdirSync(`${panelFolder}/assets`);
      writeFileSync(`${panelFolder}/assets/style.0a1b2c3d4e.css`, 'a{}');
      const { app } = await setUp(t, { panelFolder });
      for (const url of ['/', '/setup', '/join', '/people', '/doors', '/ledger', '/gigs', '/bank', '/town']) {
        const answer = await app.inject({ url });
        t.equal(answer.statusCode, 200, url);
        t.match(answer.body, '<title>panel</title>');
        t.match(answer.headers['content-type'], 'text/html');
        t.equal(answer.headers['cache-control'], 'no-cache');
      }
      for (const url of ['/main-X7Q2AB4C.js', '/assets/style.0a1b2c3d4e.css'])
        t.match((await app.inject({ url })).headers['cache-control'], /max-age=31536000, immutable/, url);
      t.equal((await app.inject('/icon.svg')).headers['cache-control'], 'no-cache');
      for (const url of [
        '/.secret',
        '/../package.json',
        '/%2e%2e/package.json',
        '/..%2fpackage.json',
        '/assets/',
      ])
        t.not((await app.inject(url)).statusCode, 200, url);
    },
  );

  t.test('without it there is a page that says how to get it', async (t) => {
    const { app } = await setUp(t);
    const answer = await app.inject('/');
    t.equal(answer.statusCode, 503);
    t.match(answer.headers['content-type'], 'text/html');
    t.match(answer.body, 'npm run build');
  });
});
