/**
 * The packets of broker and client (both write them with mqtt-packet) without its two tables. That of all 65,536 two-byte numbers is
 * filled by the first packet: 8 MiB, for a handful of numbers. That of lengths below 16,384 keeps each in four bytes cut out of 8 KiB,
 * all of which stay: 125 MiB when there was a packet of every length. Imported for that effect, before whoever imports mqtt-packet.
 */
import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);

/** The bytes of a length: seven bits in each, the last without the eighth. */
type LengthBytes = (length: number) => Buffer;

/** Below that mqtt-packet keeps what it has made; two bytes hold it. */
const KEPT_BELOW = 16_384;
const kept = Buffer.allocUnsafeSlow(2 * KEPT_BELOW);

// Taken up by mqtt-packet when it is loaded: thus before.
const numbers = load('mqtt-packet/numbers') as { genBufVariableByteInt: LengthBytes };
const bytesOf = numbers.genBufVariableByteInt;
numbers.genBufVariableByteInt = (length) => {
  const bytes = bytesOf(length);
  if (length >= KEPT_BELOW) return bytes;
  bytes.copy(kept, 2 * length);
  return kept.subarray(2 * length, 2 * length + bytes.length);
};

const { writeToStream } = load('mqtt-packet') as { writeToStream: { cacheNumbers: boolean } };
writeToStream.cacheNumbers = false;
