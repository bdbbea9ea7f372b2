/**
 * Brings a history to the node of a data folder: to its daemon where one runs, else to the node itself, put together for as long as
 * this takes. It meets nobody then, merges nothing of its own and opens no door.
 */
import { chooseDriver } from '../dapps/choose-driver.js';
import type { NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { lockFolder } from '../store/folder-lock.js';
import { Store } from '../store/store.js';
import { applyHistory, type Applied, type HeldHere } from './bundle-apply.js';
import { openLedger } from './bundle-create.js';
import { inQuarantine, withBundle, type ForeignHistory, type QuarantineBounds } from './bundle-quarantine.js';
import { systemClock } from './clock.js';
import { readConfig } from './config.js';
import { readPackages } from './dapp-set.js';
import { hasTown } from './init-town.js';
import { finishJoining, isJoining } from './joining-files.js';
import { KeyStore, readNodeKeys, type NodeKeys } from './key-files.js';
import type { OfferTaker } from './offers.js';
import { observingRefusal, readRestored } from './restored.js';
import { RunningNode } from './town-node.js';

export interface BringOptions {
  /** Folder of the built dapps. */
  readonly packagesFolder: string;
  readonly version: string;
  /** How contracts run where no daemon does; undefined: as the folder's config says. */
  readonly driver?: 'container' | 'process' | undefined;
  /** The daemon that runs on the folder. */
  readonly daemon: (keys: NodeKeys) => Promise<OfferTaker>;
  readonly bounds?: QuarantineBounds | undefined;
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

export interface Brought extends Applied {
  /** Whether a daemon took it in. */
  readonly daemon: boolean;
}

/**
 * Takes a bundle into the ledger of a data folder.
 * @throws TownError `no-town`, `observing`, those of `withBundle` and `applyHistory`
 */
export async function applyBundle(folder: string, file: string, options: BringOptions): Promise<Brought> {
  await assertTown(folder);
  const { bounds, onProgress } = options;
  return inQuarantine(folder, (work) =>
    withBundle(file, work, (history) => bringHistory(folder, history, options), bounds, onProgress),
  );
}

async function assertTown(folder: string): Promise<void> {
  if (!(await hasTown(folder)) && !(await isJoining(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  if (await readRestored(folder)) throw observingRefusal();
}

/** Takes a history into the ledger of a data folder. @throws TownError as `applyHistory` */
export async function bringHistory(
  folder: string,
  history: ForeignHistory,
  options: BringOptions,
): Promise<Brought> {
  const { onProgress } = options;
  const apply = (taker: OfferTaker, here: HeldHere, self: NodeId): Promise<Applied> =>
    applyHistory(history, here, self, taker, onProgress);
  const release = await lockFolder(folder).catch((error: unknown) => {
    if (error instanceof TownError && error.code === 'folder-in-use') return null;
    throw error;
  });
  if (release !== null)
    return asStopped(folder, options, async (...parts) => ({
      ...(await apply(...parts)),
      daemon: false,
    })).finally(release);
  const ledger = await openLedger(folder);
  try {
    const keys = await readNodeKeys(folder);
    return { ...(await apply(await options.daemon(keys), ledger.store, keys.id)), daemon: true };
  } finally {
    await ledger.close();
  }
}

/** Runs a task with the node of a folder whose lock this process holds. */
async function asStopped<T>(
  folder: string,
  { packagesFolder, version, driver: prefer }: BringOptions,
  task: (taker: OfferTaker, here: HeldHere, self: NodeId) => Promise<T>,
): Promise<T> {
  if (await isJoining(folder)) await finishJoining(folder);
  const config = await readConfig(folder);
  const keys = await readNodeKeys(folder);
  let failure: Error | null = null;
  const store = await Store.open(folder, { onFatal: (error) => (failure = error) });
  try {
    const packages = await readPackages(packagesFolder);
    const node = new RunningNode({
      ...{ folder, store, keys, config, version, packages },
      keyStore: await KeyStore.open(folder),
      clock: systemClock,
      logger: { info: () => undefined, warn: () => undefined },
      url: () => '',
      brokerPort: () => null,
      restored: null,
    });
    try {
      await node.openRepository();
      const { driver, warning } = await chooseDriver({
        ...{ town: node.town, node: node.id },
        log: () => undefined,
        prefer: prefer ?? (config.driver === 'auto' ? undefined : config.driver),
      });
      await node.startContracts(driver, warning);
      return await task(node.offers, store, keys.id);
    } catch (error) {
      throw failure ?? error;
    } finally {
      await node.stop(false);
    }
  } finally {
    await store.close();
  }
}
