/**
 * What stands in the files of keys, with a sum: of a key nothing else on the node tells whether a bit of it has flipped. Files from
 * before there were sums are read as they are.
 */
import { canonicalize } from '../ledger/canonical.js';
import { bytesOf, hexOf, sha256 } from '../ledger/hash.js';
import type { Json, KeyId, MemberId } from '../ledger/ids.js';
import { isKeyId, isMemberId } from '../ledger/ids.js';

/** A member's key as it lies on this node: under the member's passphrase. */
export interface KeptKey {
  readonly v: 1;
  readonly member: MemberId;
  /** The name the member signs in with. Personal: it stands here and nowhere in the ledger. */
  readonly name: string;
  readonly key: KeyId;
  /** When it was asked for: milliseconds. Absent: the member's, by the ledger or by an entry of this node. */
  readonly requested?: number;
  readonly kdf: {
    readonly name: 'scrypt';
    readonly n: number;
    readonly r: number;
    readonly p: number;
    readonly salt: string;
  };
  readonly iv: string;
  readonly ct: string;
}

/** What a file's text says: the value; `flipped` where it is not the one that was written; null where it is of another form. */
export type Read<T> =
  { readonly t: 'key'; readonly value: T; readonly summed: boolean } | { readonly t: 'flipped' } | null;

const SUM_DIGITS = 16;
const sumOf = (about: string, text: string): string =>
  sha256(`mergetown/key-file/v1 ${about} ${text}`).slice(0, SUM_DIGITS);

/** The text of a file in `keys/`. @param name of the file, which the sum is bound to */
export function keyText(name: string, key: Uint8Array): string {
  const hex = hexOf(key);
  return `${hex}\nsum ${sumOf(name, hex)}\n`;
}

export function readKeyText(name: string, text: string): Read<Uint8Array> {
  const [, hex, summed, sum] = /^([0-9a-f]{64})(?:\n(sum ([0-9a-f]{16})\n)?)?$/.exec(text) ?? [];
  if (hex === undefined) return null;
  if (sum !== undefined && sum !== sumOf(name, hex)) return { t: 'flipped' };
  return { t: 'key', value: bytesOf(hex), summed: summed !== undefined };
}

/** A JSON object with its sum. @param about what it is, which the sum is bound to */
export const summed = <T extends object>(about: string, value: T): T & { readonly sum: string } => ({
  ...value,
  sum: sumOf(about, canonicalize(value as unknown as Json)),
});

/** The object in a text of `summed`. @param fields that it may have: a word that flipped would be another one */
export function readSummed(about: string, text: string, fields: ReadonlySet<string>): Read<object> {
  let found: { readonly sum?: unknown };
  let canonical: string;
  try {
    found = JSON.parse(text) as typeof found;
    if (typeof found !== 'object' || found === null || Array.isArray(found)) return null;
    const { sum: _, ...rest } = found;
    canonical = canonicalize(rest as unknown as Json);
  } catch {
    return null;
  }
  const { sum, ...value } = found;
  const isStrange = Object.keys(value).some((field) => !fields.has(field));
  if (isStrange || (sum !== undefined && sum !== sumOf(about, canonical))) return { t: 'flipped' };
  return { t: 'key', value, summed: sum !== undefined };
}

const MEMBER = 'member';
const FIELDS: ReadonlySet<string> = new Set(['v', 'member', 'name', 'key', 'requested', 'kdf', 'iv', 'ct']);

export const keptKeyText = (kept: KeptKey): string => `${JSON.stringify(summed(MEMBER, kept), null, 2)}\n`;

export function readKeptKey(text: string): Read<KeptKey> {
  const found = readSummed(MEMBER, text, FIELDS);
  if (found?.t !== 'key') return found;
  const value = found.value as KeptKey;
  return value.v === 1 && isMemberId(value.member) && isKeyId(value.key) ? { ...found, value } : null;
}

/**
 * The bytes of a file with the one bit set right that makes it what was written; null where there is no such bit, or more than one.
 * @param isWhole whether a text is as it was written, by its sum
 */
export function withoutFlip(bytes: Uint8Array, isWhole: (text: string) => boolean): Uint8Array | null {
  const tried = Buffer.from(bytes);
  let found: Uint8Array | null = null;
  for (let bit = 0; bit < tried.length * 8; bit += 1) {
    const mask = 1 << (bit & 7);
    tried[bit >> 3] = (tried[bit >> 3] as number) ^ mask;
    // What is no UTF-8 was not written by this program: decoding it would hide that.
    if (isWhole(tried.toString('utf8')) && Buffer.from(tried.toString('utf8')).equals(tried)) {
      if (found !== null) return null;
      found = Buffer.from(tried);
    }
    tried[bit >> 3] = (tried[bit >> 3] as number) ^ mask;
  }
  return found;
}
