/**
 * A whole town in one process, in simulated time, from a seed: real nodes, a broker, faults, people. It is founded in fair weather;
 * then come phases in which things go wrong, and after each one quiet to come together in; the watch looks on all the while.
 * Every run repeats exactly.
 */
import { bytesOf } from '../ledger/hash.js';
import type { EntryId, Sha256 } from '../ledger/ids.js';
import type { Genesis } from '../ledger/merge.js';
import type { NodeKeys } from '../node/key-files.js';
import { TownKeys } from '../node/town-keys.js';
import type { BrokenRule } from './broken-rules.js';
import { checkEnd, checkViews, type EndReport } from './checks.js';
import { planFaults, type FaultPlan } from './faults.js';
import { genesisOf, nodeKeys, nodeNames, nodeRecord, TOWN_BEGINS, type SimulatedDapp } from './founding.js';
import { KeyHolders } from './key-holders.js';
import { areAgreed, Outcasts } from './outcasts.js';
import { Phase } from './phase.js';
import type { Scenario, Shape } from './scenario.js';
import { SimulatedBroker } from './simulated-broker.js';
import { SimulatedNode, type SimulatedProcess, type Surroundings } from './simulated-node.js';
import type { Stage } from './stage.js';
import { replacement, Stewards } from './stewards.js';
import { Chance, DAY, HOUR, MINUTE, SECOND, Timeline } from './timeline.js';
import { Watch } from './watch.js';
import { Workload } from './workload.js';

/** A node that comes anew, or a card that was put back, is there after this. */
const ARRIVES_MS_MAX = 10 * SECOND;
const FOUNDING_MS_MAX = 2 * MINUTE;
/** How long the town may take to come together once nothing goes wrong any more, and for each millisecond in which things did. */
const CONVERGE_MS_MIN = 5 * MINUTE;
const CONVERGE_SHARE = 15;
/** After so long a town that nobody uses is at rest; each node says that it is there so often. */
const REST_MS = 10 * MINUTE;
const PRESENCE_MS = MINUTE;
/** In every so many-th town the clocks are far apart (messages live for a minute: nodes further apart do not hear each other). */
const FAR_APART_EVERY = 4;

export interface TownOptions {
  readonly scenario: Scenario;
  readonly founded: Founded;
  /** Phases in which things go wrong. */
  readonly phases?: number;
  /** Simulated days of quiet, spread over the phases. */
  readonly days?: number;
  /** Things that people do, at most. */
  readonly actsMax?: number;
  /** The share of the messages that is lost while things go wrong, in place of what the seed says. */
  readonly loss?: number;
  /** A rule to switch off, to see whether it is found. */
  readonly broken?: BrokenRule | undefined;
  /** Between two things that the people of one node do, on average: milliseconds. */
  readonly paceMs?: number;
  /** Given the town once it has come to its end and everything held. */
  readonly ended?: ((town: EndedTown) => Promise<void>) | undefined;
}

/** What is needed to go through a town's history once more. */
export interface EndedTown {
  readonly genesis: Genesis;
  readonly dapp: SimulatedDapp;
  readonly processes: readonly SimulatedProcess[];
}

export interface TownReport extends EndReport {
  readonly seed: number;
  readonly breaches: readonly string[];
  readonly merges: number;
  readonly crashes: number;
  readonly messages: number;
  readonly acts: number;
  readonly simulatedMs: number;
  /** The longest that the town took to come together after a phase. */
  readonly convergedMs: number;
  readonly trace: readonly string[];
}

/** A town that has its first members, as it stands on the disks of its nodes: what every seed begins with. */
export interface Founded {
  readonly shape: Shape;
  readonly dapp: SimulatedDapp;
  readonly genesis: Genesis;
  readonly at: number;
  readonly images: readonly Buffer[];
}

/** How many a seed has, where nobody says. */
export const phasesOf = (seed: number): number => 1 + (seed % 2);

/** Founds a town in fair weather. @throws Error where that fails */
export async function foundTown(shape: Shape, dapp: SimulatedDapp): Promise<Founded> {
  const scenario = { seed: 0, shape, faults: new Set<never>() };
  const genesis = genesisOf(shape, dapp);
  const begun = { shape, dapp, genesis, at: TOWN_BEGINS, images: [] };
  const town = new SimulatedTown({ scenario, founded: begun });
  try {
    await town.found();
    const { breaches } = town.watch;
    if (breaches.length > 0) throw new Error(breaches.join('; '));
    return { ...begun, at: town.time.now, images: town.nodes.map(({ disk }) => disk.image()) };
  } finally {
    town.close();
  }
}

/** Plays one seed to its end. */
export async function playTown(options: TownOptions): Promise<TownReport> {
  const town = new SimulatedTown(options);
  const unhandled = (error: unknown): void => town.watch.breach(`nobody caught: ${textOf(error)}`);
  process.on('unhandledRejection', unhandled);
  try {
    await town.play();
  } catch (error) {
    town.watch.breach(textOf(error));
  } finally {
    process.off('unhandledRejection', unhandled);
    town.close();
  }
  return town.report();
}

/** The keys of one node, as another is given them. */
function given(text: string | null): string | null {
  if (text === null) return null;
  const { key, generation } = JSON.parse(text) as { key: string; generation: number };
  return TownKeys.foundText(bytesOf(key), generation);
}

const textOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

export class SimulatedTown implements Stage {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly watch: Watch;
  /** In each place the node that stands there now. */
  readonly nodes: SimulatedNode[];
  /** All there ever were: also those that were lost, and copies. */
  readonly everyone: SimulatedNode[];
  readonly broker: SimulatedBroker;
  /** Another broker that every node is at too, and that lies; null: there is none. */
  readonly second: SimulatedBroker | null;
  readonly workload: Workload;
  readonly stewards: Stewards;
  readonly outcasts: Outcasts;
  readonly keyHolders: KeyHolders;
  /** What goes wrong just now; null: nothing. */
  plan: FaultPlan | null = null;
  readonly #around: Surroundings;
  readonly #genesis: Genesis;
  #end: EndReport = { entries: 0, main: null, spentTwice: false };
  #convergedMs = 0;

  constructor(private readonly options: TownOptions) {
    const { scenario, founded, broken = null, actsMax = Infinity } = options;
    const { seed } = scenario;
    const { shape, dapp, genesis, at, images } = founded;
    const time = (this.time = new Timeline(at));
    const watch = (this.watch = new Watch(time));
    const chance = (this.chance = new Chance(seed));
    this.broker = new SimulatedBroker(time, chance);
    this.second = scenario.faults.has('second-broker') ? new SimulatedBroker(time, chance) : null;
    const brokers = this.second === null ? [this.broker] : [this.broker, this.second];
    this.#around = {
      ...{ time, chance, brokers, dapp, broken, watch },
      skewMsMax: seed % FAR_APART_EVERY === 0 ? 20 * SECOND : 2 * SECOND,
      crashes: () => this.plan?.crashes ?? 0,
      slowness: () => this.plan?.slowness ?? 0,
      torn: () => this.plan?.torn ?? 0,
    };
    this.#genesis = genesis;
    this.everyone = [];
    this.nodes = nodeNames(shape.nodes).map((name, index) =>
      this.addNode(nodeKeys(name), index, images[index]),
    );
    this.outcasts = new Outcasts(watch, this.everyone);
    for (const broker of brokers) {
      broker.nodeAt = (index) => this.nodes[index]?.id;
      broker.ear = (from, topic, text) => this.outcasts.hear(from, topic, text);
    }
    this.workload = new Workload(time, chance, this.nodes, watch, actsMax);
    this.stewards = new Stewards(time, chance, this.nodes, watch, this.workload);
    this.keyHolders = new KeyHolders(this, shape);
  }

  /** A node that stands in a place, with what its disk holds already; it has to be booted. */
  addNode(keys: NodeKeys, index: number, image: Buffer | undefined): SimulatedNode {
    const number = this.everyone.length;
    const node = new SimulatedNode(index, number, keys, this.#genesis, this.#around, image);
    this.everyone.push(node);
    return node;
  }

  /**
   * The node is lost, with its key; another stands in its place, with what a backup held.
   * @param kept what it acknowledged and counts all the same
   */
  replace(old: SimulatedNode, image: Buffer | undefined, why: string, kept?: ReadonlySet<EntryId>): void {
    const { index } = old;
    this.watch.setApart(old, why, kept);
    old.turnOff('lost');
    const name = `node-${index}-${this.everyone.length}`;
    const keys = nodeKeys(name);
    const node = this.addNode(keys, index, image);
    this.nodes[index] = node;
    // Where many are lost at once, nobody may be left whom genesis names: then it takes who lets it in.
    const isGuest = image === undefined && this.options.scenario.faults.has('lost-quorum');
    this.time.after(this.chance.between(0, ARRIVES_MS_MAX), () =>
      isGuest ? this.#letIn(node) : node.boot(),
    );
    node.disk.townKeys = this.#townKeys();
    this.stewards.want(
      `put ${name} in the place of ${old.id}`,
      replacement(old.id, { id: keys.id, record: nodeRecord(name, keys) }),
      old.id,
    );
  }

  /** The town's keys that a node that comes is welcomed with. */
  #townKeys(): string | null {
    const hosts = this.nodes.filter(({ isApart }) => !isApart);
    return hosts.length === 0 ? null : given(this.chance.pick(hosts).disk.townKeys);
  }

  /** Waits until the charter names it, and begins with what it is told there. */
  #letIn(node: SimulatedNode): void {
    const host = this.nodes.find(
      ({ isApart, isAstray, process }) => !isApart && !isAstray && process?.core.main.charter.nodes[node.id],
    );
    if (!host?.process) return this.time.after(SECOND, () => this.#letIn(node));
    this.watch.note(`${node.index} is let in by ${host.index}`);
    node.welcome(host.process);
    node.disk.townKeys = given(host.disk.townKeys);
    node.boot();
  }

  async #start(): Promise<void> {
    const { time, chance } = this;
    for (const node of this.nodes) time.after(chance.between(0, SECOND), () => node.boot());
    await time.runUntil(time.now + 2 * SECOND);
  }

  async found(): Promise<void> {
    await this.#start();
    void this.workload.found();
    await this.#comeTogether(FOUNDING_MS_MAX, 'the founding', () => this.#height() > 0);
  }

  async play(): Promise<void> {
    const { watch, time, stewards, options } = this;
    const { days = 0, scenario, paceMs = 8 * SECOND } = options;
    const { phases = phasesOf(scenario.seed) } = options;
    stewards.start();
    this.keyHolders.start();
    await this.#start();
    for (let number = 0; number < phases && watch.breaches.length === 0; number += 1) {
      await this.#quiet((days * DAY) / phases);
      const drawn = planFaults(scenario, number);
      const { loss = drawn.weather.loss } = options;
      const plan = { ...drawn, weather: { ...drawn.weather, loss } };
      watch.note(`phase ${number}: ${JSON.stringify(plan)}`);
      await new Phase(this, this.keyHolders, plan, number, paceMs).play();
      if (watch.breaches.length > 0) return;
      await checkViews(this.present(), options.founded.dapp, watch);
      const began = time.now;
      await this.#comeTogether(
        CONVERGE_MS_MIN + CONVERGE_SHARE * plan.badMs,
        `one main after phase ${number}`,
        () => stewards.areContent && this.keyHolders.areContent && areAgreed(this.present()),
      );
      this.#convergedMs = Math.max(this.#convergedMs, time.now - began);
      this.outcasts.agreed(this.present());
      if (watch.breaches.length > 0) return;
      this.#end = await checkEnd({
        ...{ processes: this.present(), genesis: this.#genesis, dapp: options.founded.dapp },
        ...{ watch, chance: this.chance, forbids: this.workload.forbids },
      });
    }
    const { dapp } = options.founded;
    if (watch.breaches.length === 0)
      await options.ended?.({ genesis: this.#genesis, dapp, processes: this.present() });
  }

  /** Nothing happens for so long: then the nodes say that they are there, and write nothing. */
  async #quiet(ms: number): Promise<void> {
    const { time, watch, nodes, broker } = this;
    await time.runUntil(time.now + Math.min(ms, REST_MS), () => watch.breaches.length > 0);
    const quietMs = ms - REST_MS;
    if (quietMs <= 0) return;
    const before = {
      messages: broker.messages,
      merges: watch.merges,
      commits: nodes.map((n) => n.disk.commits),
    };
    await time.runUntil(time.now + quietMs, () => watch.breaches.length > 0);
    const expected = nodes.length * (1 + quietMs / PRESENCE_MS);
    const said = broker.messages - before.messages;
    if (said > expected) watch.breach(`a quiet town sent ${said} messages, not ${Math.floor(expected)}`);
    if (watch.merges > before.merges) watch.breach('a quiet town merged');
    for (const [index, { disk }] of nodes.entries()) {
      const wrote = disk.commits - (before.commits[index] ?? 0);
      // Once a day each puts numbers for its messages aside.
      if (wrote > 1 + quietMs / DAY) watch.breach(`node ${index} of a quiet town wrote ${wrote} times`);
    }
  }

  /**
   * Lets time pass until all nodes have one main and nothing waits. Where most clocks were fast, `main` is ahead, and what ends by
   * its time is waited for.
   */
  async #comeTogether(ms: number, what: string, holds = (): boolean => true): Promise<void> {
    const { time, watch, stewards } = this;
    let end = time.now + ms;
    while (time.now < end && watch.breaches.length === 0) {
      const { waitsUntil } = stewards;
      end = Math.max(end, waitsUntil + ms);
      const next = Math.max(time.now + SECOND, Math.min(waitsUntil, time.now + HOUR));
      await time.runUntil(next, () => watch.breaches.length > 0);
      if (this.#isTogether() && holds()) return;
    }
    if (watch.breaches.length > 0) return;
    const each = this.nodes.map(({ process, isApart }, index) => {
      if (isApart) return `${index} is apart`;
      if (process === null) return `${index} is down`;
      const { pending, height } = process.store.counts();
      return `${index} at height ${height} with ${pending} pending`;
    });
    watch.breach(
      `never came: ${what}: ${each.join(', ')}${holds() ? '' : ', and something is still wanted'}`,
    );
  }

  /** The processes of the nodes of which something is expected. */
  present(): readonly SimulatedProcess[] {
    return this.nodes.flatMap(({ process, isApart }) => (process === null || isApart ? [] : [process]));
  }

  #height(): number {
    return Math.min(...this.present().map(({ core }) => core.main.head.height));
  }

  #isTogether(): boolean {
    const processes = this.present();
    const expected = this.nodes.filter(({ isApart }) => !isApart);
    const main = processes[0]?.core.main.head.id;
    return (
      processes.length === expected.length &&
      processes.every(({ core }) => core.main.head.id === main) &&
      processes.every((process) => this.#pending(process) === 0)
    );
  }

  /** Entries that wait for a merge and can have one: those of who is apart cannot be counted on. */
  #pending({ store }: SimulatedProcess): number {
    const count = store.pendingCount();
    if (count === 0 || (this.everyone.length === this.nodes.length && !this.nodes.some((n) => n.isApart)))
      return count;
    return store
      .log(count + 10_000)
      .filter(({ state, node }) => state === 'pending' && !this.watch.isApart(node)).length;
  }

  report(): TownReport {
    const { watch, time, broker, options, workload } = this;
    const { main } = this.#end as { main: Sha256 | null };
    return {
      ...this.#end,
      main,
      seed: options.scenario.seed,
      breaches: watch.breaches,
      merges: watch.merges,
      crashes: watch.crashes,
      messages: broker.messages,
      acts: workload.acts,
      simulatedMs: time.now - options.founded.at,
      convergedMs: this.#convergedMs,
      trace: watch.trace,
    };
  }

  close(): void {
    for (const node of this.everyone) {
      node.process = null;
      node.disk.close();
    }
  }
}
