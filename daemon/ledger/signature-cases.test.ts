/** Which signatures count, tried on thousands of constructed cases: the native way and the one from point arithmetic agree on each. */
import { createHash } from 'node:crypto';
import { Point } from '@noble/ed25519';
import t from 'tap';
import { sha256Bytes } from './hash.js';
import { verifySignatureAside } from './signature.js';
import { bigOf, L, little, lowOrder, lowOrderEncodings, verdict } from './testing/odd-points.js';

t.setTimeout(600_000); // arithmetic in JavaScript, a few milliseconds each on a small machine

t.test(
  'keys, R and S put together from every kind of part: both ways decide alike, thousands of times',
  async (t) => {
    const p = Point.CURVE().p;
    const points = [1n, 2n, 3n, 5n, 8n, 1000n, L - 1n].flatMap((n) =>
      lowOrder.map((low) => Point.BASE.multiply(n).add(low).toBytes()),
    );
    // Of no point, not below p, and with the other sign.
    const odd = [2n, 7n, p, p + 1n, p + 18n, (1n << 255n) - 1n, (1n << 256n) - 1n, 1n << 255n].map(little);
    const turned = points
      .slice(0, 12)
      .map((bytes) => bytes.map((byte, i) => (i === 31 ? byte ^ 0x80 : byte)));
    const encodings = [...points, ...lowOrderEncodings(), ...odd, ...turned];
    const scalars = [0n, 1n, 8n, L - 1n, L, L + 1n, (1n << 252n) - 1n, 1n << 253n, (1n << 256n) - 1n].map(
      little,
    );
    const secret = [11n, 12n, 13n].map((n) => ({ n, key: Point.BASE.multiply(n).toBytes() }));
    let random = 0;
    const pick = <T>(list: readonly T[]): T =>
      list[Number(bigOf(sha256Bytes(`pick ${(random += 1)}`)) % BigInt(list.length))] as T;
    const tally = { counts: 0, refused: 0 };
    const aside: Promise<boolean>[] = [];
    const judged: boolean[] = [];
    const judge = (key: Uint8Array, message: Uint8Array, signature: Uint8Array): void => {
      const isGood = verdict(t, key, message, signature);
      judged.push(isGood);
      aside.push(verifySignatureAside(key, message, signature));
      tally[isGood ? 'counts' : 'refused'] += 1;
    };
    for (let i = 0; i < 6000; i += 1) {
      const message = Buffer.from(`message ${i % 50}`);
      let key = pick(encodings);
      const R = pick(encodings);
      let S = pick(scalars);
      // Every third one solves the equation for a key and an R that are known: with a part of low order in R, in the key, or in neither.
      if (i % 3 === 0) {
        const signer = pick(secret);
        const r = BigInt(i) + 1n;
        const low = i % 2 === 0 ? Point.ZERO : pick(lowOrder);
        key = i % 4 === 0 ? signer.key : Point.fromBytes(signer.key).add(pick(lowOrder)).toBytes();
        const made = Point.BASE.multiply(r).add(low).toBytes();
        const k = bigOf(createHash('sha512').update(made).update(key).update(message).digest()) % L;
        S = little((r + k * signer.n) % L);
        judge(key, message, Buffer.concat([made, S]));
      } else judge(key, message, Buffer.concat([R, S]));
    }
    t.same(await Promise.all(aside), judged, 'and so does what is verified on other threads');
    t.ok(tally.counts > 300 && tally.refused > 2000, JSON.stringify(tally));
  },
);
