/** What peering is given, and what others give to it. */
import type { GitObject } from '../ledger/git-object.js';
import type { JsonObject, NodeId, Oid } from '../ledger/ids.js';
import type { Delivery } from '../sync/message.js';
import type { Transport, TransportEvents } from '../sync/transport.js';
import type { CatchUpParts } from './catch-up.js';
import type { Clock } from './clock.js';
import type { PeeringStore } from './core-store.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { Merger } from './merger.js';
import type { PeerBlocks } from './peer-blocks.js';
import type { PeerIntakeParts } from './peer-intake.js';
import type { TownKeys } from './town-keys.js';

export interface PeeringParts {
  readonly store: PeeringStore;
  readonly main: MainLine;
  readonly keys: NodeKeys;
  /** Where not given, the one of `keys`, for as long as the process lives. */
  readonly townKeys?: TownKeys | undefined;
  readonly clock: Clock;
  readonly merger: Merger;
  readonly peerBlocks: PeerBlocks;
  /** Checks signatures of what came ahead of need, on other cores; without it each is checked where it is needed. */
  readonly prepare?: PeerIntakeParts['prepare'];
  /** Gives git objects, staged or in the repository, to peers that catch up. */
  readonly readObject: (oid: Oid) => Promise<GitObject>;
  /** How this node is of use before the history is here; without it, it is not. */
  readonly catchUp?: Pick<CatchUpParts, 'view' | 'late'> | undefined;
  /** What answers to peers may take of the line; without it, all. */
  readonly bytesPerSecond?: number | undefined;
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Milliseconds that never go back, whatever is done to the clock. */
  readonly steady: () => number;
  /** Something that people should look at; told once each time it happens. */
  readonly trouble: (code: string, message: string) => void;
  /** Who is there, or how far they are, may have changed. */
  readonly changed: () => void;
  /** A message of a node that was invited. */
  readonly joining: (delivery: Delivery) => void;
  /** The town has gone on to a protocol that this program does not speak. Told once. */
  readonly outdated?: (version: number) => void;
  /** Who looks after the keys of sealed records, where somebody does. */
  readonly records?: RecordPeering;
}

/** What the keeper of the keys of records is told. */
export interface RecordPeering {
  /** @returns why the message is not taken, or null; @throws TownError where it is malformed */
  receive(
    kind: string,
    from: NodeId,
    body: JsonObject,
  ): { readonly code: string; readonly reason: string } | null;
  peersChanged(): void;
  /** Entries have come. */
  stored(): void;
}

/** Makes the transport to a broker, for these filters; `will` is the retained topic that is emptied when this node goes away. */
export type MakeTransport = (options: {
  readonly subscriptions: readonly string[];
  readonly will: string;
  readonly events: TransportEvents;
}) => Transport;
