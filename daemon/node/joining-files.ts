/**
 * What a node writes down on its way into a town, so that a cut of the power at any moment loses nothing:
 * `joining.json` while it asks, `joined.json` from the welcome until the town's files are in place.
 * Both hold secrets (mode 600), and both are gone when it is done.
 */
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalize } from '../ledger/canonical.js';
import { parseCharter } from '../ledger/charter.js';
import { bytesOf } from '../ledger/hash.js';
import type { Json, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readGenesis, type Genesis } from '../ledger/merge.js';
import { syncFolder, writeFileDurably } from '../store/durable-file.js';
import { Store } from '../store/store.js';
import { isWelcome, type Welcome } from '../sync/joining.js';
import { unpackSplit, type PackedSplit } from '../sync/split-welcome.js';
import { storeGenesis } from './genesis-store.js';
import { defaultConfig, writeConfig, type BrokerConfig, type NodeConfig } from './config.js';
import { doorIdOf } from './door-id.js';
import { putTownKeys } from './key-files.js';
import { forgetRestored } from './restored.js';
import { TownKeys } from './town-keys.js';
import { WELCOME_META, type Welcomed } from './welcomed.js';

const ASKING = 'joining.json';
const JOINED = 'joined.json';
/** How folders in the data folder begin that hold a town that was there before. */
export const SET_ASIDE = 'set-aside-';

/** What a node asks with. `waiting`: the host has the ask. */
export interface Asking {
  readonly v: 1;
  readonly code: string;
  readonly name: string;
  readonly waiting: boolean;
}

/**
 * A welcome on its way into the data folder. `aside`: the folder, in the data folder, for the town that was there before,
 * while that is still to be moved; null: only this town's files may be there.
 */
export interface Joined {
  readonly v: 1;
  readonly aside: string | null;
  readonly config: NodeConfig;
  readonly welcome: Welcome;
}

/** What belongs to a town and not to the board. The keys of the node itself, and whatever else is there, stay. */
const TOWN_FILES = [
  'config.json',
  'town.db',
  'town.db-wal',
  'town.db-shm',
  'ledger.git',
  'allowed_signers',
  'keys/town.key',
  'keys/town-keys.json',
  'keys/broker.json',
  'keys/badge.key',
  'keys/members',
] as const;

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    // A data folder that is none is told where it would be made.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function removeDurably(folder: string, name: string): Promise<void> {
  await rm(join(folder, name), { force: true });
  await syncFolder(folder);
}

export const putAsking = (folder: string, asking: Asking): Promise<void> =>
  writeFileDurably(join(folder, ASKING), `${JSON.stringify(asking)}\n`, 0o600);

/** What this node asks with; null: it does not ask, or the file is none. */
export async function readAsking(folder: string): Promise<Asking | null> {
  const found = (await readJson(join(folder, ASKING))) as Partial<Asking> | null | undefined;
  const holds = found?.v === 1 && typeof found.code === 'string' && typeof found.name === 'string';
  return holds ? (found as Asking) : null;
}

export const dropAsking = (folder: string): Promise<void> => removeDurably(folder, ASKING);

export const putJoined = (folder: string, joined: Joined): Promise<void> =>
  writeFileDurably(join(folder, JOINED), `${JSON.stringify(joined)}\n`, 0o600);

/** Whether a welcome lies here that is not in its place yet. */
export const isJoining = async (folder: string): Promise<boolean> =>
  (await readJson(join(folder, JOINED))) !== null;

/** @throws TownError `bad-joined-file` */
async function readJoined(folder: string): Promise<Joined | null> {
  const found = (await readJson(join(folder, JOINED))) as Partial<Joined> | null | undefined;
  if (found === null) return null;
  if (found?.v === 1 && found.config && isWelcome(found.welcome) && found.aside !== undefined)
    return found as Joined;
  throw new TownError(
    'bad-joined-file',
    `${join(folder, JOINED)} does not hold the welcome of a town.`,
    'Move it aside, and join again with the same code: the town knows this node.',
  );
}

/** The config of a joined node: what this board was set to, and the town's brokers and its one door in it. */
export function configOf(
  before: NodeConfig | null,
  node: { readonly id: NodeId; readonly name: string; readonly isHub: boolean },
  broker: BrokerConfig,
  others: readonly BrokerConfig[] = [],
): NodeConfig {
  const { otherBrokers: _, ...base } = before ?? defaultConfig(node.name);
  const [first] = base.gate.doors;
  const doors = node.isHub || !first ? [] : [{ ...first, id: doorIdOf(node.name, node.id), name: node.name }];
  const otherBrokers = others.length === 0 ? {} : { otherBrokers: others.slice(0, 3) };
  return { ...base, nodeName: node.name, broker, ...otherBrokers, gate: { ...base.gate, doors } };
}

/**
 * Puts a town that was joined in its place, or goes on with that where it was cut off; does nothing where there is nothing
 * to do. Call it with the folder's lock held and nothing of the folder open.
 * @returns whether a town was put in place
 * @throws TownError `bad-joined-file`, `other-town` (another genesis is in the database)
 */
export async function finishJoining(folder: string): Promise<boolean> {
  const joined = await readJoined(folder);
  if (joined === null) return false;
  if (joined.aside !== null) {
    await setAside(folder, joined.aside);
    // From here on the town's files in the folder are those of the new town.
    await putJoined(folder, { ...joined, aside: null });
  }
  const { welcome, config } = joined;
  await putTownKeys(folder, welcome);
  if (welcome.townKeyHeight !== undefined)
    await TownKeys.found(folder, bytesOf(welcome.townKey), welcome.townKeyHeight);
  await putGenesis(folder, welcome);
  await writeConfig(folder, config);
  await dropAsking(folder);
  await forgetRestored(folder);
  await removeDurably(folder, JOINED);
  return true;
}

/** Moves the files of the town that was here; those moved before stay where they are. */
async function setAside(folder: string, aside: string): Promise<void> {
  const target = join(folder, aside);
  await mkdir(join(target, 'keys'), { recursive: true, mode: 0o700 });
  for (const name of TOWN_FILES)
    await rename(join(folder, name), join(target, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  for (const path of [join(target, 'keys'), target, join(folder, 'keys'), folder]) await syncFolder(path);
}

/** Reads the genesis of a welcome again: what lay on the disk is checked as what came over the network. */
function genesisOf({ genesis, town }: Welcome): Genesis {
  const raw = Buffer.from(genesis.raw, 'base64');
  const split = genesis.split && unpackSplit(genesis.split as PackedSplit);
  const read = readGenesis(raw, parseCharter(genesis.charter), genesis.nonce as Sha256, split);
  if (read.merge.town === town) return read;
  throw new TownError('other-town', `The genesis is that of another town than ${town.slice(0, 16)}….`);
}

/** Height 0 with the host's own bytes, as a founder writes it. */
async function putGenesis(folder: string, welcome: Welcome): Promise<void> {
  const genesis = genesisOf(welcome);
  const store = await Store.open(folder, { onFatal: () => undefined });
  try {
    const there = store.merge(0);
    if (there && there.content !== genesis.merge.content)
      throw new TownError(
        'other-town',
        `The database in ${folder} is that of another town (${there.content.slice(0, 16)}…).`,
        'Join with an empty folder (--data).',
      );
    if (!there) await storeGenesis(store, genesis);
    const kept: Welcomed = { checkpoint: welcome.checkpoint, nodes: welcome.nodes };
    await store.setMeta(WELCOME_META, canonicalize(kept as unknown as Json));
  } finally {
    await store.close();
  }
}
