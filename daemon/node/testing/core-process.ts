/** For tests and benches: a node's heart in a process of its own: `CoreChild` on this side, the child's own program below it. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Charter } from '../../ledger/charter.js';
import type { JsonObject, Millis } from '../../ledger/ids.js';
import type { Genesis } from '../../ledger/merge.js';
import { CoreNode, genesisOf, keysOf } from './core-town.js';
import { startBroker, type Broker } from '../../sync/broker.js';
import { systemClock, type Clock } from '../clock.js';
import { prepareSignatures } from '../signatures-ahead.js';

const answerMs = 900_000;
/** Entries on their way to the disk at once. */
const atOnce = 256;
const lookMs = 1;

/** The town of a bench: the same genesis in every process that knows these. */
export interface BenchTown {
  readonly names: readonly string[];
  readonly validators: readonly string[];
  readonly interactiveMs: number;
}

export const benchGenesis = ({ names, validators, interactiveMs }: BenchTown): Genesis =>
  genesisOf(names, (charter): Charter => {
    const pace = { interactiveMs, factsMs: 900_000 };
    return { ...charter, validators: validators.map((name) => keysOf(name).id), pace };
  });

/** What is recorded: the n-th note, of a thousand that are written again and again. */
export const noteOf = (n: number): JsonObject => ({
  key: `note-${n % 1000}`,
  value: `what was written as number ${n}`,
});

/** How far a node is. */
export interface Standing {
  readonly height: number;
  readonly id: string;
  readonly pending: number;
  /** Entries that it has, of each node. */
  readonly entries: { readonly [node: string]: number };
  /** The merge whose state it stands on while it catches up. */
  readonly ahead: number | null;
  readonly alarms: readonly string[];
  readonly refused: { readonly [code: string]: number };
}

/** What the child can be asked to do; the names are those of its methods. */
interface Work {
  /** Starts a broker in the child; gives its address. */
  broker(): Promise<string>;
  /** The child's broker goes away: everybody is cut off. */
  brokerAway(): Promise<void>;
  /** It is there again, at the same address. */
  brokerBack(): Promise<void>;
  start(options: {
    folder: string;
    name: string;
    town: BenchTown;
    /** Null: it meets nobody. */
    url: string | null;
    /** How far its clock is ahead: milliseconds. */
    aheadMs?: number;
    catchesUp?: boolean;
  }): Promise<void>;
  /** From now on its clock is so far ahead. */
  pass(aheadMs: number): Promise<void>;
  /** Founds the town, so that there is a member to sign. */
  found(): Promise<void>;
  /** So many durable facts, with no merge meanwhile. */
  record(count: number): Promise<void>;
  /** Merges until nothing is left; gives the milliseconds it took. */
  mergeAll(): Promise<number>;
  /** One entry after the other, each from its signature until it is in `main` here: milliseconds. */
  appendToMain(count: number): Promise<number[]>;
  head(): Promise<Standing>;
  stop(): Promise<void>;
}

export class CoreChild {
  private readonly child: ChildProcess;
  private last = 0;

  constructor() {
    this.child = fork(fileURLToPath(import.meta.url), [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.child.setMaxListeners(64);
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** Ends it at once, as a power cut does to a process. */
  async kill(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  async ask<Name extends keyof Work>(
    name: Name,
    ...args: Parameters<Work[Name]>
  ): Promise<Awaited<ReturnType<Work[Name]>>> {
    const id = (this.last += 1);
    const answer = new Promise<never>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${name} was not answered in time.`)), answerMs);
      const take = (message: { id: number; gives?: never; error?: string }): void => {
        if (message.id !== id) return;
        clearTimeout(late);
        this.child.off('message', take);
        if (message.error === undefined) resolve(message.gives as never);
        else reject(new Error(message.error));
      };
      this.child.on('message', take);
    });
    this.child.send({ id, name, args });
    return answer;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    await Promise.race([ended, this.ask('stop')]).catch(() => this.child.kill('SIGKILL'));
    if (this.child.connected) this.child.disconnect();
    await ended;
  }
}

class Child implements Work {
  private node: CoreNode | null = null;
  private broke: Broker | null = null;
  private port = 0;
  private n = 0;
  private aheadMs = 0;

  private get core(): CoreNode {
    if (this.node === null) throw new Error('The node is not started.');
    return this.node;
  }

  async broker(): Promise<string> {
    this.broke = await startBroker(0);
    this.port = this.broke.port;
    return `mqtt://127.0.0.1:${this.port}`;
  }

  async brokerAway(): Promise<void> {
    await this.broke?.close();
    this.broke = null;
  }

  async brokerBack(): Promise<void> {
    this.broke = await startBroker(this.port);
  }

  async start({
    folder,
    name,
    town,
    url,
    aheadMs = 0,
    catchesUp = false,
  }: Parameters<Work['start']>[0]): Promise<void> {
    this.aheadMs = aheadMs;
    const clock: Clock = { ...systemClock, now: () => (Date.now() + this.aheadMs) as Millis };
    this.node = await CoreNode.start({
      ...{ folder, name, url, clock, catchesUp, genesis: benchGenesis(town) },
      peering: { prepare: prepareSignatures },
    });
  }

  async pass(aheadMs: number): Promise<void> {
    this.aheadMs = aheadMs;
  }

  async found(): Promise<void> {
    await this.core.claim('ada', 'member.found', {}, ['alpha']);
    await this.core.core.merger.mergeNow();
  }

  private one(): ReturnType<CoreNode['claim']> {
    return this.core.claim('ada', 'notes.put', noteOf((this.n += 1)));
  }

  async record(count: number): Promise<void> {
    const until = this.n + count;
    const { appender } = this.core.core;
    const some = async (): Promise<void> => {
      while (this.n < until) await appender.fact('notes.seen', noteOf((this.n += 1)));
    };
    await Promise.all(Array.from({ length: atOnce }, some));
  }

  async mergeAll(): Promise<number> {
    const began = performance.now();
    while (this.core.store.counts().pending > 0) await this.core.core.merger.mergeNow();
    return performance.now() - began;
  }

  async appendToMain(count: number): Promise<number[]> {
    const times: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const began = performance.now();
      const { id } = await this.one();
      while (this.core.store.entry(id)?.state === 'pending')
        await new Promise((resolve) => setTimeout(resolve, lookMs));
      times.push(performance.now() - began);
    }
    return times;
  }

  async head(): Promise<Standing> {
    const { core, store, head, alarms } = this.core;
    const nodes = Object.keys(core.main.charter.nodes);
    return {
      ...head,
      pending: store.counts().pending,
      entries: Object.fromEntries(nodes.map((node) => [node, Math.max(0, store.lastN(node, 'main'))])),
      ahead: core.main.ahead?.head.height ?? null,
      alarms,
      refused: this.core.refused(),
    };
  }

  async stop(): Promise<void> {
    await this.node?.stop();
    await this.broke?.close();
  }
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  const child = new Child();
  process.on('message', ({ id, name, args }: { id: number; name: keyof Work; args: never[] }) => {
    (child[name] as (...given: never[]) => Promise<unknown>)(...args).then(
      (gives) => process.send?.({ id, gives }),
      (error: unknown) => process.send?.({ id, error: String(error) }),
    );
  });
}
