/**
 * The messages between a town's nodes: signed by the sender, sealed with the town's key, bound to one topic, numbered and
 * short-lived. The broker that carries them is not trusted. Everything here is pure: clock, nonce and keys are passed in.
 */
import { canonicalize } from '../ledger/canonical.js';
import { openEnvelope, sealEnvelope } from '../ledger/envelope.js';
import type { Json, JsonObject, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { invariant, isNodeId, TownError } from '../ledger/ids.js';
import { signText, verifyText } from '../ledger/signature.js';

/** A message on the wire has at most this many bytes. */
export const MESSAGE_BYTES_MAX = 256 * 1024;
/** No message lives longer than this: milliseconds. */
export const LIFETIME_MS_MAX = 60 * 60_000;

const DOMAIN = 'mergetown/message/v1';
const HANDLE = 'town';

/** What a topic is for; counters are kept apart by it. */
export type MessageClass = 'heads' | 'direct' | 'consensus';

/** What is sent: `body` by `kind`. */
export interface MessageContent {
  readonly from: NodeId;
  /** The one it is for; null: for all. */
  readonly to: NodeId | null;
  /** Grows strictly from message to message of one sender. */
  readonly counter: number;
  /** Milliseconds of the sender's clock. */
  readonly at: number;
  readonly expires: number;
  readonly kind: string;
  readonly body: JsonObject;
}

/** A message whose seal, signature and address hold. */
export interface Message extends MessageContent {
  readonly class: MessageClass;
}

/** A message as the transport hands it over. */
export interface Delivery {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** Whether the broker had kept it, and did not just get it. */
  readonly retained: boolean;
}

/** Why a message is not taken. */
export type RefusalCode =
  | 'too-large'
  | 'other-topic'
  | 'retained-command'
  | 'not-sealed'
  | 'malformed'
  | 'unknown-node'
  | 'bad-signature'
  | 'misaddressed'
  | 'expired'
  | 'replayed';

export interface Refusal {
  readonly code: RefusalCode;
  readonly reason: string;
}

const prefixOf = (town: Sha256): string => `mergetown/${town.slice(0, 16)}`;

/** What `node` tells all about itself; retained by the broker. */
export const headsTopic = (town: Sha256, node: NodeId): string => `${prefixOf(town)}/heads/${node}`;
/** What is for one node alone. */
export const directTopic = (town: Sha256, node: NodeId): string => `${prefixOf(town)}/to/${node}`;
export const consensusTopic = (town: Sha256): string => `${prefixOf(town)}/consensus`;

/** The filters that a node subscribes to. */
export const topicsFor = (town: Sha256, self: NodeId): readonly string[] => [
  `${prefixOf(town)}/heads/+`,
  directTopic(town, self),
  consensusTopic(town),
];

interface TopicParts {
  readonly class: MessageClass;
  /** Whose heads, or for whom. */
  readonly node: NodeId | null;
}

/** What a topic of this town is for; null for any other topic. */
export function topicParts(town: Sha256, topic: string): TopicParts | null {
  const prefix = `${prefixOf(town)}/`;
  if (!topic.startsWith(prefix)) return null;
  const [first, node, ...more] = topic.slice(prefix.length).split('/');
  if (more.length > 0) return null;
  if (first === 'consensus' && node === undefined) return { class: 'consensus', node: null };
  if (!isNodeId(node)) return null;
  if (first === 'heads') return { class: 'heads', node };
  return first === 'to' ? { class: 'direct', node } : null;
}

const signedText = (town: Sha256, topic: string, content: MessageContent): string => {
  const { from, to, counter, at, expires, kind, body } = content;
  return canonicalize({ town, topic, from, to, counter, at, expires, kind, body });
};

/** What sealing takes beside the content. */
export interface SealingKeys {
  readonly town: Sha256;
  /** 32 bytes that the town's nodes share. */
  readonly townKey: Uint8Array;
  /** The sender's Ed25519 seed. */
  readonly secretKey: Uint8Array;
}

/**
 * Signs and seals a message for a topic.
 * @param nonce 12 random bytes, never twice
 * @returns the text to publish
 * @throws TownError `message-too-large`
 */
export function sealMessage(
  content: MessageContent,
  topic: string,
  keys: SealingKeys,
  nonce: Uint8Array,
): string {
  const parts = topicParts(keys.town, topic);
  invariant(parts !== null && isAddressed(content, parts), 'a message is sent on the topic of its addressee');
  const problem = problemOf({ ...content, sig: 'A'.repeat(86) } as unknown as Json);
  invariant(problem === null, `a message that is sent is well-formed: ${problem}`);
  const sig = signText(keys.secretKey, DOMAIN, signedText(keys.town, topic, content));
  const { from, to, counter, at, expires, kind, body } = content;
  const value = { from, to, counter, at, expires, kind, body, sig };
  const text = canonicalize(sealEnvelope(keys.townKey, HANDLE, value, topic, nonce));
  if (text.length > MESSAGE_BYTES_MAX)
    throw new TownError(
      'message-too-large',
      `A message has at most ${MESSAGE_BYTES_MAX} bytes; this one (${kind}) has ${text.length}.`,
    );
  return text;
}

/** Whether sender and addressee are those of the topic. */
function isAddressed(content: MessageContent, topic: TopicParts): boolean {
  if (topic.class === 'direct') return content.to === topic.node;
  return content.to === null && (topic.class === 'consensus' || content.from === topic.node);
}

/** What opening takes. */
export interface OpeningKeys {
  readonly town: Sha256;
  readonly townKey: Uint8Array;
  /** The key of a node in the charter. */
  readonly keyOf: (node: NodeId) => KeyId | undefined;
}

const refused = (code: RefusalCode, reason: string): { readonly refusal: Refusal } => ({
  refusal: { code, reason },
});

/**
 * Opens a delivery: size, topic, seal, form, sender, signature, address and expiry, the cheap checks first. Whether it was
 * there before, the `ReplayGuard` tells. Never throws.
 * @param now milliseconds
 */
export function openMessage(
  delivery: Delivery,
  keys: OpeningKeys,
  now: number,
): { readonly message: Message } | { readonly refusal: Refusal } {
  const { topic, payload, retained } = delivery;
  if (payload.length > MESSAGE_BYTES_MAX)
    return refused(
      'too-large',
      `It has ${payload.length} bytes, a message has at most ${MESSAGE_BYTES_MAX}.`,
    );
  const parts = topicParts(keys.town, topic);
  if (parts === null) return refused('other-topic', 'Its topic is none of this town.');
  if (retained && parts.class !== 'heads')
    return refused('retained-command', 'Only heads may be kept by the broker.');
  let value: Json;
  try {
    value = openEnvelope(keys.townKey, JSON.parse(Buffer.from(payload).toString('utf8')), topic);
  } catch {
    return refused('not-sealed', "It does not open with the town's key on this topic.");
  }
  const problem = problemOf(value);
  if (problem !== null) return refused('malformed', problem);
  const { sig, ...content } = value as unknown as MessageContent & { readonly sig: string };
  const key = keys.keyOf(content.from);
  if (key === undefined)
    return refused('unknown-node', `Its sender ${content.from} is not a node of the charter.`);
  if (!verifyText(key, DOMAIN, signedText(keys.town, topic, content), sig))
    return refused('bad-signature', `It is not signed by ${content.from}.`);
  if (!isAddressed(content, parts))
    return refused('misaddressed', 'Sender or addressee are not those of its topic.');
  if (content.expires <= now)
    return refused('expired', `It expired ${now - content.expires} ms ago, by this clock.`);
  return { message: { ...content, class: parts.class } };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const FIELDS = ['at', 'body', 'counter', 'expires', 'from', 'kind', 'sig', 'to'];

/** What is wrong with the form of a message; null where nothing is. */
function problemOf(value: Json): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'It is no object.';
  const m = value as JsonObject;
  if (Object.keys(m).sort().join() !== FIELDS.join()) return 'Its fields are not those of a message.';
  const { from, to, counter, at, expires, kind, body, sig } = m;
  if (!isNodeId(from) || !(to === null || isNodeId(to))) return 'Its sender or addressee is no node.';
  if (!isCount(counter) || !isCount(at) || !isCount(expires)) return 'Its numbers are out of range.';
  if (expires <= at || expires - at > LIFETIME_MS_MAX) return 'It lives too long, or not at all.';
  if (typeof kind !== 'string' || !/^[a-z][a-z-]{0,31}$/.test(kind)) return 'Its kind has no name.';
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return 'Its body is no object.';
  return typeof sig === 'string' ? null : 'Its signature is no text.';
}

/** Senders whose counters are kept: no charter names so many nodes. */
export const SENDERS_MAX = 1_000;

/** Knows the highest counter of every sender and class: what is not above it was there before, or came late. */
export class ReplayGuard {
  readonly #highest = new Map<string, number>();

  /** Whether the counter is above all before; then it is the highest. `false` too where there is no room for a new sender. */
  admit(from: NodeId, of: MessageClass, counter: number): boolean {
    const name = `${from} ${of}`;
    const highest = this.#highest.get(name);
    if (highest !== undefined && counter <= highest) return false;
    if (highest === undefined && this.#highest.size >= SENDERS_MAX * 3) return false;
    this.#highest.set(name, counter);
    return true;
  }

  /** Forgets senders that the charter no longer names. */
  retain(nodes: ReadonlySet<NodeId>): void {
    for (const name of this.#highest.keys())
      if (!nodes.has(name.slice(0, 16) as NodeId)) this.#highest.delete(name);
  }
}

/** Numbers a sender's messages: the clock's milliseconds, or one more than the last where the clock has not moved on. */
export class MessageCounter {
  /** @param last the last number that may have been used before a restart; a clock that never goes back needs none */
  constructor(private last = 0) {}

  next(now: number): number {
    this.last = Math.max(now, this.last + 1);
    return this.last;
  }
}

/** How often something was refused. */
export interface RefusalCount {
  readonly code: string;
  /** Of the last one. */
  readonly reason: string;
  readonly count: number;
  /** When the last one came: milliseconds. */
  readonly at: number;
}

const REFUSAL_CODES_MAX = 64;

/** Takes deliveries, refuses by name and counts what it refused. Its memory is bounded whatever comes. */
export class Inbox {
  readonly #refusals = new Map<string, { count: number; reason: string; at: number }>();

  constructor(
    private readonly self: NodeId,
    private readonly keys: OpeningKeys,
    private readonly guard: ReplayGuard = new ReplayGuard(),
  ) {}

  /** The message, or null where it is refused or the node's own. */
  receive(delivery: Delivery, now: number): Message | null {
    // An empty retained message only takes a retained one back.
    if (delivery.payload.length === 0 && topicParts(this.keys.town, delivery.topic)?.class === 'heads')
      return null;
    const opened = openMessage(delivery, this.keys, now);
    if ('refusal' in opened) return this.refuse(opened.refusal, now);
    const { message } = opened;
    if (message.from === this.self) return null;
    if (!this.guard.admit(message.from, message.class, message.counter)) {
      // The broker hands out what it kept at every connection: that is no replay.
      if (delivery.retained) return null;
      return this.refuse(
        { code: 'replayed', reason: `Its number ${message.counter} is not above those before.` },
        now,
      );
    }
    return message;
  }

  /** Counts what was refused before it came here (a packet that the transport did not even read), or after. */
  refuse({ code: name, reason }: { readonly code: string; readonly reason: string }, now: number): null {
    const code = this.#refusals.has(name) || this.#refusals.size < REFUSAL_CODES_MAX ? name : 'other';
    const count = (this.#refusals.get(code)?.count ?? 0) + 1;
    this.#refusals.set(code, { count, reason, at: now });
    return null;
  }

  /** How many were refused for what, with the last reason and its time. */
  refusals(): readonly RefusalCount[] {
    return [...this.#refusals].map(([code, { count, reason, at }]) => ({ code, reason, count, at }));
  }
}
