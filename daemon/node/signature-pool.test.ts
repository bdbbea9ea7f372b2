/** Bulk verification on threads: the same verdicts, in order, however many threads there are. */
import t from 'tap';
import { makeBlock, NO_BLOCK, readBlock, entriesText } from '../ledger/block.js';
import { verifyCommitAhead } from '../ledger/commit-signature.js';
import { signEntry, verifyEntry, verifyEntryAhead, type VerifiedEntry } from '../ledger/entry.js';
import { sha256, sha256Bytes } from '../ledger/hash.js';
import type { KeyId, Millis } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf, signText } from '../ledger/signature.js';
import { canonicalize } from '../ledger/canonical.js';
import { SignaturePool } from './signature-pool.js';
import { prepareSignatures } from './signatures-ahead.js';

const seeds = [1, 2, 3].map((n) => sha256Bytes(`signer ${n}`));
const keys = seeds.map((seed) => publicKeyOf(seed));
const place = { v: 1 as const, town: sha256('town'), line: 'main', base: sha256('base') };

/** Every third with two signatures, some with field names in their bodies that look like the signature's. */
function entry(n: number): VerifiedEntry {
  const [seed, second] = [seeds[n % 3], seeds[(n + 1) % 3]] as [Uint8Array, Uint8Array];
  const body = {
    note: `number ${n} "sig":"`,
    sig: 'f'.repeat(85) + 'A',
    cosigned: [{ by: keys[0]!, sig: 'x' }],
  };
  const content = { ...place, node: nodeIdOf(keys[0]!), n, type: 'notes.write', at: (1_000 + n) as Millis };
  const cosigners = n % 3 === 0 ? [{ by: publicKeyOf(second), secretKey: second }] : [];
  return signEntry({ ...content, by: publicKeyOf(seed), body }, seed, cosigners);
}

const good = Array.from({ length: 300 }, (_, i) => entry(i + 1));

/** Wrong in every way there is: a digit of a signature, another text, another spelling, no JSON, nothing at all. */
const bad = good.slice(0, 120).map(({ text }, i) => {
  if (i % 6 === 0) return text.replace(/"sig":"(.)/g, (_, digit) => `"sig":"${digit === '0' ? '1' : '0'}`);
  if (i % 6 === 1) return text.replace('"at":1', '"at":2');
  if (i % 6 === 2) return text.replace('{', '{ ');
  if (i % 6 === 3) return text.slice(1);
  if (i % 6 === 4) return text.replace('"note":"number', '"note":"umber');
  return '';
});

const refusalOf = (text: string): string => {
  try {
    return verifyEntry(text).id;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

for (const threads of [0, 1, 3])
  t.test(`${threads} threads come to the verdicts of verifyEntry, in order`, async (t) => {
    const pool = new SignaturePool({ threads, idleMs: 50 });
    t.teardown(() => pool.close());
    const texts = good.flatMap(({ text }, i) => (i < bad.length ? [text, bad[i]!] : [text]));
    const { entries } = await pool.check(texts);
    t.same(
      entries.map((verdict) => (typeof verdict === 'string' ? verdict : verdict.code)),
      texts.map(refusalOf),
    );
    t.equal(entries.filter((verdict) => typeof verdict === 'string').length, good.length);
    const again = await Promise.all([pool.check([texts[1]!]), pool.check([texts[0]!]), pool.check([])]);
    t.same(
      again.map(({ entries: [verdict] }) => typeof verdict),
      ['object', 'string', 'undefined'],
    );
    // Idle: the threads are gone, and come again.
    await new Promise((resolve) => setTimeout(resolve, 200));
    t.equal((await pool.check(texts)).entries.length, texts.length);
  });

t.test('commits are checked too, and what was found good need not be checked again', async (t) => {
  const pool = new SignaturePool({ threads: 2 });
  const [key, other] = keys as [KeyId, KeyId];
  const blocks = Array.from({ length: 40 }, (_, i) => {
    const at = {
      town: place.town,
      line: 'main',
      node: nodeIdOf(key),
      seq: i + 1,
      prev: NO_BLOCK,
      base: place.base,
    };
    return makeBlock(at, { prev: null, main: null }, [good[i]!], 1_000 as Millis, seeds[0]!).block;
  });
  const forged = Buffer.from(
    Buffer.from(blocks[0]!.raw).toString('latin1').replace('Seq: 1', 'Seq: 2'),
    'latin1',
  );
  const commits = [
    ...blocks.map(({ raw }) => ({ raw, key })),
    { raw: blocks[0]!.raw, key: other },
    { raw: forged, key },
  ];
  const verdicts = await pool.check([], [...commits, { raw: Buffer.from('no commit'), key }]);
  t.same(verdicts.commits, [...blocks.map(() => true), false, false, false]);

  await pool.prepare(
    blocks.flatMap(({ entries }) => entries.map(({ text }) => text)),
    commits,
  );
  for (const block of blocks)
    t.equal(
      readBlock(block.raw, Buffer.from(entriesText(block.entries)), key, { prev: null, main: null }).id,
      block.id,
    );
  const read = (raw: Uint8Array, by: KeyId): unknown =>
    readBlock(raw, Buffer.from(entriesText(blocks[0]!.entries)), by, { prev: null, main: null });
  t.throws(() => read(blocks[0]!.raw, other), { code: 'bad-signature' }, 'known for the other key alone');
  t.throws(() => read(forged, key), { code: 'bad-signature' });
  await pool.close();
  await t.rejects(pool.check([good[0]!.text]), { code: 'stopping' });
});

t.test(
  'ahead of need, on the threads that the process has: the same verdicts, and refusals keep their words',
  async (t) => {
    const fresh = Array.from({ length: 60 }, (_, i) => entry(5_000 + i).text);
    const words = bad.map(refusalOf);
    t.same(
      await Promise.all(bad.map(verifyEntryAhead)),
      bad.map(() => false),
    );
    await prepareSignatures([...fresh, ...bad]);
    t.same(bad.map(refusalOf), words);
    t.ok((await Promise.all(fresh.map(verifyEntryAhead))).every(Boolean));
    const [key, other] = [keys[0]!, keys[1]!];
    const { block } = makeBlock(
      { ...place, node: nodeIdOf(key), seq: 1, prev: NO_BLOCK },
      { prev: null, main: null },
      [entry(6_000)],
      1_000 as Millis,
      seeds[0]!,
    );
    const forged = Buffer.from(block.raw);
    forged[forged.length - 2]! ^= 1;
    const verdicts = [block.raw, forged, Buffer.from('no commit')].map((raw) => verifyCommitAhead(raw, key));
    t.same(await Promise.all(verdicts), [true, false, false]);
    t.equal(await verifyCommitAhead(block.raw, other), false);
  },
);

t.test('a signature over the text with its fields in the body counts for that text alone', async (t) => {
  // What is signed is cut out of the line: the same message as that of an entry written field by field.
  for (const { text } of good.slice(0, 6)) {
    const { sig, cosigned, ...content } = JSON.parse(text) as Record<string, never>;
    const message = canonicalize(content);
    const seed = seeds[keys.indexOf(content['by'] as unknown as KeyId)]!;
    t.equal(signText(seed, 'mergetown/entry/v1', message), sig, `of ${cosigned === undefined ? 1 : 2}`);
  }
});

t.test('an answer that is on its way while the threads are ended is passed over', async (t) => {
  const texts = Array.from({ length: 4 }, () => good.map(({ text }) => text)).flat();
  const pool = new SignaturePool({ threads: 1 });
  const first = await pool.check(texts);
  const again = pool.check(texts);
  // The thread answers meanwhile, and nobody looks.
  for (const until = performance.now() + 500; performance.now() < until;);
  const closing = pool.close();
  t.same(await again, first);
  await closing;
});

t.test('more than fits is refused, and closing answers what waits', async (t) => {
  const pool = new SignaturePool({ threads: 1 });
  const many = Array.from({ length: 2048 * 64 + 1 }, () => '');
  await t.rejects(pool.check(many), { code: 'busy' });
  const waiting = pool.check(good.map(({ text }) => text));
  await pool.close();
  t.equal((await waiting).entries.length, good.length);
});
