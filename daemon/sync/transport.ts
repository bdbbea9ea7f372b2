/** What carries messages between nodes, as the rest of the daemon sees it. It may lose, double and reorder them, and promises nothing. */
import type { Delivery } from './message.js';

export interface TransportEvents {
  /** Subscribed and ready. */
  readonly connected: () => void;
  /** Told once for each `connected`. */
  readonly disconnected: () => void;
  readonly delivered: (delivery: Delivery) => void;
  /** A packet beyond the bound came and was not even read. */
  readonly tooLarge: () => void;
  /** What `trouble` says has changed while there is no connection. */
  readonly troubled?: () => void;
}

/** How one of several brokers stands. */
export interface BrokerState {
  readonly connected: boolean;
  /** Why not, in words for people. */
  readonly trouble: string | null;
}

export interface Transport {
  /**
   * Sends a text to a topic, at least once while the connection holds. `retain`: the broker keeps it for those who come later.
   * @returns false where it was dropped: not connected, or too much is on its way. (Of retained ones the newest is kept and sent
   *   at the next connection.)
   */
  publish(topic: string, text: string, retain: boolean): boolean;
  /** Why there is no connection, in words for people; null while there is one, or before the first attempt has failed. */
  trouble?(): string | null;
  /** How each of several brokers stands, in the order of the config. */
  states?(): readonly BrokerState[];
  start(): void;
  stop(): Promise<void>;
}
