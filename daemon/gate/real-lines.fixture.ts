/**
 * Runs inside the machine with simulated GPIO lines (`pinctrl-bcm2711`): a whole gate on real sysfs and gpiomon.
 * Plays reader and button, looks at the strikes' levels, and prints what it saw as one JSON line.
 */
import { mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { badgeHash } from './badge-number.js';
import { GateLink } from './link.js';
import type { GateRecord } from './shapes.js';

const chip = process.env['GPIO_SIM_DIR']!;
const folder = '/tmp/town/gate';
/** Of the minute that the strike would be on; the machine is emulated, on a host that has other work too. */
const offMsMax = 10_000;
const badgeKey = 'cd'.repeat(32);
const [, , goodBits, badBits] = process.argv;
const seen: Record<string, unknown> = {};
const records: GateRecord[] = [];

const pulls = new Map([5, 6, 24, 25].map((line) => [line, openSync(`${chip}/sim_gpio${line}/pull`, 'w')]));
const pull = (line: number, level: 'up' | 'down') => writeSync(pulls.get(line)!, `pull-${level}`);
const level = (line: number) => readFileSync(`${chip}/sim_gpio${line}/value`, 'utf8').trim();
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: () => boolean, ms = 150_000): Promise<number> {
  const start = performance.now();
  while (!what()) {
    if (performance.now() - start > ms)
      throw new Error(`in vain: ${what.toString()} ${JSON.stringify(seen)}`);
    await sleep(2);
  }
  return Math.round(performance.now() - start);
}

function badge(bits: string): void {
  for (const bit of bits) {
    const line = bit === '0' ? 24 : 25;
    pull(line, 'down');
    pull(line, 'up');
  }
}

/** Holds the good badge to the reader until the strike is on: gpiomon may still be starting, or a bit came too late. Returns ms from badge to level. */
async function openByBadge(): Promise<number> {
  for (let attempt = 0; attempt < 60; attempt += 1) {
    badge(goodBits!);
    const took = await until(() => level(17) === '1', 2_000).catch(() => null);
    if (took === null) continue;
    await until(() => level(17) === '0');
    return took;
  }
  throw new Error('The badge did not open.');
}

for (const line of [5, 6, 24, 25]) pull(line, 'up');
mkdirSync('/tmp/town');
const link = new GateLink(folder, {
  spawn: true,
  logger: { info: () => undefined, warn: (details, text) => console.error(text, JSON.stringify(details)) },
  onRecord: async (record) => void records.push(record),
});
const door = { name: 'Door', pulseMs: 300 };
void link.sendConfig({
  board: 'raspberry-pi-4',
  doors: [
    {
      ...door,
      id: 'front',
      strike: 'strike1',
      reader: { kind: 'wiegand', d0: 'wiegand1-d0', d1: 'wiegand1-d1' },
      exitButton: 'exit1',
    },
    { ...door, id: 'back', strike: 'strike2', reader: { kind: 'simulated' }, pulseMs: 60_000 },
  ],
  durableWaitMs: 150,
  lastTableMs: 60_000,
});
void link.sendRights({
  version: 1,
  town: 'town',
  issuedAt: Date.now(),
  badgeKey,
  doors: { front: { mode: 'normal' }, back: { mode: 'normal' } },
  badges: { [badgeHash(badgeKey, '123:4567')]: { person: 'p1', status: 'active', doors: '*' } },
});
link.start();
try {
  await until(() => link.hello !== null);
  await until(() => {
    try {
      return readFileSync(`${folder}/rights.json`).length > 0;
    } catch {
      return false;
    }
  });
  seen['atStart'] = [level(17), level(27)];
  seen['tapToLevelMs'] = await openByBadge();
  badge(badBits!);
  await until(() => records.some(({ code }) => code === 'bad-read'));
  pull(5, 'down');
  await until(() => level(17) === '1');
  pull(5, 'up');
  await until(() => level(17) === '0');
  await until(() => records.some(({ kind }) => kind === 'exit'));
  await link.open('back', 'test');
  seen['beforeKill'] = level(27);
  const { pid } = link.hello!;
  process.kill(pid, 'SIGKILL');
  seen['offAfterKillMs'] = await until(() => level(27) === '0', offMsMax);
  await until(() => link.hello !== null && link.hello.pid !== pid);
  await openByBadge();
  // With nobody connected the doors go on by the journal, and the record comes later.
  await link.stop({ gateToo: false });
  const before = records.length;
  await openByBadge();
  seen['deliveredWhileAway'] = records.length - before;
  link.start();
  await until(() => records.length > before);
  await sleep(500);
  seen['deliveredLater'] = records.slice(before).filter(({ code }) => code === 'granted').length;
  seen['unique'] = new Set(records.map(({ id }) => id)).size === records.length;
  await link.open('back', 'test');
  seen['beforeTerm'] = level(27);
  await link.stop({ gateToo: false });
  process.kill(Number(readFileSync(`${folder}/gate.pid`, 'utf8').split(' ')[0]), 'SIGTERM');
  await until(() => level(27) === '0', offMsMax);
  seen['records'] = records.map(({ kind, code, door }) => `${kind} ${code} ${door}`);
} catch (error) {
  seen['error'] = String(error);
  seen['log'] = readFileSync(`${folder}/gate.log`, 'utf8').slice(-2000);
  seen['records'] = records;
}
console.log(JSON.stringify(seen));
process.exit(0);
