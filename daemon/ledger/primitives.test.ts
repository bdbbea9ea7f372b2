/** Canonical JSON, content hashes and sealed fields: one text, one hash, one reader. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { assertIntegers, canonicalize, JSON_DEPTH_MAX, parseCanonical } from './canonical.js';
import { contentHash, hashFile, hashFolder } from './content-hash.js';
import { envelopeHandle, isEnvelope, openEnvelope, sealEnvelope } from './envelope.js';
import { bytesOf, hexOf, hmacSha256, sha256, sha256Bytes } from './hash.js';
import type { Json, JsonObject, Sha256 } from './ids.js';

const vectors = new URL('../../../../shared/vectors/', import.meta.url);
const withoutVectors = existsSync(vectors) ? false : 'the shared test vectors are not on this machine';

const nested = (depth: number): Json => (depth === 0 ? [] : [nested(depth - 1)]);

t.test('canonical JSON equals the published vectors of RFC 8785', { skip: withoutVectors }, async (t) => {
  const folder = new URL('jcs/', vectors);
  const names = readdirSync(new URL('input/', folder));
  t.ok(names.length >= 6, 'all vectors are there');
  for (const name of names) {
    const input = JSON.parse(readFileSync(new URL(`input/${name}`, folder), 'utf8')) as Json;
    const expected = readFileSync(new URL(`output/${name}`, folder), 'utf8').replace(/\n$/, '');
    t.equal(canonicalize(input), expected, name);
    t.same(parseCanonical(expected), input, `${name} comes back`);
  }
});

t.test('canonical JSON', async (t) => {
  t.test('numbers have the shortest spelling of ECMAScript (RFC 8785, appendix B)', async (t) => {
    const samples: [string, string][] = [
      ['0000000000000000', '0'],
      ['8000000000000000', '0'],
      ['0000000000000001', '5e-324'],
      ['7fefffffffffffff', '1.7976931348623157e+308'],
      ['4340000000000000', '9007199254740992'],
      ['444b1ae4d6e2ef4e', '999999999999999700000'],
      ['444b1ae4d6e2ef50', '1e+21'],
      ['3eb0c6f7a0b5ed8d', '0.000001'],
      ['41b3de4355555557', '333333333.33333343'],
      ['43143ff3c1cb0959', '1424953923781206.2'],
    ];
    for (const [bits, text] of samples) {
      t.equal(canonicalize(Buffer.from(bits, 'hex').readDoubleBE()), text);
    }
  });

  t.test('what is not JSON is refused by name', async (t) => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    const refused: [string, unknown][] = [
      ['undefined', undefined],
      ['NaN', NaN],
      ['infinity', -Infinity],
      ['a bigint', 1n],
      ['a function', () => 0],
      ['a symbol', Symbol('s')],
      ['undefined inside', { a: undefined }],
      ['a hole in an array', new Array(1)],
      ['a lone high surrogate', '\ud800'],
      ['a lone low surrogate in a name', { '\udc00x': 1 }],
      ['a date', new Date(0)],
      ['bytes', Buffer.from('x')],
      ['a map', new Map()],
      ['a cycle', cycle],
      ['too deep', nested(JSON_DEPTH_MAX)],
    ];
    for (const [name, value] of refused) t.throws(() => canonicalize(value), { code: 'not-json' }, name);
    t.ok(canonicalize(nested(JSON_DEPTH_MAX - 1)), 'the deepest that is allowed');
    t.equal(canonicalize('\ud83d\ude00'), '"\ud83d\ude00"', 'a whole pair stands as it is');
  });

  t.test('any other spelling of a value is refused', async (t) => {
    const others = [
      ' 1',
      '1 ',
      '1.0',
      '-0',
      '1e2',
      '{"b":1,"a":2}',
      '{"a":1,"a":1}',
      '{"a":1,"a":2}',
      '["\\u0061"]',
    ];
    others.push(
      '"\\/"',
      '"\\u00e9"',
      '',
      '{',
      '[1,]',
      'NaN',
      '\ufeff1',
      '1e999',
      '"\\ud800"',
      '['.repeat(100_000),
    );
    for (const text of others) {
      t.throws(() => parseCanonical(text), { code: 'not-canonical' }, text.slice(0, 20));
    }
    t.same(
      parseCanonical('{"__proto__":{"x":1}}'),
      JSON.parse('{"__proto__":{"x":1}}'),
      'no name is special',
    );
  });

  t.test('parsing is the inverse of writing, and writing is independent of the order of names', async (t) => {
    const value = fc.jsonValue({ maxDepth: 6 });
    fc.assert(
      fc.property(value, (json) => {
        const text = canonicalize(json);
        const again = parseCanonical(text);
        t.equal(canonicalize(again), text);
        if (typeof json === 'object' && json !== null && !Array.isArray(json)) {
          const turned = Object.fromEntries(Object.entries(json).reverse());
          t.equal(canonicalize(turned), text);
        }
      }),
      { numRuns: 500 },
    );
  });

  t.test('a text is read exactly where writing its value anew gives that text', async (t) => {
    const name = fc.oneof(
      fc.constantFrom(
        '1',
        '9',
        '10',
        'a',
        'b',
        'B',
        'é',
        '__proto__',
        'toJSON',
        '\ud83d\ude00',
        '\ud800',
        '\uffff',
        '\u0001',
        '"',
      ),
      fc.string({ unit: 'binary', maxLength: 3 }),
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.integer(),
        fc.double(),
        name,
        fc.constant(null),
        tie('list'),
        tie('fields'),
      ),
      list: fc.array(tie('value'), { maxLength: 4 }),
      fields: fc
        .array(fc.tuple(name, tie('value')), { maxLength: 5 })
        .map((pairs) => Object.fromEntries(pairs) as unknown),
    }));
    const isCanonical = (text: string): boolean => {
      try {
        return canonicalize(JSON.parse(text)) === text;
      } catch {
        return false;
      }
    };
    const seen = { read: 0, refused: 0 };
    fc.assert(
      fc.property(value, fc.boolean(), (json, sorts) => {
        let text = JSON.stringify(json);
        if (sorts && isCanonical(text) === false)
          try {
            text = canonicalize(JSON.parse(text));
          } catch {
            // Half a pair: there is no canonical text.
          }
        let isRead = true;
        try {
          parseCanonical(text);
        } catch {
          isRead = false;
        }
        t.equal(isRead, isCanonical(text), text);
        seen[isRead ? 'read' : 'refused'] += 1;
      }),
      { numRuns: 2_000 },
    );
    t.ok(seen.read > 100 && seen.refused > 100, 'both were tried');
  });

  t.test('only safe integers pass for the ledger', async (t) => {
    assertIntegers({ a: [0, -1, Number.MAX_SAFE_INTEGER], b: 'x', c: null, d: { e: true } });
    for (const bad of [0.5, 2 ** 53, -(2 ** 53), 1e21]) {
      t.throws(() => assertIntegers({ a: [{ b: bad }] }), { code: 'not-integer' });
    }
    t.throws(() => assertIntegers(nested(JSON_DEPTH_MAX)), { code: 'not-json' });
  });
});

t.test('hashes and hex', async (t) => {
  t.equal(
    sha256('ab', Buffer.from('c')),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    'FIPS 180',
  );
  t.equal(hexOf(sha256Bytes('abc')), sha256('abc'));
  t.equal(
    hmacSha256(Buffer.from('Jefe'), 'what do ya want for nothing?'),
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    'RFC 4231, case 2',
  );
  t.equal(
    hexOf(Buffer.from('00ff7f', 'hex').subarray(1)),
    'ff7f',
    'a view of a larger buffer is only itself',
  );
  for (const bad of ['0', 'zz', 'AB', '0x', 'ab ']) t.throws(() => bytesOf(bad), { code: 'not-hex' }, bad);
});

t.test('the content hash', async (t) => {
  const bytes = (text: string): Uint8Array => Buffer.from(text);

  t.test('follows its definition, byte for byte', async (t) => {
    const a = sha256(Uint8Array.of(0), 'one');
    const c = sha256(Uint8Array.of(0), '');
    const b = sha256(Uint8Array.of(1), Uint8Array.of(0, 0, 0, 1), 'c', bytesOf(c));
    const root = sha256(
      Uint8Array.of(1),
      ...[Uint8Array.of(0, 0, 0, 1), 'a', bytesOf(a)],
      ...[Uint8Array.of(0, 0, 0, 2), 'bx', bytesOf(b)],
    );
    t.equal(
      contentHash(
        new Map([
          ['bx/c', bytes('')],
          ['a', bytes('one')],
        ]),
      ),
      root,
    );
    t.equal(hashFolder([]), sha256(Uint8Array.of(1)));
  });

  t.test('sorts names by their bytes, not by UTF-16', async (t) => {
    const one = hashFile(bytes('1'));
    const children: [string, Sha256][] = [
      ['\uff5e', one], // EF BD 9E: before F0 … in UTF-8, after D83D in UTF-16
      ['\u{1f600}', one],
    ];
    const length = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n);
    const expected = sha256(
      Uint8Array.of(1),
      ...[length(3), '\uff5e', bytesOf(one)],
      ...[length(4), '\u{1f600}', bytesOf(one)],
    );
    t.equal(hashFolder(children), expected);
    t.equal(hashFolder(children.reverse()), expected);
  });

  t.test('refuses trees that no folder can hold', async (t) => {
    const bad = [
      ['a', 'a/b'],
      ['a/b', 'a'],
      ['/a'],
      ['a//b'],
      ['a/'],
      ['..'],
      ['./a'],
      [''],
      ['a\0'],
      ['\ud800'],
    ];
    for (const paths of bad) {
      const files = new Map(paths.map((path) => [path, bytes('x')]));
      t.throws(() => contentHash(files), { code: 'bad-tree' }, JSON.stringify(paths));
    }
    const one = hashFile(bytes('1'));
    t.throws(
      () =>
        hashFolder([
          ['a', one],
          ['a', one],
        ]),
      { code: 'bad-tree' },
    );
  });

  t.test('changes on every change and on no reordering', async (t) => {
    const name = fc.constantFrom('a', 'b', 'ab', 'c.json', 'ü');
    const path = fc.tuple(fc.constantFrom('x', 'y/z', 'state'), name).map((parts) => parts.join('/'));
    const files = fc.array(fc.tuple(path, fc.uint8Array({ maxLength: 4 })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(files, fc.nat(), (list, pick) => {
        const tree = new Map<string, Uint8Array>(list);
        const hash = contentHash(tree);
        t.equal(contentHash(new Map([...tree].reverse())), hash);
        const [changed, content] = [...tree][pick % tree.size] as [string, Uint8Array];
        t.not(
          contentHash(new Map([...tree, [changed, Buffer.concat([content, bytes('!')])]])),
          hash,
          'content',
        );
        t.not(contentHash(new Map([...tree, [`${changed}2`, content]])), hash, 'one more');
        const without = new Map(tree);
        without.delete(changed);
        t.not(contentHash(without), hash, 'one less');
        t.not(contentHash(without.set(`${changed}2`, content)), hash, 'renamed');
      }),
      { numRuns: 200 },
    );
  });
});

t.test('a sealed field', async (t) => {
  const key = Buffer.alloc(32, 1);
  const nonce = Buffer.alloc(12, 2);
  const about = 'membership/people/p0';

  t.test('opens with its key for its record, and never otherwise', async (t) => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), (json) => {
        const value = parseCanonical(canonicalize(json));
        const sealed = sealEnvelope(key, 'p0.2026-01', value, about, nonce);
        t.ok(isEnvelope(sealed));
        t.equal(envelopeHandle(sealed), 'p0.2026-01');
        t.same(openEnvelope(key, JSON.parse(canonicalize(sealed)) as JsonObject, about), value);
      }),
      { numRuns: 100 },
    );
    const sealed = sealEnvelope(key, 'k', { name: 'Ada' }, about, nonce);
    t.notMatch(canonicalize(sealed), /Ada/);
    const other = Buffer.alloc(32, 3);
    t.throws(() => openEnvelope(other, sealed, about), { code: 'envelope' }, 'another key');
    t.throws(() => openEnvelope(key, sealed, `${about}1`), { code: 'envelope' }, 'another record');
    t.throws(
      () => openEnvelope(key, { ...sealed, key: 'k2' }, about),
      { code: 'envelope' },
      'another handle',
    );
    t.throws(() => openEnvelope(other.subarray(1), sealed, about), { code: 'envelope' }, 'a short key');
    const ct = Buffer.from(sealed['ct'] as string, 'base64url');
    for (let i = 0; i < ct.length; i++) {
      const torn = Uint8Array.from(ct);
      torn[i] = (torn[i] as number) ^ 1;
      const changed = { ...sealed, ct: Buffer.from(torn).toString('base64url') };
      t.throws(() => openEnvelope(key, changed, about), { code: 'envelope' });
    }
    t.throws(
      () => openEnvelope(key, { ...sealed, ct: sealed['iv'] as string }, about),
      { code: 'envelope' },
      'cut',
    );
  });

  t.test('equals AES-256-GCM as published (NIST GCM spec, the key and IV of test case 13)', async (t) => {
    const zero = sealEnvelope(Buffer.alloc(32), 'k', 0, about, Buffer.alloc(12));
    // The key stream of the zero key and IV starts with ce a7 (case 14); the text `0` is the one byte 0x30.
    t.equal(Buffer.from(zero['ct'] as string, 'base64url')[0], 0xce ^ 0x30);
  });

  t.test('is told from everything that only looks like one', async (t) => {
    const sealed = sealEnvelope(key, 'k', 'x', about, nonce);
    const others: Json[] = [
      null,
      1,
      'x',
      [],
      {},
      { ...sealed, enc: 2 },
      { ...sealed, more: 1 },
      { ...sealed, iv: 'AA' },
    ];
    others.push({ ...sealed, key: '' }, { ...sealed, key: 'a b' }, { ...sealed, ct: '' });
    others.push({ ...sealed, ct: `${sealed['ct'] as string}=` }, { name: 'Ada' });
    for (const other of others) t.notOk(isEnvelope(other), canonicalize(other));
    t.throws(() => envelopeHandle({ name: 'Ada' }), { code: 'envelope' });
  });
});
