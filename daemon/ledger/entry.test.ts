import fc from 'fast-check';
import t from 'tap';
import { canonicalize } from './canonical.js';
import { checkEntry, signEntry, type EntryContent } from './entry.js';
import type { JsonObject, Millis, Sha256 } from './ids.js';
import { nodeIdOf, publicKeyOf } from './signature.js';

const seed = (byte: number): Uint8Array => Buffer.alloc(32, byte);
const by = publicKeyOf(seed(1));
const hash = 'c4'.repeat(32) as Sha256;

const contentWith = (body: JsonObject, n: number): EntryContent => ({
  ...{ v: 1, town: hash, line: 'main', base: hash, node: nodeIdOf(by), n },
  ...{ type: 'notes.put', by, at: 1_800_000_000_000 as Millis, body },
});

/** What could be taken for the places of an entry's own fields. */
const fieldLike = fc.constantFrom(
  'town',
  'line',
  'sig',
  'cosigned',
  '"town":"',
  '","line":"',
  '\\"sig":"',
  'é\u2028"',
);
const body = fc.dictionary(
  fc.oneof(fieldLike, fc.string()),
  fc.oneof(fieldLike, fc.string(), fc.maxSafeInteger(), fc.dictionary(fieldLike, fieldLike)),
);

t.test('a signed line is the canonical one, and its signatures hold, whatever the body says', async (t) => {
  fc.assert(
    fc.property(
      body,
      fc.integer({ min: 1, max: 1e9 }),
      fc.uniqueArray(fc.integer({ min: 2, max: 9 })),
      (said, n, others) => {
        const signed = signEntry(
          contentWith(said as JsonObject, n),
          seed(1),
          others.map((other) => ({ by: publicKeyOf(seed(other)), secretKey: seed(other) })),
        );
        const { id, text, ...entry } = signed;
        return canonicalize(entry) === text && checkEntry(text) === id;
      },
    ),
    { numRuns: 1_500 },
  );
  t.pass();
});
