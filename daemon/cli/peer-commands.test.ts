/** `town node` and `town sync` by themselves, against a small server that says what each test needs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { NodeInvitationView, NodeInvited, NodesView, NodeView } from '../node/node-cases.js';
import { runTown } from './run-town.fixture.js';
import { serve, type Answer, skipTerminal } from './served-town.fixture.js';

t.setTimeout(600_000);

const none = { blocks: 0, merges: 0 };
const board: NodeView = {
  id: '00000000000000aa',
  name: 'board',
  roles: ['door'],
  self: true,
  validator: true,
  connected: true,
  heardAt: null,
  height: 12,
  ahead: none,
  behind: none,
  fetching: 0,
  state: 'merged',
};
const other: NodeView = { ...board, self: false, heardAt: 1_700_000_000_000 };
const workshop: NodeView = { ...other, id: 'abcd000000000001', name: 'Workshop' };
const attic: NodeView = {
  ...other,
  id: 'abcd000000000002',
  name: 'attic',
  connected: false,
  height: 10,
  ahead: { blocks: 1, merges: 0 },
  behind: { blocks: 7, merges: 2 },
};

const later = 1_800_000_000_000;
const open: NodeInvitationView = {
  id: '1111111111111111',
  role: 'hub',
  expiresAt: later,
  state: 'open',
  asker: null,
};
const asked: NodeInvitationView = {
  id: '2222222222222222',
  role: 'door',
  expiresAt: later,
  state: 'asked',
  asker: { node: 'beef000000000003', name: 'shed', askedAt: 1_700_000_000_000 },
};
/** The same board, turned away some time ago. */
const refused: NodeInvitationView = { ...asked, id: '3333333333333333', state: 'refused' };

const view = (part: Partial<NodesView> = {}): NodesView => ({
  nodes: [board, workshop, attic],
  validators: { count: 3, quorum: 2, mayBeOff: 1, heard: 2 },
  broker: { url: 'mqtt://192.0.2.10:1883', embedded: true, connected: true, error: null },
  pending: { entries: 3, blocks: 2 },
  refused: [],
  invitations: [refused, open, asked],
  ...part,
});

const recorded = { entry: 'e'.repeat(64), state: 'pending' };
const serveNodes = (t: Test, part: Partial<NodesView> = {}, answers: Record<string, Answer> = {}) =>
  serve(t, { 'GET /api/nodes': [200, view(part)], ...answers });

const invited: NodeInvited = {
  id: '1111111111111111',
  code: 'AAECAwQ',
  link: 'mergetown:join#AAECAwQ',
  qr: { svg: '<svg/>', lines: ['█▀▀▄', '▄▀ █'] },
  expiresAt: later,
};

t.test(
  'an invitation is told with link, code, QR code, its end and what to do on the other board',
  async (t) => {
    const here = await serveNodes(t, {}, { 'POST /api/nodes/invitations': [200, invited] });
    const ended = await here.town('node', 'invite');
    t.equal(ended.code, 0, ended.stderr);
    t.same(here.asked[0]!.body, { role: 'door' });
    for (const part of [
      'link  mergetown:join#AAECAwQ\n',
      'code  AAECAwQ\n',
      '\n█▀▀▄\n▄▀ █\n',
      'until 2027-01-15 08:00:00',
      'town join AAECAwQ --data DIR',
      'town node approve',
      'the key that tells badges apart',
    ])
      t.ok(ended.stdout.includes(part), part);
    t.notOk(ended.stdout.includes('\u001b'), 'no colours where there is no terminal');
    t.notMatch(ended.stdout, /Only this machine/);

    const plain = await here.town(
      'node',
      'invite',
      '--role',
      'hub',
      '--hours',
      '168',
      '--no-qr',
      '--broker',
      'mqtt://a',
      'wss://b/mqtt',
    );
    t.same(here.asked.at(-1)!.body, { role: 'hub', brokers: ['mqtt://a', 'wss://b/mqtt'], hours: 168 });
    t.notMatch(plain.stdout, /█/);
    t.match(plain.stdout, /does not get the key of the badges/);
    t.same(JSON.parse((await here.town('node', 'invite', '--json')).stdout), invited);
  },
);

t.test('the list says who is heard, how far each is, who waits and how many may be off', async (t) => {
  const here = await serveNodes(t);
  const { stdout, stderr } = await here.town('node', 'list');
  t.equal(stderr, '');
  t.match(stdout, /^board +00000000000000aa +door +yes +this node +12\n/m);
  t.match(stdout, /^Workshop +abcd000000000001 +door +yes +connected +12 +- +-\n/m);
  t.match(
    stdout,
    /^attic +abcd000000000002 +door +yes +last heard 2023-11-14 22:13:20 +10 +1 block +7 blocks, 2 merges\n/m,
  );
  t.match(stdout, /^1111111111111111 +hub +nobody has shown it yet +- +- +2027/m);
  t.match(stdout, /^2222222222222222 +door +WAITS FOR A STEWARD +shed +beef000000000003 +2027/m);
  t.match(stdout, /town node approve beef000000000003\n/);
  t.notMatch(stdout, /3333333333333333/, 'what is over is not shown');
  t.match(stdout, /^3 validators, 2 must sign a merge; 1 may be off; 2 are heard\.$/m);
  t.match(stdout, /^broker +mqtt:\/\/192\.0\.2\.10:1883, run by this node, connected$/m);
  t.match(stdout, /^pending +3 entries in 2 blocks$/m);
  t.same(JSON.parse((await here.town('node', 'list', '--json')).stdout), view());
});

t.test('the list of one node alone, of one not heard yet, and for who may not see invitations', async (t) => {
  const alone = await serveNodes(t, {
    nodes: [board, { ...other, heardAt: null, connected: false, height: null, name: 'new\u001b[2J' }],
    validators: { count: 1, quorum: 1, mayBeOff: 0, heard: 1 },
    broker: { url: null, embedded: false, connected: false, error: null },
    pending: { entries: 0, blocks: 0 },
    refused: [{ code: 'bad-signature', reason: 'It is\r\nforged', count: 2, at: 1_700_000_000_000 }],
    invitations: null,
  });
  const { stdout } = await alone.town('node', 'list');
  t.match(stdout, /not heard yet +\? +\? +\?\n/);
  t.match(stdout, /^1 validator, which must sign each merge; none may be off; 1 is heard\.$/m);
  t.match(stdout, /^broker +none: this node meets no others$/m);
  t.match(stdout, /^pending +nothing waits/m);
  t.match(stdout, /^refused +2 messages not taken \(bad-signature\): It is {2}forged, last at 2023/m);
  t.notOk(stdout.includes('\u001b'), 'names cannot steer the terminal');
  t.notMatch(stdout, /invitation/);
  const approve = await alone.town('node', 'approve', '--yes', '--json');
  t.match(JSON.parse(approve.stderr), { error: { code: 'not-allowed', advice: /steward/ } });

  const few = await serveNodes(t, { validators: { count: 3, quorum: 2, mayBeOff: 1, heard: 1 } });
  t.match((await few.town('node', 'list')).stdout, /1 is heard: too few to merge until 1 more is back/);
});

t.test('a node whose place in the town is about to change is not taken for one that joins', async (t) => {
  const changed = (node: NodeView): NodeView => ({ ...node, state: 'pending' });
  const here = await serveNodes(t, { nodes: [board, workshop, attic].map(changed) });
  const { stdout } = await here.town('node', 'list');
  t.match(stdout, /^board .* this node; its change waits for a merge +12\n/m);
  t.match(stdout, /^Workshop .* connected; its change waits for a merge +12 /m);
  t.match(stdout, /^attic .* last heard 2023-11-14 22:13:20; its change waits for a merge +10 /m);
});

t.test('the only node that waits is approved, by what the steward saw', async (t) => {
  const path = 'POST /api/nodes/invitations/2222222222222222/approve';
  const here = await serveNodes(t, {}, { [path]: [200, recorded] });
  for (const word of [[], ['2222'], ['shed'], ['Shed'], ['beef'], ['beef000000000003']]) {
    const ended = await here.town('node', 'approve', ...word, '--yes');
    t.equal(ended.code, 0, ended.stderr);
    t.match(here.asked.at(-1), { line: path, body: { node: 'beef000000000003' } });
    t.match(ended.stdout, /shed \(beef000000000003\) is let in/);
  }
  const unasked = await here.town('node', 'approve');
  t.equal(unasked.code, 2, 'without a terminal the yes must be said');
  t.match(unasked.stderr, /beef000000000003.*town node approve 2222222222222222 --yes/);
  t.equal(here.asked.at(-1)!.line, 'GET /api/nodes');
});

t.test('who is to be approved must be clear, and must wait', async (t) => {
  const second = { ...asked, id: '4444444444444444', asker: { ...asked.asker!, node: 'beef000000000004' } };
  const error = async (invitations: NodeInvitationView[], ...word: string[]) => {
    const here = await serveNodes(t, { invitations });
    const ended = await here.town('node', 'approve', ...word, '--yes', '--json');
    t.equal(ended.code, 1, ended.stdout);
    return (JSON.parse(ended.stderr) as { error: object }).error;
  };
  t.match(await error([]), { code: 'nobody-waits', advice: /town node invite/ });
  t.match(await error([open]), { code: 'nobody-waits', advice: /On the other board: town join/ });
  t.match(await error([open], '1111'), { code: 'nobody-waits', message: /1111111111111111/ });
  t.match(await error([refused], 'shed'), { code: 'already-answered', message: /refused/ });
  t.match(await error([asked, second]), { code: 'ambiguous', message: /beef000000000003.*beef000000000004/ });
  t.match(await error([asked, second], 'shed'), { code: 'ambiguous' });
  t.match(await error([asked], '9999'), { code: 'no-such-invitation', advice: /town node list/ });
});

t.test(
  'at a terminal the id is shown, and only a yes lets the node in',
  { skip: skipTerminal },
  async (t) => {
    const path = 'POST /api/nodes/invitations/2222222222222222/approve';
    const here = await serveNodes(t, {}, { [path]: [200, recorded] });
    const answer = async (text: string): Promise<{ shown: string; line: string }> => {
      const command = `${process.execPath} ${fileURLToPath(new URL('town.js', import.meta.url))} node approve`;
      const terminal = spawn('script', ['-qec', command, '/dev/null'], {
        env: { TOWN_URL: here.url, XDG_STATE_HOME: here.state, PATH: process.env['PATH'], TZ: 'UTC' },
      });
      let shown = '';
      terminal.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        if (!shown.includes('[y/N]') && (shown + chunk).includes('[y/N]'))
          setTimeout(() => terminal.stdin.write(`${text}\r`), 100);
        shown += chunk;
      });
      await once(terminal, 'close');
      return { shown, line: here.asked.at(-1)!.line };
    };
    for (const no of ['', 'n', 'yess', '\u0003', '\u0004']) {
      const { shown, line } = await answer(no);
      t.match(shown, /shed asks to join as a door node.*\r?\n.*\r?\n\r?\n {2}beef000000000003/);
      t.match(shown, /Nothing was changed/);
      t.equal(line, 'GET /api/nodes');
    }
    const { shown, line } = await answer('y');
    t.match(shown, /is let in/);
    t.equal(line, path);
  },
);

t.test('an invitation is refused or taken back by its id or by who waits with it', async (t) => {
  const nothing = [200, ''] as const;
  const here = await serveNodes(
    t,
    {},
    {
      'POST /api/nodes/invitations/2222222222222222/refuse': nothing,
      'DELETE /api/nodes/invitations/1111111111111111': nothing,
    },
  );
  const turned = await here.town('node', 'refuse', '2222', 'not one of ours');
  t.equal(turned.stdout, 'shed is turned away.\n');
  t.match(here.asked.at(-1), { body: { reason: 'not one of ours' } });
  const back = await here.town('node', 'withdraw', '11', '--json');
  t.same(JSON.parse(back.stdout), { invitation: '1111111111111111', state: 'withdrawn' });
  t.equal(here.asked.at(-1)!.line, 'DELETE /api/nodes/invitations/1111111111111111');
});

t.test('nodes are made validators, or taken out, by name or by the start of an id', async (t) => {
  const here = await serveNodes(
    t,
    {},
    {
      'PUT /api/nodes/abcd000000000001/validator': [200, recorded],
      'PUT /api/nodes/abcd000000000002/validator': [
        409,
        { error: { code: 'node-not-heard', message: 'It is not connected.', advice: 'Wait.' } },
      ],
      'DELETE /api/nodes/abcd000000000002': [200, recorded],
      [`GET /api/ledger/show/${recorded.entry}`]: [
        200,
        { kind: 'entry', entry: { id: recorded.entry, state: 'merged', height: 13 } },
      ],
    },
  );
  const on = await here.town('node', 'validator', 'workshop', 'on', '--wait');
  t.equal(on.code, 0, on.stderr);
  t.match(on.stdout, /Workshop \(abcd000000000001\) signs merges.*\n.*merged at height 13/);
  await here.town('node', 'validator', 'abcd000000000001', 'off', '--anyway');
  t.same(here.asked.at(-1)!.body, { validator: false, anyway: true });
  const away = await here.town('node', 'validator', 'attic', 'on');
  t.match(away.stderr, /not connected\.\n.*town node validator abcd000000000002 on --anyway\n/);
  t.match(
    (await here.town('node', 'remove', 'attic')).stdout,
    /attic \(abcd000000000002\) is out.*\nThe others then give themselves a new key/,
  );
  t.match((await here.town('node', 'remove', 'abcd')).stderr, /could be abcd0000000\d+ Workshop, or/);
  t.match((await here.town('node', 'remove', 'cellar')).stderr, /no node .*\n.*town node list/);
  const wrong = await here.town('node', 'validator', 'attic', 'maybe');
  t.equal(wrong.code, 2);
  t.match(wrong.stderr, /on, off/);
  t.equal((await here.town('node', 'invite', '--hours', '169')).code, 2);
  t.equal((await here.town('node', 'invite', '--role', 'validator')).code, 2);
});

t.test('a sync says with whom this node is level, what is missing, and who is away', async (t) => {
  const words = async (part: Partial<NodesView>) => {
    const here = await serve(t, { 'POST /api/nodes/sync': [200, view(part)] });
    return (await here.town('sync')).stdout;
  };
  t.equal(await words({}), 'This node has all that these have: Workshop.\nNot connected: attic.\n');
  t.equal(
    await words({ nodes: [board, { ...attic, connected: true }] }),
    'Not all of attic is here yet: 1 block to come.\n',
  );
  t.match(await words({ nodes: [board] }), /no other node yet/);
  t.match(
    await words({
      broker: {
        ...{ url: 'mqtt://192.0.2.10:1883', embedded: false },
        ...{ connected: false, error: 'The broker refuses the name or the password.' },
      },
    }),
    /^No other node can be reached.*192\.0\.2\.10:1883, NOT CONNECTED: The broker refuses the name or the password\.$/m,
  );
});

t.test('the status tells of the other nodes and the validators in words', async (t) => {
  const status = {
    town: { id: 'a'.repeat(64), name: 'Testville', preset: 'makerspace' },
    node: { id: board.id, name: 'board' },
    version: '0',
    needsSetup: false,
    height: 12,
    main: 'b'.repeat(64),
    pendingEntries: 3,
    merging: true,
    alarm: null,
    gate: { connected: false, board: null, simulated: false },
    dapps: { driver: 'process', isolated: false, ready: true, list: [], warning: null },
    broker: { listening: true, port: 1883 },
    supply: { total: 1, vault: 1, members: 0, locked: 0 },
    validators: { count: 3, quorum: 2, mayBeOff: 1, heard: 3 },
    peers: { count: 2, connected: 2 },
    next: {
      ...{ state: 'open', epoch: 0, round: 1, parkedSince: null },
      ...{ connected: ['workshop', 'attic'], away: [] },
    },
    startedAt: 0,
  };
  const here = await serve(t, { 'GET /api/status': [200, status] });
  const { stdout } = await here.town('status');
  t.match(stdout, /^nodes +2 others, 2 connected: workshop, attic$/m);
  t.match(stdout, /^pending +3 entries, merging now \(round 1\)$/m);
  t.match(stdout, /^proof +3 validators, 2 must sign a merge; 1 may be off; all 3 are heard$/m);
  const alone = {
    ...status,
    validators: { ...status.validators, heard: 1 },
    peers: { count: 2, connected: 0 },
    next: { ...status.next, state: 'parked', parkedSince: 0, connected: [], away: ['workshop', 'attic'] },
  };
  const parked = await (await serve(t, { 'GET /api/status': [200, alone] })).town('status');
  t.match(
    parked.stdout,
    /^pending +3 entries; the merge is parked since .*, as 1 of 3 validators is heard and 2 must sign; it goes on when workshop or attic is back$/m,
  );
});

t.test('help names the commands', async (t) => {
  const { stdout } = await runTown(['node', '--help']);
  for (const name of ['invite', 'list', 'approve', 'refuse', 'withdraw', 'validator', 'remove'])
    t.match(stdout, new RegExp(`^ {2}${name} `, 'm'));
});
