/**
 * A whole town in one process, in simulated time, from a seed: real nodes, a broker, faults, people. It is founded in fair weather,
 * goes through its faults, then has quiet to come together in; the watch looks on all the while. Every run repeats exactly.
 */
import type { ToContract } from '../ledger/contract-protocol.js';
import type { Sha256 } from '../ledger/ids.js';
import type { StateReader } from '../ledger/state.js';
import { View } from '../node/view.js';
import type { BrokenRule } from './broken-rules.js';
import { planFaults, startFaults, type FaultPlan } from './faults.js';
import { genesisOf, nodeKeys, nodeNames, TOWN_BEGINS, type SimulatedDapp } from './founding.js';
import { FAIR, SimulatedBroker } from './simulated-broker.js';
import { SimulatedNode, type SimulatedProcess, type Surroundings } from './simulated-node.js';
import { replayAsStranger } from './stranger.js';
import { Chance, MINUTE, SECOND, settled, Timeline } from './timeline.js';
import { FORBIDDEN_KEY, SPENDER_KEY, Workload } from './workload.js';
import { Watch } from './watch.js';

const FOUNDING_MS_MAX = 2 * MINUTE;
/** How long the town may take to come together once nothing goes wrong any more. */
const CONVERGE_MS_MAX = 15 * MINUTE;
/** In every so many-th town the clocks are far apart (messages live for a minute: nodes further apart do not hear each other). */
const FAR_APART_EVERY = 4;
const ENTRIES_MAX = 100_000;
const KEYS_MAX = 1_000;

export interface TownOptions {
  readonly seed: number;
  readonly founded: Founded;
  /** A rule to switch off, to see whether it is found. */
  readonly broken?: BrokenRule;
  /** Between two things that the people of one node do, on average: milliseconds. */
  readonly paceMs?: number;
}

export interface TownReport {
  readonly seed: number;
  readonly breaches: readonly string[];
  readonly merges: number;
  readonly entries: number;
  readonly crashes: number;
  readonly messages: number;
  /** Whether the same credits were recorded as spent on two sides. */
  readonly spentTwice: boolean;
  readonly simulatedMs: number;
  /** The main that all nodes ended on, for telling two runs apart. */
  readonly main: Sha256 | null;
  readonly trace: readonly string[];
}

/** A town that has its first members, as it stands on the disks of its nodes: what every seed begins with. */
export interface Founded {
  readonly nodes: number;
  readonly dapp: SimulatedDapp;
  readonly at: number;
  readonly images: readonly Buffer[];
}

/** Founds a town in fair weather. @throws Error where that fails */
export async function foundTown(nodes: number, dapp: SimulatedDapp): Promise<Founded> {
  const town = new SimulatedTown({ seed: 0, founded: { nodes, dapp, at: TOWN_BEGINS, images: [] } });
  try {
    await town.found();
    const { breaches } = town.watch;
    if (breaches.length > 0) throw new Error(breaches.join('; '));
    return { nodes, dapp, at: town.time.now, images: town.nodes.map(({ disk }) => disk.image()) };
  } finally {
    town.close();
  }
}

/** Plays one seed to its end. */
export async function playTown(options: TownOptions): Promise<TownReport> {
  const town = new SimulatedTown(options);
  const unhandled = (error: unknown): void => town.watch.breach(`nobody caught: ${String(error)}`);
  process.on('unhandledRejection', unhandled);
  try {
    await town.play();
  } catch (error) {
    town.watch.breach(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    process.off('unhandledRejection', unhandled);
    town.close();
  }
  return town.report();
}

/** What people see of a view: accounts, notes, what is forbidden. */
const viewText = (state: StateReader): string =>
  JSON.stringify(
    [
      ['kernel', 'accounts'],
      ['kernel', 'locks'],
      ['kernel', 'incoming'],
      ['notes', 'notes'],
      ['notes', 'forbidden'],
    ].map(([dapp, collection]) =>
      state
        .keys(dapp as string, collection as string, '', KEYS_MAX)
        .map((key) => [key, state.get(dapp as string, collection as string, key)]),
    ),
  );

class SimulatedTown {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly watch: Watch;
  readonly nodes: readonly SimulatedNode[];
  readonly broker: SimulatedBroker;
  readonly plan: FaultPlan;
  readonly workload: Workload;
  #isBad = false;
  #main: Sha256 | null = null;
  #entries = 0;
  #spentTwice = false;

  constructor(private readonly options: TownOptions) {
    const { seed, founded, broken = null } = options;
    const { nodes, dapp, at, images } = founded;
    const time = (this.time = new Timeline(at));
    const watch = (this.watch = new Watch(time));
    const chance = (this.chance = new Chance(seed));
    this.plan = planFaults(chance, nodes);
    this.broker = new SimulatedBroker(time, chance);
    const around: Surroundings = {
      ...{ time, chance, broker: this.broker, dapp, broken, watch },
      skewMsMax: seed % FAR_APART_EVERY === 0 ? 20 * SECOND : 2 * SECOND,
      crashes: () => (this.#isBad ? this.plan.crashes : 0),
      slowness: () => (this.#isBad ? this.plan.slowness : 0),
    };
    const names = nodeNames(nodes);
    const genesis = genesisOf(names, dapp);
    this.nodes = names.map(
      (name, index) => new SimulatedNode(index, nodeKeys(name), genesis, around, images[index]),
    );
    this.workload = new Workload(time, chance, this.nodes, watch);
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
    const { watch } = this;
    await this.#start();
    await this.#badTimes();
    if (watch.breaches.length > 0) return;
    await this.#checkViews();
    await this.#comeTogether(CONVERGE_MS_MAX, 'one main');
    if (watch.breaches.length > 0) return;
    await this.#checkEnd();
  }

  async #badTimes(): Promise<void> {
    const { time, plan, nodes, chance, workload, broker } = this;
    const end = time.now + plan.badMs;
    this.#isBad = true;
    startFaults(plan, time, broker, nodes);
    for (const node of nodes) workload.keepBusy(node, end, this.options.paceMs ?? 8 * SECOND);
    const [first] = plan.cuts;
    const far = nodes[first.node] as SimulatedNode;
    const near = nodes[(first.node + 1) % nodes.length] as SimulatedNode;
    time.after(first.fromMs + chance.between(0, 5 * SECOND), () => workload.spendTwice(near, far));
    time.after(first.fromMs + chance.between(0, 5 * SECOND), () => workload.forbid(far));
    await time.runUntil(end, () => this.watch.breaches.length > 0);
    this.#isBad = false;
    broker.weather = FAIR;
    broker.comeBack();
    for (const { id } of nodes) broker.setWay(id, { toBroker: true, fromBroker: true });
  }

  /** Lets time pass until all nodes have one main and nothing waits. */
  async #comeTogether(ms: number, what: string, holds = (): boolean => true): Promise<void> {
    const { time, watch } = this;
    const end = time.now + ms;
    while (time.now < end && watch.breaches.length === 0) {
      await time.runUntil(time.now + SECOND, () => watch.breaches.length > 0);
      if (this.#isTogether() && holds()) return;
    }
    if (watch.breaches.length > 0) return;
    const each = this.nodes.map(({ process }, index) => {
      if (process === null) return `${index} is down`;
      const { pending, height } = process.store.counts();
      return `${index} at height ${height} with ${pending} pending`;
    });
    watch.breach(`never came: ${what}: ${each.join(', ')}`);
  }

  #processes(): readonly SimulatedProcess[] {
    return this.nodes.flatMap(({ process }) => (process === null ? [] : [process]));
  }

  #height(): number {
    return Math.min(...this.#processes().map(({ core }) => core.main.head.height));
  }

  #isTogether(): boolean {
    const processes = this.#processes();
    const main = processes[0]?.core.main.head.id;
    return (
      processes.length === this.nodes.length &&
      processes.every(({ core, store }) => core.main.head.id === main && store.pendingCount() === 0)
    );
  }

  /** A view that was kept up entry by entry is the one that is judged anew from what is durable. */
  async #checkViews(): Promise<void> {
    const { manifest, contract } = this.options.founded.dapp;
    const answer = contract();
    const clock = { now: () => TOWN_BEGINS, after: () => () => undefined };
    const contracts = { exchange: async (_dapp: string, message: ToContract) => answer(message) };
    for (const [index, { process }] of this.nodes.entries()) {
      if (process === null || process.startedAt === null) continue;
      const { core, store, node } = process;
      const fresh = new View(core.main, store, node, new Map([[manifest.name, manifest]]), clock, contracts);
      let both = false;
      void Promise.all([core.view.settle(), fresh.settle()]).then(() => (both = true));
      await settled();
      // One that is at work, and waits for its disk, is not looked at.
      if (both && viewText(core.view.state) !== viewText(fresh.state))
        this.watch.breach(`the view of node ${index} is not what it is when judged anew`);
    }
  }

  async #checkEnd(): Promise<void> {
    const { watch, workload } = this;
    const { dapp } = this.options.founded;
    const processes = this.#processes();
    const [first] = processes as [SimulatedProcess, ...SimulatedProcess[]];
    const { genesis } = this.nodes[0] as SimulatedNode;
    this.#main = first.core.main.head.id;
    this.#entries = first.store.counts().entries;
    const verdictsOf = ({ store }: SimulatedProcess): string =>
      JSON.stringify(
        store
          .log(ENTRIES_MAX)
          .map(({ id, state, code, height, n, node }) => [node, n, id, state, code, height])
          .sort(),
      );
    const stateOf = ({ store }: SimulatedProcess): string => JSON.stringify([...store.allState()]);
    const told = verdictsOf(first);
    for (const [index, process] of processes.entries()) {
      if (verdictsOf(process) !== told)
        watch.breach(`node ${index} has other entries or verdicts than node 0`);
      for (const { id, type } of watch.acknowledged)
        if (process.store.entry(id)?.state === 'pending' || process.store.entry(id) === null)
          watch.breach(`node ${index} has no verdict on ${type} ${id.slice(0, 8)}, which was acknowledged`);
      const rows = [...process.store.allState()];
      const isSame = rows.every(
        ({ dapp, collection, key, value }) => process.core.main.state.get(dapp, collection, key) === value,
      );
      if (!isSame || stateOf(process) !== stateOf(first))
        watch.breach(`the state of node ${index} is not the durable one, or not that of node 0`);
    }
    // Also those that were durable when their node crashed, and nobody was told.
    const spends = first.store
      .log(ENTRIES_MAX)
      .filter(({ type, by }) => type === 'credit.transfer' && by === SPENDER_KEY);
    const accepted = spends.filter(({ verdict }) => verdict === 'accepted').length;
    if (accepted !== Math.min(spends.length, 1))
      watch.breach(`of ${spends.length} spends of the same credits ${accepted} were accepted`);
    this.#spentTwice = spends.length > 1;
    const { forbids } = workload;
    for (const id of forbids) this.#checkForbidden(first, first.store.entry(id)?.height ?? 0);
    const shown = this.chance.pick(processes);
    const state = await replayAsStranger(genesis, shown.store, dapp);
    const isSame = [...first.store.allState()].every(
      ({ dapp, collection, key, value }) => state.get(dapp, collection, key) === value,
    );
    if (!isSame) watch.breach('a stranger who replays the history comes to another state');
  }

  /** Restrictions go first: nothing that is merged with one or after it gets by. */
  #checkForbidden({ store }: SimulatedProcess, since: number): void {
    for (const { id, type, verdict, height, bytes } of store.log(ENTRIES_MAX)) {
      if (type !== 'notes.put' || verdict !== 'accepted' || (height ?? 0) < since) continue;
      const { body } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { body: { key: string } };
      if (body.key === FORBIDDEN_KEY)
        this.watch.breach(`${id.slice(0, 8)} was accepted at height ${height}, forbidden since ${since}`);
    }
  }

  report(): TownReport {
    const { watch, time, broker } = this;
    return {
      seed: this.options.seed,
      breaches: watch.breaches,
      merges: watch.merges,
      entries: this.#entries,
      crashes: watch.crashes,
      messages: broker.messages,
      spentTwice: this.#spentTwice,
      simulatedMs: time.now - this.options.founded.at,
      main: this.#main,
      trace: watch.trace,
    };
  }

  close(): void {
    for (const node of this.nodes) {
      node.process = null;
      node.disk.close();
    }
  }
}
