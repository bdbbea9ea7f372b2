/** The gate's parts by themselves: decisions, lines, badges, pin maps, strikes, locks. The outbox has its own file. */
import fc from 'fast-check';
import { createHmac } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { badgeHash } from './badge-number.js';
import { SimulatedBoard } from './board.js';
import { decide, type Question } from './decide.js';
import { gateSocketPath, lockGateFolder, removeSocketFolder } from './folder.js';
import { Gate } from './gate.js';
import { gpiomonArguments } from './gpio-chip.js';
import { Journal } from './journal.js';
import { LineReader } from './line-reader.js';
import { Outbox } from './outbox.js';
import { parseConfig, parseRecord, parseRights, parseToGate } from './parse.js';
import { findPinMap, parsePinMap } from './pin-map.js';
import { Presence } from './presence.js';
import type { BadgeRight, FromGate, GateConfig, GateRecord, RightsTable } from './shapes.js';
import { Strikes } from './strikes.js';
import { decodeWiegand, WiegandFrames, type Pulse } from './wiegand.js';

const now = Date.UTC(2026, 5, 1);
const key = '01'.repeat(32);
const hash = badgeHash(key, '123:4567');
const wiring = {
  id: 'front',
  name: 'Front',
  strike: 'strike1',
  reader: { kind: 'simulated' },
  pulseMs: 40,
} as const;
const config: GateConfig = {
  board: 'simulated',
  doors: [{ ...wiring, exitButton: 'exit1' }],
  durableWaitMs: 50,
  lastTableMs: 1000,
};
const right: BadgeRight = { person: 'p1', status: 'active', doors: ['front'] };
const tableWith = (badge: Partial<BadgeRight>, mode: 'normal' | 'lockdown' = 'normal'): RightsTable => ({
  version: 3,
  town: 'town',
  issuedAt: now,
  badgeKey: key,
  doors: { front: { mode } },
  badges: { [hash]: { ...right, ...badge } },
});
const ask = (question: Partial<Question>) =>
  decide({
    table: tableWith({}),
    door: 'front',
    badge: hash,
    now,
    daemonAwaySince: null,
    config,
    ...question,
  });

const recordOf = (n: number): GateRecord => ({
  id: `0123456789abcdef-${n}`,
  at: now,
  door: 'front',
  kind: 'tap',
  outcome: 'granted',
  code: 'granted',
  table: 3,
});
const sleep = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what: () => boolean, ms = 60_000): Promise<void> {
  const end = performance.now() + ms;
  while (!what()) {
    if (performance.now() > end) throw new Error(`Waited in vain for ${what.toString()}`);
    await sleep(2);
  }
}

t.test('a badge passes where it has the right, and only there and then', async (t) => {
  t.match(ask({}), { outcome: 'granted', code: 'granted', person: 'p1' });
  const refusals: [Partial<Question>, string][] = [
    [{ table: null }, 'no-table'],
    [{ badge: 'bad-read' }, 'bad-read'],
    [{ badge: badgeHash(key, '1') }, 'unknown-badge'],
    [{ badge: '__proto__' }, 'unknown-badge'],
    [{ door: 'cellar' }, 'unknown-door'],
    [{ table: { ...tableWith({}), doors: {} } }, 'unknown-door'],
    [{ table: tableWith({ status: 'revoked' }, 'lockdown') }, 'badge-revoked'],
    [{ table: tableWith({ status: 'suspended' }) }, 'person-suspended'],
    [{ table: tableWith({ until: now }) }, 'badge-expired'],
    [{ table: tableWith({ doors: ['back'] }) }, 'no-right-here'],
    [{ table: tableWith({}, 'lockdown') }, 'lockdown'],
    [{ daemonAwaySince: now - 1000 }, 'stale-table'],
    [{ daemonAwaySince: now, config: { ...config, lastTableMs: 0 } }, 'stale-table'],
    [{ table: tableWith({ until: now + 1 }), now: 86_400_000 }, 'badge-expired'],
  ];
  for (const [question, code] of refusals) t.match(ask(question), { outcome: 'refused', code }, code);
  t.match(ask({ table: tableWith({ until: now + 1 }) }), { code: 'granted' }, 'a day pass until its end');
  t.match(ask({ daemonAwaySince: now - 999 }), { code: 'granted' }, 'the last table while it may be used');
  t.match(
    ask({ now: 86_400_000 }),
    { code: 'granted' },
    'a clock in 1970 does not matter to a badge without an end',
  );
  t.match(ask({ table: tableWith({ doors: '*' }) }), { code: 'granted' });
});

t.test(
  'whatever is asked, a grant needs an active badge with a right to a door that is open to it',
  async () => {
    const badge = fc.record<BadgeRight>({
      person: fc.constant('p1'),
      status: fc.constantFrom('active', 'revoked', 'suspended'),
      doors: fc.constantFrom<'*' | string[]>('*', [], ['front'], ['back']),
    });
    const question = fc.record({
      badge: fc.constantFrom(hash, badgeHash(key, 'other'), 'bad-read' as const, null),
      right: badge,
      until: fc.option(fc.constantFrom(now - 1, now, now + 1), { nil: undefined }),
      mode: fc.constantFrom('normal' as const, 'lockdown' as const),
      door: fc.constantFrom('front', 'back'),
      away: fc.option(fc.integer({ min: 0, max: 2000 })),
      lastTableMs: fc.constantFrom(0, 1000),
    });
    fc.assert(
      fc.property(question, ({ badge, right, until, mode, door, away, lastTableMs }) => {
        const decision = decide({
          table: tableWith({ ...right, ...(until === undefined ? {} : { until }) }, mode),
          door,
          badge,
          now,
          daemonAwaySince: away === null ? null : now - away,
          config: { ...config, lastTableMs },
        });
        const may =
          badge === hash &&
          door === 'front' &&
          right.status === 'active' &&
          (right.doors === '*' || right.doors.includes('front')) &&
          (until === undefined || until > now) &&
          mode === 'normal' &&
          (away === null || away < lastTableMs);
        return (decision.outcome === 'granted') === may && (may || (decision.reason ?? '') !== '');
      }),
    );
  },
);

t.test('a badge number is hashed with the 32 bytes of the key', async (t) => {
  t.equal(
    badgeHash(key, '123:4567'),
    createHmac('sha256', Buffer.alloc(32, 1)).update('123:4567').digest('hex'),
  );
});

const vectors = fileURLToPath(new URL('../../../../shared/vectors/wiegand/h10301.json', import.meta.url));
t.test(
  '26-bit badges are read as the published vectors say',
  { skip: existsSync(vectors) ? false : 'the vectors are not here' },
  async (t) => {
    const { vectors: good, must_reject: wrong } = JSON.parse(readFileSync(vectors, 'utf8')) as {
      vectors: { bits26: string; fc: number; cn: number }[];
      must_reject: { bits26: string; why: string }[];
    };
    for (const { bits26, fc: facility, cn } of good)
      t.same(decodeWiegand(bits26), { number: `${facility}:${cn}` });
    for (const { bits26, why } of wrong) t.match(decodeWiegand(bits26), { badRead: /parity/ }, why);
  },
);

t.test('34-bit badges are read with their parity, and every single flipped bit is seen', async (t) => {
  const frame = (data: number) => {
    const bits = data.toString(2).padStart(32, '0');
    const ones = (part: string) => part.replaceAll('0', '').length;
    return `${ones(bits.slice(0, 16)) % 2}${bits}${1 - (ones(bits.slice(16)) % 2)}`;
  };
  t.same(decodeWiegand(frame(0xdeadbeef)), { number: 'DEADBEEF' });
  t.same(decodeWiegand(frame(1)), { number: '00000001' });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 33 }), (data, at) => {
      const bits = frame(data);
      const flipped = bits.slice(0, at) + (bits[at] === '0' ? '1' : '0') + bits.slice(at + 1);
      const read = decodeWiegand(flipped);
      return 'number' in decodeWiegand(bits)! && read !== null && 'badRead' in read;
    }),
  );
  t.match(decodeWiegand('0'.repeat(30)), { badRead: /30 bits/ });
  t.equal(decodeWiegand('0110'), null, 'a key of a keypad is no badge');
});

t.test('pulses make the same badges in whatever order the two lines are reported', async () => {
  const frame = '10111101100010001110101110';
  const pulses: Pulse[] = [0, 1].flatMap((badge) =>
    [...frame].map((bit, index) => ({
      bit: bit === '0' ? (0 as const) : (1 as const),
      at: BigInt(badge) * 300_000_000n + BigInt(index) * 2_000_000n,
    })),
  );
  fc.assert(
    fc.property(fc.shuffledSubarray(pulses, { minLength: pulses.length }), (shuffled) => {
      const frames = new WiegandFrames();
      for (const pulse of shuffled) frames.push(pulse);
      const reads = frames.end();
      return JSON.stringify(reads) === JSON.stringify([{ number: '123:4567' }, { number: '123:4567' }]);
    }),
    { numRuns: 30 },
  );
});

t.test('both generations of gpiomon get their own options', async (t) => {
  t.same(gpiomonArguments(1, 'gpiochip0', [24, 25]), [
    '--falling-edge',
    '--bias=pull-up',
    '--line-buffered',
    '--format=%o %s %n',
    'gpiochip0',
    '24',
    '25',
  ]);
  t.same(gpiomonArguments(2, 'gpiochip4', [24, 25]), [
    '--edges=falling',
    '--bias=pull-up',
    '--format=%o %S',
    '--chip=gpiochip4',
    '24',
    '25',
  ]);
});

t.test('the pin maps are sound, and match the boards they are for and no other', async (t) => {
  const folder = t.testdir({
    boards: {
      'my-board.json': '{"model": "^Mine", "chip": "gpio0", "lines": {"a": {"offset": 1, "use": "output"}}}',
    },
  });
  const names = ['raspberry-pi-5', 'raspberry-pi-4', 'raspberry-pi-3', 'raspberry-pi-zero-2w'];
  const models: [string, string | null][] = [
    ['Raspberry Pi 5 Model B Rev 1.0', 'raspberry-pi-5'],
    ['Raspberry Pi 4 Model B Rev 1.5', 'raspberry-pi-4'],
    ['Raspberry Pi Compute Module 4 Rev 1.1', 'raspberry-pi-4'],
    ['Raspberry Pi 3 Model B Plus Rev 1.3', 'raspberry-pi-3'],
    ['Raspberry Pi Zero 2 W Rev 1.0', 'raspberry-pi-zero-2w'],
    ['Raspberry Pi Model B Rev 2', null],
    ['TI AM335x BeagleBone Black', null],
  ];
  const maps = await Promise.all(names.map((name) => findPinMap(name, folder)));
  for (const [model, name] of models)
    t.same(
      maps.filter((map) => map.model.test(model)).map((map) => map.name),
      name === null ? [] : [name],
      model,
    );
  for (const map of maps) t.same(map.lines.get('strike1'), { offset: 17, use: 'output', activeLow: false });
  t.equal((await findPinMap('my-board', folder)).chip, 'gpio0', 'a map of one’s own is found');
  await t.rejects(findPinMap('../my-board', folder), { code: 'unknown-board' });
  if (!existsSync('/proc/device-tree/model'))
    await t.rejects(
      findPinMap('auto', folder),
      { code: 'unknown-board' },
      'on no known board nothing is touched',
    );
  const line = { offset: 1, use: 'output' };
  for (const broken of [
    '{',
    '{}',
    JSON.stringify({ model: '(', chip: 'c', lines: { a: line } }),
    JSON.stringify({ model: 'm', chip: 'c', lines: {} }),
    JSON.stringify({ model: 'm', chip: 'c', lines: { a: line, b: line } }),
    JSON.stringify({ model: 'm', chip: 'c', lines: { a: { ...line, use: 'both' } } }),
    JSON.stringify({ model: 'm', chip: 'c', lines: { a: { ...line, offset: -1 } } }),
    JSON.stringify({ model: 'm', chip: 'c', lines: { a: line }, more: 1 }),
  ])
    t.throws(() => parsePinMap('x', broken), { code: 'bad-pin-map' }, broken);
});

t.test('lines come out as they went in, however the bytes are cut', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme', minLength: 1 })),
      fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
      (texts, cuts) => {
        const lines = texts.map((text) => JSON.stringify(text));
        const bytes = Buffer.from(lines.map((line) => line + '\n').join(''));
        const reader = new LineReader();
        const got: string[] = [];
        for (let at = 0; at < bytes.length;) {
          const size = cuts.next().value as number;
          got.push(...reader.push(bytes.subarray(at, at + size)));
          at += size;
        }
        return JSON.stringify(got) === JSON.stringify(lines);
      },
    ),
  );
  const drip = new LineReader();
  for (const character of '{"t":"rights","x":"') drip.push(Buffer.from(character));
  for (let sent = 0; sent < 200_000; sent += 1000) drip.push(Buffer.alloc(1000, 0x61));
  t.equal(drip.push(Buffer.from('"}\n')).length, 1, 'a long table passes, also byte by byte');
  t.throws(() => drip.push(Buffer.alloc(70_000, 0x61)), { code: 'line-too-long' });
});

t.test('what does not fit the shapes is refused at the border', async (t) => {
  const bad = { code: 'bad-message' };
  for (const line of [
    '',
    '[]',
    'null',
    '{"t":"hello"}',
    '{"t":"what"}',
    '{"t":"tap","ref":-1,"door":"a","badgeNumber":"1"}',
  ])
    t.throws(() => parseToGate(line), bad, line);
  t.same(parseConfig(config), config);
  t.throws(
    () => parseConfig({ ...config, doors: [...config.doors, ...config.doors] }),
    bad,
    'one door twice',
  );
  t.throws(
    () => parseConfig({ ...config, doors: [...config.doors, { ...wiring, id: 'b' }] }),
    bad,
    'one line twice',
  );
  t.throws(() => parseConfig({ ...config, doors: [{ ...wiring, pulseMs: 1e9 }] }), bad, 'a pulse of days');
  t.throws(() => parseConfig({ ...config, durableWaitMs: 1e9 }), bad, 'a wait without bound');
  const table = tableWith({ until: now, reason: 'x' });
  t.same(parseRights(table), table);
  t.throws(() => parseRights({ ...table, badgeKey: 'short' }), bad);
  t.throws(() => parseRights({ ...table, badges: { x: right } }), bad);
  t.throws(() => parseRights({ ...table, badges: { [hash]: { ...right, status: 'fine' } } }), bad);
  t.same(parseRecord(recordOf(1)), recordOf(1));
  t.throws(() => parseRecord({ ...recordOf(1), id: 'x' }), bad);
});

t.test(
  'a second grant during a pulse makes it longer; a line that does not obey is turned off',
  async (t) => {
    const board = new SimulatedBoard([wiring], { exit: () => {}, read: () => {}, problem: () => {} });
    const moves: string[] = [];
    const problems: string[] = [];
    const strikes = new Strikes(
      board,
      ({ on, record }) => moves.push(on ? record! : 'off'),
      (what) => problems.push(what),
    );
    strikes.pulse(wiring, 'a');
    await sleep(25);
    strikes.pulse(wiring, 'b');
    await sleep(30);
    t.equal(board.line('strike1'), true, 'still on after the first pulse would have ended');
    await until(() => !board.line('strike1'));
    t.same(moves, ['a', 'b', 'off']);
    strikes.pulse(wiring, 'c');
    strikes.allOff([wiring]);
    t.equal(board.line('strike1'), false);
    strikes.pulse({ ...wiring, id: 'x', strike: 'no-such-line' }, 'd');
    t.equal(strikes.isOn('x'), false);
    t.match(problems[0], /turned on/);
  },
);

t.test('the exit button opens at once, with no table and no daemon, and its record is kept', async (t) => {
  const folder = t.testdir();
  const journal = await Journal.open(join(folder, 'journal.ndjson'), 1e6);
  const outbox = new Outbox(journal, { send: () => false, problem: () => {}, now: Date.now });
  const told: FromGate[] = [];
  const gate = new Gate({
    outbox,
    openBoard: async (settings, events) => new SimulatedBoard(settings.doors, events),
    saveConfig: async () => {},
    saveRights: async () => {},
    tell: (message) => told.push(message),
    problem: () => {},
    now: () => now,
    awayMs: () => 0,
  });
  await gate.start({ ...config, lastTableMs: 0 }, null);
  (gate.board as SimulatedBoard).press('exit1');
  t.match(told, [{ t: 'strike', door: 'front', on: true }], 'within the same turn');
  await until(() => journal.lines === 1);
  t.match(JSON.parse(readFileSync(journal.path, 'utf8')), {
    kind: 'exit',
    code: 'exit-button',
    outcome: 'granted',
  });
  t.match(await gate.tap('front', '123:4567'), { code: 'no-table' });
  await gate.setRights(tableWith({}));
  t.match(await gate.tap('front', '123:4567'), { code: 'stale-table' }, 'closed at once without the daemon');
  gate.strikesOff();
  t.equal((gate.board as SimulatedBoard).line('strike1'), false);
  await outbox.close();
});

t.test(
  'with no daemon the journal decides the strike; with neither it moves all the same, and says late',
  async (t) => {
    const folder = t.testdir();
    const run = async (sizeMax: number) => {
      const journal = await Journal.open(join(folder, `journal-${sizeMax}`), sizeMax);
      const problems: string[] = [];
      const outbox = new Outbox(journal, {
        send: () => false,
        problem: (code) => problems.push(code),
        now: Date.now,
      });
      let journalledAtStrike = -1;
      const gate = new Gate({
        outbox,
        openBoard: async (settings, events) => new SimulatedBoard(settings.doors, events),
        saveConfig: async () => {},
        saveRights: async () => {},
        tell: (message) => {
          if (message.t === 'strike' && message.on) journalledAtStrike = journal.lines;
        },
        problem: () => {},
        now: () => now,
        awayMs: () => 0,
      });
      await gate.start(config, tableWith({}));
      await gate.tap('front', '123:4567');
      const held = outbox.unacked;
      await outbox.close();
      gate.strikesOff();
      return { journalledAtStrike, held, problems };
    };
    t.match(await run(1e6), { journalledAtStrike: 1, held: 1, problems: [] });
    const full = await run(10);
    t.match(full, { journalledAtStrike: 0, held: 2 }, 'the record and the one that says late are in memory');
    t.ok(full.problems.includes('journal-full'));
  },
);

t.test('a daemon away before a restart of the gate is still away', async (t) => {
  const path = join(t.testdir(), 'daemon-seen');
  t.ok(new Presence(path).awayMs()! < 1000, 'nobody knows: from now');
  const presence = new Presence(path);
  presence.set(true);
  t.equal(presence.awayMs(), null);
  presence.set(false);
  t.ok(presence.awayMs()! < 1000);
  await until(() => existsSync(path));
  await sleep(50);
  const hourAgo = new Date(Date.now() - 3_600_000);
  utimesSync(path, hourAgo, hourAgo);
  t.ok(new Presence(path).awayMs()! >= 3_600_000);
});

t.test(
  'a stale lock is replaced, a living one respected, also when the number was given to another process',
  async (t) => {
    const folder = t.testdir();
    writeFileSync(join(folder, 'gate.pid'), '999999 1 gone\n');
    const unlock = lockGateFolder(folder);
    t.throws(() => lockGateFolder(folder), { code: 'gate-running' });
    unlock();
    t.notOk(existsSync(join(folder, 'gate.pid')));
    writeFileSync(join(folder, 'gate.pid'), `${process.pid} 1 other-boot\n`);
    lockGateFolder(folder)();
    writeFileSync(join(folder, 'gate.pid'), '');
    lockGateFolder(folder)();
    t.same(readdirSync(folder), []);
    t.equal(gateSocketPath('/var/lib/mergetown/gate'), '/var/lib/mergetown/gate/gate.sock');
    mkdirSync(join(folder, 'x'));
    const long = gateSocketPath(join(folder, 'x'.repeat(120)));
    t.ok(Buffer.byteLength(long) <= 100 && long === gateSocketPath(join(folder, 'x'.repeat(120))));
    t.not(long, gateSocketPath(join(folder, 'x'.repeat(121))));
    const short = join(folder, 'short');
    mkdirSync(short);
    writeFileSync(join(short, 'other'), '');
    removeSocketFolder(folder, join(short, 'gate.sock'));
    t.ok(existsSync(short), 'a folder with something else in it stays');
    rmSync(join(short, 'other'));
    removeSocketFolder(short, join(short, 'gate.sock'));
    t.ok(existsSync(short), "and the gate's own folder");
    removeSocketFolder(folder, join(short, 'gate.sock'));
    t.notOk(existsSync(short));
  },
);
