/** Which signatures count: one rule, two implementations, stock ssh-keygen beside them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, createPublicKey, verify as nativeVerify } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Point } from '@noble/ed25519';
import fc from 'fast-check';
import t from 'tap';
import { bytesOf, hexOf, sha256Bytes } from './hash.js';
import type { KeyId } from './ids.js';
import {
  forgetSecretKey,
  memberIdOf,
  nodeIdOf,
  publicKeyOf,
  sign,
  signText,
  verifyText,
} from './signature.js';
import { allowedSignersLine, sshSign, sshVerify } from './sshsig.js';
import { bigOf, L, little, lowOrder, lowOrderEncodings, verdict } from './testing/odd-points.js';

// A loaded machine takes its time.
t.setTimeout(600_000);

const inCi = process.env['CI'] === 'true';
const vectors = new URL('../../../../shared/vectors/', import.meta.url);
const withoutVectors = existsSync(vectors) ? false : 'the shared test vectors are not on this machine';
const withoutSshKeygen =
  spawnSync('ssh-keygen', ['-?']).error === undefined || inCi ? false : 'ssh-keygen is not on this machine';

const keyBytes = (secret: Uint8Array): Uint8Array => bytesOf(publicKeyOf(secret));

/** What OpenSSL alone would say. */
function opensslVerdict(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const der = Buffer.concat([bytesOf('302a300506032b6570032100'), key]);
  return nativeVerify(null, message, createPublicKey({ key: der, format: 'der', type: 'spki' }), signature);
}

t.test('RFC 8032, section 7.1: keys and signatures are the published ones', async (t) => {
  const cases = [
    [
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
  ] as const;
  for (const [secret, key, message, signature] of cases) {
    t.equal(publicKeyOf(bytesOf(secret)), key);
    t.equal(hexOf(sign(bytesOf(secret), bytesOf(message))), signature);
    t.ok(verdict(t, bytesOf(key), bytesOf(message), bytesOf(signature)));
  }
});

t.test('of the twelve speccheck cases only number 3 counts', { skip: withoutVectors }, async (t) => {
  interface Case {
    readonly message: string;
    readonly pub_key: string;
    readonly signature: string;
  }
  const file = new URL('ed25519-speccheck/cases.json', vectors);
  const cases = JSON.parse(readFileSync(file, 'utf8')) as Case[];
  const accepted = cases.map((c) => verdict(t, bytesOf(c.pub_key), bytesOf(c.message), bytesOf(c.signature)));
  t.same(
    accepted,
    cases.map((_, i) => i === 3),
  );
  t.equal(cases.length, 12);
});

t.test('no key or R of low order counts, in any spelling, for any message', async (t) => {
  const encodings = lowOrderEncodings();
  t.equal(encodings.length, 14);
  t.equal(new Set(lowOrder.map((point) => hexOf(point.toBytes()))).size, 8);
  let openssl = 0;
  for (const a of encodings) {
    for (const r of encodings) {
      for (const text of ['', 'a', 'b', 'c']) {
        const message = Buffer.from(text);
        const signature = Buffer.concat([r, Buffer.alloc(32)]);
        if (verdict(t, a, message, signature)) t.fail(`${hexOf(a)} ${hexOf(r)} counts`);
        if (opensslVerdict(a, message, signature)) openssl++;
      }
    }
  }
  t.ok(openssl > 0, `OpenSSL alone would take ${openssl} of them`);
});

t.test('a key with a part of low order: both ways decide alike, some count and some do not', async (t) => {
  // A = aB + T and R = rB + U. S = r + k·a counts without cofactor exactly when k·T = −U.
  let counted = 0;
  const tried = 400;
  for (let i = 0; i < tried; i++) {
    const a = (bigOf(sha256Bytes(`a${i % 7}`)) % (L - 1n)) + 1n;
    const r = (bigOf(sha256Bytes(`r${i}`)) % (L - 1n)) + 1n;
    const key = Point.BASE.multiply(a)
      .add(lowOrder[i % 8] as Point)
      .toBytes();
    const R = Point.BASE.multiply(r)
      .add(lowOrder[(i >> 3) % 8] as Point)
      .toBytes();
    const message = Buffer.from(`message ${i}`);
    const k = bigOf(createHash('sha512').update(R).update(key).update(message).digest()) % L;
    const signature = Buffer.concat([R, little((r + k * a) % L)]);
    if (verdict(t, key, message, signature)) counted++;
  }
  t.ok(counted > 20 && counted < tried - 100, `${counted} of ${tried} count`);
});

t.test('any change of a signature, key or message ends it', async (t) => {
  const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });
  let kept = 0;
  fc.assert(
    fc.property(
      secret,
      fc.uint8Array({ maxLength: 64 }),
      fc.nat(255),
      fc.nat(511),
      (seed, message, keyBit, bit) => {
        const key = keyBytes(seed);
        const signature = sign(seed, message);
        if (!verdict(t, key, message, signature)) t.fail('a good signature does not count');
        const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
          bytes.map((byte, i) => (i === at >> 3 ? byte ^ (1 << (at & 7)) : byte));
        if (verdict(t, key, message, flipped(signature, bit))) t.fail('a flipped bit in the signature');
        if (verdict(t, flipped(key, keyBit), message, signature)) t.fail('a flipped bit in the key');
        if (verdict(t, key, Buffer.concat([message, Buffer.of(0)]), signature)) t.fail('a longer message');
        kept++;
      },
    ),
    { numRuns: 400 },
  );
  t.equal(kept, 400);

  const seed = Buffer.alloc(32, 9);
  const message = Buffer.from('message');
  const good = sign(seed, message);
  const s = bigOf(good.subarray(32));
  for (let n = s + L; n < 2n ** 256n; n += L) {
    t.notOk(
      verdict(t, keyBytes(seed), message, Buffer.concat([good.subarray(0, 32), little(n)])),
      'S + a multiple of L',
    );
  }
  for (const length of [0, 31, 33, 63, 65]) {
    t.notOk(verdict(t, keyBytes(seed), message, Buffer.alloc(length, 1)), `a signature of ${length} bytes`);
    t.notOk(verdict(t, Buffer.alloc(length, 1), message, good), `a key of ${length} bytes`);
  }
});

t.test('ids and signed texts', async (t) => {
  const seed = Buffer.alloc(32, 4);
  const key = publicKeyOf(seed);
  t.match(nodeIdOf(key), /^[0-9a-f]{16}$/);
  t.equal(nodeIdOf(key), hexOf(sha256Bytes(bytesOf(key))).slice(0, 16));
  t.match(memberIdOf(key), /^m[0-9a-f]{16}$/);
  t.not(memberIdOf(key).slice(1), nodeIdOf(key), 'one key as member and as node has two names');

  const signature = signText(seed, 'mergetown/entry/v1', '{"a":1}');
  t.ok(verifyText(key, 'mergetown/entry/v1', '{"a":1}', signature));
  t.notOk(verifyText(key, 'mergetown/vote/v1', '{"a":1}', signature), 'of another kind');
  t.notOk(verifyText(key, 'mergetown/entry/v1', '{"a":2}', signature), 'of another text');
  t.match(signature, /^[A-Za-z0-9_-]{86}$/);
  const bytes = Buffer.from(signature, 'base64url');
  const last = signature.slice(-1);
  const others = [
    ...[
      `${signature}=`,
      `${signature}==`,
      `${signature}\n`,
      ` ${signature}`,
      signature.slice(0, -1),
      `${signature}A`,
    ],
    ...[bytes.toString('hex'), bytes.toString('base64'), signature.toLowerCase()],
    // The last character has four bits that belong to no byte.
    ...[...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
      .filter((other) => other !== last)
      .map((other) => signature.slice(0, -1) + other),
  ];
  for (const other of others.filter((text) => text !== signature))
    t.notOk(
      verifyText(key, 'mergetown/entry/v1', '{"a":1}', other),
      `in another spelling: ${other.slice(-4)}`,
    );
  t.notOk(verifyText(key, 'mergetown/entry/v1', '{"a":1}', ''), 'none');
  forgetSecretKey(seed);
  t.equal(signText(seed, 'mergetown/entry/v1', '{"a":1}'), signature, 'a forgotten key signs as before');
  t.throws(() => sign(seed.subarray(1), Buffer.of()), { code: 'invariant' });
  for (let i = 0; i < 200; i++) publicKeyOf(sha256Bytes(`key ${i}`)); // more than are kept
  t.equal(publicKeyOf(seed), key);
});

t.test('SSH signatures equal the published ones of OpenSSH', { skip: withoutVectors }, async (t) => {
  const read = (name: string): string => readFileSync(new URL(`sshsig/${name}`, vectors), 'utf8');
  const key = hexOf(
    Buffer.from(read('ed25519.pub').split(' ')[1] as string, 'base64').subarray(-32),
  ) as KeyId;
  const payload = Buffer.from(read('signed-data'));
  const namespace = read('namespace').trim();
  t.ok(sshVerify(read('ed25519.sig'), payload, key, namespace));
  t.notOk(sshVerify(read('ed25519.sig'), payload, key), 'another namespace');
  for (const other of ['rsa.sig', 'ecdsa.sig', 'ed25519_sk.sig']) {
    t.notOk(sshVerify(read(other), payload, key, namespace), other);
  }
});

t.test('an SSH signature has one form', async (t) => {
  const seed = Buffer.alloc(32, 5);
  const key = publicKeyOf(seed);
  const payload = Buffer.from('payload\n');
  const armored = sshSign(seed, payload);
  t.ok(sshVerify(armored, payload, key));
  t.ok(armored.split('\n').every((line) => line.length <= 70));
  t.notOk(sshVerify(armored, Buffer.from('payload'), key), 'another payload');
  t.notOk(sshVerify(armored, payload, publicKeyOf(Buffer.alloc(32, 6))), 'another key');
  t.notOk(sshVerify(sshSign(seed, payload, 'file'), payload, key), 'another namespace');
  const others = ['', armored.trimEnd(), `${armored}\n`, ` ${armored}`, armored.replaceAll('\n', '\r\n')];
  others.push(armored.replace(/\n(?=[A-Za-z0-9+/=]+\n-----END)/, ''), armored.replace('U1NI', 'U1NJ'));
  for (const other of others) t.notOk(sshVerify(other, payload, key), JSON.stringify(other).slice(0, 40));
  // Two characters of padding hide four bits: a lenient reader takes 16 spellings.
  const respelled = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].map((c) =>
    armored.replace(/.(=*\n-----END)/, `${c}$1`),
  );
  t.ok(respelled.filter((text) => sshVerify(text, payload, key)).every((text) => text === armored));
  t.throws(() => allowedSignersLine('two words', key), { code: 'bad-principal' });
  t.throws(() => allowedSignersLine('*', key), { code: 'bad-principal' });
});

t.test('stock ssh-keygen accepts ours, and ours accepts its', { skip: withoutSshKeygen }, async (t) => {
  const folder = t.testdir({});
  const file = (name: string): string => join(folder, name);
  const seed = Buffer.alloc(32, 5);
  const payload = Buffer.from('payload\n');
  writeFileSync(file('allowed'), `${allowedSignersLine('node1', publicKeyOf(seed))}\n`);
  writeFileSync(file('sig'), sshSign(seed, payload));
  const verifyArguments = [
    '-Y',
    'verify',
    '-f',
    file('allowed'),
    '-I',
    'node1',
    '-n',
    'git',
    '-s',
    file('sig'),
  ];
  t.equal(spawnSync('ssh-keygen', verifyArguments, { input: payload }).status, 0);
  t.not(spawnSync('ssh-keygen', verifyArguments, { input: 'payload' }).status, 0);

  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file('id')]);
  const theirs = execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-f', file('id'), '-n', 'git'], {
    input: payload,
  });
  const blob = Buffer.from(readFileSync(file('id.pub'), 'utf8').split(' ')[1] as string, 'base64');
  t.ok(sshVerify(theirs.toString(), payload, hexOf(blob.subarray(-32)) as KeyId));
});
