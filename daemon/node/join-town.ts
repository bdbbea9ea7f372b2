/** Joins a town from an empty data folder: asks with an invitation, and puts the town in its place. */
import { TownError } from '../ledger/ids.js';
import { openForReading } from '../store/database.js';
import { lockFolder } from '../store/folder-lock.js';
import { StoreReads } from '../store/reads.js';
import { readInvitationCode, type Invitation } from '../sync/invitation.js';
import type { DappPackage } from '../dapps/package.js';
import { askToJoin, type JoinProgress, type Welcomed } from './ask-to-join.js';
import type { Clock } from './clock.js';
import { readConfig, type NodeConfig } from './config.js';
import { packagesOf } from './dapp-set.js';
import { hasTown } from './init-town.js';
import {
  configOf,
  dropAsking,
  finishJoining,
  putAsking,
  putJoined,
  readAsking,
  type Asking,
  type Joined,
} from './joining-files.js';
import { cleanName, makeOwnKeys, readNodeKeys, type OwnKeys } from './key-files.js';
import { readRestored, type Restored } from './restored.js';
import { WELCOME_META } from './welcomed.js';

export interface JoinOptions {
  /** The code of an invitation, or its link. */
  readonly code: string;
  /** What this node shall be called. */
  readonly name: string;
  /** The dapps of this build. */
  readonly packages: readonly DappPackage[];
  readonly clock: Clock;
  /** What the config of this board shall say besides the town's part; without it the defaults. */
  readonly config?: NodeConfig | undefined;
  readonly onProgress: (progress: JoinProgress) => void;
  /** A PEM file with the authorities to trust for the broker, absolute; kept in the config. */
  readonly ca?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly brokerWaitMs?: number | undefined;
}

export interface JoinedTown {
  /** Of the town. */
  readonly id: string;
  readonly name: string;
  /** This node. */
  readonly node: string;
  readonly config: NodeConfig;
}

/**
 * Joins a town with a data folder that has none. Being killed at any moment loses nothing: the next call with the same code is
 * the same node, and goes on.
 * @throws TownError `town-exists`, `folder-in-use`, `bad-invitation-code`, `invitation-expired`, `bad-name`, `dapp-missing`,
 *   `dapp-differs`, `join-stopped`, and what the host refuses it for
 */
export async function joinTown(folder: string, options: JoinOptions): Promise<JoinedTown> {
  const release = await lockFolder(folder);
  try {
    // A welcome that lies here already is first put in its place: it needs no network.
    await finishJoining(folder);
    const restored = await readRestored(folder);
    if (restored === null && (await hasTown(folder))) return await joinedBefore(folder, options.code);
    const keys = await makeOwnKeys(folder);
    const { invitation, asking } = readAsk(options, await readAsking(folder));
    if (restored !== null) refuseOtherTown(restored, invitation);
    const welcomed = await askDurably(folder, { ...options, keys, invitation, asking });
    // What was restored knows its doors and readers; its ports may be other ones here.
    const before = restored ? await restoredConfig(folder, options.config) : (options.config ?? null);
    await putJoined(folder, joinedOf(welcomed, { invitation, keys, before }));
    await finishJoining(folder);
    return await joinedAs(folder, invitation);
  } finally {
    await release();
  }
}

function refuseOtherTown({ town }: Restored, invitation: Invitation): void {
  if (invitation.town === town) return;
  throw new TownError(
    'other-town',
    `What was restored here is another town than ${invitation.name}, which the invitation is for.`,
    'Join that one with an empty folder (--data), or take an invitation of the town that was restored.',
  );
}

async function restoredConfig(folder: string, given: NodeConfig | undefined): Promise<NodeConfig> {
  const config = await readConfig(folder);
  if (given === undefined) return config;
  const { port, mqttPort, driver } = given;
  return { ...config, port, mqttPort, driver, gate: { ...config.gate, start: given.gate.start } };
}

async function joinedAs(folder: string, { town, name }: Invitation): Promise<JoinedTown> {
  const { id: node } = await readNodeKeys(folder);
  return { id: town, name, node, config: await readConfig(folder) };
}

/** The town is here already: well if it is the one of the invitation, as when an earlier call was killed at its end. */
async function joinedBefore(folder: string, code: string): Promise<JoinedTown> {
  const invitation = readInvitationCode(code, 0);
  const db = openForReading(folder);
  try {
    const reads = new StoreReads(db);
    if (reads.merge(0)?.content === invitation.town && reads.meta(WELCOME_META) !== null)
      return await joinedAs(folder, invitation);
  } finally {
    db.close();
  }
  throw new TownError(
    'town-exists',
    `There is a town in ${folder} already.`,
    'Start it with `town start`, or join with another folder (--data).',
  );
}

/**
 * The invitation of a code, and what to ask with. Who was told to wait may go on after the invitation has run out.
 * @throws TownError `bad-invitation-code`, `invitation-expired`, `bad-name`
 */
export function readAsk(
  { code, name, clock }: Pick<JoinOptions, 'code' | 'name' | 'clock'>,
  earlier: Asking | null,
): { readonly invitation: Invitation; readonly asking: Asking } {
  const bare = code.replace(/\s+/g, '');
  const waiting = earlier?.code === bare && earlier.waiting;
  const invitation = readInvitationCode(bare, waiting ? 0 : clock.now());
  return { invitation, asking: { v: 1, code: bare, name: cleanName(name), waiting } };
}

export interface DurableAsk extends Pick<
  JoinOptions,
  'packages' | 'clock' | 'onProgress' | 'ca' | 'signal' | 'brokerWaitMs'
> {
  readonly keys: OwnKeys;
  readonly invitation: Invitation;
  readonly asking: Asking;
}

/** Asks, with what it asks on the disk; a town whose dapps this build does not have is refused here. */
export async function askDurably(folder: string, ask: DurableAsk): Promise<Welcomed> {
  const { asking, packages, onProgress } = ask;
  await putAsking(folder, asking);
  let noted: Promise<void> = Promise.resolve();
  let isNoted = asking.waiting;
  try {
    const welcomed = await askToJoin({
      ...ask,
      name: asking.name,
      wasWaiting: asking.waiting,
      onProgress: (progress) => {
        if (progress.state === 'waiting' && !isNoted) {
          isNoted = true;
          // Where it cannot be noted, a later try only has to come before the invitation runs out.
          noted = putAsking(folder, { ...asking, waiting: true }).catch(() => undefined);
        }
        onProgress(progress);
      },
    });
    packagesOf(welcomed.charter, packages);
    await noted;
    return welcomed;
  } catch (error) {
    await noted;
    // Stopped from here, it may go on later; turned away, it may not.
    if (!(error instanceof TownError && error.code === 'join-stopped')) await dropAsking(folder);
    throw error;
  }
}

/** What is to be put in place. The charter's name for this node counts: it names the door too. */
export function joinedOf(
  { welcome, broker, otherBrokers }: Welcomed,
  {
    invitation,
    keys,
    before,
    aside = null,
  }: {
    readonly invitation: Invitation;
    readonly keys: OwnKeys;
    readonly before: NodeConfig | null;
    readonly aside?: string | null;
  },
): Joined {
  const name = welcome.nodes[keys.id]?.name;
  if (name === undefined)
    throw new TownError(
      'bad-welcome',
      "The host's welcome does not name this node.",
      'Let a steward of the town look at it.',
    );
  const node = { id: keys.id, name, isHub: invitation.role === 'hub' };
  const config = configOf(before, node, broker, otherBrokers);
  return { v: 1, aside, config, welcome };
}
