/** The code that carries a key from the node that made it to one where its member can sign in. No secret is in it. */
import { canonicalize } from '../ledger/canonical.js';
import { sha256 } from '../ledger/hash.js';
import type { JsonObject, KeyId, MemberId, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError, isKeyId, isMemberId, isNodeId, isSha256 } from '../ledger/ids.js';
import { KEY_DOMAIN, keyProofText } from '../ledger/kernel.js';
import { signText, verifyText } from '../ledger/signature.js';

export interface KeyCode {
  readonly town: Sha256;
  readonly member: MemberId;
  readonly key: KeyId;
  /** The key's signature for this member of this town: 86 characters of base64url. */
  readonly proof: string;
  /** Where the key lies. Told, not proven. */
  readonly node: NodeId;
}

const CODE_LENGTH_MAX = 1024;
const CHECKSUM_LENGTH = 8;

const checksumOf = (text: string): string =>
  sha256('mergetown/key-code/v1\0', text).slice(0, CHECKSUM_LENGTH);

/** A code with the proof that the key is there and means this member. */
export function makeKeyCode(
  place: { readonly town: Sha256; readonly member: MemberId; readonly key: KeyId; readonly node: NodeId },
  secretKey: Uint8Array,
): string {
  const { town, member, key } = place;
  return writeKeyCode({ ...place, proof: signText(secretKey, KEY_DOMAIN, keyProofText(town, member, key)) });
}

/** One line: base64url of canonical JSON, a dot, and eight digits that tell a typing error. */
export function writeKeyCode({ town, member, key, proof, node }: KeyCode): string {
  const text = Buffer.from(canonicalize({ v: 1, town, member, key, proof, node })).toString('base64url');
  return `${text}.${checksumOf(text)}`;
}

/** @throws TownError `bad-key-code` where it is cut, mistyped, or its proof does not hold */
export function readKeyCode(code: string): KeyCode {
  const bad = (why: string): TownError =>
    new TownError(
      'bad-key-code',
      `This is no code of a key: ${why}.`,
      'Copy the whole line that town key request printed.',
    );
  // Mail and chat programs break long lines.
  const [text = '', checksum = '', ...more] = code.replace(/\s+/g, '').split('.');
  if (code.length > CODE_LENGTH_MAX || more.length > 0 || !/^[A-Za-z0-9_-]+$/.test(text))
    throw bad('it has another form');
  if (checksum !== checksumOf(text)) throw bad('it is cut or mistyped');
  const value = parse(Buffer.from(text, 'base64url').toString('utf8'));
  const { town, member, key, proof, node } = value ?? {};
  const isWhole =
    value?.['v'] === 1 &&
    isSha256(town) &&
    isMemberId(member) &&
    isKeyId(key) &&
    isNodeId(node) &&
    typeof proof === 'string' &&
    Object.keys(value).length === 6;
  if (!isWhole) throw bad('something is missing in it');
  if (!verifyText(key, KEY_DOMAIN, keyProofText(town, member, key), proof))
    throw bad('its proof does not hold');
  return { town, member, key, proof, node };
}

function parse(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as JsonObject)
      : null;
  } catch {
    return null;
  }
}
