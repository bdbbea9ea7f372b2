/**
 * How soon the daemon is of use after a start on an existing data folder: one just founded, and towns of 10,000 and of
 * 500,000 entries. Baseline: a bare Node that imports the same libraries and listens with fastify, in the same run.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { StatusView } from '../../daemon/node/use-cases.js';
import { timeLine, type BenchLine } from './bench-line.js';
import { growTown } from './large-town.js';

const rounds = 5;
const sizes = [10_000, 500_000] as const;
const entriesPerMerge = 1_000;
const waitMax = 120_000;
const pollEvery = 5;

const libraries = [
  '@fastify/cookie',
  '@fastify/helmet',
  '@fastify/rate-limit',
  '@fastify/static',
  '@fastify/swagger',
  'aedes',
  'better-sqlite3',
  'isomorphic-git',
  '@noble/ed25519',
  'pino',
  'typebox',
];

/** The new town's lines, then those of the large ones: building these takes minutes, once where BENCH_CACHE names a folder. */
export async function run(): Promise<BenchLine[]> {
  return [...(await newTown()), ...(await largeTowns())];
}

/**
 * Times in ms from spawn to the API answering, medians; `start-ratio`: how many times as long the large one takes (baseline: 1).
 */
async function largeTowns(): Promise<BenchLine[]> {
  const cache = process.env['BENCH_CACHE'];
  const folder = cache ?? (await mkdtemp(join(tmpdir(), 'mergetown-bench-towns-')));
  try {
    const towns = sizes.map((size) => join(folder, `town-${size}`));
    for (const [i, size] of sizes.entries())
      await growTown(towns[i] as string, size, entriesPerMerge, (done) => {
        if (done % 50_000 < entriesPerMerge) process.stderr.write(`  a town of ${size} entries: ${done}\n`);
      });
    const times: number[][] = sizes.map(() => []);
    const bare: number[] = [];
    // One round uncounted: what a start reads is in memory from then on, for both alike.
    for (let round = -1; round < rounds; round++) {
      const began = await measureBare();
      const api: number[] = [];
      for (const town of towns) api.push((await measureDaemon(town, false)).api);
      if (round < 0) continue;
      bare.push(began);
      api.forEach((time, i) => times[i]?.push(time));
    }
    const [small = Number.NaN, large = Number.NaN] = times.map(median);
    return [
      timeLine('start', 'start-10k', small, 'ms', median(bare)),
      timeLine('start', 'start-500k', large, 'ms', median(bare)),
      timeLine('start', 'start-ratio', large / small, 'times', 1),
    ];
  } finally {
    if (cache === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** Times in ms from spawn: the API answering, the gate connected, the dapps ready; medians. */
async function newTown(): Promise<BenchLine[]> {
  const folder = await mkdtemp(join(tmpdir(), 'mergetown-bench-start-'));
  try {
    // The first run makes keys, town and images; it is not measured.
    await measureDaemon(folder);
    const api: number[] = [];
    const gate: number[] = [];
    const dapps: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < rounds; round++) {
      bare.push(await measureBare());
      const times = await measureDaemon(folder);
      api.push(times.api);
      gate.push(times.gate);
      dapps.push(times.dapps);
    }
    const baseline = median(bare);
    return [
      timeLine('start', 'spawn-to-api', median(api), 'ms', baseline),
      timeLine('start', 'spawn-to-doors', median(gate), 'ms', baseline),
      timeLine('start', 'spawn-to-dapps', median(dapps), 'ms', baseline),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param wholly also until the gate is connected and the dapps answer; else these are NaN */
export async function measureDaemon(
  folder: string,
  wholly = true,
): Promise<{ api: number; gate: number; dapps: number; rss: number }> {
  const port = await freePort();
  const mqttPort = await freePort();
  const main = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
  const began = performance.now();
  const child = spawn(
    process.execPath,
    [main, '--data', folder, '--port', String(port), '--mqtt-port', String(mqttPort), '--driver', 'process'],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  try {
    const url = `http://127.0.0.1:${port}/api/status`;
    const api = await until(child, began, url, () => true);
    if (!wholly)
      return { api, gate: Number.NaN, dapps: Number.NaN, rss: await settledRss(child, began, url) };
    const gate = await until(child, began, url, (status) => status.gate.connected);
    const dapps = await until(child, began, url, (status) => status.dapps.ready);
    return { api, gate, dapps, rss: Number.NaN };
  } finally {
    await end(child);
  }
}

/** Megabytes of the daemon once its dapps run. */
async function settledRss(child: ChildProcess, began: number, url: string): Promise<number> {
  await until(child, began, url, (status) => status.dapps.ready);
  const text = await readFile(`/proc/${child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+([0-9]+)/m.exec(text)?.[1] ?? Number.NaN) / 1024;
}

/** A bare server on the same libraries: milliseconds from its spawn until it serves. */
export async function measureBare(): Promise<number> {
  const port = await freePort();
  const program = `
    import fastify from 'fastify';
    await Promise.all(${JSON.stringify(libraries)}.map((name) => import(name)));
    const server = fastify();
    server.get('/api/status', async () => ({}));
    await server.listen({ host: '127.0.0.1', port: ${port} });
  `;
  const began = performance.now();
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  try {
    return await until(child, began, `http://127.0.0.1:${port}/api/status`, () => true);
  } finally {
    await end(child);
  }
}

/** Milliseconds from `began` until the URL answers with what is waited for. */
async function until(
  child: ChildProcess,
  began: number,
  url: string,
  holds: (status: StatusView) => boolean,
): Promise<number> {
  while (performance.now() - began < waitMax) {
    if (child.exitCode !== null)
      throw new Error(`The process ended with ${child.exitCode} instead of serving.`);
    try {
      const answer = await fetch(url);
      if (answer.ok && holds((await answer.json()) as StatusView)) return performance.now() - began;
    } catch {
      // Not listening yet.
    }
    await sleep(pollEvery);
  }
  throw new Error(`${url} did not come to serve within ${waitMax} ms.`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await closed;
  clearTimeout(killer);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('No port was given.');
  return address.port;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
