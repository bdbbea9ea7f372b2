/** Sealing to one reader: who opens it, who does not, and the numbers of RFC 7748. */
import fc from 'fast-check';
import t from 'tap';
import { bytesOf, hexOf } from './hash.js';
import { isSealingKey, openSealed, sealingKeyOf, sealTo } from './sealing.js';

const RUNS = { numRuns: 60 };
const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const about = fc.string({ maxLength: 40, unit: 'grapheme' });
const plain = fc.uint8Array({ maxLength: 300 });

/** Points of low order on the curve and its twist, and a spelling above the prime (RFC 7748, 7; cr.yp.to/ecdh.html). */
const LOW_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
];

t.test('public keys are those of RFC 7748, 6.1', async (t) => {
  const vectors = {
    '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a':
      '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
    '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb':
      'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
  };
  for (const [secret, key] of Object.entries(vectors)) t.equal(sealingKeyOf(bytesOf(secret)), key);
});

t.test('what is sealed to a key opens with its secret, and is the same', async () => {
  fc.assert(
    fc.property(key32, key32, plain, about, (secret, ephemeral, bytes, what) => {
      const sealed = sealTo(sealingKeyOf(secret), bytes, what, ephemeral);
      return hexOf(openSealed(secret, sealed, what)) === hexOf(bytes);
    }),
    RUNS,
  );
});

t.test('another key, another matter or any changed byte opens nothing', async (t) => {
  const secret = Buffer.alloc(32, 7);
  const sealed = sealTo(sealingKeyOf(secret), Buffer.from('the town key'), 'welcome', Buffer.alloc(32, 9));
  t.throws(() => openSealed(Buffer.alloc(32, 8), sealed, 'welcome'), { code: 'sealed' });
  t.throws(() => openSealed(secret, sealed, 'welcome '), { code: 'sealed' });
  const bytes = Buffer.from(sealed, 'base64url');
  for (let i = 0; i < bytes.length; i++) {
    // The top bit of an X25519 key is ignored (RFC 7748, 5), but the key derivation sees it.
    for (const bit of [1, 128]) {
      const changed = Buffer.from(bytes);
      changed[i] = (changed[i] as number) ^ bit;
      t.throws(() => openSealed(secret, changed.toString('base64url'), 'welcome'), { code: 'sealed' });
    }
  }
  for (const wrong of ['', '*', `${sealed}=`, sealed.slice(0, -4), `${sealed}AAAA`, 'A'.repeat(2_000_000)])
    t.throws(() => openSealed(secret, wrong, 'welcome'), { code: 'sealed' });
});

t.test('nothing is sealed to a key that everybody could open', async (t) => {
  for (const key of [...LOW_ORDER, 'AA'.repeat(32), 'aa', '']) {
    t.notOk(isSealingKey(key), key);
    t.throws(() => sealTo(key, Buffer.from('x'), 'y', Buffer.alloc(32, 1)), { code: 'bad-sealing-key' });
  }
  t.notOk(isSealingKey(7));
  t.ok(isSealingKey(sealingKeyOf(Buffer.alloc(32, 3))));
  const forged = Buffer.concat([bytesOf(LOW_ORDER[2] as string), Buffer.alloc(16)]).toString('base64url');
  t.throws(() => openSealed(Buffer.alloc(32, 3), forged, 'y'), { code: 'sealed' });
});

t.test('a second ephemeral secret makes another text of the same bytes', async (t) => {
  const key = sealingKeyOf(Buffer.alloc(32, 3));
  const seal = (ephemeral: number) => sealTo(key, Buffer.from('x'), 'y', Buffer.alloc(32, ephemeral));
  t.not(seal(1), seal(2));
  t.equal(seal(1), seal(1));
});
