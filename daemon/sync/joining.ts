/**
 * The words of joining: what a node that was invited asks, and what its host answers. Each is sealed with a key that comes from
 * the invitation's secret, so the broker learns nothing; each is signed by who says it, so holding the invitation is not enough
 * to speak for the host. The two sides are in joining-asker.ts and joining-host.ts.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { canonicalize } from '../ledger/canonical.js';
import { openEnvelope, sealEnvelope } from '../ledger/envelope.js';
import type { Json, JsonObject, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf, SIGNATURE_TEXT, signText, verifyText } from '../ledger/signature.js';
import type { Invitation } from './invitation.js';
import { PARTS_MAX, SPLIT_CHARS_MAX } from './split-welcome.js';

export const ASK_BYTES_MAX = 4 * 1024;
export const ANSWER_BYTES_MAX = 256 * 1024;
/** Sealed twice and written in base64url twice, this fits an answer. */
export const WELCOME_BYTES_MAX = 128 * 1024;
/** How long after its expiry an invitation that was shown in time is still answered: a steward may take days. */
export const GRACE_MS = 7 * 86_400_000;

const ASK_DOMAIN = 'mergetown/join-ask/v1';
const ANSWER_DOMAIN = 'mergetown/join-answer/v1';
const HANDLE = 'join';

export type Direction = 'ask' | 'answer';

export const joinTopic = (town: Sha256, invitation: string, direction: Direction): string =>
  `mergetown/${town.slice(0, 16)}/join/${invitation}/${direction}`;

/** What the host subscribes to. */
export const joinAskFilter = (town: Sha256): string => `mergetown/${town.slice(0, 16)}/join/+/ask`;

/** The parts of a topic of this module, else null. */
export function readJoinTopic(
  topic: string,
): { readonly town16: string; readonly invitation: string; readonly direction: Direction } | null {
  const found = /^mergetown\/([0-9a-f]{16})\/join\/([0-9a-f]{16})\/(ask|answer)$/.exec(topic);
  if (!found) return null;
  const [, town16, invitation, direction] = found as unknown as [string, string, string, Direction];
  return { town16, invitation, direction };
}

const closed = { additionalProperties: false } as const;
const Hex = (digits: number) => Type.String({ pattern: `^[0-9a-f]{${digits}}$` });
const Signature = Type.String({ pattern: SIGNATURE_TEXT.source });
const CODE = /^[a-z][a-z0-9-]{0,63}$/;
/** Characters of a refusal's reason. */
export const REASON_MAX = 250;
export const isRefusalCode = (text: string): boolean => CODE.test(text);

const AskSchema = Type.Object(
  {
    town: Hex(64),
    invitation: Hex(16),
    /** The asker's Ed25519 key: its node for ever. */
    key: Hex(64),
    /** Its X25519 key: the welcome is sealed to it. */
    sealing: Hex(64),
    name: Type.String({ minLength: 1, maxLength: 60 }),
    /** 16 random bytes, one for each attempt to join: an answer names it, so that no older answer counts. */
    nonce: Hex(32),
    /** By a node that was welcomed: the part, from 1, that it wants of what the town split off with. */
    part: Type.Optional(Type.Integer({ minimum: 1, maximum: PARTS_MAX })),
    sig: Signature,
  },
  closed,
);
export type Ask = Static<typeof AskSchema>;

const AnswerBase = { town: Hex(64), invitation: Hex(16), nonce: Hex(32), host: Hex(64), sig: Signature };
const AnswerSchema = Type.Union([
  Type.Object({ ...AnswerBase, status: Type.Literal('waiting') }, closed),
  Type.Object(
    {
      ...AnswerBase,
      status: Type.Literal('refused'),
      code: Type.String({ pattern: CODE.source }),
      reason: Type.String({ pattern: '^[^\\x00-\\x1f\\x7f-\\x9f]*$', maxLength: 2 * REASON_MAX }),
    },
    closed,
  ),
  Type.Object({ ...AnswerBase, status: Type.Literal('welcome'), sealed: Type.String() }, closed),
  Type.Object(
    {
      ...AnswerBase,
      status: Type.Literal('part'),
      part: Type.Integer({ minimum: 1, maximum: PARTS_MAX }),
      sealed: Type.String(),
    },
    closed,
  ),
]);
export type Answer = Static<typeof AnswerSchema>;

/** What is said, without to whom. */
export type AnswerContent =
  | { readonly status: 'waiting' }
  | { readonly status: 'refused'; readonly code: string; readonly reason: string }
  | { readonly status: 'welcome'; readonly sealed: string }
  /** A part of what the town split off with, sealed to the node that was welcomed. */
  | { readonly status: 'part'; readonly part: number; readonly sealed: string };

/** As in the charter; what later charters add to a node comes along. */
const NodeRecord = Type.Object({
  name: Type.String({ maxLength: 60 }),
  key: Hex(64),
  roles: Type.Array(Type.String({ maxLength: 32 }), { maxItems: 8 }),
});

const WelcomeSchema = Type.Object(
  {
    town: Hex(64),
    /** `raw`: the commit, base64. */
    genesis: Type.Object(
      {
        raw: Type.String(),
        charter: Type.Unknown(),
        nonce: Hex(64),
        /** Of a town that split from another: what it began with, as split-welcome.ts packs it. */
        split: Type.Optional(
          Type.Object(
            {
              origin: Type.Object(
                { town: Hex(64), merge: Hex(64), height: Type.Integer({ minimum: 0, maximum: 2 ** 48 - 1 }) },
                closed,
              ),
              state: Type.String({ maxLength: SPLIT_CHARS_MAX }),
              /** Where the state is not in the welcome: in how many parts it is asked for. */
              parts: Type.Optional(Type.Integer({ minimum: 2, maximum: PARTS_MAX })),
            },
            closed,
          ),
        ),
      },
      closed,
    ),
    /** The newest merge the host has: `nodes` is of its charter. */
    checkpoint: Type.Object(
      { height: Type.Integer({ minimum: 0, maximum: 2 ** 48 - 1 }), id: Hex(64) },
      closed,
    ),
    /** 32 bytes in hex. */
    townKey: Hex(64),
    /** At which height it was made (key-ring.ts); left out of the one that the town was founded with. */
    townKeyHeight: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 48 - 1 })),
    /** 32 bytes in hex; null for a hub, which has no badges to tell apart. */
    badgeKey: Type.Union([Hex(64), Type.Null()]),
    /** The charter's nodes by id: whose messages count. */
    nodes: Type.Record(Hex(16), NodeRecord),
  },
  closed,
);
export type Welcome = Static<typeof WelcomeSchema>;

export const isWelcome = (value: unknown): value is Welcome => Value.Check(WelcomeSchema, value);

/** What a welcome is sealed about: it opens for this node and this invitation alone. */
export const welcomeAbout = (town: string, invitation: string, key: string): string =>
  `mergetown/welcome/v1/${town}/${invitation}/${key}`;

/** What a part of the state is sealed about. */
export const partAbout = (town: string, invitation: string, key: string, part: number): string =>
  `${welcomeAbout(town, invitation, key)}/part/${part}`;

/** The text without its signature, as it is signed. */
function signedText(signed: JsonObject): string {
  const { sig: _, ...content } = signed;
  return canonicalize(content);
}

/** What an asker says: signed once, and repeated in the same bytes. */
export function makeAsk(content: Omit<Ask, 'sig' | 'key'>, secretKey: Uint8Array): Ask {
  const ask = { ...content, key: publicKeyOf(secretKey) as string };
  return { ...ask, sig: signText(secretKey, ASK_DOMAIN, canonicalize(ask)) };
}

/** Whether the asker holds the node key it names: the signature covers town, invitation, both keys, name and nonce. */
export const isProven = (ask: Ask): boolean =>
  verifyText(ask.key as KeyId, ASK_DOMAIN, signedText(ask), ask.sig);

/** What a host says to one ask. */
export function makeAnswer(
  to: Pick<Ask, 'town' | 'invitation' | 'nonce'>,
  content: AnswerContent,
  secretKey: Uint8Array,
): Answer {
  const { town, invitation, nonce } = to;
  const answer = { town, invitation, nonce, host: publicKeyOf(secretKey) as string, ...content };
  return { ...answer, sig: signText(secretKey, ANSWER_DOMAIN, canonicalize(answer)) };
}

/** Whether the node that the invitation names said this. */
export const isFromHost = (answer: Answer, host: NodeId): boolean =>
  nodeIdOf(answer.host as KeyId) === host &&
  verifyText(answer.host as KeyId, ANSWER_DOMAIN, signedText(answer), answer.sig);

/** Two keys for one topic, so for one direction of one invitation: one seals, one makes nonces. */
function topicKeys(secret: string, topic: string): { readonly key: Buffer; readonly nonceKey: Buffer } {
  const info = Buffer.from(`mergetown/join/v1\0${topic}`);
  const bytes = Buffer.from(hkdfSync('sha256', Buffer.from(secret, 'base64url'), '', info, 64));
  return { key: bytes.subarray(0, 32), nonceKey: bytes.subarray(32) };
}

/**
 * Seals an ask or answer for its topic. The nonce comes from the text (as in RFC 5297, SIV): equal texts give equal messages,
 * two different ones share a nonce with a probability of 2^-96, and nobody has to bring randomness.
 */
export function sealJoining(invitation: Invitation, direction: Direction, value: Ask | Answer): string {
  const topic = joinTopic(invitation.town, invitation.id, direction);
  const { key, nonceKey } = topicKeys(invitation.secret, topic);
  const nonce = createHmac('sha256', nonceKey).update(canonicalize(value)).digest().subarray(0, 12);
  return canonicalize(sealEnvelope(key, HANDLE, value as Json, topic, nonce));
}

/** The value in a message on a topic of the invitation; undefined when it is not sealed with its secret for this direction. */
function opened(invitation: Invitation, direction: Direction, payload: string): Json | undefined {
  const topic = joinTopic(invitation.town, invitation.id, direction);
  try {
    const { key } = topicKeys(invitation.secret, topic);
    return openEnvelope(key, JSON.parse(payload) as JsonObject, topic);
  } catch {
    return undefined;
  }
}

/** The ask in a message, or why there is none. Neither its town nor its proof is checked here. */
export function openAsk(invitation: Invitation, payload: string): Ask | 'not-sealed' | 'bad-ask' {
  const value = opened(invitation, 'ask', payload);
  if (value === undefined) return 'not-sealed';
  return Value.Check(AskSchema, value) && value.invitation === invitation.id ? value : 'bad-ask';
}

/** The answer in a message, or why there is none. Its signature is not checked here. */
export function openAnswer(invitation: Invitation, payload: string): Answer | 'not-sealed' | 'bad-answer' {
  const value = opened(invitation, 'answer', payload);
  if (value === undefined) return 'not-sealed';
  return Value.Check(AnswerSchema, value) && value.invitation === invitation.id ? value : 'bad-answer';
}

/** Counts by name; the names are few and fixed, so the count is bounded. */
export type Counts<Name extends string> = { readonly [name in Name]?: number };

export const counted = <Name extends string>(counts: Counts<Name>, name: Name): Counts<Name> => ({
  ...counts,
  [name]: (counts[name] ?? 0) + 1,
});
