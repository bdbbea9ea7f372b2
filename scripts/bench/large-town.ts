/**
 * A town of any size for benches: founded as the daemon does, with the real dapps as child processes, and filled with door
 * events through the heart of a node, without gate, API and broker. What the events say is random, as sealed records are.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProcessDriver } from '../../daemon/dapps/process-driver.js';
import { TownError, type JsonObject } from '../../daemon/ledger/ids.js';
import { systemClock } from '../../daemon/node/clock.js';
import { Core } from '../../daemon/node/core.js';
import { manifestsOf, packagesOf, readPackages } from '../../daemon/node/dapp-set.js';
import { hasTown, initTown } from '../../daemon/node/init-town.js';
import { readNodeKeys } from '../../daemon/node/key-files.js';
import { MainLine } from '../../daemon/node/main-line.js';
import { Repository } from '../../daemon/store/repository.js';
import { Store } from '../../daemon/store/store.js';

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
/** Events on their way to the disk at once. */
const atOnce = 128;
/** The key of the steward who founded it. */
export const steward = Buffer.alloc(32, 5);

/** What the gate saw, sealed: as long as a record with badge, person and times is. */
export const doorEvent = (): JsonObject => ({
  ...{ code: 'granted', door: 'front', kind: 'tap', outcome: 'granted', table: 3 },
  record: {
    // One key a person and month: of fifty people.
    ...{ enc: 1, key: `${randomInt(50)}`.padStart(32, 'c') },
    ...{ iv: randomBytes(12).toString('base64url'), ct: randomBytes(190).toString('base64url') },
  },
});

export class LargeTown {
  private records = 0;
  private readonly gate = randomBytes(8).toString('hex');

  private constructor(
    readonly folder: string,
    readonly store: Store,
    readonly repository: Repository,
    readonly core: Core,
    private readonly driver: ProcessDriver,
  ) {}

  /** Opens the town in the folder; founds it where there is none, with a steward and a door. */
  static async open(folder: string): Promise<LargeTown> {
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
    const log = (): void => undefined;
    const driver = new ProcessDriver({ town: main.town, node: keys.id, log });
    await driver.start(packages);
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
    const town = new LargeTown(folder, store, repository, core, driver);
    if (isNew) await town.furnish(keys);
    return town;
  }

  private async furnish(keys: { readonly id: string; readonly secretKey: Uint8Array }): Promise<void> {
    const { appender, merger } = this.core;
    await appender.claim('member.found', {}, { secretKey: steward }, [keys]);
    await merger.mergeNow();
    const door = { door: 'front', name: 'Front', node: keys.id };
    await appender.claim('door-access.add-door', door, { secretKey: steward });
    await merger.mergeNow();
  }

  /** One event, durable when it resolves. */
  async event(): Promise<void> {
    const id = `${this.gate}-${(this.records += 1)}`;
    await this.core.appender.fact('door-access.event', doorEvent(), { id, door: 'front' });
  }

  /** So many events at once, then a merge of them. */
  async merged(events: number): Promise<void> {
    await this.events(events);
    await this.core.merger.mergeNow();
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

/** Makes a town with at least so many entries in `folder`, or goes on with the one that is there. */
export async function growTown(
  folder: string,
  entries: number,
  perMerge: number,
  onProgress: (done: number) => void = () => undefined,
): Promise<void> {
  const town = await LargeTown.open(folder);
  try {
    const { store } = town;
    const count = (): number => store.counts().entries;
    for (let done = count(); done < entries; done = count()) {
      onProgress(done);
      await town.merged(Math.min(perMerge, entries - done));
    }
    await town.settle();
  } finally {
    await town.close();
  }
}
