/** Asks a town, over its brokers, to be let in: until it is, or is turned away, or the invitation runs out. Writes nothing. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Charter } from '../ledger/charter.js';
import { hexOf } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Genesis } from '../ledger/merge.js';
import type { Invitation } from '../sync/invitation.js';
import {
  answerTopic,
  startAsking,
  stepAsker,
  type AskerInput,
  type AskerState,
} from '../sync/joining-asker.js';
import type { Welcome } from '../sync/joining.js';
import { MqttTransport } from '../sync/mqtt-transport.js';
import type { Clock } from './clock.js';
import { guestLogin } from './broker-login.js';
import { brokerAt, type BrokerConfig } from './config.js';
import type { OwnKeys } from './key-files.js';

/** A broker that does not answer for so long gives way to the next one. */
export const BROKER_WAIT_MS = 10_000;

/** How far a node is on its way into a town. */
export interface JoinProgress {
  /** `asking`: no answer yet; `waiting`: the host has the ask, and a steward has to approve it. */
  readonly state: 'asking' | 'waiting';
  /** This node's id: the steward compares it with what they are shown. */
  readonly node: NodeId;
  /** The name of the town. */
  readonly town: string;
  /** The broker that is tried or was reached. */
  readonly broker: string;
  /** `away`: it did not answer in time, and another one (or the same, again) is next. */
  readonly reached: 'trying' | 'connected' | 'away';
}

export interface Welcomed {
  readonly welcome: Welcome;
  readonly genesis: Genesis;
  readonly charter: Charter;
  /** Where the answer came over. */
  readonly broker: BrokerConfig;
  /** The others of the invitation, the best first. */
  readonly otherBrokers: readonly BrokerConfig[];
}

export interface AskOptions {
  readonly invitation: Invitation;
  /** What this node shall be called. */
  readonly name: string;
  readonly keys: OwnKeys;
  /** An earlier attempt was told to wait: then it waits beyond the invitation's end. */
  readonly wasWaiting: boolean;
  readonly clock: Clock;
  /** Told at each change. */
  readonly onProgress: (progress: JoinProgress) => void;
  /** A file with the authorities to trust (PEM) where a broker is reached by mqtts, if not the system's. */
  readonly ca?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds that a broker has to answer. */
  readonly brokerWaitMs?: number | undefined;
}

/**
 * Resolves when the town has let this node in.
 * @throws TownError `no-ca-file`, `invitation-expired`, `join-stopped` (by `signal`), `bad-name`, `bad-broker-url` (none of the addresses can be
 *   dialled), what the host refuses it for, and what is wrong with its welcome
 */
export async function askToJoin(options: AskOptions): Promise<Welcomed> {
  const attempt = new Attempt(options, await authoritiesIn(options.ca));
  try {
    return await attempt.run();
  } finally {
    await attempt.stop();
  }
}

function authoritiesIn(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return Promise.resolve(undefined);
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new TownError(
      'no-ca-file',
      `The file with the authorities to trust, ${file}, cannot be read (${error.code}).`,
      'Name a PEM file with --ca.',
    );
  });
}

/** The addresses that this program can dial: MQTT over WebSockets it cannot. */
function brokersOf({ brokers }: Invitation, ca: string | undefined): readonly BrokerConfig[] {
  const usable = brokers.flatMap((url) => {
    try {
      return [{ ...brokerAt(url), ...(ca === undefined ? {} : { ca }) }];
    } catch {
      return [];
    }
  });
  if (usable.length > 0) return usable;
  throw new TownError(
    'bad-broker-url',
    `This program cannot dial any broker of the invitation (${brokers.join(', ')}).`,
    'Ask for an invitation that names an address with mqtt:// or mqtts://.',
  );
}

class Attempt {
  private state: AskerState;
  private readonly brokers: readonly BrokerConfig[];
  private at = 0;
  private transport: MqttTransport | null = null;
  private isConnected = false;
  private cancelWake: () => void = () => undefined;
  private cancelTurn: () => void = () => undefined;
  private settle: { resolve(welcomed: Welcomed): void; reject(error: unknown): void } | null = null;
  private stopping: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly options: AskOptions,
    private readonly authorities: string | undefined,
  ) {
    const { invitation, name, keys, wasWaiting } = options;
    this.brokers = brokersOf(invitation, options.ca);
    const { secretKey, sealingSecret } = keys;
    const nonce = hexOf(randomBytes(16));
    const state = startAsking({ invitation, name, secretKey, sealingSecret, nonce });
    this.state = wasWaiting ? { ...state, status: 'waiting' } : state;
  }

  run(): Promise<Welcomed> {
    const { signal } = this.options;
    return new Promise<Welcomed>((resolve, reject) => {
      this.settle = { resolve, reject };
      const stopped = (): void => reject(new TownError('join-stopped', 'Joining was stopped.'));
      if (signal?.aborted) return stopped();
      signal?.addEventListener('abort', stopped, { once: true });
      this.dial();
      this.step({ t: 'tick', now: this.options.clock.now() });
    });
  }

  async stop(): Promise<void> {
    this.settle = null;
    this.cancelWake();
    this.cancelTurn();
    const last = this.transport;
    this.transport = null;
    await Promise.all([this.stopping, last?.stop()]);
  }

  private get broker(): BrokerConfig {
    return this.brokers[this.at % this.brokers.length] as BrokerConfig;
  }

  private dial(): void {
    const { broker } = this;
    const { url, pin } = broker;
    this.tell('trying');
    const transport: MqttTransport = new MqttTransport({
      url,
      ...guestLogin(broker),
      ...(pin === undefined ? {} : { pin }),
      ...(this.authorities === undefined ? {} : { ca: this.authorities }),
      subscriptions: [answerTopic(this.state)],
      events: {
        connected: () => this.when(transport, () => this.connected()),
        disconnected: () => this.when(transport, () => this.disconnected()),
        delivered: ({ topic, payload, retained }) =>
          this.when(transport, () =>
            this.step({
              t: 'message',
              topic,
              payload: Buffer.from(payload).toString('utf8'),
              retained,
              now: this.options.clock.now(),
            }),
          ),
        tooLarge: () => undefined,
      },
    });
    this.transport = transport;
    transport.start();
    this.giveItTime();
  }

  /** What a broker of an earlier turn still says does not count. */
  private when(transport: MqttTransport, then: () => void): void {
    if (transport === this.transport && this.settle) then();
  }

  private giveItTime(): void {
    this.cancelTurn();
    this.cancelTurn = this.options.clock.after(this.options.brokerWaitMs ?? BROKER_WAIT_MS, () => {
      if (this.isConnected || !this.settle) return;
      this.tell('away');
      const last = this.transport;
      this.transport = null;
      this.at += 1;
      // One at a time: the next is dialled when the last has let go (two seconds at most).
      this.stopping = (last?.stop() ?? Promise.resolve()).then(() => {
        if (this.settle) this.dial();
      });
    });
  }

  private connected(): void {
    this.isConnected = true;
    this.cancelTurn();
    this.tell('connected');
    // A broker that has just come back is asked at once, however long the pause had grown.
    this.state = { ...this.state, nextAt: null };
    this.step({ t: 'tick', now: this.options.clock.now() });
  }

  private disconnected(): void {
    this.isConnected = false;
    this.tell('trying');
    this.giveItTime();
  }

  private tell(reached: JoinProgress['reached']): void {
    const { invitation, keys, onProgress } = this.options;
    const state = this.state.status === 'waiting' ? 'waiting' : 'asking';
    onProgress({ state, node: keys.id, town: invitation.name, broker: this.broker.url, reached });
  }

  private step(input: AskerInput): void {
    const { state, outputs } = stepAsker(this.state, input);
    this.state = state;
    for (const output of outputs) {
      switch (output.t) {
        case 'send':
          this.transport?.publish(output.topic, output.payload, false);
          break;
        case 'wake':
          this.wakeAt(output.at);
          break;
        case 'waiting':
          this.tell(this.isConnected ? 'connected' : 'trying');
          break;
        case 'joined': {
          const { welcome, genesis, charter } = output;
          const { broker } = this;
          const otherBrokers = this.brokers.filter((other) => other !== broker);
          this.settle?.resolve({ welcome, genesis, charter, broker, otherBrokers });
          break;
        }
        case 'failed':
          this.settle?.reject(output.error);
          break;
        case 'ignored':
          break;
      }
    }
  }

  private wakeAt(at: number): void {
    const { clock } = this.options;
    this.cancelWake();
    this.cancelWake = clock.after(Math.max(0, at - clock.now()), () => {
      if (this.settle) this.step({ t: 'tick', now: clock.now() });
    });
  }
}
