/** For tests: a message as a node of the town seals and signs it, but for what somebody twists of it. */
import { canonicalize } from '../../ledger/canonical.js';
import { sealEnvelope } from '../../ledger/envelope.js';
import type { Json, JsonObject, NodeId, Sha256 } from '../../ledger/ids.js';
import { signText } from '../../ledger/signature.js';

/** A true message lives as long: milliseconds. */
const LIVES_MS = 60_000;

/** What of a message may be another than is right. */
export interface Twist {
  readonly from?: NodeId;
  readonly to?: NodeId | null;
  readonly counter?: number;
  readonly at?: number;
  readonly expires?: number;
  readonly town?: Sha256;
  readonly townKey?: Uint8Array;
  readonly secretKey?: Uint8Array;
  /** The topic that the seal is bound to. */
  readonly about?: string;
  /** Fields beside those of a message. */
  readonly more?: JsonObject;
}

export interface TrueMessage {
  readonly town: Sha256;
  readonly townKey: Uint8Array;
  readonly from: NodeId;
  readonly secretKey: Uint8Array;
  readonly counter: number;
  /** Milliseconds. */
  readonly at: number;
  readonly topic: string;
  readonly kind: Json;
  readonly body: Json;
  /** 12 bytes. */
  readonly iv: Uint8Array;
}

/** What goes over the broker. */
export function twistedMessage(message: TrueMessage, twist: Twist): string {
  const { topic, kind, body, iv } = message;
  const {
    town,
    townKey,
    secretKey,
    from,
    counter,
    at,
    about = topic,
    more,
    to = null,
  } = { ...message, ...twist };
  const expires = twist.expires ?? at + LIVES_MS;
  const content = { from, to, counter, at, expires, kind, body };
  const sig = signText(secretKey, 'mergetown/message/v1', canonicalize({ town, topic, ...content }));
  return canonicalize(sealEnvelope(townKey, 'town', { ...content, sig, ...more }, about, iv));
}
