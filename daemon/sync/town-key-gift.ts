/**
 * How a node gives the town's key to another: sealed to the X25519 key of the one, signed by the other, so that it arrives also where
 * the old key has been given up and the new one is not there yet. Goes over the reader's own topic, beside what is sealed with the
 * town's key. An older gift that is sent once more does nothing: the keys have an order (town-keys.ts). Pure.
 */
import { canonicalize, parseCanonical } from '../ledger/canonical.js';
import type { Json, JsonObject, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { isNodeId, TownError } from '../ledger/ids.js';
import { bytesOf, hexOf } from '../ledger/hash.js';
import { openSealed, sealTo } from '../ledger/sealing.js';
import { signText, verifyText } from '../ledger/signature.js';
import type { Delivery } from './message.js';

const DOMAIN = 'mergetown/town-key/v1';
export const GIFT_BYTES_MAX = 64 * 1024;
/** A charter has fewer nodes. */
const KNOWN_BY_MAX = 1_000;
/** As `canonicalize` writes it: no sealed message begins so. */
const BEGINNING = '{"from":"';

/** A key of the town, and what is said of it. */
export interface HeldKey {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** The height of `main` where it was made; 0: the one that the town was founded with, or this node welcomed with. */
  readonly generation: number;
  /** Nodes that may know it. */
  readonly knownBy: readonly NodeId[];
}

export interface GiftWay {
  readonly town: Sha256;
  readonly from: NodeId;
  readonly to: NodeId;
}

const aboutOf = ({ town, from, to }: GiftWay): string => `${DOMAIN} ${town} ${from} ${to}`;
const signedText = ({ town, from, to }: GiftWay, sealed: string): string =>
  canonicalize({ town, from, to, sealed });

/**
 * @param readerKey the reader's X25519 key; @param ephemeral 32 random bytes, never used again
 * @returns the text to publish on the reader's topic
 * @throws TownError `bad-sealing-key`
 */
export function makeGift(
  way: GiftWay,
  { key, generation, knownBy }: HeldKey,
  secretKey: Uint8Array,
  readerKey: string,
  ephemeral: Uint8Array,
): string {
  const content = { key: hexOf(key), generation, knownBy: knownBy.slice(0, KNOWN_BY_MAX) };
  const sealed = sealTo(readerKey, Buffer.from(canonicalize(content)), aboutOf(way), ephemeral);
  const { from, to } = way;
  return canonicalize({ v: 1, from, to, sealed, sig: signText(secretKey, DOMAIN, signedText(way, sealed)) });
}

/** Whether a delivery looks like a gift, and not like a sealed message. */
export const looksLikeGift = ({ payload }: Delivery): boolean =>
  payload.length <= GIFT_BYTES_MAX &&
  Buffer.from(payload.subarray(0, BEGINNING.length)).toString('latin1') === BEGINNING;

/**
 * The key that is given to this node.
 * @throws TownError `malformed`, `misaddressed`, `unknown-node`, `bad-signature`, `sealed`
 */
export function readGift(
  { payload, retained }: Delivery,
  { town, self }: { readonly town: Sha256; readonly self: NodeId },
  keyOf: (node: NodeId) => KeyId | undefined,
  sealingSecret: Uint8Array,
): { readonly from: NodeId; readonly held: HeldKey } {
  const bad = (what: string): TownError => new TownError('malformed', `It gives no key: ${what}.`);
  if (retained) throw new TownError('retained-command', 'Only heads may be kept by the broker.');
  const { v, from, to, sealed, sig, ...more } = objectIn(Buffer.from(payload).toString('utf8')) ?? {};
  if (v !== 1 || !isNodeId(from) || typeof sealed !== 'string' || typeof sig !== 'string')
    throw bad('it has another shape');
  if (Object.keys(more).length > 0) throw bad('it has more fields than that');
  if (to !== self) throw new TownError('misaddressed', 'The key is for another node.');
  const signer = keyOf(from);
  if (signer === undefined)
    throw new TownError('unknown-node', `Its sender ${from} is not a node of the charter.`);
  const way: GiftWay = { town, from, to: self };
  if (!verifyText(signer, DOMAIN, signedText(way, sealed), sig))
    throw new TownError('bad-signature', `It is not signed by ${from}.`);
  const text = Buffer.from(openSealed(sealingSecret, sealed, aboutOf(way))).toString('utf8');
  const { key, generation, knownBy } = objectIn(text) ?? {};
  if (typeof key !== 'string' || !/^[0-9a-f]{64}$/.test(key)) throw bad('the key is none');
  if (!Number.isSafeInteger(generation) || (generation as number) < 1) throw bad('its height is none');
  if (!Array.isArray(knownBy) || knownBy.length > KNOWN_BY_MAX || !knownBy.every(isNodeId))
    throw bad('who knows it is no list of nodes');
  return { from, held: { key: bytesOf(key), generation: generation as number, knownBy } };
}

function objectIn(text: string): JsonObject | null {
  let value: Json;
  try {
    value = parseCanonical(text);
  } catch {
    return null;
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}
