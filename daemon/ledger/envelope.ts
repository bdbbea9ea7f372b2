/**
 * Personal fields in the ledger: AES-256-GCM under a random key that lives outside git. Who destroys the key makes the
 * record unreadable and leaves the history intact.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { canonicalize, parseCanonical } from './canonical.js';
import { invariant, TownError, type Json, type JsonObject } from './ids.js';

const TAG_BYTES = 16;
const NONCE_BYTES = 12;

/**
 * What the cipher text is bound to beside its key: the name of the key and what the value is about,
 * so that a sealed value moved to another person's record does not open there.
 */
const boundTo = (handle: string, about: string): Buffer =>
  Buffer.from(`mergetown/envelope/v1\0${canonicalize([handle, about])}`);

const isHandle = (handle: unknown): handle is string =>
  typeof handle === 'string' && /^[A-Za-z0-9._:/-]{1,128}$/.test(handle);

/** The bytes of base64url in its one spelling: unused bits zero, no padding; null for anything else. */
function base64urlBytes(text: unknown): Buffer | null {
  if (typeof text !== 'string') return null;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

/**
 * Seals a JSON value.
 * @param key 32 random bytes; @param handle names the key (1–128 of letters, digits, `._:/-`)
 * @param about what the value belongs to, e.g. `membership/people/p0123…`; authenticated, not stored
 * @param nonce 12 bytes, never twice with one key
 * @returns `{enc: 1, key: handle, iv, ct}`, base64url; `ct` ends with the 16-byte tag
 */
export function sealEnvelope(
  key: Uint8Array,
  handle: string,
  value: Json,
  about: string,
  nonce: Uint8Array,
): JsonObject {
  invariant(
    key.length === 32 && nonce.length === NONCE_BYTES,
    'an envelope has a key of 32 bytes and a nonce of 12',
  );
  invariant(isHandle(handle), 'the handle of an envelope key is a short plain name');
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundTo(handle, about));
  const sealed = [cipher.update(canonicalize(value), 'utf8'), cipher.final(), cipher.getAuthTag()];
  return {
    enc: 1,
    key: handle,
    iv: Buffer.from(nonce).toString('base64url'),
    ct: Buffer.concat(sealed).toString('base64url'),
  };
}

interface EnvelopeParts {
  readonly handle: string;
  readonly nonce: Buffer;
  /** With the tag at its end. */
  readonly sealed: Buffer;
}

/** Null where it is no envelope: these four fields, well-formed, and nothing else. */
function partsOf(value: Json): EnvelopeParts | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { enc, key: handle, iv, ct, ...others } = value as JsonObject;
  if (enc !== 1 || !isHandle(handle) || Object.keys(others).length > 0) return null;
  const nonce = base64urlBytes(iv);
  const sealed = base64urlBytes(ct);
  // No JSON value is empty: there is more than the tag.
  return nonce?.length === NONCE_BYTES && sealed !== null && sealed.length > TAG_BYTES
    ? { handle, nonce, sealed }
    : null;
}

/** Whether a value is a well-formed envelope. */
export const isEnvelope = (value: Json): value is JsonObject => partsOf(value) !== null;

function unopened(why: string): TownError {
  return new TownError('envelope', `This record cannot be read: ${why}.`);
}

/**
 * The value in an envelope.
 * @throws TownError `envelope` when it is malformed, or was sealed with another key or about something else.
 */
export function openEnvelope(key: Uint8Array, envelope: JsonObject, about: string): Json {
  const parts = partsOf(envelope);
  if (parts === null) throw unopened('it is not a sealed envelope');
  if (key.length !== 32) throw unopened('its key is not 32 bytes');
  const { handle, nonce, sealed } = parts;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(boundTo(handle, about));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    const plain = Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
    return parseCanonical(plain.toString('utf8'));
  } catch {
    throw unopened('it was sealed with another key, or for another record, or changed since');
  }
}

/**
 * The name of the key that an envelope was sealed with.
 * @throws TownError `envelope` when it is not one.
 */
export function envelopeHandle(envelope: JsonObject): string {
  const parts = partsOf(envelope);
  if (parts === null) throw unopened('it is not a sealed envelope');
  return parts.handle;
}
