/**
 * Bench `resync`: a node that has only the genesis fetches a town of 10,000 entries over MQTT; then the broker is gone while 10,000
 * more are made, and it fetches those. Two processes: the other node with the embedded broker in one, the fetching node and the
 * baseline in this one, so that each side pays for itself.
 */
import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { CoreNode } from '../../daemon/node/testing/core-town.js';
import { MqttTransport } from '../../daemon/sync/mqtt-transport.js';
import { prepareSignatures } from '../../daemon/node/signatures-ahead.js';
import { rateLine, timeLine, type BenchLine } from './bench-line.js';
import { benchGenesis, CoreChild, type BenchTown } from '../../daemon/node/testing/core-process.js';

const entries = 10_000;
const waitMs = 120_000;
const town: BenchTown = { names: ['alpha', 'beta'], validators: ['alpha'], interactiveMs: 600_000 };

/**
 * Entries per second from the connection until all of them are verified, durable and applied and `main` is the same at both, by a
 * process that was just started (`entries`) and by one that ran before the outage (`entries-after-an-outage`); and the seconds until
 * the node is of use, which is then. Baseline: the bare loop over the same entries.
 */
export async function run(): Promise<BenchLine[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-resync-'));
  const alpha = new CoreChild();
  try {
    const url = await alpha.ask('broker');
    await alpha.ask('start', { folder: join(folder, 'alpha'), name: 'alpha', town, url });
    await alpha.ask('found');
    const head = async (): Promise<string> => {
      await alpha.ask('record', entries);
      await alpha.ask('mergeAll');
      return (await alpha.ask('head')).id;
    };
    const first = await head();
    let began = 0;
    const beta = await CoreNode.start({
      ...{ folder: join(folder, 'beta'), name: 'beta', genesis: benchGenesis(town), url },
      // As the daemon has it.
      peering: { prepare: prepareSignatures },
      makeTransport: ({ events, ...wanted }) => {
        const connected = (): void => {
          began = performance.now();
          events.connected();
        };
        return new MqttTransport({ ...wanted, events: { ...events, connected }, url, reconnectMs: 200 });
      },
    });
    try {
      const cold = await fetched(beta, first, () => began);
      const blocks = blocksOf(beta);
      const coldBare = bareLoop(join(folder, 'bare.db'), blocks);
      await alpha.ask('brokerAway');
      const second = await head();
      began = 0;
      await alpha.ask('brokerBack');
      const warm = await fetched(beta, second, () => began);
      const more = blocksOf(beta).map((own, i) => own.slice(blocks[i]?.length ?? 0));
      const warmBare = bareLoop(join(folder, 'bare-2.db'), more);
      if (beta.alarms.length > 0) throw new Error(beta.alarms.join());
      return [
        rateLine('resync', 'entries', countOf(blocks) / cold, 'entries/s', countOf(blocks) / coldBare),
        timeLine('resync', 'until-usable', cold, 's', coldBare),
        rateLine(
          ...(['resync', 'entries-after-an-outage'] as const),
          ...([countOf(more) / warm, 'entries/s', countOf(more) / warmBare] as const),
        ),
      ];
    } finally {
      await beta.stop();
    }
  } finally {
    await alpha.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Seconds from the connection until it stands at that merge. @param began when it was connected: ms; 0 before */
async function fetched(node: CoreNode, head: string, began: () => number): Promise<number> {
  const until = performance.now() + waitMs;
  while (node.head.id !== head) {
    if (performance.now() > until)
      throw new Error(`The node came no further than merge ${node.head.height}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return (performance.now() - began()) / 1000;
}

/** The text of every entry: by branch, by block. */
function blocksOf({ store }: CoreNode): string[][][] {
  return store
    .branches(10)
    .map(({ node, line, seq }) =>
      store
        .blocksFrom(node, line, 1, seq)
        .map(({ id }) => store.blockEntries(id).map(({ bytes }) => Buffer.from(bytes).toString('utf8'))),
    );
}

const countOf = (branches: readonly (readonly (readonly string[])[])[]): number => branches.flat(2).length;

/** Verifies every signature with node:crypto and inserts the bytes, a transaction a block, `synchronous=FULL`: seconds. */
function bareLoop(file: string, branches: readonly (readonly (readonly string[])[])[]): number {
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
    for (const texts of branches.flat()) transaction.immediate(texts);
    return (performance.now() - began) / 1000;
  } finally {
    db.close();
  }
}
