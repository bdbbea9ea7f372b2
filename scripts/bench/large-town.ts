/**
 * A town of any size for benches: founded as the daemon does, with the real dapps as child processes, and filled with door
 * events through the heart of a node, without gate, API and broker. What the events say is sealed, as records are.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DappPackage } from '../../daemon/dapps/package.js';
import { ProcessDriver } from '../../daemon/dapps/process-driver.js';
import { sealEnvelope } from '../../daemon/ledger/envelope.js';
import { TownError, type JsonObject } from '../../daemon/ledger/ids.js';
import { systemClock } from '../../daemon/node/clock.js';
import { sealedForm } from '../../daemon/node/door-record.js';
import { Core } from '../../daemon/node/core.js';
import { manifestsOf, packagesOf, readPackages } from '../../daemon/node/dapp-set.js';
import { hasTown, initTown } from '../../daemon/node/init-town.js';
import { readNodeKeys, type NodeKeys } from '../../daemon/node/key-files.js';
import { MainLine } from '../../daemon/node/main-line.js';
import { Repository } from '../../daemon/store/repository.js';
import { Store } from '../../daemon/store/store.js';
import { ContractsInside } from './contracts-inside.js';
import { Filler, type Statement } from './fill.js';

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const mergeWaitsMax = 30;
/** Events on their way to the disk at once. */
const atOnce = 128;
/** The key of the steward who founded it. */
export const steward = Buffer.alloc(32, 5);

/** Fifty people, each with a badge and the key of this month: a house records the same ones again and again. */
const people = Array.from({ length: 50 }, () => ({
  person: `p${randomBytes(8).toString('hex')}`,
  badge: randomBytes(32).toString('hex'),
  key: randomBytes(32),
  handle: `k${randomBytes(16).toString('hex')}`,
}));

/** What the gate saw, sealed as the node does: with the record's id, its time, the badge and the person. */
export function doorEvent(id = `${'0'.repeat(16)}-1`): JsonObject {
  const { person, badge, key, handle } = people[randomInt(people.length)] as (typeof people)[number];
  const seen = sealedForm({ id, at: Date.now(), badge, person });
  const record = sealEnvelope(key, handle, seen, 'door-access.record', randomBytes(12));
  return { code: 'granted', door: 'front', kind: 'tap', outcome: 'granted', table: 3, record };
}

export class LargeTown {
  private records = 0;
  private readonly gate = randomBytes(8).toString('hex');

  private constructor(
    readonly folder: string,
    readonly store: Store,
    readonly repository: Repository,
    readonly core: Core,
    readonly keys: NodeKeys,
    private readonly driver: ProcessDriver | ContractsInside,
  ) {}

  /** Opens the town in the folder; founds it where there is none, with a steward and a door. */
  static async open(folder: string, contracts: 'processes' | 'inside' = 'processes'): Promise<LargeTown> {
    const isNew = !(await hasTown(folder));
    if (isNew)
      await initTown(folder, {
        name: 'Large town',
        preset: 'makerspace',
        packagesFolder,
        clock: systemClock,
      });
    const keys = await readNodeKeys(folder);
    const store = await Store.open(folder, {
      onFatal(error) {
        throw error;
      },
    });
    const repository = await Repository.open(join(folder, 'ledger.git'), store);
    const main = MainLine.load(store);
    await main.prepare();
    const packages = packagesOf(main.charter, await readPackages(packagesFolder));
    const driver =
      contracts === 'inside' ? new ContractsInside() : await processesOf(main, keys.id, packages);
    const stop = (code: string, message: string): never => {
      throw new TownError(code, message);
    };
    const core = new Core({
      ...{ store, keys, main },
      clock: systemClock,
      manifests: manifestsOf(packages),
      contracts: driver,
      readObject: (oid) => repository.read(oid),
      broadcast: () => undefined,
      heldByQuorum: () => undefined,
      isHeard: () => false,
      blockMade: () => undefined,
      alarm: (alarm) => alarm && stop(alarm.code, alarm.message),
      trouble: stop,
      appended: () => undefined,
      adopted: () => repository.scheduleFlush(),
    });
    await core.view.settle();
    core.merger.start();
    const town = new LargeTown(folder, store, repository, core, keys, driver);
    if (isNew) await town.furnish(keys);
    return town;
  }

  private async furnish(keys: { readonly id: string; readonly secretKey: Uint8Array }): Promise<void> {
    const { appender } = this.core;
    await appender.claim('member.found', {}, { secretKey: steward }, [keys]);
    await this.merge();
    const door = { door: 'front', name: 'Front', node: keys.id };
    await appender.claim('door-access.add-door', door, { secretKey: steward });
    await this.merge();
  }

  /** How many entries it has, wherever they are. */
  get entries(): number {
    return this.store.counts().entries;
  }

  /** One event, durable when it resolves. */
  async event(): Promise<void> {
    const id = `${this.gate}-${(this.records += 1)}`;
    await this.core.appender.fact('door-access.event', doorEvent(id), { id, door: 'front' });
  }

  /** So many events at once, then a merge of them. */
  async merged(events: number): Promise<void> {
    await this.events(events);
    await this.merge();
  }

  /** Until all that waits now is `main`. A busy machine takes longer than people wait for a merge: it goes on by itself. */
  async merge(): Promise<void> {
    const last = this.store.lastN(this.keys.id, 'main');
    for (let times = 0; times < mergeWaitsMax; times += 1) {
      try {
        await this.core.merger.mergeNow();
        const [first] = this.store.entriesOf(this.keys.id, 'main', 'pending', 1);
        if (first === undefined || first.n > last) return;
      } catch (error) {
        if (!(error instanceof TownError) || error.code !== 'merge-waits') throw error;
      }
    }
    throw new Error(`What waits has not become main in ${mergeWaitsMax} times.`);
  }

  /** So many events, many at once; durable when it resolves. */
  async events(events: number): Promise<void> {
    let left = events;
    const some = async (): Promise<void> => {
      for (; left > 0;) {
        left -= 1;
        await this.event();
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, events) }, some));
  }

  /** Waits until git has everything and the archive what is old. */
  async settle(): Promise<void> {
    await this.repository.flush();
    while ((await this.store.archiveStep()) > 0);
  }

  async close(): Promise<void> {
    await this.core.merger.stop();
    await this.driver.stop();
    await this.repository.close();
    await this.store.close();
  }
}

async function processesOf(
  { town }: MainLine,
  node: string,
  packages: readonly DappPackage[],
): Promise<ProcessDriver> {
  const driver = new ProcessDriver({ town, node, log: () => undefined });
  await driver.start(packages);
  return driver;
}

/** The newest events of a town are recorded as a door does, one by one. */
const recordedByDoor = 2_000;

/** Makes a town with so many entries in `folder`, or goes on with the one that is there: most of them as fill.ts does. */
export async function growTown(
  folder: string,
  entries: number,
  perMerge: number,
  onProgress: (done: number) => void = () => undefined,
): Promise<void> {
  const early = entries - recordedByDoor;
  if ((await entriesIn(folder)) < early)
    await inTown(folder, 'inside', async (town) => {
      const filler = new Filler(town);
      const { secretKey } = town.keys;
      for (let done = town.entries; done < early; done = town.entries) {
        onProgress(done);
        const event = (): Statement => ({
          ...{ type: 'door-access.event', kind: 'fact', secretKey },
          body: doorEvent(),
        });
        await filler.merged(Math.min(perMerge, early - done), event);
      }
    });
  await inTown(folder, 'processes', async (town) => {
    for (let done = town.entries; done < entries; done = town.entries)
      await town.merged(Math.min(perMerge, entries - done));
  });
}

/** 0 where there is no town yet. */
async function entriesIn(folder: string): Promise<number> {
  if (!(await hasTown(folder))) return 0;
  const store = await Store.open(folder, { onFatal: () => undefined });
  const { entries } = store.counts();
  await store.close();
  return entries;
}

/** Opens the town, uses it, lets it settle and closes it. */
export async function inTown(
  folder: string,
  contracts: 'processes' | 'inside',
  use: (town: LargeTown) => Promise<void>,
): Promise<void> {
  const town = await LargeTown.open(folder, contracts);
  try {
    await use(town);
    await town.settle();
  } finally {
    await town.close();
  }
}
