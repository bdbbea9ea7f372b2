/**
 * Ed25519 by one rule, because which signatures count is consensus:
 *
 * - A (the public key) and R are canonical encodings (y < p) and neither is of low order (1, 2, 4 or 8);
 * - S < L;
 * - bytes(S·B − k·A) = R, without cofactor, k = SHA-512(R ‖ A ‖ message) mod L.
 *
 * OpenSSL (through node:crypto) decides the equation so, but takes keys and R that the rule refuses: the checks here come
 * first. `verifySignaturePortable` gives the same verdicts from point arithmetic alone; the library's own `verify` does not
 * (it has a cofactor, and by default even takes A = R = identity for every message). Cases: eprint 2020/1244.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  sign as nativeSign,
  verify as nativeVerify,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Point } from '@noble/ed25519';
import { BoundedCache } from './bounded-cache.js';
import { bytesOf, hexOf, sha256 } from './hash.js';
import { invariant, type KeyId, type MemberId, type NodeId } from './ids.js';

const littleEndian = (hex: string): Uint8Array => bytesOf(hex).reverse();

/** The field's prime 2^255 − 19, and the order of the base point, 2^252 + 27742317777372353535851937790883648493. */
const P = littleEndian('7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed');
const L = littleEndian('1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed');

/** The y of all eight points of low order; each x and its negative share one. */
const LOW_ORDER_Y: readonly Uint8Array[] = [
  '0000000000000000000000000000000000000000000000000000000000000000', // order 4
  '0000000000000000000000000000000000000000000000000000000000000001', // the identity
  '7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec', // −1: order 2
  '05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826', // order 8
  '7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7', // order 8
].map(littleEndian);

/** Whether a < b, both 32 bytes, little-endian. Not constant in time: signatures and public keys are no secrets. */
function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 31; i >= 0; i--) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** The last bytes of the y of low order, the sign's bit left out: others need no closer look, and those are 250 of 256. */
const LOW_ORDER_LAST = new Set(LOW_ORDER_Y.map((low) => (low[31] as number) & 0x7f));

/** Whether the 32 bytes encode a y < p that belongs to no point of low order. That a point has this y is not checked here. */
function isCanonicalAndNotLow(encoded: Uint8Array): boolean {
  // p ends with 7f too: with another last byte y is below p.
  if (!LOW_ORDER_LAST.has((encoded[31] as number) & 0x7f)) return true;
  const y = Uint8Array.from(encoded);
  y[31] = (y[31] as number) & 0x7f; // the top bit is the sign of x
  return isBelow(y, P) && !LOW_ORDER_Y.some((low) => low.every((byte, i) => byte === y[i]));
}

function passesPreChecks(publicKey: Uint8Array, signature: Uint8Array): boolean {
  return (
    publicKey.length === 32 &&
    signature.length === 64 &&
    isBelow(signature.subarray(32), L) &&
    isCanonicalAndNotLow(publicKey) &&
    isCanonicalAndNotLow(signature.subarray(0, 32))
  );
}

// DER around a raw key, RFC 8410: PKCS#8 for the seed, SubjectPublicKeyInfo for the public key.
const PKCS8_PREFIX = bytesOf('302e020100300506032b657004220420');
const SPKI_PREFIX = bytesOf('302a300506032b6570032100');

interface SigningKey {
  readonly secret: KeyObject;
  readonly id: KeyId;
}
const signingKeys = new BoundedCache<SigningKey>(64);
const publicKeys = new BoundedCache<KeyObject>(4096);

/** Under its hash, so that the seed itself never becomes a string. */
const signingKeyName = (secretKey: Uint8Array): string => sha256(secretKey);

function signingKeyOf(secretKey: Uint8Array): SigningKey {
  invariant(secretKey.length === 32, 'an Ed25519 secret key is a seed of 32 bytes');
  return signingKeys.get(signingKeyName(secretKey), () => {
    const der = Buffer.concat([PKCS8_PREFIX, secretKey]);
    const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    der.fill(0);
    const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
    return { secret, id: hexOf(spki.subarray(-32)) as KeyId };
  });
}

function publicKeyObject(publicKey: Uint8Array): KeyObject {
  return publicKeys.get(hexOf(publicKey), () =>
    createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' }),
  );
}

/** The Ed25519 signature (64 bytes, RFC 8032, deterministic) by a seed of 32 bytes. */
export function sign(secretKey: Uint8Array, message: Uint8Array): Uint8Array {
  return nativeSign(null, message, signingKeyOf(secretKey).secret);
}

/** Drops what was kept to sign faster with this key: for a member's key when their session ends. */
export function forgetSecretKey(secretKey: Uint8Array): void {
  signingKeys.delete(signingKeyName(secretKey));
}

/** Whether the signature (64 bytes) by the public key (32 bytes) counts, by the rule above. Never throws: wrong lengths are false. */
export function verifySignature(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (!passesPreChecks(publicKey, signature)) return false;
  try {
    return nativeVerify(null, message, publicKeyObject(publicKey), signature);
  } catch {
    return false; // OpenSSL will not make a key of these bytes
  }
}

/** As `verifySignature`, with the same verdicts, on a thread of its own: this one has other things to do meanwhile. */
export function verifySignatureAside(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return new Promise((resolve) => {
    if (!passesPreChecks(publicKey, signature)) return resolve(false);
    try {
      nativeVerify(null, message, publicKeyObject(publicKey), signature, (error, isGood) =>
        resolve(error === null && isGood),
      );
    } catch {
      resolve(false); // OpenSSL will not make a key of these bytes
    }
  });
}

const bigintOf = (bytes: Uint8Array): bigint => BigInt(`0x${hexOf(Uint8Array.from(bytes).reverse()) || '0'}`);

/** As `verifySignature`, with the same verdicts, from the point arithmetic of @noble/ed25519: about 20 times slower. */
export function verifySignaturePortable(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (!passesPreChecks(publicKey, signature)) return false;
  const r = signature.subarray(0, 32);
  let a: Point;
  try {
    a = Point.fromBytes(Uint8Array.from(publicKey));
  } catch {
    return false; // no point of the curve has this y
  }
  const digest = createHash('sha512').update(r).update(publicKey).update(message).digest();
  // Reduced before it multiplies, as everywhere: where A has a part of low order, k and k mod L differ.
  const k = bigintOf(digest) % Point.CURVE().n;
  const s = bigintOf(signature.subarray(32));
  const expected = Point.BASE.multiply(s, false).subtract(a.multiply(k, false));
  return hexOf(expected.toBytes()) === hexOf(r);
}

/** The public key of a seed of 32 bytes. */
export function publicKeyOf(secretKey: Uint8Array): KeyId {
  return signingKeyOf(secretKey).id;
}

/** A node's id: the first 16 hex digits of the SHA-256 of its public key's 32 bytes. */
export function nodeIdOf(key: KeyId): NodeId {
  return sha256(bytesOf(key)).slice(0, 16) as NodeId;
}

/** A member's id, from the member's first key: `m` and 16 hex digits of SHA-256("mergetown/member/v1\0" ‖ key). */
export function memberIdOf(key: KeyId): MemberId {
  return `m${sha256('mergetown/member/v1\0', bytesOf(key)).slice(0, 16)}` as MemberId;
}

/** What is signed for a text: its domain, a zero byte, the text. So no signature of one kind can pass for another kind. */
function messageOf(domain: string, text: string): Uint8Array {
  invariant(domain !== '' && !domain.includes('\0'), 'a signature domain is a name without a zero byte');
  return Buffer.from(`${domain}\0${text}`, 'utf8');
}

/** Base64url without padding, in the one spelling that 64 bytes have: the last character's unused bits are zero. */
export const SIGNATURE_TEXT = /^[A-Za-z0-9_-]{85}[AQgw]$/;

/** Whether a value could be a signature in JSON: 86 characters, the one spelling of 64 bytes in base64url. */
export const isSignatureText = (value: unknown): value is string =>
  typeof value === 'string' && SIGNATURE_TEXT.test(value);

/** Signs a canonical text under a domain such as `mergetown/entry/v1`: 86 characters of base64url. */
export function signText(secretKey: Uint8Array, domain: string, canonicalText: string): string {
  return Buffer.from(sign(secretKey, messageOf(domain, canonicalText))).toString('base64url');
}

/** Whether the signature (as `signText` writes it, else false) of a text under a domain counts. */
export function verifyText(key: KeyId, domain: string, canonicalText: string, signature: string): boolean {
  if (!isSignatureText(signature)) return false;
  return verifySignature(bytesOf(key), messageOf(domain, canonicalText), Buffer.from(signature, 'base64url'));
}

/** As `verifyText`, with the same verdicts, on a thread of its own. */
export function verifyTextAside(
  key: KeyId,
  domain: string,
  canonicalText: string,
  signature: string,
): Promise<boolean> {
  if (!isSignatureText(signature)) return Promise.resolve(false);
  return verifySignatureAside(
    bytesOf(key),
    messageOf(domain, canonicalText),
    Buffer.from(signature, 'base64url'),
  );
}
