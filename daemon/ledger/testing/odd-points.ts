/** For tests of signatures: points of low order in every spelling, and the verdict of both ways to verify, which must be one. */
import { Point } from '@noble/ed25519';
import { hexOf } from '../hash.js';
import { verifySignature, verifySignaturePortable } from '../signature.js';

/** The order of the base point. */
export const L = Point.CURVE().n;

/** 32 bytes, the lowest first. */
export const little = (n: bigint): Uint8Array =>
  Buffer.from(n.toString(16).padStart(64, '0'), 'hex').reverse();
export const bigOf = (bytes: Uint8Array): bigint => BigInt(`0x${hexOf(Uint8Array.from(bytes).reverse())}`);

/** The verdict of both ways. Where they differ, `t` fails. */
export function verdict(
  t: { fail(message: string): unknown },
  key: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const native = verifySignature(key, message, signature);
  if (verifySignaturePortable(key, message, signature) !== native) {
    t.fail(`the two ways differ on ${hexOf(key)} ${hexOf(message)} ${hexOf(signature)}`);
  }
  return native;
}

/** All eight points of low order. */
export const lowOrder: readonly Point[] = (() => {
  const generator = Point.fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a');
  return Array.from({ length: 8 }, (_, i) => generator.multiply(BigInt(i), false));
})();

/** Every encoding that decodes to a point of low order by some verifier: canonical, y + p, and a sign on x = 0. */
export function lowOrderEncodings(): Uint8Array[] {
  const p = Point.CURVE().p;
  const found = new Map<string, Uint8Array>();
  for (const point of lowOrder) {
    const y = point.toAffine().y;
    for (const spelled of y + p < 2n ** 255n ? [y, y + p] : [y]) {
      for (const signBit of [0n, 1n]) {
        const bytes = little(spelled + (signBit << 255n));
        found.set(hexOf(bytes), bytes);
      }
    }
  }
  return [...found.values()];
}
