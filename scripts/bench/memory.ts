/**
 * Resident memory of a node that has nothing to do: ledger, API, panel and embedded broker in one process.
 * Baseline: a bare Node that only imports the same libraries, in the same run. And the most that a node's heart takes while it fetches
 * a town of 100,000 entries; baseline: of a tenth as many.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CoreChild, type BenchTown } from '../../daemon/node/testing/core-process.js';
import { timeLine, type BenchLine } from './bench-line.js';

/** As many: when V8 gives back what loading took is a matter of chance, for the baseline more than for the daemon. */
const rounds = 9;
const waitMsMax = 120_000;
/** From ready to quiet: longer than the daemon keeps its heap small for the start. */
const idleMs = 15_000;
const kiBPerMiB = 1024;
const resyncEntries = 100_000;
/** What is recorded before it is merged. */
const recordedAtOnce = 10_000;
const resyncMsMax = 1_800_000;

/** What the daemon imports to run with an embedded broker and contracts in child processes. */
const libraries = [
  '@fastify/cookie',
  '@fastify/helmet',
  '@fastify/rate-limit',
  '@fastify/static',
  '@fastify/swagger',
  '@fastify/swagger-ui',
  '@fastify/type-provider-typebox',
  '@noble/ed25519',
  'aedes',
  'better-sqlite3',
  'commander',
  'fastify',
  'mqtt',
  'pino',
  'qr',
  'typebox',
];

/** MiB: the daemon's own process, as the issue counts it; and all of them, with the gate and one contract a dapp. Medians. */
export async function run(): Promise<BenchLine[]> {
  const folder = await mkdtemp(join(tmpdir(), 'mergetown-bench-memory-'));
  try {
    // The first runs make keys and town, and bring the programs' files into memory: what is mapped of them counts. Not measured.
    await measureDaemon(folder, 0);
    await measureBare();
    const daemon: number[] = [];
    const all: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      // At the same time: both mostly wait.
      const [loaded, measured] = await Promise.all([measureBare(), measureDaemon(folder, idleMs)]);
      bare.push(loaded);
      daemon.push(measured.daemon);
      all.push(measured.all);
    }
    const baseline = median(bare);
    const few = await resyncPeak(join(folder, 'few'), resyncEntries / 10);
    const many = await resyncPeak(join(folder, 'many'), resyncEntries);
    return [
      timeLine('memory', 'idle-daemon-with-broker', median(daemon), 'MiB', baseline),
      timeLine('memory', 'with-gate-and-contracts', median(all), 'MiB', baseline),
      timeLine('memory', 'peak-of-a-resync-of-100000', many, 'MiB', few),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureDaemon(folder: string, idle: number): Promise<{ daemon: number; all: number }> {
  const main = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
  const options = ['--data', folder, '--port', '0', '--mqtt-port', '0', '--driver', 'process'];
  const child = spawn(process.execPath, [main, ...options], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    await says(child, 'The dapps are ready');
    await sleep(idle);
    const pid = child.pid as number;
    const others = await Promise.all((await childrenOf(pid)).map(residentOf));
    const daemon = await residentOf(pid);
    return { daemon, all: others.reduce((sum, each) => sum + each, daemon) };
  } finally {
    await end(child);
  }
}

async function measureBare(): Promise<number> {
  const program = `
    for (const name of ${JSON.stringify(libraries)}) await import(name);
    console.log('ready');
    setInterval(() => undefined, 60_000);
  `;
  const cwd = fileURLToPath(new URL('../../../', import.meta.url));
  const words = ['--input-type=module', '--eval', program];
  const child = spawn(process.execPath, words, { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    await says(child, 'ready');
    await sleep(idleMs);
    return await residentOf(child.pid as number);
  } finally {
    await end(child);
  }
}

/** MiB: the most that a node's process had in memory until so many entries of another's were in its `main`. */
async function resyncPeak(folder: string, entries: number): Promise<number> {
  const town: BenchTown = { names: ['alpha', 'beta'], validators: ['alpha'], interactiveMs: resyncMsMax };
  const alpha = new CoreChild();
  const beta = new CoreChild();
  try {
    const url = await alpha.ask('broker');
    await alpha.ask('start', { folder: join(folder, 'alpha'), name: 'alpha', town, url });
    await alpha.ask('found');
    for (let done = 0; done < entries; done += recordedAtOnce) {
      await alpha.ask('record', Math.min(recordedAtOnce, entries - done));
      await alpha.ask('mergeAll');
    }
    const { id } = await alpha.ask('head');
    await beta.ask('start', { folder: join(folder, 'beta'), name: 'beta', town, url });
    for (const until = performance.now() + resyncMsMax; (await beta.ask('head')).id !== id; await sleep(100))
      if (performance.now() > until) throw new Error('The node did not catch up in time.');
    return await memoryOf(beta.pid, 'VmHWM');
  } finally {
    await beta.end();
    await alpha.end();
  }
}

/** Resolves when the process has said this. */
async function says(child: ChildProcess, words: string): Promise<void> {
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text));
  for (const until = performance.now() + waitMsMax; !said.includes(words); await sleep(50)) {
    if (child.exitCode !== null || performance.now() > until)
      throw new Error(`It did not come to say "${words}": ${said.slice(-500)}`);
  }
}

/** MiB that a process has in memory. */
const residentOf = (pid: number): Promise<number> => memoryOf(pid, 'VmRSS');

/** MiB by one of the names in `/proc/<pid>/status`; `VmHWM`: the most it ever had in memory. */
async function memoryOf(pid: number, name: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const [, kiB] = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status) ?? [];
  return Number(kiB) / kiBPerMiB;
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await closed;
  clearTimeout(killer);
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
