/**
 * One transport over several brokers: connected to all at once, sends on all that are up, hears each message once. Not one after the
 * other: a broker that takes messages and gives nothing on cannot be told from a quiet town, so one that is honest has to be there
 * at the same time. Nothing is ever carried from one broker to another, so nothing can go round in circles; and where somebody has
 * bridged them, what comes twice is heard once.
 */
import { createHash } from 'node:crypto';
import { invariant } from '../ledger/ids.js';
import type { Delivery } from './message.js';
import type { BrokerState, Transport, TransportEvents } from './transport.js';

/** As many as an invitation names. */
export const BROKERS_MAX = 4;
/** Messages that are remembered to know them again. */
const REMEMBERED_MAX = 4_096;
/** Nodes of which it is remembered by which brokers they are heard. */
const HEARD_MAX = 1_000;
const HEADS = /\/heads\/[0-9a-f]{16}$/;

export interface TransportOptions {
  readonly subscriptions: readonly string[];
  /** The retained topic of this node, emptied when it goes away. */
  readonly will: string;
  readonly events: TransportEvents;
}

/** @param makers one for each broker, 1 to 4, the best first */
export class SeveralBrokers implements Transport {
  readonly #transports: readonly Transport[];
  readonly #up = new Set<number>();
  /** By which brokers a message came, the oldest first. */
  readonly #remembered = new Map<string, Set<number>>();
  /** By which brokers a node's heads are heard: it is gone when it is gone from all. */
  readonly #heads = new Map<string, Set<number>>();

  constructor(
    makers: readonly ((options: TransportOptions) => Transport)[],
    private readonly options: TransportOptions,
  ) {
    invariant(makers.length >= 1 && makers.length <= BROKERS_MAX, `a node has 1 to ${BROKERS_MAX} brokers`);
    const { events } = options;
    this.#transports = makers.map((make, index) =>
      make({
        ...options,
        events: {
          connected: () => this.#came(index),
          disconnected: () => this.#went(index),
          delivered: (delivery) => this.#delivered(index, delivery),
          tooLarge: () => events.tooLarge(),
          troubled: () => events.troubled?.(),
        },
      }),
    );
  }

  /** One for each broker, in their order. */
  states(): readonly BrokerState[] {
    return this.#transports.map((transport, index) => ({
      connected: this.#up.has(index),
      trouble: this.#up.has(index) ? null : (transport.trouble?.() ?? null),
    }));
  }

  trouble(): string | null {
    if (this.#up.size > 0) return null;
    return this.states().find(({ trouble }) => trouble !== null)?.trouble ?? null;
  }

  start(): void {
    for (const transport of this.#transports) transport.start();
  }

  /** To all of them, also those that are away: they keep the newest of what is retained. */
  publish(topic: string, text: string, retain: boolean): boolean {
    return this.#transports.map((transport) => transport.publish(topic, text, retain)).includes(true);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#transports.map((transport) => transport.stop()));
  }

  #came(index: number): void {
    this.#up.add(index);
    // A further one is told the heads by its own transport, which keeps them.
    if (this.#up.size === 1) this.options.events.connected();
    else this.options.events.troubled?.();
  }

  #went(index: number): void {
    this.#up.delete(index);
    for (const [topic, by] of this.#heads) if (by.delete(index) && by.size === 0) this.#heads.delete(topic);
    if (this.#up.size === 0) this.options.events.disconnected();
    else this.options.events.troubled?.();
  }

  #delivered(index: number, delivery: Delivery): void {
    const { topic, payload } = delivery;
    const isNews = payload.length === 0 ? this.#isGone(index, topic) : this.#isNew(index, delivery);
    if (isNews) this.options.events.delivered(delivery);
  }

  /** A node that one broker says is gone may still be there by another; of the own heads each broker's word counts. */
  #isGone(index: number, topic: string): boolean {
    const by = this.#heads.get(topic);
    by?.delete(index);
    if (topic !== this.options.will && by !== undefined && by.size > 0) return false;
    this.#heads.delete(topic);
    return true;
  }

  /** What the same broker gives a second time goes on: whoever opens it says what that is. */
  #isNew(index: number, { topic, payload, retained }: Delivery): boolean {
    if (HEADS.test(topic)) this.#noteHeads(index, topic);
    // A broker that says of a message that it was kept must not spoil it for the others.
    const name = createHash('sha256')
      .update(`${retained ? 1 : 0} ${topic} `)
      .update(payload)
      .digest('base64');
    const by = this.#remembered.get(name);
    if (by === undefined) {
      this.#remembered.set(name, new Set([index]));
      for (const oldest of this.#remembered.keys())
        if (this.#remembered.size > REMEMBERED_MAX) this.#remembered.delete(oldest);
        else break;
      return true;
    }
    if (by.has(index)) return true;
    by.add(index);
    return false;
  }

  #noteHeads(index: number, topic: string): void {
    const by = this.#heads.get(topic);
    if (by !== undefined) by.add(index);
    else if (this.#heads.size < HEARD_MAX) this.#heads.set(topic, new Set([index]));
  }
}
