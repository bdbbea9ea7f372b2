/**
 * Sealing to one reader: X25519 with a key made for this one text, HKDF-SHA256, AES-256-GCM. What a node alone may read
 * (the town's key, a member's records) is sealed to the key that it publishes. Who sealed it is not said: sign it where that counts.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { BoundedCache } from './bounded-cache.js';
import { bytesOf, hexOf } from './hash.js';
import { invariant, TownError } from './ids.js';

declare const brand: unique symbol;
/** 64 lower-case hex digits: an X25519 public key that texts can be sealed to. */
export type SealingKey = string & { readonly [brand]: 'SealingKey' };

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** What is sealed at most: a bound on what opening takes. */
export const SEALED_PLAIN_BYTES_MAX = 1024 * 1024;

// DER around a raw key, RFC 8410: PKCS#8 for the secret, SubjectPublicKeyInfo for the public key.
const PKCS8_PREFIX = bytesOf('302e020100300506032b656e04220420');
const SPKI_PREFIX = bytesOf('302a300506032b656e032100');

function secretObject(secretKey: Uint8Array): KeyObject {
  invariant(secretKey.length === KEY_BYTES, 'an X25519 secret key has 32 bytes');
  const der = Buffer.concat([PKCS8_PREFIX, secretKey]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  return key;
}

const publicObject = (publicKey: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' });

const publicBytesOf = (secret: KeyObject): Uint8Array =>
  createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES);

/** The public key of an X25519 secret: any 32 random bytes. */
export function sealingKeyOf(secretKey: Uint8Array): SealingKey {
  return hexOf(publicBytesOf(secretObject(secretKey))) as SealingKey;
}

/** Null for a point of low order (RFC 7748, 6.1): everybody could know the secret that is shared with it. */
function sharedSecret(secret: KeyObject, publicKey: Uint8Array): Uint8Array | null {
  try {
    const shared = diffieHellman({ privateKey: secret, publicKey: publicObject(publicKey) });
    return shared.every((byte) => byte === 0) ? null : shared;
  } catch {
    return null;
  }
}

/** Any secret: points of low order give zero with each of them. */
const PROBE = secretObject(Buffer.alloc(KEY_BYTES, 1));
/** Kept: the sealing keys of a charter's nodes are looked at with every merge, and each look takes an operation on the curve. */
const verdicts = new BoundedCache<boolean>(4096);

/** Whether a text is a key that can be sealed to: 64 hex digits, and no point of low order. */
export function isSealingKey(text: unknown): text is SealingKey {
  if (typeof text !== 'string' || !/^[0-9a-f]{64}$/.test(text)) return false;
  return verdicts.get(text, () => sharedSecret(PROBE, bytesOf(text)) !== null);
}

/**
 * What two holders of keys both know and nobody else does, for one purpose: 32 bytes.
 * @param about what it is for, and between whom; the same on both sides
 * @throws TownError `bad-sealing-key`
 */
export function sharedKey(secretKey: Uint8Array, publicKey: string, about: string): Uint8Array {
  const other = /^[0-9a-f]{64}$/.test(publicKey) ? bytesOf(publicKey) : null;
  const shared = other && sharedSecret(secretObject(secretKey), other);
  if (!shared)
    throw new TownError(
      'bad-sealing-key',
      'Nothing can be shared with this key: it is no X25519 public key.',
    );
  return new Uint8Array(
    hkdfSync('sha256', shared, '', Buffer.from(`mergetown/shared/v1\0${about}`), KEY_BYTES),
  );
}

/** Key and nonce for this one text. Both public keys go in, so that neither can be exchanged (RFC 9180 does the same). */
function keyAndNonce(shared: Uint8Array, ephemeral: Uint8Array, reader: Uint8Array, about: string) {
  const info = Buffer.from(`mergetown/sealing/v1\0${about}`);
  const salt = Buffer.concat([ephemeral, reader]);
  const bytes = Buffer.from(hkdfSync('sha256', shared, salt, info, KEY_BYTES + NONCE_BYTES));
  return { key: bytes.subarray(0, KEY_BYTES), nonce: bytes.subarray(KEY_BYTES) };
}

/**
 * Seals bytes (at most 1 MiB) to the holder of a key.
 * @param about what they belong to; authenticated, not stored: the reader must say the same
 * @param ephemeralSecret 32 random bytes, made for this call and never used again
 * @returns base64url of: ephemeral public key (32 bytes), cipher text, tag (16)
 * @throws TownError `bad-sealing-key` when nothing can be sealed to this key
 */
export function sealTo(
  publicKey: string,
  bytes: Uint8Array,
  about: string,
  ephemeralSecret: Uint8Array,
): string {
  invariant(bytes.length <= SEALED_PLAIN_BYTES_MAX, 'at most 1 MiB is sealed at once');
  const ephemeral = secretObject(ephemeralSecret);
  const reader = /^[0-9a-f]{64}$/.test(publicKey) ? bytesOf(publicKey) : null;
  const shared = reader && sharedSecret(ephemeral, reader);
  if (!reader || !shared)
    throw new TownError('bad-sealing-key', 'Nothing can be sealed to this key: it is no X25519 public key.');
  const ephemeralPublic = publicBytesOf(ephemeral);
  const { key, nonce } = keyAndNonce(shared, ephemeralPublic, reader, about);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  const sealed = [ephemeralPublic, cipher.update(bytes), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(sealed).toString('base64url');
}

/**
 * The bytes that were sealed to the key of this secret.
 * @throws TownError `sealed` when it is malformed, was sealed to another key or about something else, or changed since
 */
export function openSealed(secretKey: Uint8Array, sealed: string, about: string): Uint8Array {
  const unopened = (why: string): TownError =>
    new TownError('sealed', `This text cannot be opened here: ${why}.`);
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.toString('base64url') !== sealed) throw unopened('it is not base64url');
  if (bytes.length < KEY_BYTES + TAG_BYTES) throw unopened('it is too short');
  if (bytes.length > KEY_BYTES + SEALED_PLAIN_BYTES_MAX + TAG_BYTES) throw unopened('it is too long');
  const ephemeralPublic = bytes.subarray(0, KEY_BYTES);
  const secret = secretObject(secretKey);
  const shared = sharedSecret(secret, ephemeralPublic);
  if (!shared) throw unopened('it does not begin with a key');
  const { key, nonce } = keyAndNonce(shared, ephemeralPublic, publicBytesOf(secret), about);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(KEY_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    throw unopened('it was sealed to another key, or about something else, or changed since');
  }
}
