/**
 * The messages between a town's nodes: signed by the sender, sealed with the town's key, bound to one topic, numbered and
 * short-lived. The broker that carries them is not trusted. Everything here is pure: clock, nonce and keys are passed in.
 */
import { canonicalize } from '../ledger/canonical.js';
import { openEnvelope, sealEnvelope } from '../ledger/envelope.js';
import type { Json, JsonObject, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { invariant, isNodeId, TownError } from '../ledger/ids.js';
import { signText, verifyText } from '../ledger/signature.js';
import type { SenderClocks } from './sender-clocks.js';

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

/** The kind of message that is taken whatever its sender's clock says: with it nodes find out what time the other has. */
export const HELLO = 'hello';

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
  | 'old-key'
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

/** A key that messages may be sealed with. */
export interface TownKey {
  readonly key: Uint8Array;
  /** A key that the town has given up: what it seals is opened only to see who has not heard of it. */
  readonly retired: boolean;
}

/** What opening takes. */
export interface OpeningKeys {
  readonly town: Sha256;
  readonly townKey: Uint8Array;
  /** All keys that may seal a message, where there can be several; the likeliest first. */
  readonly townKeys?: () => readonly TownKey[];
  /** Told who still seals with a key that was given up. */
  readonly sealedWithOld?: (from: NodeId) => void;
  /** The key of a node in the charter. */
  readonly keyOf: (node: NodeId) => KeyId | undefined;
  /** What is known of the senders' clocks; without it this board's own clock judges. */
  readonly clocks?: SenderClocks;
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
  const opened = openSeal(payload, keys, topic);
  if (opened === null) return refused('not-sealed', "It does not open with the town's key on this topic.");
  const { value, retired } = opened;
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
  if (retired) {
    keys.sealedWithOld?.(content.from);
    return refused('old-key', `${content.from} sealed it with a key that the town has given up.`);
  }
  const isHello = content.kind === HELLO && parts.class === 'direct';
  const stale = isHello ? null : staleness(content, keys, now);
  if (stale !== null) return refused('expired', stale);
  return { message: { ...content, class: parts.class } };
}

function openSeal(
  payload: Uint8Array,
  { townKey, townKeys }: OpeningKeys,
  topic: string,
): { readonly value: Json; readonly retired: boolean } | null {
  let sealed: JsonObject;
  try {
    sealed = JSON.parse(Buffer.from(payload).toString('utf8')) as JsonObject;
  } catch {
    return null;
  }
  for (const { key, retired } of townKeys?.() ?? [{ key: townKey, retired: false }])
    try {
      return { value: openEnvelope(key, sealed, topic), retired };
    } catch {
      // With another, maybe.
    }
  return null;
}

function staleness(content: MessageContent, { clocks }: OpeningKeys, now: number): string | null {
  if (clocks !== undefined) return clocks.staleness(content, now);
  return content.expires <= now ? `It expired ${now - content.expires} ms ago, by this clock.` : null;
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

/** Messages of one sender and class that may overtake each other: where there are several brokers, one is ahead of the other. */
const WINDOW = 128;
/** How far behind the first that was heard one may be: counters go on at least as fast as the sender's milliseconds. */
const OVERTAKEN_MAX = 60_000;

/** The counters of one sender and class that were there: all up to the floor, and these. */
interface Seen {
  floor: number;
  readonly above: Set<number>;
}

/**
 * Knows which messages of every sender were there before, by class. Heads count only if they are newer than all before; of the others
 * the last are known one by one, so that one that was overtaken counts too, once.
 */
export class ReplayGuard {
  readonly #seen = new Map<string, Seen>();

  /** Whether the counter is a new one; from then on it is not. `false` too where there is no room for a new sender. */
  admit(from: NodeId, of: MessageClass, counter: number): boolean {
    const name = `${from} ${of}`;
    const seen = this.#seen.get(name);
    if (seen === undefined) {
      if (this.#seen.size >= SENDERS_MAX * 3) return false;
      this.#seen.set(
        name,
        of === 'heads' ? above(counter) : { floor: counter - OVERTAKEN_MAX, above: new Set([counter]) },
      );
      return true;
    }
    if (counter <= seen.floor || seen.above.has(counter)) return false;
    if (of === 'heads') seen.floor = counter;
    else this.#note(seen, counter);
    return true;
  }

  #note(seen: Seen, counter: number): void {
    seen.above.add(counter);
    if (seen.above.size <= WINDOW) return;
    seen.floor = Math.min(...seen.above);
    seen.above.delete(seen.floor);
  }

  /** Forgets senders that the charter no longer names. */
  retain(nodes: ReadonlySet<NodeId>): void {
    for (const name of this.#seen.keys())
      if (!nodes.has(name.slice(0, 16) as NodeId)) this.#seen.delete(name);
  }
}

const above = (floor: number): Seen => ({ floor, above: new Set() });

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

  /** The message, or null where it is refused or the node's own. @param refused told why it did not open */
  receive(
    delivery: Delivery,
    now: number,
    refused: (code: RefusalCode) => void = () => undefined,
  ): Message | null {
    // An empty retained message only takes a retained one back.
    if (delivery.payload.length === 0 && topicParts(this.keys.town, delivery.topic)?.class === 'heads')
      return null;
    const opened = openMessage(delivery, this.keys, now);
    if ('refusal' in opened) {
      refused(opened.refusal.code);
      return this.refuse(opened.refusal, now);
    }
    const { message } = opened;
    if (message.from === this.self) return null;
    if (!this.guard.admit(message.from, message.class, message.counter)) {
      // The broker hands out what it kept at every connection: that is no replay.
      if (delivery.retained) return null;
      return this.refuse(
        { code: 'replayed', reason: `Its number ${message.counter} was there before, or is too old.` },
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
