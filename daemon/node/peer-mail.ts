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
import {
  HELLO,
  Inbox,
  ReplayGuard,
  topicParts,
  type Delivery,
  type Message,
  type RefusalCode,
} from '../sync/message.js';
import { looksLikeGift } from '../sync/town-key-gift.js';
import type { Acquaintance } from './acquaintance.js';
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
  readonly acquaintance: Acquaintance;
  readonly clock: Clock;
  readonly steady: () => number;
  readonly heads: (from: NodeId, body: HeadsBody) => void;
  readonly want: (from: NodeId, body: WantBody) => void;
  readonly have: (from: NodeId, body: HaveBody) => void;
  /** Whoever it is from signed it himself. */
  readonly consensus: (message: ConsensusMessage) => Refused | null;
  /** What begins an epoch; whoever sends it, its own signatures count. @throws TownError where it is malformed */
  readonly recovery: (body: JsonObject) => Refused | null;
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
    const { main, keys, known, acquaintance } = parts;
    this.inbox = new Inbox(
      keys.id,
      {
        ...{ town: main.town, townKey: keys.townKey, ...acquaintance.opening },
        keyOf: (node) => known.keyOf(node),
      },
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
    const all = new Set(nodes);
    this.guard.retain(all);
    this.parts.acquaintance.nodesChanged(all);
    this.readEarly(null);
  }

  /** Heads that could not be taken are tried once more. @param from only of this one; null: of all */
  readEarly(from: NodeId | null): void {
    const isReadable = (node: NodeId): boolean =>
      (from === null || node === from) && this.parts.known.keyOf(node) !== undefined;
    for (const delivery of this.early.take(isReadable)) this.receive(delivery);
  }

  receive(delivery: Delivery): void {
    const { clock, joining, acquaintance } = this.parts;
    if (readJoinTopic(delivery.topic) !== null) return joining(delivery);
    if (delivery.payload.length === 0) return this.emptied(delivery);
    if (looksLikeGift(delivery)) return acquaintance.gift(delivery);
    let refusal: RefusalCode | null = null;
    const message = this.inbox.receive(delivery, clock.now(), (code) => (refusal = code));
    if (message === null) return this.keepForLater(delivery, refusal);
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
    const { from, body, kind } = message;
    if (message.class === 'consensus')
      return kind === 'recovery' ? parts.recovery(body) : parts.consensus(readConsensus(message));
    switch (kind) {
      case 'heads':
        parts.heads(from, readHeads(body));
        return null;
      case HELLO:
        parts.acquaintance.hello(from, message.at, body);
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

  /**
   * Heads of a node that the charter does not name yet, that are too old or too young by what is known of its clock, or that are
   * sealed with a key that is not here.
   */
  private keepForLater(delivery: Delivery, refusal: RefusalCode | null): void {
    const { main, known, acquaintance } = this.parts;
    const place = topicParts(main.town, delivery.topic);
    if (place?.class !== 'heads' || place.node === null) return;
    const isKnown = known.keyOf(place.node) !== undefined;
    if (isKnown && refusal !== 'expired' && refusal !== 'not-sealed') return;
    if (isKnown && refusal === 'not-sealed') acquaintance.sealedOtherwise(place.node);
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
