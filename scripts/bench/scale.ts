/**
 * Bench `scale`: the limits that are tried: 100,000 members and 1,000,000 entries in one town on this machine, filled as fill.ts
 * says. Takes long, so it is run by its name only; SCALE=0.1 does a tenth of it. BENCH_CACHE=DIR keeps the town for the next run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { signText, publicKeyOf } from '../../daemon/ledger/signature.js';
import { INVITATION_DOMAIN, invitationText } from '../../daemon/ledger/kernel.js';
import { sha256 } from '../../daemon/ledger/hash.js';
import type { JsonObject } from '../../daemon/ledger/ids.js';
import { timeLine, type BenchLine } from './bench-line.js';
import { Filler } from './fill.js';
import { growTown, inTown, steward, type LargeTown } from './large-town.js';
import { measureBare, measureDaemon } from './start.js';

const scale = Number(process.env['SCALE'] ?? 1);
const members = Math.ceil(100_000 * scale);
const entries = Math.ceil(1_000_000 * scale);
const perMerge = 1_000;
const smallTown = 5_000;
const rounds = 3;
/** So much of what `town verify` said is told where it found something. */
const SAID_MAX = 20_000;
const aYearMs = 365 * 86_400_000;

/**
 * `merge-of-1000-events`, `merge-of-a-join`: until they are `main`, the contracts in their processes; baseline: in a town of 5,000
 * entries and one member. `start`, `memory`: of the daemon; baseline: the bare server, and the daemon with the small town.
 * `verify`: microseconds for each entry, and its highest memory; baseline: the small town's.
 */
export async function run(): Promise<BenchLine[]> {
  const cache = process.env['BENCH_CACHE'];
  const folder = cache === undefined ? await mkdtemp(join(tmpdir(), 'bench-scale-')) : cache;
  const data = join(folder, `scale-${members}-${entries}`);
  const small = join(folder, `scale-small-${process.pid}`);
  try {
    await growTown(small, smallTown, perMerge);
    await fill(data);
    const before = await measured('small', small);
    const after = await measured('large', data);
    return [
      timeLine('scale', `merge-of-${perMerge}-events`, after.events, 'ms', before.events),
      timeLine('scale', 'merge-of-a-join', after.joins, 'ms', before.joins),
      timeLine('scale', 'start', after.start, 'ms', await measureBare()),
      timeLine('scale', 'memory', after.rss, 'MB', before.rss),
      timeLine('scale', 'verify-per-entry', after.microseconds, 'us', before.microseconds),
      timeLine('scale', 'verify-memory', after.megabytes, 'MB', before.megabytes),
    ];
  } finally {
    await rm(small, { recursive: true, force: true });
    if (cache === undefined) await rm(folder, { recursive: true, force: true });
  }
}

interface Figures {
  readonly events: number;
  readonly joins: number;
  readonly start: number;
  readonly rss: number;
  readonly microseconds: number;
  readonly megabytes: number;
}

/** What is measured of a town, each figure told when it is there: the run takes long, and what is known by then is not to be lost. */
async function measured(which: string, data: string): Promise<Figures> {
  const told = <Part extends object>(part: Part): Part => {
    process.stderr.write(`  ${which}: ${JSON.stringify(part)}\n`);
    return part;
  };
  return {
    ...told(await merges(data)),
    ...told(await started(data)),
    ...told(await verified(data)),
  };
}

/** Members first, then events until there are as many entries. */
async function fill(data: string): Promise<void> {
  await inTown(data, 'inside', async (town) => {
    const joined = (): number => town.core.main.state.keys('kernel', 'members', '', members + 2).length;
    if (joined() === 1) await lowerGrant(town);
    const filler = new Filler(town);
    for (let have = joined(); have < members; have = joined()) {
      tell('members', have, members);
      await filler.merged(Math.min(perMerge, members - have), (i) => ({
        ...{ type: 'member.join', kind: 'claim', body: joinBody(town) },
        secretKey: memberSeed(`${have + i}`),
      }));
      if (joined() === have) throw new Error(`Nobody can join any more after ${have}.`);
    }
  });
  await growTown(data, entries, perMerge, (done) => tell('entries', done, entries));
}

/** The preset's supply would be given out after 2,000 members. */
async function lowerGrant(town: LargeTown): Promise<void> {
  const grant = { set: { '/members/grant': 5 }, remove: [] };
  await town.core.appender.claim('charter.change', grant, { secretKey: steward });
  await town.merge();
}

function tell(what: string, done: number, of: number): void {
  if (done % 10_000 < perMerge) process.stderr.write(`  ${what}: ${done} of ${of}\n`);
}

const memberSeed = (name: string): Uint8Array => Buffer.from(sha256(`member ${name}`), 'hex');

function joinBody({ core }: LargeTown): JsonObject {
  const nonce = randomBytes(32).toString('hex');
  const content = { town: core.main.town, nonce, roles: ['member'], until: Date.now() + aYearMs };
  const sig = signText(steward, INVITATION_DOMAIN, invitationText(content as never));
  return { invitation: { ...content, by: publicKeyOf(steward), sig } };
}

/** Medians, ms. */
async function merges(data: string): Promise<{ events: number; joins: number }> {
  const events: number[] = [];
  const joins: number[] = [];
  await inTown(data, 'processes', async (town) => {
    const merge = async (times: number[]): Promise<void> => {
      const began = performance.now();
      await town.merge();
      times.push(performance.now() - began);
    };
    for (let round = 0; round < rounds; round += 1) {
      await town.events(perMerge);
      await merge(events);
      const secretKey = memberSeed(randomBytes(8).toString('hex'));
      await town.core.appender.claim('member.join', joinBody(town), { secretKey });
      await merge(joins);
    }
  });
  return { events: median(events), joins: median(joins) };
}

/** The second of two starts: ms until it serves, and MB once the dapps run. */
async function started(data: string): Promise<{ start: number; rss: number }> {
  await measureDaemon(data, false);
  const { api, rss } = await measureDaemon(data, false);
  return { start: api, rss };
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** `town verify` in a process of its own: how long it takes, and its highest memory. */
async function verified(data: string): Promise<{ microseconds: number; megabytes: number }> {
  let count = 0;
  await inTown(data, 'inside', async (town) => void (count = town.entries));
  const town = fileURLToPath(new URL('../../daemon/cli/town.js', import.meta.url));
  const began = performance.now();
  const child = spawn(process.execPath, [town, 'verify', '--data', data, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-SAID_MAX)));
  let megabytes = 0;
  const look = setInterval(() => {
    readFile(`/proc/${child.pid}/status`, 'utf8').then(
      (text) => {
        megabytes = Math.max(megabytes, Number(/^VmHWM:\s+([0-9]+)/m.exec(text)?.[1] ?? 0) / 1024);
      },
      () => undefined,
    );
  }, 1_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(look);
  if (code !== 0) throw new Error(`town verify ended with ${code}: ${said}`);
  return { microseconds: ((performance.now() - began) * 1000) / count, megabytes };
}
