/** For tests: hearts of nodes in one process, each with its own store on disk, that meet at a real broker. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Test } from 'tap';
import { makerspaceCharter, parseCharter, type Charter } from '../../ledger/charter.js';
import { sha256 } from '../../ledger/hash.js';
import type { JsonObject } from '../../ledger/ids.js';
import { makeGenesis, type Genesis } from '../../ledger/merge.js';
import { sealingKeyOf } from '../../ledger/sealing.js';
import { nodeIdOf, publicKeyOf } from '../../ledger/signature.js';
import { MANIFESTS, notesContract, secretOf, T0 } from '../../ledger/testing/small-town.js';
import { LateObjects } from '../../store/late-objects.js';
import { Repository } from '../../store/repository.js';
import { Store } from '../../store/store.js';
import { startBroker, type Broker } from '../../sync/broker.js';
import { MqttTransport } from '../../sync/mqtt-transport.js';
import { systemClock, type Clock } from '../clock.js';
import { Core, type CoreParts } from '../core.js';
import { storeGenesis } from '../genesis-store.js';
import type { NodeKeys } from '../key-files.js';
import { MainLine } from '../main-line.js';
import { Peering } from '../peering.js';
import type { MakeTransport, PeeringParts, RecordPeering } from '../peering-parts.js';
import { TownKeys } from '../town-keys.js';

export function keysOf(name: string): NodeKeys {
  const secretKey = secretOf(name);
  const key = publicKeyOf(secretKey);
  return {
    ...{ secretKey, key, id: nodeIdOf(key) },
    sealingSecret: secretOf(`${name} sealing`),
    badgeKey: secretOf('badge'),
    townKey: secretOf('town'),
  };
}

/** A town of these nodes with the dapp `notes`; the first of them founds it. */
export function genesisOf(
  names: readonly string[],
  change: (charter: Charter) => Charter = (charter) => charter,
): Genesis {
  const first = keysOf(names[0] as string);
  const base = makerspaceCharter({
    name: 'Small town',
    node: { id: first.id, key: first.key, name: names[0] as string },
    dapps: [{ name: 'notes', version: '1.0.0', digest: sha256('notes') }],
  });
  const charter = parseCharter(
    change({
      ...base,
      nodes: Object.fromEntries(
        names.map((name) => [keysOf(name).id, { name, key: keysOf(name).key, roles: ['door'] }]),
      ),
      validators: names.map((name) => keysOf(name).id),
      roles: {
        member: { permissions: ['credit.transfer', 'notes.*', 'member.add-key'] },
        steward: { permissions: [...(base.roles['steward']?.permissions ?? []), 'notes.*'] },
      },
      pace: { interactiveMs: 50, factsMs: 50 },
    }),
  );
  return makeGenesis(charter, sha256('nonce'), first.id, T0, first.secretKey);
}

/** With what is sealed to each node. */
export const withSealing = (charter: Charter): Charter => ({
  ...charter,
  nodes: Object.fromEntries(
    Object.entries(charter.nodes).map(([id, node]) => [
      id,
      { ...node, sealing: sealingKeyOf(keysOf(node.name).sealingSecret) as string },
    ]),
  ),
});

/** A node's heart without its way to the others. */
export interface Heart {
  readonly name: string;
  readonly keys: NodeKeys;
  /** What went wrong, as `code: message`; may be added to. */
  readonly alarms: string[];
  readonly store: Store;
  readonly repository: Repository;
  readonly core: Core;
}

export interface HeartOptions {
  readonly folder: string;
  readonly name: string;
  readonly genesis: Genesis;
  /** The system's, where not given. */
  readonly clock?: Clock | undefined;
}

/** How a heart reaches the others, and what it tells. */
export type Outward = Pick<CoreParts, 'heldByQuorum' | 'broadcast'> &
  Partial<
    Pick<
      CoreParts,
      | 'isHeard'
      | 'blockMade'
      | 'adopted'
      | 'silentUpTo'
      | 'sendRecovery'
      | 'epochBegan'
      | 'epochLeft'
      | 'epochAwaited'
    >
  >;

/** Opens store and repository and puts the heart together; nothing beats yet. */
export async function openHeart(
  { folder, name, genesis, clock = systemClock }: HeartOptions,
  { blockMade = () => undefined, adopted = () => undefined, isHeard = () => true, ...outward }: Outward,
): Promise<Heart> {
  mkdirSync(folder, { recursive: true });
  const alarms: string[] = [];
  const store = await Store.open(folder, { onFatal: (error) => void alarms.push(error.message) });
  if (!store.lastMerge()) await storeGenesis(store, genesis);
  const repository = await Repository.open(join(folder, 'ledger.git'), store);
  const keys = keysOf(name);
  const contract = notesContract();
  const core = new Core({
    ...{ store, keys, blockMade, adopted, isHeard, ...outward },
    main: MainLine.load(store),
    clock,
    manifests: MANIFESTS,
    contracts: { exchange: async (_dapp, message) => contract(message) },
    readObject: (oid) => repository.read(oid),
    alarm: (alarm) => void (alarm && alarms.push(`${alarm.code}: ${alarm.message}`)),
    trouble: (code, message) => void alarms.push(`${code}: ${message}`),
    appended: () => undefined,
  });
  return { name, keys, alarms, store, repository, core };
}

/** A claim of somebody, by way of this heart. */
export const claimOf = (
  { core }: Pick<Heart, 'core'>,
  who: string,
  type: string,
  body: JsonObject,
  cosigners: readonly string[] = [],
) =>
  core.appender.claim(
    type,
    body,
    { secretKey: secretOf(who) },
    cosigners.map((word) => ({ secretKey: secretOf(word) })),
  );

export interface CoreNodeOptions extends HeartOptions {
  /** Of the broker; null: it meets nobody. */
  readonly url: string | null;
  /** In place of a transport to that broker. */
  readonly makeTransport?: MakeTransport;
  readonly townKeys?: TownKeys;
  /** Who looks after the keys of records, where somebody does. */
  readonly records?: RecordPeering & { adopted(): void };
  /** Whether it stands on the newest state before the history is here. */
  readonly catchesUp?: boolean;
  /** Called when it is about to meet the others. */
  readonly meeting?: () => void;
  /** As `PeeringParts` has them. */
  readonly peering?: Pick<PeeringParts, 'bytesPerSecond' | 'prepare'>;
}

export class CoreNode {
  private constructor(
    readonly name: string,
    readonly alarms: readonly string[],
    readonly store: Store,
    readonly repository: Repository,
    readonly core: Core,
    readonly peering: Peering,
    readonly keys: NodeKeys,
  ) {}

  static async start({
    url,
    records,
    townKeys,
    makeTransport,
    catchesUp = false,
    meeting,
    peering: more = {},
    ...options
  }: CoreNodeOptions): Promise<CoreNode> {
    const { name, keys, alarms, store, repository, core } = await openHeart(options, {
      heldByQuorum: (node, line) => peering.heldByQuorum(node, line),
      broadcast: (message) => peering.broadcast(message),
      isHeard: (node) => peering.isHeard(node),
      sendRecovery: (recovery) => peering.sendRecovery(recovery),
      epochBegan: () => peering.epochBegan(),
      epochLeft: () => peering.epochLeft(),
      epochAwaited: () => peering.epochAwaited(),
      blockMade: (block) => peering.blockMade(block),
      adopted: (merge) => {
        peering.adopted(merge);
        records?.adopted();
      },
    });
    const peering: Peering = new Peering({
      ...{ store, keys, main: core.main },
      clock: options.clock ?? systemClock,
      ...(townKeys ? { townKeys } : {}),
      merger: core.merger,
      peerBlocks: core.peerBlocks,
      random: randomBytes,
      steady: () => performance.now(),
      trouble: (code, message) => void alarms.push(`${code}: ${message}`),
      changed: () => undefined,
      joining: () => undefined,
      readObject: (oid) => repository.read(oid),
      ...more,
      ...(catchesUp
        ? { catchUp: { view: core.view, late: new LateObjects(join(options.folder, 'ahead.objects')) } }
        : {}),
      ...(records ? { records } : {}),
    });
    await core.view.rebuild(() => Promise.resolve());
    core.merger.start();
    meeting?.();
    if (makeTransport) await peering.start(makeTransport);
    else if (url !== null)
      await peering.start((wanted) => new MqttTransport({ ...wanted, url, reconnectMs: 200 }));
    return new CoreNode(name, alarms, store, repository, core, peering, keys);
  }

  claim(who: string, type: string, body: JsonObject, cosigners: readonly string[] = []) {
    return claimOf(this, who, type, body, cosigners);
  }

  get head() {
    const { height, id } = this.core.main.head;
    return { height, id };
  }

  note(key: string): string | undefined {
    return this.core.main.state.get('notes', 'notes', key);
  }

  /** What was refused, by code. */
  refused(): { readonly [code: string]: number } {
    return Object.fromEntries(this.peering.refusals().map(({ code, count }) => [code, count]));
  }

  async stop(): Promise<void> {
    await this.core.merger.stop();
    await this.peering.stop();
    await this.repository.close();
    await this.store.close();
  }
}

/** A folder that outlives the nodes in it; `remove` at the end. */
export function scratchFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'town-cores-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Waits until something holds. @throws Error that tells how far the nodes are */
export async function until(
  what: string,
  holds: () => boolean,
  nodes: readonly CoreNode[] = [],
  ms = 180_000,
): Promise<void> {
  const end = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > end) {
      const heads = nodes.map(
        (node) =>
          `${node.name}: height ${node.head.height}, pending ${node.store.pendingCount()}, ` +
          `${JSON.stringify(node.refused())} ${node.alarms.join()}`,
      );
      throw new Error(`never came: ${what}; ${heads.join(' | ')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** One `main`, and nothing pending. The store is a step ahead of memory for a moment: both count. */
export const agree = (nodes: readonly CoreNode[]): boolean =>
  nodes.every(
    ({ head, store }) =>
      head.id === nodes[0]?.head.id && store.lastMerge()?.id === head.id && store.pendingCount() === 0,
  );

export interface CoreTownOptions {
  readonly names: readonly string[];
  /** Those that run from the beginning, the founder first: all, where not given. */
  readonly first?: readonly string[];
  readonly charter?: (charter: Charter) => Charter;
  /** Where a node finds the broker, whose port is given; at that port, where not given. */
  readonly portFor?: (name: string, broker: number) => number;
  /** Whether each keeps the town's keys in its folder: see `rings`. */
  readonly keepsTownKeys?: boolean;
}

/** A founded town whose nodes meet at a broker; all of it ends with the test. */
export interface CoreTown {
  readonly folder: string;
  readonly broker: Broker;
  readonly url: string;
  /** Those that run. */
  readonly running: ReadonlyMap<string, CoreNode>;
  /** The keys that each has, once it ran; what it knew stays when it is stopped. */
  readonly rings: ReadonlyMap<string, TownKeys>;
  node(name: string): CoreNode;
  nodes(...names: readonly string[]): readonly CoreNode[];
  readonly start: (name: string) => Promise<CoreNode>;
  readonly stop: (name: string) => Promise<void>;
}

/** Founds a town of real nodes with the member Ada; resolves when all that run have merged that. */
export async function foundTown(
  t: Test,
  { names, first = names, charter, portFor, keepsTownKeys = false }: CoreTownOptions,
): Promise<CoreTown> {
  const scratch = scratchFolder();
  const broker = await startBroker(0);
  const genesis = genesisOf(names, charter);
  const running = new Map<string, CoreNode>();
  const rings = new Map<string, TownKeys>();
  const ringOf = async (folder: string, name: string): Promise<TownKeys> => {
    mkdirSync(join(folder, 'keys'), { recursive: true });
    const ring = await TownKeys.open(folder, keysOf(name).townKey);
    rings.set(name, ring);
    return ring;
  };
  const start = async (name: string): Promise<CoreNode> => {
    const folder = join(scratch.path, name);
    const port = portFor?.(name, broker.port) ?? broker.port;
    const url = `mqtt://127.0.0.1:${port}`;
    const townKeys = keepsTownKeys ? { townKeys: await ringOf(folder, name) } : {};
    const node = await CoreNode.start({ ...{ folder, name, genesis, url }, ...townKeys });
    running.set(name, node);
    return node;
  };
  const stop = async (name: string): Promise<void> => {
    const node = running.get(name);
    running.delete(name);
    await node?.stop();
  };
  t.teardown(async () => {
    for (const name of [...running.keys()]) await stop(name);
    await broker.close();
    scratch.remove();
  });
  const node = (name: string): CoreNode => {
    const found = running.get(name);
    if (!found) throw new Error(`${name} is not running.`);
    return found;
  };
  const all = await Promise.all(first.map(start));
  const founder = node(first[0] as string);
  await founder.claim('ada', 'member.found', {}, [founder.name]);
  await founder.core.merger.mergeNow();
  await until('the founding merged by all', () => agree(all) && founder.head.height > 0, all);
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const nodes = (...wanted: readonly string[]): readonly CoreNode[] => wanted.map(node);
  return { folder: scratch.path, broker, url, running, rings, node, nodes, start, stop };
}
