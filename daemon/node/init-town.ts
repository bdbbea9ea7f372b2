/** Founds a town in a data folder: keys, config, genesis. All of it, or nothing that a second try would trip over. */
import { randomBytes } from 'node:crypto';
import { access } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { PRESETS } from '../ledger/charter.js';
import { sha256 } from '../ledger/hash.js';
import type { Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { makeGenesis } from '../ledger/merge.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { lockFolder } from '../store/folder-lock.js';
import { Store } from '../store/store.js';
import type { Clock } from './clock.js';
import { defaultConfig, writeConfig } from './config.js';
import { readPackages } from './dapp-set.js';
import { isJoining, readAsking } from './joining-files.js';
import { storeGenesis } from './genesis-store.js';
import { cleanName, makeNodeKeys } from './key-files.js';

export interface InitOptions {
  readonly name: string;
  readonly preset: string;
  /** Folder of the built dapps. */
  readonly packagesFolder: string;
  readonly clock: Clock;
}

/** Whether a town was founded here: the config is written last. */
export const hasTown = (folder: string): Promise<boolean> =>
  access(join(folder, 'config.json')).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      // A folder that this account may not look into may well hold one.
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
      throw error;
    },
  );

/**
 * Founds a town.
 * @returns its id
 * @throws TownError `town-exists`, `joining`, `no-such-preset`, `bad-name`, `folder-in-use`, `no-folder`
 */
export async function initTown(folder: string, options: InitOptions): Promise<Sha256> {
  if (await hasTown(folder))
    throw new TownError(
      'town-exists',
      `There is a town in ${folder} already.`,
      'Start it with `town start`, or choose another folder with --data.',
    );
  await refuseOnItsWay(folder);
  const preset = Object.hasOwn(PRESETS, options.preset) ? PRESETS[options.preset] : undefined;
  if (!preset)
    throw new TownError(
      'no-such-preset',
      `There is no preset "${options.preset}".`,
      `There is: ${Object.keys(PRESETS).join(', ')}.`,
    );
  const name = cleanName(options.name);
  const packages = await readPackages(options.packagesFolder);
  const release = await lockFolder(folder);
  try {
    const keys = await makeNodeKeys(folder);
    const nodeName = hostname().slice(0, 60) || 'board';
    const store = await Store.open(folder, { onFatal: () => undefined });
    try {
      const genesis = store.merge(0);
      if (genesis) return await finish(folder, nodeName, genesis.content);
      const charter = preset({
        name,
        node: { id: keys.id, key: keys.key, name: nodeName, sealing: sealingKeyOf(keys.sealingSecret) },
        dapps: packages.map(({ manifest, digest }) => ({
          name: manifest.name,
          version: manifest.version,
          digest,
        })),
      });
      const founded = makeGenesis(
        charter,
        sha256(randomBytes(32)),
        keys.id,
        options.clock.now(),
        keys.secretKey,
      );
      await storeGenesis(store, founded);
      return await finish(folder, nodeName, founded.merge.content);
    } finally {
      await store.close();
    }
  } finally {
    await release();
  }
}

/** A node that asks a town to let it in, or was just let in, founds none by the way. @throws TownError `joining` */
async function refuseOnItsWay(folder: string): Promise<void> {
  if (!(await isJoining(folder)) && (await readAsking(folder)) === null) return;
  throw new TownError(
    'joining',
    `The node in ${folder} is about to join a town.`,
    'Go on with `town join CODE` and the same code; or found a town of its own: remove joining.json there.',
  );
}

async function finish(folder: string, nodeName: string, town: Sha256): Promise<Sha256> {
  await writeConfig(folder, defaultConfig(nodeName));
  return town;
}
