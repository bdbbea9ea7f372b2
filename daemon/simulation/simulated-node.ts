/**
 * A node of the simulated town: a disk that stays, and a process on it that can end at any moment. The process is the daemon's
 * own: core, peering, the store's tables; only time, disk, broker and chance are simulated.
 */
import type { GitObject } from '../ledger/git-object.js';
import type { NodeId, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Genesis } from '../ledger/merge.js';
import type { Clock } from '../node/clock.js';
import { Core } from '../node/core.js';
import type { NodeKeys } from '../node/key-files.js';
import { MainLine } from '../node/main-line.js';
import { Peering } from '../node/peering.js';
import type { MakeTransport } from '../node/peering-parts.js';
import { TownKeys } from '../node/town-keys.js';
import { WELCOME_META } from '../node/welcomed.js';
import type { Message } from '../consensus/gossip.js';
import { packAdoption } from '../store/packed-rows.js';
import type { MergeRow } from '../store/rows.js';
import { SeveralBrokers } from '../sync/several-brokers.js';
import { believe, neverChanged, rulesWithout, type BrokenRule } from './broken-rules.js';
import type { SimulatedDapp } from './founding.js';
import type { NetworkedProcess, SimulatedBroker } from './simulated-broker.js';
import { SimulatedDisk, SimulatedStore } from './simulated-store.js';
import { divergent } from './divergent.js';
import { SECOND, type Chance, type Timeline } from './timeline.js';

/** Where a process may end. */
export type Point =
  'write-asked' | 'committed' | 'acknowledged' | 'sending' | 'received' | 'blackout' | 'lost' | 'mended';

/** What happens to all nodes alike: the world they are in, and who watches them. */
export interface Surroundings {
  readonly time: Timeline;
  readonly chance: Chance;
  /** All brokers of the town, the best first. */
  readonly brokers: readonly SimulatedBroker[];
  readonly dapp: SimulatedDapp;
  readonly broken: BrokenRule | null;
  /** How far clocks are off at most: milliseconds. */
  readonly skewMsMax: number;
  /** How often a process ends at a point, and a contract is slow. */
  readonly crashes: () => number;
  readonly slowness: () => number;
  /** How likely what is being written at a crash lands on the disk. */
  readonly torn: () => number;
  readonly watch: NodeWatch;
}

/** Is told what nodes do. */
export interface NodeWatch {
  booted(node: SimulatedNode, process: SimulatedProcess): void;
  crashed(node: SimulatedNode, point: Point): void;
  sent(node: SimulatedNode, message: Message): void;
  /** The next merge there is of this epoch: that is durable. */
  epochBegan(node: SimulatedNode, epoch: number): void;
  adopted(node: SimulatedNode, process: SimulatedProcess, merge: MergeRow): void;
  /** Something that a person would have to look at. */
  complained(node: SimulatedNode, code: string, message: string): void;
}

export class SimulatedNode {
  readonly id: NodeId;
  readonly disk: SimulatedDisk;
  /** How far its clock is off: milliseconds. */
  skewMs: number;
  process: SimulatedProcess | null = null;
  /** Nothing is expected of it any more: it is lost, or lies, or was taken out of the town. Its key is at fault for ever. */
  isApart = false;
  /** Whether its dapp gives other answers than those of the others. */
  diverges = false;
  #isOff = false;
  readonly #ownSkewMs: number;
  starts = 0;
  #nonces = 0;

  constructor(
    readonly index: number,
    /** No other node of the town has it, be it in the same place. */
    readonly number: number,
    readonly keys: NodeKeys,
    readonly genesis: Genesis,
    readonly around: Surroundings,
    /** What its disk holds already; without it, genesis. */
    image?: Buffer,
  ) {
    this.id = keys.id;
    this.#ownSkewMs = Math.floor(around.chance.between(-around.skewMsMax, around.skewMsMax));
    this.skewMs = this.#ownSkewMs;
    this.disk = new SimulatedDisk(image);
    if (image === undefined) this.#found();
    this.disk.lies = around.broken === 'forget-last-write';
  }

  #found(): void {
    const { merge, writes, objects } = this.genesis;
    const { height, id, oid, content, time, node, raw } = merge;
    const counts = { accepted: 0, rejected: 0, irregular: 0 };
    const takes = packAdoption({
      merge: { height, id, oid, content, time, node, raw, counts },
      ...{ certificate: '', verdicts: [], blocks: [], state: writes, objects },
      refs: [{ name: 'refs/heads/main', oid }],
    });
    const fail = (error: unknown): never => {
      throw error;
    };
    for (const answer of this.disk.commit([{ name: 'adopt', takes, resolve: () => undefined, reject: fail }]))
      answer();
  }

  /** Whether the town went on without what it has merged. */
  get isAstray(): boolean {
    return this.process !== null && this.process.core.main.divergedFrom !== null;
  }

  /** It is let into the town, as an invitation does it: told who is there, and of a merge that the history must contain. */
  welcome({ core }: SimulatedProcess): void {
    const { head, charter } = core.main;
    const told = { checkpoint: { height: head.height, id: head.id }, nodes: charter.nodes };
    this.disk.put(WELCOME_META, JSON.stringify(told));
  }

  boot(): void {
    if (this.process !== null || this.#isOff) return;
    this.starts += 1;
    this.process = new SimulatedProcess(this);
    this.around.watch.booted(this, this.process);
    this.process.start();
  }

  /** The process ends here and now; what was not committed is lost. */
  crash(point: Point): void {
    const { process, around } = this;
    const { time, chance } = around;
    if (process === null) return;
    this.process = null;
    if (chance.hits(around.torn())) process.store.landTorn();
    this.disk.crash();
    for (const broker of around.brokers) broker.processEnded(process);
    around.watch.crashed(this, point);
    time.after(chance.between(200, 15 * SECOND), () => this.boot());
  }

  /** It ends, and never starts again. */
  turnOff(point: Point): void {
    this.#isOff = true;
    this.crash(point);
  }

  /** Sets its clock wrong, or right again. @param offMs from the true time; null: its own small error */
  setClock(offMs: number | null): void {
    this.skewMs = offMs === null ? this.#ownSkewMs : Math.floor(offMs);
  }

  /** Bytes that no node of the town uses twice. */
  nonce(length: number): Uint8Array {
    const bytes = Buffer.alloc(length);
    bytes.writeUInt16BE(this.number, 0);
    bytes.writeUInt32BE((this.#nonces += 1), length - 4);
    return bytes;
  }
}

export class SimulatedProcess implements NetworkedProcess {
  readonly node: NodeId;
  readonly store: SimulatedStore;
  readonly core: Core;
  readonly peering: Peering;
  readonly townKeys: TownKeys;
  /** Since when its dapps answer and it merges; null: not yet. */
  startedAt: number | null = null;

  constructor(private readonly owner: SimulatedNode) {
    const { disk, keys, around } = owner;
    const { dapp, chance, watch } = around;
    this.node = owner.id;
    const after = (ms: number, run: () => void): void => this.after(ms, run);
    this.store = new SimulatedStore(disk, {
      after,
      syncMs: () => (chance.hits(0.05) ? chance.between(20, 2_000) : chance.between(1, 20)),
      reach: (point) => this.reach(point),
      broken: around.broken,
    });
    const { store } = this;
    const clock = this.#clock();
    const main = MainLine.load(store);
    const contract = dapp.contract();
    const readObject = async (oid: Oid): Promise<GitObject> => {
      const object = store.stagedObject(oid);
      if (object === null) throw new TownError('no-such-object', `The object ${oid} is not here.`);
      return object;
    };
    this.core = new Core({
      ...{ store, keys, clock, main },
      manifests: new Map([[dapp.manifest.name, dapp.manifest]]),
      contracts: {
        exchange: async (_dapp, message) => {
          if (chance.hits(around.slowness()))
            await new Promise<void>((resolve) => this.after(chance.between(1, 500), resolve));
          const answer = contract(message);
          return owner.diverges ? divergent(answer) : answer;
        },
      },
      readObject,
      rules: rulesWithout(around.broken),
      ...(around.broken === 'trust-proposer' ? { confirm: believe } : {}),
      heldByQuorum: (node, line) => this.peering.heldByQuorum(node, line),
      isHeard: (other) => this.peering.isHeard(other),
      broadcast: (message) => {
        if (!this.isAlive()) return;
        watch.sent(owner, message);
        this.peering.broadcast(message);
      },
      sendRecovery: (recovery) => {
        if (this.isAlive()) this.peering.sendRecovery(recovery);
      },
      epochBegan: () => {
        if (!this.isAlive()) return;
        this.peering.epochBegan();
        watch.epochBegan(owner, main.epoch);
      },
      epochLeft: () => this.peering.epochLeft(),
      epochAwaited: () => this.peering.epochAwaited(),
      blockMade: (block) => this.peering.blockMade(block),
      trouble: (code, message) => {
        if (this.isAlive()) watch.complained(owner, code, message);
      },
      alarm: (alarm) => {
        if (alarm !== null && this.isAlive()) watch.complained(owner, alarm.code, alarm.message);
      },
      appended: () => undefined,
      adopted: (merge) => {
        if (!this.isAlive()) return;
        this.peering.adopted(merge);
        watch.adopted(owner, this, merge);
      },
    });
    this.townKeys = this.#openTownKeys();
    this.peering = new Peering({
      ...{ store, main, keys, clock, townKeys: this.townKeys },
      ...{ merger: this.core.merger, peerBlocks: this.core.peerBlocks },
      random: (length) => owner.nonce(length),
      readObject,
      catchUp: { view: this.core.view, late: disk.late },
      steady: () => around.time.now,
      trouble: (code, message) => {
        if (this.isAlive()) watch.complained(owner, code, message);
      },
      changed: () => undefined,
      joining: () => undefined,
    });
  }

  #openTownKeys(): TownKeys {
    const { disk, keys, around } = this.owner;
    const keep = (text: string): Promise<void> =>
      new Promise((resolve) =>
        this.after(around.chance.between(1, 20), () => {
          disk.townKeys = text;
          if (this.reach('committed')) resolve();
        }),
      );
    const ring = TownKeys.keptBy(disk.townKeys, keys.townKey, keep) as TownKeys;
    return around.broken === 'keep-town-key' ? neverChanged(ring) : ring;
  }

  start(): void {
    const { watch, brokers } = this.owner.around;
    const failed = (error: unknown): void => watch.complained(this.owner, 'start-failed', String(error));
    const ways = brokers.map((broker) => broker.transport(this));
    const [only] = ways as [MakeTransport, ...MakeTransport[]];
    this.peering
      .start(ways.length === 1 ? only : (options) => new SeveralBrokers(ways, options))
      .catch(failed);
    this.core.view
      .settle()
      .then(() => {
        this.core.merger.start();
        this.startedAt = this.owner.around.time.now;
      })
      .catch(failed);
  }

  /** Whether people can record something here: its dapps answer, and the town knows it. */
  isOpen(): boolean {
    return this.startedAt !== null && this.core.main.charter.nodes[this.node] !== undefined;
  }

  isAlive(): boolean {
    return this.owner.process === this;
  }

  after(ms: number, run: () => void): void {
    this.owner.around.time.after(ms, () => {
      if (this.isAlive()) run();
    });
  }

  reach(point: Point): boolean {
    const { chance, crashes } = this.owner.around;
    if (!this.isAlive()) return false;
    const share = crashes();
    if (share > 0 && chance.hits(share)) this.owner.crash(point);
    return this.isAlive();
  }

  #clock(): Clock {
    const { owner } = this;
    return {
      now: () => (owner.around.time.now + owner.skewMs) as ReturnType<Clock['now']>,
      after: (ms, callback) => {
        let wanted = true;
        this.after(ms, () => {
          if (wanted) callback();
        });
        return () => (wanted = false);
      },
    };
  }
}
