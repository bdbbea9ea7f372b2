/** SHA-256 and hex: what the ledger's integrity rests on. */
import { createHash, createHmac, hash } from 'node:crypto';
import { TownError, type Sha256 } from './ids.js';

/** The SHA-256 of the parts one after the other, in hex. Strings count as their UTF-8 bytes; nothing stands between parts. */
export function sha256(...parts: (Uint8Array | string)[]): Sha256 {
  const [first] = parts;
  // One part, as mostly: in one call, which takes half the time.
  if (parts.length === 1 && first !== undefined) return hash('sha256', first) as Sha256;
  const whole = createHash('sha256');
  for (const part of parts) whole.update(part);
  return whole.digest('hex') as Sha256;
}

/** As `sha256`, the 32 bytes. */
export function sha256Bytes(...parts: (Uint8Array | string)[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Lower-case hex of bytes. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/**
 * The bytes of lower-case hex.
 * @throws TownError `not-hex` on an odd length, upper case or any other character (Node itself would cut the text short).
 */
export function bytesOf(hex: string): Uint8Array {
  if (hex.length % 2 !== 0 || !/^[0-9a-f]*$/.test(hex)) {
    throw new TownError('not-hex', 'Expected an even number of lower-case hex digits.');
  }
  return Buffer.from(hex, 'hex');
}

/** HMAC-SHA-256 of a text's UTF-8 bytes, in hex. */
export function hmacSha256(key: Uint8Array, text: string): string {
  return createHmac('sha256', key).update(text).digest('hex');
}
