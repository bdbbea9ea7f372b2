/** Messages on their way out: numbered, signed, sealed, each on its topic. What is dropped is asked for again by who needs it. */
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { consensusTopic, directTopic, headsTopic, MessageCounter, sealMessage } from '../sync/message.js';
import type { Transport } from '../sync/transport.js';
import type { Clock } from './clock.js';
import type { PeeringStore } from './core-store.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { TownKeys } from './town-keys.js';

/** How long a message is good, by the sender's clock. Numbers keep replays out; this is for what was sent before a restart. */
const LIFETIME_MS = 600_000;
/** Numbers of messages are set aside for so long ahead, so that a restart needs no write for each message. */
const COUNTER_STRIDE_MS = 86_400_000;
const COUNTER_META = 'message-counter';

export interface PeerSenderParts {
  readonly store: PeeringStore;
  readonly main: MainLine;
  readonly keys: NodeKeys;
  readonly townKeys: TownKeys;
  readonly clock: Clock;
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Numbers could not be set aside. */
  readonly failed: (error: unknown) => void;
}

export class PeerSender {
  private transport: Transport | null = null;
  private counter = new MessageCounter();
  private reservedTo = 0;

  constructor(private readonly parts: PeerSenderParts) {}

  use(transport: Transport): void {
    this.transport = transport;
  }

  /** `to` null: to all; heads are kept by the broker. */
  send(kind: string, to: NodeId | null, body: JsonObject): void {
    const { keys, townKeys, clock, random, main } = this.parts;
    if (this.transport === null) return;
    const at = clock.now();
    const counter = this.counter.next(at);
    if (counter >= this.reservedTo) this.reserveNumbers().catch((error: unknown) => this.parts.failed(error));
    const topic = this.topicOf(kind, to);
    const content = { from: keys.id, to, counter, at, expires: at + LIFETIME_MS, kind, body };
    const townKey = to === null ? townKeys.current.key : townKeys.keyFor(to);
    const { secretKey } = keys;
    const text = sealMessage(content, topic, { town: main.town, townKey, secretKey }, random(12));
    this.transport.publish(topic, text, kind === 'heads');
  }

  private topicOf(kind: string, to: NodeId | null): string {
    const { main, keys } = this.parts;
    if (kind === 'heads') return headsTopic(main.town, keys.id);
    return to === null ? consensusTopic(main.town) : directTopic(main.town, to);
  }

  /** Sets numbers aside durably: after a restart none is used twice, even where the clock was set back. Before the first is sent. */
  async reserveNumbers(): Promise<void> {
    const { store, clock } = this.parts;
    const first = Math.max(clock.now(), Number(store.meta(COUNTER_META) ?? '0'), this.reservedTo);
    if (this.reservedTo === 0) this.counter = new MessageCounter(first);
    this.reservedTo = first + COUNTER_STRIDE_MS;
    await store.setMeta(COUNTER_META, String(this.reservedTo));
  }
}
