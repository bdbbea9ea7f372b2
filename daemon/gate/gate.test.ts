import { spawn, type ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { badgeHash } from './badge-number.js';
import { gateSocketPath } from './folder.js';
import { GateLink, type GateHello, type StrikeNews } from './link.js';
import type { BadgeRight, GateConfig, GateRecord, RightsTable } from './shapes.js';

const program = fileURLToPath(new URL('./main.js', import.meta.url));
const fakeDaemon = fileURLToPath(new URL('./fake-daemon.fixture.js', import.meta.url));
const key = 'ab'.repeat(32);
const quiet = { info: () => undefined, warn: () => undefined };

const config: GateConfig = {
  board: 'simulated',
  doors: [
    {
      id: 'front',
      name: 'Front',
      strike: 'strike1',
      reader: { kind: 'simulated' },
      exitButton: 'exit1',
      pulseMs: 120,
    },
    { id: 'back', name: 'Back', strike: 'strike2', reader: { kind: 'simulated' }, pulseMs: 60_000 },
  ],
  durableWaitMs: 150,
  lastTableMs: 3_600_000,
};

function tableOf(badges: Record<string, Partial<BadgeRight>>, version = 1): RightsTable {
  return {
    version,
    town: 'town-1',
    issuedAt: Date.now(),
    badgeKey: key,
    doors: { front: { mode: 'normal' }, back: { mode: 'normal' } },
    badges: Object.fromEntries(
      Object.entries(badges).map(([number, right]) => [
        badgeHash(key, number),
        { person: 'p1', status: 'active', doors: '*', ...right } as BadgeRight,
      ]),
    ),
  };
}

const table = tableOf({ good: {} });

async function until(what: () => boolean, ms = 60_000): Promise<void> {
  const end = performance.now() + ms;
  while (!what()) {
    if (performance.now() > end) throw new Error(`Waited ${ms} ms in vain for ${what.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const children = new Set<ChildProcess>();
const folders: string[] = [];
t.teardown(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** In the temp folder, because the path of a socket must be short. */
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gate-test-'));
  folders.push(folder);
  return folder;
}

function run(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => (child.exitCode !== null ? resolve(child.exitCode) : child.once('exit', resolve)));

/** A gate process on a fresh folder (or on one given), listening. */
async function startGate(folder = join(newFolder(), 'gate')) {
  const gate = run(program, '--folder', folder);
  await until(() => existsSync(gateSocketPath(folder)));
  return { folder, gate };
}

/** A link to it, with everything it heard; `take` stands for the daemon's durable writer. */
async function startLink(
  folder: string,
  take: (record: GateRecord) => Promise<void> = async () => undefined,
) {
  const records: GateRecord[] = [];
  const strikes: (StrikeNews & { seen: number })[] = [];
  const problems: string[] = [];
  const hellos: GateHello[] = [];
  const link = new GateLink(folder, {
    spawn: false,
    logger: quiet,
    onRecord: (record) => {
      records.push(record);
      return take(record);
    },
    onStrike: (news) => strikes.push({ ...news, seen: performance.now() }),
    onHello: (hello) => hellos.push(hello),
    onProblem: (code) => problems.push(code),
  });
  link.start();
  await until(() => link.hello !== null);
  return { link, records, strikes, problems, hellos };
}

const journalOf = (folder: string) => readFileSync(join(folder, 'journal.ndjson'), 'utf8');
const idsIn = (path: string) =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];

/** Speaks to the socket by hand. */
function talk(folder: string) {
  const socket = connect(gateSocketPath(folder));
  let heard = '';
  let closed = false;
  socket.on('data', (chunk) => (heard += chunk.toString()));
  socket.on('close', () => (closed = true));
  socket.on('error', () => undefined);
  return { socket, heard: () => heard, closed: () => closed };
}

t.test('a granted tap moves the strike only after the daemon has made its record durable', async (t) => {
  const { folder } = await startGate();
  let durableAt = 0;
  const { link, strikes, records } = await startLink(folder, async () => {
    await new Promise((resolve) => setTimeout(resolve, 60));
    durableAt = performance.now();
  });
  t.equal(await link.sendConfig(config), 'applied');
  t.equal(await link.sendRights(table), 'applied');
  const record = await link.tap('front', 'good');
  t.match(record, {
    kind: 'tap',
    outcome: 'granted',
    code: 'granted',
    person: 'p1',
    door: 'front',
    table: 1,
  });
  t.equal(record.badge, badgeHash(key, 'good'));
  t.same(records, [record]);
  await until(() => strikes.length === 2);
  t.match(strikes, [{ on: true, record: record.id }, { on: false }]);
  t.ok(strikes[0]!.seen >= durableAt, 'the strike moved after the record was durable');
  t.ok(strikes[1]!.at - strikes[0]!.at >= 110, 'and stayed for its pulse');
  t.equal(journalOf(folder), '', 'nothing had to go to the journal');
  for (const name of ['gate.sock', 'config.json', 'rights.json', 'journal.ndjson', 'gate.pid'])
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, `${name} is private`);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  await link.stop({ gateToo: true });
  await until(() => !existsSync(join(folder, 'gate.pid')));
});

t.test('every refusal has its code, is recorded, and moves nothing', async (t) => {
  const { folder } = await startGate();
  const { link, strikes, records } = await startLink(folder);
  await link.sendConfig(config);
  t.match(await link.tap('front', 'good'), { outcome: 'refused', code: 'no-table', table: 0 });
  await link.sendRights({
    ...tableOf({
      good: {},
      lost: { status: 'revoked', reason: 'Lost on Monday' },
      barred: { status: 'suspended' },
      past: { until: Date.now() - 1 },
      elsewhere: { doors: ['front'] },
    }),
    doors: { front: { mode: 'lockdown' }, back: { mode: 'normal' } },
  });
  const codes: [string, string, string][] = [
    ['back', 'nobody', 'unknown-badge'],
    ['back', 'lost', 'badge-revoked'],
    ['back', 'barred', 'person-suspended'],
    ['back', 'past', 'badge-expired'],
    ['back', 'elsewhere', 'no-right-here'],
    ['front', 'good', 'lockdown'],
    ['cellar', 'good', 'unknown-door'],
  ];
  for (const [door, badge, code] of codes) {
    const record = await link.tap(door, badge);
    t.match(record, { outcome: 'refused', code }, `${badge} at ${door}`);
    t.ok(record.reason);
  }
  t.equal(records.length, codes.length + 1);
  t.same(strikes, []);
  t.match(await link.open('front', 'a steward'), { kind: 'open', code: 'remote-open', by: 'a steward' });
  await until(() => strikes.length === 1);
  await t.rejects(link.open('cellar', 'x'), { code: 'unknown-door' });
  await t.rejects(link.tap('front', 'two words'), { code: 'bad-badge-number' });
  await t.rejects(link.sendRights(tableOf({}, 0)), { code: 'older-table' });
  await t.rejects(link.sendConfig({ ...config, board: 'no-such-board' }), { code: 'unknown-board' });
  t.match(
    await link.open('front', 'a steward'),
    { code: 'remote-open' },
    'settings that fail leave the old ones at work',
  );
  await link.stop({ gateToo: true });
});

t.test('when the daemon is killed the doors go on, and each record is delivered exactly once', async (t) => {
  const { folder, gate } = await startGate();
  const { link, strikes, records } = await startLink(folder);
  await link.sendConfig(config);
  await link.sendRights(table);
  const delivered = join(folder, 'delivered');
  const daemon = run(fakeDaemon, folder, delivered, 'deaf');
  await new Promise((resolve) => daemon.stdout!.once('data', resolve));
  // The deaf daemon has replaced ours: taps now come as a reader would give them, from the link of nobody.
  await until(() => link.hello === null);
  daemon.kill('SIGKILL');
  await ended(daemon);
  await link.stop({ gateToo: false });

  const again = await startLink(folder, () => new Promise(() => undefined));
  const taps = [1, 2, 3, 4, 5].map(() => again.link.tap('front', 'good'));
  await until(() => again.records.length === 5);
  await again.link.stop({ gateToo: false });
  await Promise.allSettled(taps);
  await until(() => journalOf(folder).split('\n').length >= 6);
  t.equal(gate.exitCode, null, 'the gate is alive');
  t.equal(records.length, 0);
  t.equal(strikes.length, 0);

  const third = run(fakeDaemon, folder, delivered);
  await until(() => idsIn(delivered).length >= 5);
  await until(() => journalOf(folder) === '');
  third.kill('SIGKILL');
  await ended(third);
  const fourth = await startLink(folder);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.same(fourth.records, [], 'nothing comes twice');
  const ids = idsIn(delivered);
  t.equal(new Set(ids).size, ids.length);
  for (const { id } of again.records) t.ok(ids.includes(id));
  await fourth.link.stop({ gateToo: true });
});

t.test(
  'a daemon that does not answer delays a strike by durableWait at most, and the record says late',
  async (t) => {
    const { folder } = await startGate();
    let deaf = true;
    const { link, strikes, records } = await startLink(folder, async () => {
      if (deaf) await new Promise((resolve) => setTimeout(resolve, 3_000));
    });
    await link.sendConfig({ ...config, durableWaitMs: 400 });
    await link.sendRights(table);
    const started = performance.now();
    const record = await link.tap('front', 'good');
    const waited = strikes[0]!.seen - started;
    t.ok(waited >= 390 && waited < 2_500, `the strike moved after ${Math.round(waited)} ms`);
    await until(() => records.length === 2);
    t.match(records[1], { kind: 'late', of: record.id, outcome: 'granted' });
    t.ok(records[1]!.waitedMs! >= 390);
    const second = performance.now();
    await link.tap('front', 'good');
    t.ok(performance.now() - second < 390, 'a daemon known to be slow is not waited for: the journal is');
    t.equal(journalOf(folder).split('\n').length - 1, 3);
    deaf = false;
    await until(() => journalOf(folder) === '');
    t.equal(new Set(records.map(({ id }) => id)).size, records.length);
    await link.stop({ gateToo: true });
  },
);

t.test(
  'what the gate knows survives its own kill -9; a torn line is dropped, a corrupt one set aside',
  async (t) => {
    const { folder, gate } = await startGate();
    const first = await startLink(folder, () => new Promise(() => undefined));
    await first.link.sendConfig(config);
    await first.link.sendRights(table);
    await Promise.all([first.link.tap('front', 'good'), first.link.tap('front', 'nobody')]);
    const ids = first.records.filter(({ kind }) => kind === 'tap').map(({ id }) => id);
    await until(() => journalOf(folder).split('\n').length > 3);
    gate.kill('SIGKILL');
    await ended(gate);
    await first.link.stop({ gateToo: false });
    const kept = journalOf(folder).split('\n').filter(Boolean);
    t.ok(kept.length >= 2);
    writeFileSync(
      join(folder, 'journal.ndjson'),
      [kept[0], 'corrupt \u0000 line', ...kept.slice(1)].join('\n') + '\n',
    );
    appendFileSync(join(folder, 'journal.ndjson'), kept[0]!.slice(0, 40));
    t.ok(existsSync(join(folder, 'gate.sock')), 'the dead gate left its socket');

    await startGate(folder);
    await until(() => existsSync(join(folder, 'gate.pid')));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const second = await startLink(folder);
    t.match(second.hellos[0], { table: 1, doors: ['front', 'back'], simulated: true });
    await until(() => second.records.length === kept.length);
    t.same(
      second.records
        .map(({ id }) => id)
        .filter((id) => ids.includes(id))
        .sort(),
      [...ids].sort(),
    );
    await until(() => journalOf(folder) === '');
    const bad = readdirSync(folder).filter((name) => name.startsWith('journal.bad-'));
    t.equal(bad.length, 1);
    t.match(readFileSync(join(folder, bad[0]!), 'utf8'), /corrupt/);
    t.match(await second.link.tap('front', 'good'), { outcome: 'granted', table: 1 });
    await second.link.stop({ gateToo: true });
  },
);

t.test('with no table time left, or none granted, an absent daemon closes the door', async (t) => {
  const { folder, gate } = await startGate();
  const { link } = await startLink(folder);
  await link.sendConfig({ ...config, lastTableMs: 0 });
  await link.sendRights(table);
  t.match(await link.tap('front', 'good'), { code: 'granted' }, 'with the daemon there it opens');
  await link.stop({ gateToo: false });
  t.equal(gate.exitCode, null);
  gate.kill('SIGTERM');
  t.equal(await ended(gate), 0);
});

t.test('SIGTERM turns the strikes off before the gate ends', async (t) => {
  const { folder, gate } = await startGate();
  const { link, strikes } = await startLink(folder);
  await link.sendConfig(config);
  await link.sendRights(table);
  await link.tap('back', 'good');
  await until(() => strikes.length === 1);
  gate.kill('SIGTERM');
  t.equal(await ended(gate), 0);
  await until(() => strikes.length === 2);
  t.match(strikes[1], { door: 'back', on: false });
  t.notOk(existsSync(join(folder, 'gate.pid')));
  await link.stop({ gateToo: false });
});

t.test('a line without end closes the connection with a reason; the gate goes on', async (t) => {
  const { folder } = await startGate();
  const rude = talk(folder);
  rude.socket.write('{"t":"tap"' + 'x'.repeat(70_000));
  await until(rude.closed);
  t.match(rude.heard(), /line-too-long/);
  const rights = talk(folder);
  rights.socket.write('{"t":"hello","daemon":"x"}\n{"t":"rights",' + ' '.repeat(8 * 1024 * 1024 + 10));
  await until(rights.closed);
  t.match(rights.heard(), /line-too-long/);
  const silly = talk(folder);
  silly.socket.write('{"t":"hello","daemon":"x"}\n{"t":"tap","ref":7,"door":"../x","badgeNumber":"1"}\n');
  await until(() => silly.heard().includes('"ref":7'));
  t.match(silly.heard(), /bad-message/);
  silly.socket.write('nonsense\n');
  await until(silly.closed);
  const { link } = await startLink(folder);
  await link.sendConfig(config);
  const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`badge${index}`, {}]));
  t.equal(await link.sendRights(tableOf(many, 9)), 'applied', 'a table of megabytes passes');
  t.match(await link.tap('front', 'badge19999'), { code: 'granted', table: 9 });
  await link.stop({ gateToo: true });
});

t.test('one folder has one gate', async (t) => {
  const { folder, gate } = await startGate();
  const second = run(program, '--folder', folder);
  let said = '';
  second.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  t.equal(await ended(second), 3);
  t.match(said, /gate-running/);
  t.equal(gate.exitCode, null);
  gate.kill('SIGKILL');
  await ended(gate);
});

t.test(
  'a link starts a gate where there is none; it outlives the link, and is started again when it dies',
  async (t) => {
    const deep = join(newFolder(), 'a-very-long-name-'.repeat(7), 'gate');
    mkdirSync(deep, { recursive: true });
    t.ok(Buffer.byteLength(gateSocketPath(deep)) <= 100, 'also where the path is too long for a socket');
    const make = () => new GateLink(deep, { spawn: true, logger: quiet, onRecord: async () => undefined });
    const link = make();
    link.start();
    t.equal(await link.sendConfig(config), 'queued');
    t.equal(await link.sendRights(table), 'queued');
    await t.rejects(link.tap('front', 'good'), { code: 'gate-away' });
    await until(() => link.hello !== null);
    const { pid } = link.hello!;
    await until(() => existsSync(join(deep, 'rights.json')));
    t.match(await link.tap('front', 'good'), { code: 'granted' });
    await link.stop({ gateToo: false });
    process.kill(pid, 0);
    const next = make();
    next.start();
    await until(() => next.hello !== null);
    t.equal(next.hello!.pid, pid, 'the next daemon finds the same gate');
    t.equal(next.hello!.table, 1);
    process.kill(pid, 'SIGKILL');
    await until(() => next.hello !== null && next.hello.pid !== pid, 90_000);
    t.match(await next.tap('front', 'good'), { code: 'granted' }, 'by the table on disk');
    await next.stop({ gateToo: true });
    await until(() => !existsSync(join(deep, 'gate.pid')));
    t.notOk(existsSync(dirname(gateSocketPath(deep))), 'the short folder of its socket goes with it');
  },
);

t.test(
  'where even the short path of a socket is too long, link and gate say so and start nothing',
  async (t) => {
    const deep = join(newFolder(), 'a-very-long-name-'.repeat(7));
    const folder = join(deep, 'gate');
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = deep;
    t.teardown(() => {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    });
    const link = new GateLink(folder, { spawn: true, logger: quiet, onRecord: async () => undefined });
    t.throws(() => link.start(), { code: 'socket-path-too-long', message: /more than 100 bytes/ });
    const gate = run(program, '--folder', folder);
    let said = '';
    gate.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()));
    t.equal(await ended(gate), 1);
    t.match(said, /socket-path-too-long.*TMPDIR/);
    t.notOk(existsSync(folder));
  },
);
