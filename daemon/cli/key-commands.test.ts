/** `town key`, `town notices` and `town log --graph`, against a small server that says what each test needs. */
import t from 'tap';
import type { OwnKeyView } from '../node/key-cases.js';
import { serve } from './served-town.fixture.js';

t.setTimeout(600_000);

const key = (letter: string): string => letter.repeat(64);
const member = 'm0123456789abcdef';
const recorded = { entry: 'e'.repeat(64), state: 'pending' };

t.test('a key is asked for without a session, and its code is carried over whole', async (t) => {
  const here = await serve(t, {
    'POST /api/keys/requests': [200, { code: 'abc.12345678', key: key('b'), member }],
    'POST /api/keys': [200, recorded],
  });
  const asked = await here.town('key', 'request', '--member', member, '--name', 'Ada');
  t.equal(asked.code, 0, asked.stderr);
  t.same(here.asked[0], {
    line: 'POST /api/keys/requests',
    token: undefined,
    body: { member, name: 'Ada', passphrase: 'from the environment' },
  });
  t.match(asked.stdout, /\nabc\.12345678\n/, 'on a line of its own');
  const added = await here.town('key', 'add', 'abc', '.12345678');
  t.match(added.stdout, /once this is merged/);
  t.match(
    here.asked.at(-1),
    { token: 'Bearer ada-token', body: { code: 'abc.12345678' } },
    'a broken line is joined',
  );
});

t.test('keys are listed by where they lie, and revoked by a start of them', async (t) => {
  const own: OwnKeyView = {
    key: key('b'),
    status: 'active',
    state: 'merged',
    since: 0,
    node: { id: '0123456789abcdef', name: 'hall' },
    here: true,
    current: true,
  };
  const here = await serve(t, {
    'GET /api/keys': [
      200,
      [
        own,
        { ...own, key: `c${key('d').slice(1)}`, here: false, current: false, state: 'pending' },
        { ...own, key: key('c'), here: false, current: false, node: null },
      ],
    ],
    [`DELETE /api/keys/${key('b')}`]: [200, recorded],
    [`DELETE /api/keys/${key('f')}`]: [200, recorded],
  });
  const { stdout } = await here.town('key', 'list');
  t.match(stdout, /bbbbbbbbbbbb .*active .*here .*this session/);
  t.match(stdout, /cddddddddddd .*active, pending .*hall/);
  t.match(stdout, /cccccccccccc .*another node/);
  t.match((await here.town('key', 'revoke', 'c')).stderr, /could be/, 'an unclear one is asked back');
  t.equal((await here.town('key', 'revoke', 'bb')).code, 0);
  t.match(here.asked.at(-1), { line: `DELETE /api/keys/${key('b')}`, token: 'Bearer ada-token' });
  t.equal((await here.town('key', 'revoke', key('f'))).code, 0, 'a whole one need not be one’s own');
});

t.test('notices are read, and what is unread is told at sign-in and by the status', async (t) => {
  const notice = { at: 0, entry: null, code: null, other: null, read: false };
  const items = [
    {
      ...notice,
      id: 9,
      text: 'Ada sent 5 credits to Bob. This was rejected (key-revoked): It was.\u001b[2J',
    },
    { ...notice, id: 4, text: 'Your gig is taken.', read: true },
  ];
  const session = { token: 'x', member, name: 'Ada', roles: [], permissions: [], expiresAt: 9 };
  const here = await serve(t, {
    'GET /api/notices?limit=20': [200, { items, unread: 1 }],
    'GET /api/notices?limit=1': [200, { items: items.slice(0, 1), unread: 1 }],
    'POST /api/notices/read': [200, { unread: 0 }],
    'POST /api/session': [200, session],
  });
  const shown = await here.town('notices');
  t.match(shown.stdout, /^\* .*key-revoked[^]*\n {2}.*Your gig is taken/);
  t.notOk(shown.stdout.includes('\u001b'));
  t.match(shown.stdout, /1 unread/);
  t.equal(here.asked.length, 1, 'to look is not to have read');
  await here.town('notices', '--read');
  t.match(here.asked.at(-1), { line: 'POST /api/notices/read', body: { upTo: 9 } });
  const login = await here.town('login', 'Ada');
  t.match(login.stdout, new RegExp(`member ${member}[^]*\n1 unread notice: town notices`));
  t.equal((await here.town('login', 'Ada', '--json')).stdout.trim().split('\n').length, 1);
});

t.test('the history is drawn, at most 50 merges of it', async (t) => {
  const merge = { height: 0, id: key('a'), oid: 'b'.repeat(40), time: 0, by: 'n', heads: [] };
  const graph = { merges: [merge], blocks: [], nodes: [{ id: 'n', name: 'hall' }], truncated: false };
  const here = await serve(t, { 'GET /api/ledger/graph?limit=50': [200, graph] });
  t.match((await here.town('log', '--graph', '-n', '200')).stdout, /^┌ main\n●/);
  t.same(JSON.parse((await here.town('log', '--graph', '-n', '50', '--json')).stdout), graph);
});
