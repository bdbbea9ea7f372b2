/** How a badge number becomes the keyed hash that the ledger and the rights table know it by. */
import { createHmac } from 'node:crypto';

/**
 * HMAC-SHA-256 of the badge number (UTF-8, exactly as the reader gives it), 64 hex digits.
 * `badgeKey`: 64 hex digits, used as 32 bytes. Whoever enrols a badge must use this same function.
 */
export function badgeHash(badgeKey: string, badgeNumber: string): string {
  return createHmac('sha256', Buffer.from(badgeKey, 'hex')).update(badgeNumber, 'utf8').digest('hex');
}
