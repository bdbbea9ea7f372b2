/** The `town` command by itself, against a small server that says what each test needs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runTown } from './run-town.fixture.js';
import { serve, skipTerminal } from './served-town.fixture.js';
import { readSessions, sessionsFile } from './sessions.js';

t.setTimeout(600_000);

const people = [
  { id: 'p1111', name: 'Bob', member: null, badges: [] },
  { id: 'p1122', name: 'Bert', badges: [] },
  { id: 'p3333', name: 'bert', badges: [] },
];
const recorded = { entry: 'e'.repeat(64), state: 'pending' };

t.test('what is wrong with a command line is said in a line, with exit code 2', async (t) => {
  const cases: readonly (readonly [string[], RegExp])[] = [
    [[], /Expected a command/],
    [['statsu'], /Unknown command 'statsu'/],
    [['login'], /Missing required argument 'name'/],
    [['setup', 'x'], /--name <name>/],
    [['gig', 'complete', 'x', '--stars', '6'], /from 1 to 5/],
    [['member', 'transfer', 'Bob', '1.5'], /whole number/],
    [['badge', 'enrol', 'Bob'], /--number N or --tap DOOR/],
    [['log', '-n', '1000'], /from 1 to 200/],
    [['show', 'xyz'], /hex digits/],
    [['status', '--url', 'nonsense'], /Expected the URL/],
    [['charter', 'set'], /Expected a change/],
  ];
  for (const [words, message] of cases) {
    const ended = await runTown(words);
    t.equal(ended.code, 2, words.join(' '));
    t.match(ended.stderr, message);
    t.match(ended.stderr, /^error: .+\n( {2}.+\n)?$/, 'one line what, one line what to do');
    t.equal(ended.stdout, '');
  }
  const json = await runTown(['statsu', '--json']);
  t.match(JSON.parse(json.stderr), { error: { code: 'usage' } }, 'with --json the error is JSON as well');
});

t.test(
  'a data folder that cannot be made is an error that says why, and at once',
  { skip: !existsSync('/proc/self') && 'there is no /proc' },
  async (t) => {
    const file = join(t.testdir({ file: '' }), 'file');
    const cases: readonly (readonly [string, RegExp])[] = [
      [
        '/proc/x',
        /folder \/proc\/x cannot be made: \/proc takes no new folders.*\n.*Name a folder on a disk/,
      ],
      ['/proc/x/y/z', /folder \/proc\/x cannot be made/],
      [file, /[Aa] part of the path .* is a file/],
      [join(file, 'x'), /[Aa] part of the path .* is a file/],
    ];
    for (const command of ['init', 'start'])
      for (const [folder, message] of cases) {
        const ended = await runTown([command, '--data', folder]);
        t.equal(ended.code, 1, `${command} ${folder}`);
        t.match(ended.stderr, message);
      }
  },
);

t.test('help is no error', async (t) => {
  for (const words of [['--help'], ['gig', '--help'], ['badge', 'enrol', '--help'], ['--version']]) {
    const ended = await runTown(words);
    t.equal(ended.code, 0);
    t.ok(ended.stdout.length > 4);
    t.equal(ended.stderr, '');
  }
});

t.test('when no daemon answers, it says so, how to start one, and ends with 3', async (t) => {
  const nowhere = await runTown(['status', '--url', 'http://127.0.0.1:1']);
  t.equal(nowhere.code, 3);
  t.match(nowhere.stderr, /No daemon answers.*\n.*npm start/);
  const folder = t.testdir();
  const none = await runTown(['status', '--data', folder, '--json']);
  t.equal(none.code, 3);
  t.match(JSON.parse(none.stderr), { error: { code: 'no-daemon', advice: String } });
});

t.test('passphrases and tokens do not leave the machine in the clear', async (t) => {
  const ended = await runTown(['status', '--url', 'http://192.0.2.7:4870']);
  t.equal(ended.code, 2);
  t.match(ended.stderr, /https.*\n.*ssh -L/);
});

t.test(
  'a session is kept for its owner alone, by URL and name, and sent only where it belongs',
  async (t) => {
    const session = {
      token: 'new-token',
      member: 'm1',
      name: 'Bob',
      roles: [],
      permissions: [],
      expiresAt: 9,
    };
    const here = await serve(t, {
      'POST /api/session': [200, session],
      'GET /api/session': [200, session],
      'DELETE /api/session': (response) => response.writeHead(204).end(),
    });
    const login = await here.town('login', 'Bob', '--json');
    t.equal(login.code, 0, login.stderr);
    t.same(here.asked[0]!.body, { name: 'Bob', passphrase: 'from the environment' });
    t.notMatch(login.stdout + login.stderr, /new-token/, 'the token is not printed');
    t.equal((await stat(here.file)).mode & 0o777, 0o600);
    t.equal((await stat(join(here.file, '..'))).mode & 0o777, 0o700);
    t.notMatch(await readFile(here.file, 'utf8'), /environment/, 'the passphrase is not kept');

    await here.town('whoami');
    t.equal(here.asked.at(-1)!.token, 'Bearer new-token', 'the last one to sign in');
    await here.town('whoami', '--as', 'ada');
    t.equal(here.asked.at(-1)!.token, 'Bearer ada-token', 'or the one that is named');

    const elsewhere = await serve(t, {});
    const stranger = await runTown(['whoami', '--url', elsewhere.url], {
      env: { XDG_STATE_HOME: here.state },
    });
    t.equal(stranger.code, 1);
    t.match(stranger.stderr, /not signed in.*\n.*town login/);
    t.same(elsewhere.asked, [], 'nothing was sent there');

    t.equal((await here.town('logout')).code, 0);
    t.equal((await here.town('whoami')).code, 1, 'after that no other session is taken by itself');
    t.same(
      (await readSessions(here.file)).map((each) => each.name),
      ['Ada'],
    );
  },
);

t.test('a file of sessions that is none is left alone', async (t) => {
  const state = t.testdir();
  const file = sessionsFile({ XDG_STATE_HOME: state });
  await mkdir(join(file, '..'));
  await writeFile(file, 'my shopping list');
  const ended = await runTown(['whoami', '--url', 'http://127.0.0.1:1'], { env: { XDG_STATE_HOME: state } });
  t.equal(ended.code, 1);
  t.equal(await readFile(file, 'utf8'), 'my shopping list');
});

t.test('people are named by id, by its start, or by name; what is not clear is asked back', async (t) => {
  const here = await serve(t, {
    'GET /api/people': [200, people],
    'POST /api/people/p1111/suspend': [200, recorded],
    'POST /api/people/p1122/suspend': [200, recorded],
  });
  for (const [word, id] of [
    ['bob', 'p1111'],
    ['p111', 'p1111'],
    ['p1122', 'p1122'],
  ] as const) {
    const ended = await here.town('person', 'suspend', word, '--reason', 'r');
    t.equal(ended.code, 0, ended.stderr);
    t.match(here.asked.at(-1), { line: `POST /api/people/${id}/suspend`, body: { reason: 'r' } });
  }
  const twoOfAName = await here.town('person', 'suspend', 'Bert', '--reason', 'r');
  t.equal(twoOfAName.code, 1);
  t.match(twoOfAName.stderr, /p1122.*or p3333/);
  t.match((await here.town('person', 'suspend', 'p11', '--reason', 'r')).stderr, /could be p1111.*or p1122/);
  const nobody = await here.town('person', 'suspend', 'zoe', '--reason', 'r', '--json');
  t.match(JSON.parse(nobody.stderr), { error: { code: 'no-such-person' } });
});

t.test('records are erased only with a yes, and what is kept is told month by month', async (t) => {
  const months = [
    { month: '2026-11', keys: 12, over: false },
    { month: '2024-03', keys: 3, over: true },
  ];
  const here = await serve(t, {
    'GET /api/people': [200, people],
    'POST /api/people/p1111/erase': [200, { ...recorded, person: 'p1111', badges: 2 }],
    'POST /api/records/erase': [200, { ...recorded, person: 'p1111', badges: 0 }],
    'GET /api/records': [
      200,
      { retentionMonths: 12, readers: ['door'], mayRead: true, months, missing: 1, erased: 2 },
    ],
  });
  const unasked = await here.town('person', 'erase', 'Bob');
  t.equal(unasked.code, 2);
  t.match(unasked.stderr, /needs a yes.*\n.*--yes/);
  t.notOk(here.asked.some(({ line }) => line.startsWith('POST')));
  const sure = await here.town('person', 'erase', 'Bob', '--yes');
  t.match(sure.stdout, /The records of Bob are erased at every node.*2 badges were revoked/);
  t.match((await here.town('record', 'erase', '--yes')).stdout, /Your records are erased/);
  const kept = (await here.town('record', 'list')).stdout;
  for (const line of [
    /12 months.*role door/,
    /2026-11 +12 +in full/,
    /2024-03 +3 +as long as the register/,
    /not here: 1/,
  ])
    t.match(kept, line);
});

t.test('what the daemon refuses is told with its code, reason and advice', async (t) => {
  const here = await serve(t, {
    'GET /api/doors': [
      403,
      { error: { code: 'not-allowed', message: 'Not for you.', advice: 'Ask a steward.' } },
    ],
    'GET /api/members': [401, { error: { code: 'signed-out', message: 'The session has ended.' } }],
    'GET /api/gigs': [502, '<html>a proxy</html>'],
  });
  const refused = await here.town('door', 'list');
  t.equal(refused.code, 1);
  t.equal(refused.stderr, 'error: Not for you.\n  Ask a steward.\n');
  t.same(JSON.parse((await here.town('door', 'list', '--json')).stderr), {
    error: { code: 'not-allowed', message: 'Not for you.', advice: 'Ask a steward.' },
  });
  t.match((await here.town('member', 'list')).stderr, /town login/);
  t.match((await here.town('gig', 'list')).stderr, /HTTP 502.*\n.*another program/);
});

t.test('names cannot steer the terminal', async (t) => {
  const evil = '\u001b[2Jgone\r\nerror: \u202elie';
  const here = await serve(t, { 'GET /api/people': [200, [{ ...people[0], name: evil }]] });
  const { stdout, stderr } = await here.town('person', 'list');
  t.equal(stderr, '');
  for (const character of ['\u001b', '\r', '\u202e']) t.notOk(stdout.includes(character));
  t.equal(stdout.trimEnd().split('\n').length, 2, 'one line for the head, one for the person');
  t.same(
    JSON.parse((await here.town('person', 'list', '--json')).stdout)[0].name,
    evil,
    'JSON has it as it is',
  );
});

t.test('with --wait a rejection is an error that names the reason', async (t) => {
  const entry = { id: recorded.entry, height: 7 };
  const here = await serve(t, {
    'POST /api/people': [200, { ...recorded, person: 'p1' }],
    [`GET /api/ledger/show/${recorded.entry}`]: [
      200,
      { kind: 'entry', entry: { ...entry, state: 'rejected', code: 'x-taken', reason: 'the name is taken' } },
    ],
  });
  const now = await here.town('person', 'add', 'Bob');
  t.equal(now.code, 0);
  t.match(now.stdout, /pending/);
  const waited = await here.town('person', 'add', 'Bob', '--wait', '--json');
  t.equal(waited.code, 1);
  t.equal(waited.stdout, '');
  t.match(JSON.parse(waited.stderr), { error: { code: 'x-taken', message: /height 7.*the name is taken/ } });
});

t.test('a badge enrolled by tapping is waited for', async (t) => {
  let polls = 0;
  const here = await serve(t, {
    'GET /api/people': [200, people],
    'POST /api/enrolments': [200, { enrolment: 'e1', expiresAt: 1 }],
    'GET /api/enrolments/e1': (response) => {
      const status = ['waiting', 'read', 'done'][Math.min(polls++, 2)];
      response.end(
        JSON.stringify({ kind: 'enrol', enrolment: 'e1', status, person: 'p1111', badge: 'ab'.repeat(32) }),
      );
    },
  });
  const ended = await here.town('badge', 'enrol', 'Bob', '--tap', 'front', '--door', 'front', 'back');
  t.equal(ended.code, 0, ended.stderr);
  t.match(here.asked[1]!.body, { person: 'p1111', door: 'front', doors: ['front', 'back'] });
  t.match(ended.stderr, /Hold the new badge/);
  t.match(ended.stdout, /abababababab is Bob's/);
});

t.test('a refused tap ends with 1, its record on stdout', async (t) => {
  const here = await serve(t, {
    'GET /api/doors': [200, [{ id: 'front', name: 'Front' }]],
    'POST /api/doors/front/tap': [
      200,
      { at: 0, door: 'front', kind: 'tap', outcome: 'refused', code: 'unknown-badge' },
    ],
  });
  const ended = await here.town('door', 'tap', 'front', '123');
  t.equal(ended.code, 1);
  t.match(ended.stdout, /refused: unknown-badge/);
});

t.test('following the doors shows what happens as it happens', async (t) => {
  const event = (door: string) => ({ at: 0, door, kind: 'tap', outcome: 'granted', code: 'granted' });
  const here = await serve(t, {
    'GET /api/doors': [200, [{ id: 'front', name: 'Front' }]],
    'GET /api/doors/events?limit=20&door=front': [200, [event('front')]],
    'GET /api/events': (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const data = (value: unknown) =>
        `event: door\ndata: ${JSON.stringify({ kind: 'door', event: value })}\n\n`;
      response.write(`: heartbeat\n\n${data(event('back'))}${data(event('front')).slice(0, 25)}`);
      setTimeout(() => response.end(data(event('front')).slice(25)), 50);
    },
  });
  const ended = await here.town('door', 'log', 'front', '--follow', '--json');
  t.equal(ended.stdout.trim().split('\n').length, 2, 'the past one and the live one of this door');
  t.equal(ended.code, 3, 'the daemon ended the stream');
  t.equal(here.asked.at(-1)!.token, 'Bearer ada-token');
});

t.test(
  'a passphrase comes from a file or a prompt, and without either it is asked for by name',
  async (t) => {
    const session = { token: 'x', member: 'm1', name: 'Ada', roles: [], permissions: [], expiresAt: 9 };
    const here = await serve(t, { 'POST /api/session': [200, session] });
    const file = join(t.testdir({ pass: 'from a file\nsecond line\n' }), 'pass');
    const env = { TOWN_URL: here.url, XDG_STATE_HOME: here.state };
    const signIn = () => here.asked.findLast(({ line }) => line === 'POST /api/session')?.body;
    await runTown(['login', 'Ada', '--passphrase-file', file], { env });
    t.match(signIn(), { passphrase: 'from a file' });
    await runTown(['login', 'Ada', '--passphrase-file', '-'], { env, input: 'from standard input\n' });
    t.match(signIn(), { passphrase: 'from standard input' });
    const none = await runTown(['login', 'Ada'], { env });
    t.equal(none.code, 2);
    t.match(none.stderr, /--passphrase-file/);

    await t.test('the prompt shows nothing of it', { skip: skipTerminal }, async (t) => {
      const command = `${process.execPath} ${fileURLToPath(new URL('town.js', import.meta.url))} login Ada`;
      const terminal = spawn('script', ['-qec', command, '/dev/null'], {
        env: { ...env, PATH: process.env['PATH'] },
      });
      let shown = '';
      terminal.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (!shown.includes('Passphrase: ') && (shown + text).includes('Passphrase: '))
          setTimeout(() => terminal.stdin.write('typed in silence\r'), 200);
        shown += text;
      });
      await once(terminal, 'close');
      t.match(signIn(), { passphrase: 'typed in silence' });
      t.match(shown, /Signed in as Ada/);
      t.notMatch(shown, /typed/);
    });
  },
);
