/**
 * Bench `scale`: the limits that are tried: 100,000 members and 1,000,000 entries in one town on this machine. Takes hours, so it
 * is run by its name only; SCALE=0.1 does a tenth of it. BENCH_CACHE=DIR keeps the town for the next run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { signText, publicKeyOf } from '../../daemon/ledger/signature.js';
import { INVITATION_DOMAIN, invitationText } from '../../daemon/ledger/kernel.js';
import { sha256 } from '../../daemon/ledger/hash.js';
import type { JsonObject } from '../../daemon/ledger/ids.js';
import { timeLine, type BenchLine } from './bench-line.js';
import { LargeTown, steward } from './large-town.js';
import { measureBare, measureDaemon } from './start.js';

const scale = Number(process.env['SCALE'] ?? 1);
const members = Math.ceil(100_000 * scale);
const entries = Math.ceil(1_000_000 * scale);
const perMerge = 1_000;
const aYearMs = 365 * 86_400_000;

/** `merge-…`: one merge of 1,000 entries at that size; `start`, `verify` and `memory` of the daemon with it. Baselines: the same at the beginning, or the bare process. */
export async function run(): Promise<BenchLine[]> {
  const cache = process.env['BENCH_CACHE'];
  const folder = cache === undefined ? await mkdtemp(join(tmpdir(), 'bench-scale-')) : cache;
  const data = join(folder, `scale-${members}-${entries}`);
  try {
    const merge = await grown(data);
    const bare = await measureBare();
    await measureDaemon(data, false);
    const { api, rss } = await measureDaemon(data, false);
    const verify = await verified(data);
    return [
      timeLine('scale', `merge-of-${perMerge}-events`, merge.last, 'ms', merge.first),
      timeLine('scale', 'start', api, 'ms', bare),
      timeLine('scale', 'verify', verify.seconds, 's', verify.seconds),
      timeLine('scale', 'verify-memory', verify.megabytes, 'MB', verify.megabytes),
      timeLine('scale', 'memory', rss, 'MB', rss),
    ];
  } finally {
    if (cache === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** Members first, then events until there are as many entries. Milliseconds of one of the first merges and of the last. */
async function grown(data: string): Promise<{ first: number; last: number }> {
  const town = await LargeTown.open(data);
  try {
    const { store, core } = town;
    const count = (): number => store.counts().entries;
    const joined = (): number => core.main.state.keys('kernel', 'members', '', members + 2).length;
    let first = Number.NaN;
    let last = Number.NaN;
    for (let have = joined(); have < members; have = joined()) {
      const more = Math.min(perMerge, members - have);
      for (let i = 0; i < more; i += 1) await join1(town, have + i);
      await core.merger.mergeNow();
      tell('members', joined(), members);
    }
    for (let have = count(); have < entries; have = count()) {
      await town.events(Math.min(perMerge, entries - have));
      const began = performance.now();
      await core.merger.mergeNow();
      last = performance.now() - began;
      if (Number.isNaN(first)) first = last;
      await town.settle();
      tell('entries', count(), entries);
    }
    if (Number.isNaN(last)) {
      await town.events(perMerge);
      const began = performance.now();
      await core.merger.mergeNow();
      first = last = performance.now() - began;
    }
    await town.settle();
    return { first, last };
  } finally {
    await town.close();
  }
}

function tell(what: string, done: number, of: number): void {
  if (done % 20_000 < perMerge) process.stderr.write(`  ${what}: ${done} of ${of}\n`);
}

const memberSeed = (n: number): Uint8Array => Buffer.from(sha256(`member ${n}`), 'hex');

async function join1({ core }: LargeTown, n: number): Promise<void> {
  const { town } = core.main;
  const content = { town, nonce: sha256(`nonce ${n}`), roles: ['member'], until: Date.now() + aYearMs };
  const sig = signText(steward, INVITATION_DOMAIN, invitationText(content as never));
  const invitation = { ...content, by: publicKeyOf(steward), sig } as unknown as JsonObject;
  await core.appender.claim('member.join', { invitation }, { secretKey: memberSeed(n) });
}

/** `town verify` in a process of its own: how long it takes, and its highest memory. */
async function verified(data: string): Promise<{ seconds: number; megabytes: number }> {
  const town = fileURLToPath(new URL('../../daemon/cli/town.js', import.meta.url));
  const began = performance.now();
  const child = spawn(process.execPath, [town, 'verify', '--data', data, '--json'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  let megabytes = 0;
  const look = setInterval(() => {
    readFile(`/proc/${child.pid}/status`, 'utf8').then(
      (text) => {
        megabytes = Math.max(megabytes, Number(/^VmHWM:\s+([0-9]+)/m.exec(text)?.[1] ?? 0) / 1024);
      },
      () => undefined,
    );
  }, 1_000);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearInterval(look);
  if (code !== 0) throw new Error(`town verify ended with ${code}.`);
  return { seconds: (performance.now() - began) / 1000, megabytes };
}
