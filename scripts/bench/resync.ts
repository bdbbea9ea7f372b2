/**
 * Bench `resync`: a node that has only the genesis fetches a town of 10,000 entries over MQTT. Two processes: the other node with
 * the embedded broker in one, the fetching node and the baseline in this one, so that each side pays for itself.
 */
import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { CoreNode } from '../../daemon/node/testing/core-town.js';
import { prepareSignatures } from '../../daemon/node/signatures-ahead.js';
import { rateLine, timeLine, type BenchLine } from './bench-line.js';
import { benchGenesis, CoreChild, type BenchTown } from '../../daemon/node/testing/core-process.js';

const entries = 10_000;
const waitMs = 120_000;
const town: BenchTown = { names: ['alpha', 'beta'], validators: ['alpha'], interactiveMs: 600_000 };

/**
 * Entries per second from the connection until all of them are verified, durable and applied and `main` is the same at both; and
 * the seconds until the node is of use, which is then. Baseline: the bare loop over the same entries.
 */
export async function run(): Promise<BenchLine[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-resync-'));
  const alpha = new CoreChild();
  try {
    const url = await alpha.ask('broker');
    await alpha.ask('start', { folder: join(folder, 'alpha'), name: 'alpha', town, url });
    await alpha.ask('found');
    await alpha.ask('record', entries);
    await alpha.ask('mergeAll');
    const head = await alpha.ask('head');
    const genesis = benchGenesis(town);
    let began = 0;
    const beta = await CoreNode.start({
      ...{ folder: join(folder, 'beta'), name: 'beta', genesis, url },
      // As the daemon has it.
      peering: { prepare: prepareSignatures },
      meeting: () => (began = performance.now()),
    });
    try {
      while (beta.head.id !== head.id) {
        if (performance.now() - began > waitMs)
          throw new Error(`The node came no further than merge ${beta.head.height} of ${head.height}.`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const seconds = (performance.now() - began) / 1000;
      const count = beta.store.counts().entries;
      if (beta.alarms.length > 0) throw new Error(beta.alarms.join());
      const bare = bareLoop(join(folder, 'bare.db'), blocksOf(beta));
      return [
        rateLine('resync', 'entries', count / seconds, 'entries/s', count / bare),
        timeLine('resync', 'until-usable', seconds, 's', bare),
      ];
    } finally {
      await beta.stop();
    }
  } finally {
    await alpha.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The text of every entry, by block. */
function blocksOf({ store }: CoreNode): string[][] {
  return store
    .branches(10)
    .flatMap(({ node, line, seq }) => store.blocksFrom(node, line, 1, seq))
    .map(({ id }) => store.blockEntries(id).map(({ bytes }) => Buffer.from(bytes).toString('utf8')));
}

/** Verifies every signature with node:crypto and inserts the bytes, a transaction a block, `synchronous=FULL`: seconds. */
function bareLoop(file: string, blocks: readonly (readonly string[])[]): number {
  const db = new Database(file);
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)');
    const insert = db.prepare('INSERT INTO entries (bytes) VALUES (?)');
    const spki = Buffer.from('302a300506032b6570032100', 'hex');
    const keys = new Map<string, ReturnType<typeof createPublicKey>>();
    const one = (text: string): void => {
      const { sig, cosigned, ...content } = JSON.parse(text) as {
        sig: string;
        cosigned?: { by: string; sig: string }[];
        by: string;
      };
      const message = Buffer.from(`mergetown/entry/v1\0${JSON.stringify(content)}`);
      for (const signed of [{ by: content.by, sig }, ...(cosigned ?? [])]) {
        let key = keys.get(signed.by);
        key ??= createPublicKey({
          key: Buffer.concat([spki, Buffer.from(signed.by, 'hex')]),
          format: 'der',
          type: 'spki',
        });
        keys.set(signed.by, key);
        if (!verify(null, message, key, Buffer.from(signed.sig, 'base64url')))
          throw new Error('A signature does not hold.');
      }
      insert.run(Buffer.from(text));
    };
    const transaction = db.transaction((texts: readonly string[]) => texts.forEach(one));
    const began = performance.now();
    for (const texts of blocks) transaction.immediate(texts);
    return (performance.now() - began) / 1000;
  } finally {
    db.close();
  }
}
