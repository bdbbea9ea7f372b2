/** Entries, blocks and merges as bytes: what is read is what was made, and no changed byte passes. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { readBlock } from './block.js';
import { parseEntry, verifyEntry } from './entry.js';
import type { Oid } from './ids.js';
import { confirmMerge, readMerge } from './merge.js';
import { publicKeyOf } from './signature.js';
import { SmallTown, secretOf } from './testing/small-town.js';

t.test('an entry is its signature, its town and its number: changed or repeated it is refused', async (t) => {
  const town = new SmallTown().people('bob');
  const entry = town.entry('alpha', 'bob', 'notes.put', { key: 'a', value: 1 });
  t.equal(verifyEntry(entry.text).id, entry.id);
  t.same(verifyEntry(entry.text), entry, 'read again, it is the same');
  t.throws(() => verifyEntry(entry.text.replace('"value":1', '"value":2')), { code: 'bad-signature' });
  t.throws(() => parseEntry(entry.text.replace('{', '{ ')), { code: 'not-canonical' });
  t.throws(() => parseEntry(entry.text.replace('"value":1', '"value":1.5')), { code: 'not-integer' });
  t.throws(() => parseEntry(entry.text.replace('"v":1', '"v":1,"w":1')), { code: 'bad-entry' });
  const elsewhere = new SmallTown(['alpha'], (charter) => ({ ...charter, name: 'Elsewhere' })).people('bob');
  elsewhere.state.apply([]);
  const foreign = elsewhere.entry('alpha', 'bob', 'notes.put', { key: 'a', value: 1 });
  t.throws(() => town.block('alpha', [foreign]), { code: 'bad-block' });
  t.throws(() => town.block('alpha', [entry, entry]), { code: 'bad-block' });
});

t.test('a block reads back as it was made, and no changed byte passes', async (t) => {
  const town = new SmallTown().people('bob');
  const before = town.branches.get('alpha')?.blocks.at(-1);
  const block = town.block('alpha', [town.entry('alpha', 'bob', 'notes.put', { key: 'a', value: 1 })]);
  const jsonl = Buffer.from(block.entries.map(({ text }) => `${text}\n`).join(''));
  const key = publicKeyOf(secretOf('alpha'));
  const parents = { prev: before?.oid as Oid, main: town.head.oid };
  const read = readBlock(block.raw, jsonl, key, parents);
  t.same(
    [read.id, read.oid, read.seq, read.prev, read.base],
    [block.id, block.oid, block.seq, block.prev, block.base],
  );
  for (let at = 0; at < block.raw.length; at += 7) {
    const bytes = Buffer.from(block.raw);
    bytes[at] = (bytes[at] as number) ^ 1;
    t.throws(() => readBlock(bytes, jsonl, key, parents), `byte ${at}`);
  }
  t.throws(() => readBlock(block.raw, Buffer.from(`${jsonl.toString()}\n`), key, parents));
  t.throws(() => readBlock(block.raw, jsonl, publicKeyOf(secretOf('beta')), parents), {
    code: 'bad-signature',
  });
  t.throws(() => readBlock(block.raw, jsonl, key, { prev: null, main: town.head.oid }), {
    code: 'bad-block',
  });
});

t.test(
  'a merge is confirmed by my own replay only: other content, parents or message are refused',
  async (t) => {
    const town = new SmallTown().people('bob');
    const before = { tree: town.tree, head: town.head };
    town.block('alpha', [town.entry('alpha', 'bob', 'notes.put', { key: 'a', value: 1 })]);
    const result = town.replay();
    const head = town.branches.get('alpha')?.blocks.at(-1);
    const built = town.merge();
    const parents = { main: before.head.oid, heads: [head?.oid as Oid] };
    const claimed = readMerge(built.merge.raw, () => publicKeyOf(secretOf('alpha')));
    t.equal(confirmMerge(claimed, parents, before.tree, result).merge.id, built.merge.id);
    const other = { ...result, receipt: { ...result.receipt, expired: ['x'] } };
    t.throws(() => confirmMerge(claimed, parents, before.tree, other), { code: 'content-differs' });
    t.throws(() => confirmMerge(claimed, { ...parents, heads: [] }, before.tree, result), {
      code: 'content-differs',
    });
    t.throws(() => confirmMerge(claimed, parents, before.tree, { ...result, testedBy: [] }), {
      code: 'content-differs',
    });
    t.throws(() => readMerge(built.merge.raw, () => publicKeyOf(secretOf('beta'))), {
      code: 'bad-signature',
    });
  },
);

t.test(
  'every domain that the program signs, hashes or seals under stands on the page, and no other',
  async (t) => {
    const sources = new URL('../../../daemon/', import.meta.url);
    const domainsIn = (text: string): readonly string[] => text.match(/\bmergetown\/[a-z-]+\/v[0-9]+/g) ?? [];
    const used = new Map<string, string>();
    for (const name of readdirSync(sources, { recursive: true, encoding: 'utf8' }).sort()) {
      if (!/\.tsx?$/.test(name) || /\.(test|fixture)\.|(^|\/)testing\//.test(name)) continue;
      for (const domain of domainsIn(readFileSync(new URL(name, sources), 'utf8')))
        if (!used.has(domain)) used.set(domain, name);
    }
    const page = readFileSync(new URL('ledger/README.md', sources), 'utf8');
    const told = new Set(domainsIn(page.slice(0, page.indexOf('\n## Entry'))));
    for (const [domain, name] of used)
      t.ok(told.has(domain), `${domain} (${name}) stands under "Signatures"`);
    t.same(
      [...told].filter((domain) => !used.has(domain)).sort(),
      [],
      'the page names none that is not used',
    );
    t.ok(used.size >= 19, 'they are found');
  },
);
