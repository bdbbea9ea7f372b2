/**
 * Bench `verify`: signed entries checked in bulk (canonical form, id, signature) by the pool of threads, beside nothing but
 * `crypto.verify` over the same messages and signatures on as many threads. And `town verify` of a whole town of as many door events:
 * every file, page, row, certificate, and every merge replayed by the dapps in child processes; beside the same baseline.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { signEntry } from '../../daemon/ledger/entry.js';
import { sha256, sha256Bytes } from '../../daemon/ledger/hash.js';
import type { EntryId, Millis } from '../../daemon/ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../../daemon/ledger/signature.js';
import { POOL_THREADS_MAX, SignaturePool } from '../../daemon/node/signature-pool.js';
import { verifyTown } from '../../daemon/node/verify-town.js';
import { rateLine, type BenchLine } from './bench-line.js';
import { growTown } from './large-town.js';

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const entries = 20_000;
const signers = 40;
/** Each way by turns, so that a machine that gets slower or faster meanwhile does so to both. */
const rounds = 5;

/** Entries per second; baseline: signatures per second of `crypto.verify` alone. Of the pool and of the baseline the best of their rounds. */
export async function run(): Promise<BenchLine[]> {
  const texts = doorEvents();
  const threads = Math.min(availableParallelism(), POOL_THREADS_MAX);
  const pool = new SignaturePool({ threads });
  const bare = await BareThreads.start(texts, threads);
  try {
    await pool.check(texts.slice(0, 2_000));
    const seconds = { pool: Infinity, bare: Infinity };
    for (let round = 0; round < rounds; round += 1) {
      seconds.bare = Math.min(seconds.bare, await timed(() => bare.verify()));
      seconds.pool = Math.min(seconds.pool, await timed(() => checkAll(pool, texts)));
    }
    const bareRate = entries / seconds.bare;
    return [
      rateLine('verify', 'entries', entries / seconds.pool, 'entries/s', bareRate),
      rateLine('verify', 'whole-town', await wholeTown(), 'entries/s', bareRate),
    ];
  } finally {
    await bare.end();
    await pool.close();
  }
}

/** Entries per second of `town verify` on a town with a merge for every 200 events. */
async function wholeTown(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-verify-'));
  try {
    await growTown(join(folder, 'town'), entries, 200);
    const began = performance.now();
    const { ok, checked, problems } = await verifyTown(join(folder, 'town'), {
      packagesFolder,
      driver: 'process',
    });
    const seconds = (performance.now() - began) / 1000;
    if (!ok || checked.entries < entries)
      throw new Error(`The town does not hold: ${JSON.stringify(problems[0])}`);
    return checked.entries / seconds;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function timed(task: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await task();
  return (performance.now() - began) / 1000;
}

async function checkAll(pool: SignaturePool, texts: readonly string[]): Promise<void> {
  const { entries: verdicts } = await pool.check(texts);
  if (!verdicts.every((verdict): verdict is EntryId => typeof verdict === 'string'))
    throw new Error('An entry does not hold.');
}

/** Records as doors make them, each with an encrypted part. */
function doorEvents(): readonly string[] {
  const keys = Array.from({ length: signers }, (_, i) => sha256Bytes(`signer ${i}`));
  return Array.from({ length: entries }, (_, i) => {
    const seed = keys[i % signers] as Uint8Array;
    const key = publicKeyOf(seed);
    const body = {
      ...{ door: 'front', decision: 'granted', at: 1_780_000_000_000 + i * 977 },
      badge: sha256(`badge ${i % 300}`),
      record: {
        alg: 'A256GCM',
        key: sha256(`key ${i % 300}`).slice(0, 32),
        iv: sha256(`iv ${i}`).slice(0, 16),
        data: sha256(`data ${i}`),
      },
    };
    const place = { v: 1 as const, town: sha256('town'), line: 'main', base: sha256(`base ${i >> 6}`) };
    const entered = { node: nodeIdOf(key), n: i + 1, at: (1_780_000_000_000 + i * 977) as Millis };
    return signEntry({ ...place, ...entered, type: 'door-access.record', by: key, body }, seed).text;
  });
}

/** Threads that hold keys, messages and signatures ready and do nothing but `crypto.verify`. */
const bareThread = `
const { parentPort, workerData } = require('node:worker_threads');
const { createPublicKey, verify } = require('node:crypto');
const spki = Buffer.from('302a300506032b6570032100', 'hex');
const keys = new Map();
const keyOf = (hex) => {
  if (!keys.has(hex)) keys.set(hex, createPublicKey({ key: Buffer.concat([spki, Buffer.from(hex, 'hex')]), format: 'der', type: 'spki' }));
  return keys.get(hex);
};
const items = workerData.map((text) => {
  const { sig, ...content } = JSON.parse(text);
  const message = Buffer.from('mergetown/entry/v1\\0' + JSON.stringify(content));
  return { key: keyOf(content.by), message, sig: Buffer.from(sig, 'base64url') };
});
parentPort.on('message', () => parentPort.postMessage(items.every(({ key, message, sig }) => verify(null, message, key, sig))));
parentPort.postMessage('ready');
`;

class BareThreads {
  private constructor(private readonly workers: readonly Worker[]) {}

  static async start(texts: readonly string[], threads: number): Promise<BareThreads> {
    const share = Math.ceil(texts.length / threads);
    const workers = Array.from(
      { length: threads },
      (_, i) => new Worker(bareThread, { eval: true, workerData: texts.slice(i * share, (i + 1) * share) }),
    );
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    return new BareThreads(workers);
  }

  async verify(): Promise<void> {
    const answers = await Promise.all(
      this.workers.map(async (worker) => {
        const answer = once(worker, 'message');
        worker.postMessage('go');
        return ((await answer) as [boolean])[0];
      }),
    );
    if (!answers.every((answer) => answer)) throw new Error('A signature does not hold.');
  }

  async end(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}
