/** What comes from the other nodes: held against seal, sender and number, and brought to whom it concerns; the rest is counted by reason. */
import type { Message as ConsensusMessage } from '../consensus/gossip.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import {
  readHave,
  readHeads,
  readWant,
  type HaveBody,
  type HeadsBody,
  type WantBody,
} from '../sync/bodies.js';
import { readJoinTopic } from '../sync/joining.js';
import { Inbox, ReplayGuard, topicParts, type Delivery, type Message } from '../sync/message.js';
import type { Clock } from './clock.js';
import { readConsensus } from './consensus-body.js';
import { EarlyHeads } from './early-heads.js';
import type { NodeKeys } from './key-files.js';
import type { KnownNodes } from './known-nodes.js';
import type { MainLine } from './main-line.js';

/** A retained head of ours that somebody took back is published again, not more often than this. */
const REPUBLISH_MS_MIN = 1_000;

/** Why something is not taken. */
export interface Refused {
  readonly code: string;
  readonly reason: string;
}

export interface PeerMailParts {
  readonly main: MainLine;
  readonly keys: NodeKeys;
  readonly known: KnownNodes;
  readonly clock: Clock;
  readonly steady: () => number;
  readonly heads: (from: NodeId, body: HeadsBody) => void;
  readonly want: (from: NodeId, body: WantBody) => void;
  readonly have: (from: NodeId, body: HaveBody) => void;
  /** Whoever it is from signed it himself. */
  readonly consensus: (message: ConsensusMessage) => Refused | null;
  /** About the keys of sealed records. @throws TownError where it is malformed */
  readonly records: (kind: string, from: NodeId, body: JsonObject) => Refused | null;
  /** A message of a node that was invited. */
  readonly joining: (delivery: Delivery) => void;
  /** The broker says that a node went away. */
  readonly gone: (node: NodeId) => void;
  /** The own heads are not with the broker any more. */
  readonly takenBack: () => void;
}

export class PeerMail {
  private readonly inbox: Inbox;
  private readonly guard = new ReplayGuard();
  private readonly early = new EarlyHeads();
  private republishedAt = -Infinity;

  constructor(private readonly parts: PeerMailParts) {
    const { main, keys, known } = parts;
    this.inbox = new Inbox(
      keys.id,
      { town: main.town, townKey: keys.townKey, keyOf: (node) => known.keyOf(node) },
      this.guard,
    );
  }

  /** What was not taken, by reason. */
  refusals(): ReturnType<Inbox['refusals']> {
    return this.inbox.refusals();
  }

  refuse(refused: Refused): void {
    this.inbox.refuse(refused, this.parts.clock.now());
  }

  /** Other nodes may be in the charter now: what came of them before is read. */
  nodesChanged(nodes: readonly NodeId[]): void {
    this.guard.retain(new Set(nodes));
    const isKnown = (node: NodeId): boolean => this.parts.known.keyOf(node) !== undefined;
    for (const delivery of this.early.takeKnown(isKnown)) this.receive(delivery);
  }

  receive(delivery: Delivery): void {
    const { clock, joining } = this.parts;
    if (readJoinTopic(delivery.topic) !== null) return joining(delivery);
    if (delivery.payload.length === 0) return this.emptied(delivery);
    const message = this.inbox.receive(delivery, clock.now());
    if (message === null) return this.keepForLater(delivery);
    try {
      const refused = this.bring(message);
      if (refused !== null) this.refuse(refused);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.refuse({ code: 'malformed', reason: error.message });
    }
  }

  /** @throws TownError where it is malformed */
  private bring(message: Message): Refused | null {
    const { parts } = this;
    if (message.class === 'consensus') return parts.consensus(readConsensus(message));
    const { from, body, kind } = message;
    switch (kind) {
      case 'heads':
        parts.heads(from, readHeads(body));
        return null;
      case 'want':
        parts.want(from, readWant(body));
        return null;
      case 'have':
        parts.have(from, readHave(body));
        return null;
      case 'keys-ask':
      case 'keys-give':
        return parts.records(kind, from, body);
      default:
        throw new TownError('malformed', `A message of an unknown kind: ${kind}.`);
    }
  }

  /** Heads of a node that the charter does not name yet: the merge that names it may be on its way. */
  private keepForLater(delivery: Delivery): void {
    const { main, known } = this.parts;
    const place = topicParts(main.town, delivery.topic);
    if (place?.class !== 'heads' || place.node === null || known.keyOf(place.node) !== undefined) return;
    this.early.keep(place.node, delivery);
  }

  /** A retained head was emptied: by the last will of a node that went away, or of a former connection of our own. */
  private emptied({ topic, retained }: Delivery): void {
    const { main, keys, steady, gone, takenBack } = this.parts;
    const place = topicParts(main.town, topic);
    if (place?.class !== 'heads' || place.node === null || retained) return;
    if (place.node !== keys.id) return gone(place.node);
    if (steady() - this.republishedAt < REPUBLISH_MS_MIN) return;
    this.republishedAt = steady();
    takenBack();
  }
}
