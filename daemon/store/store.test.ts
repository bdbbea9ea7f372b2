import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import type { EntryId, MemberId, Millis } from '../ledger/ids.js';
import { holdsLock, lockFolder } from './folder-lock.js';
import { schemaVersion } from './migrations.js';
import { sql as firstTables } from './migrations/0001-tables.js';
import { Store } from './store.js';
import { branch, node, sampleBlock, sampleEntry, sampleMerge } from './testing/samples.js';

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-store-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function opened(t: Test, folder = temporaryFolder(t)): Promise<Store> {
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  t.teardown(() => store.close());
  return store;
}

const entries = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => sampleEntry(from + index));

t.test('what was appended is read back, also after closing and opening', async (t) => {
  const folder = temporaryFolder(t);
  const store = await opened(t, folder);
  const [first, second] = entries(2) as [ReturnType<typeof sampleEntry>, ReturnType<typeof sampleEntry>];
  t.same(await store.appendEntries({ entries: [first, second] }), { skipped: [] });
  t.match(store.entry(first.id), { ...first, state: 'pending', block: null, verdict: null });
  t.equal(store.entriesByPrefix(first.id.slice(0, 12))[0]?.id, first.id);
  t.throws(() => store.entriesByPrefix('xyz'), { code: 'bad-prefix' });
  t.same(
    store.log(10).map(({ n }) => n),
    [1, 0],
    'the log is newest first',
  );
  t.same(
    store.log(10, store.log(1)[0]!.row).map(({ n }) => n),
    [0],
    'and goes on before a row',
  );
  t.equal(store.lastN(node, 'main'), 1);
  t.equal(store.lastN(node, 'draft'), -1);
  await store.setMeta('town', 'x');
  await store.close();
  t.equal(statSync(join(folder, 'town.db')).mode & 0o777, 0o600, 'only the owner reads the database');
  const again = await opened(t, folder);
  t.match(again.entry(second.id), { ...second, bytes: Buffer.from(second.bytes) });
  t.equal(again.meta('town'), 'x');
  await t.rejects(store.setMeta('a', 'b'), { code: 'store-closed' });
});

t.test('an entry applies once, and a batch is taken whole or not at all', async (t) => {
  const store = await opened(t);
  const [first, second] = entries(2) as [ReturnType<typeof sampleEntry>, ReturnType<typeof sampleEntry>];
  await store.appendEntries({ entries: [first] });
  await t.rejects(store.appendEntries({ entries: [second, first] }), { code: 'duplicate-entry' });
  t.equal(store.entry(second.id), null, 'nothing of the refused batch stays');
  await t.rejects(store.appendEntries({ entries: [sampleEntry(0, 'other words')] }), {
    code: 'duplicate-entry',
    message: /number 0/,
  });
  await t.rejects(store.appendEntries({ entries: [sampleEntry(5, 'x'.repeat(17_000))] }), {
    code: 'entry-too-large',
  });
  await t.rejects(
    store.appendEntries({ entries: [{ ...second, id: first.id.replace(/^./, 'z') as EntryId }] }),
    { code: 'invariant' },
    'an id that is not the hash of the bytes is a fault of the program',
  );
  const key = { handle: 'k1', subject: 'p1', month: '2026-11', key: new Uint8Array(32) };
  await store.appendEntries({ entries: [second], privateKeys: [key] });
  await store.takeRecordKeys([
    { ...key, handle: 'k0' },
    { ...key, handle: 'k2' },
  ]);
  t.same(store.records.handlesOf('p1', 10), ['k0', 'k1', 'k2'], 'nodes that were apart made one each');
  t.same(store.records.handlesGiven(10), ['k0', 'k2']);
  t.same(store.records.keyFor('p1', '2026-11')?.handle, 'k0', 'and go by the same one from then on');
  t.same(store.records.key('k1')?.key, Buffer.alloc(32));
});

t.test(
  'an entry is found by its id before it stands in a block and after, and applies once either way',
  async (t) => {
    const store = await opened(t);
    const all = entries(300);
    await store.appendEntries({ entries: all });
    const assertKnown = async (): Promise<void> => {
      for (const { id } of [all[0]!, all[255]!, all[256]!, all[299]!]) {
        t.equal(store.entry(id)?.id, id);
        t.same(
          store.entriesByPrefix(id.slice(0, 16)).map((row) => row.id),
          [id],
        );
      }
      for (const entry of [all[1]!, all[298]!])
        await t.rejects(store.appendEntries({ entries: [entry] }), {
          code: 'duplicate-entry',
          message: /applies once/,
        });
    };
    await assertKnown();
    t.equal(store.placedEntry(all[0]!.id), null);
    const block = sampleBlock(store, all.slice(0, 200));
    await store.putBlock(block);
    t.equal(store.placedEntry(all[0]!.id)?.block, block.block.id);
    t.equal(store.placedEntry(all[200]!.id), null);
    await assertKnown();
    const thief = sampleBlock(store, [all[199]!, all[200]!]);
    await t.rejects(store.putBlock(thief), { code: 'entry-not-free' });
    const next = sampleBlock(store, all.slice(200));
    await store.putBlock(next);
    t.same(
      store.blockEntries(next.block.id).map(({ n }) => n),
      all.slice(200).map(({ n }) => n),
    );
    t.equal(store.counts().unblocked, 0);
    await assertKnown();
  },
);

t.test('a gate record that is delivered twice is kept once', async (t) => {
  const store = await opened(t);
  const record = (id: string, entry: EntryId) => ({ id, entry, door: 'front', at: 5 as Millis });
  const [a, b, c] = entries(3).map(({ id }) => id) as [EntryId, EntryId, EntryId];
  await store.appendEntries({ entries: [sampleEntry(0)], gateRecords: [record('g-1', a)] });
  const second = {
    entries: [sampleEntry(1), sampleEntry(2)],
    gateRecords: [record('g-1', b), record('g-2', c)],
  };
  t.same(await store.appendEntries(second), { skipped: ['g-1'] });
  t.equal(store.entry(b), null, 'the second entry of the same record is not taken');
  t.equal(store.gateRecord('g-1')?.entry, a);
  t.same(
    store.gateRecords('front', 10).map(({ id }) => id),
    ['g-2', 'g-1'],
  );
});

t.test('many at once share a transaction; a refused one does not hurt its neighbours', async (t) => {
  const store = await opened(t);
  const before = store.transactions;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 1_000 }, (_, n) =>
      store.appendEntries({ entries: [sampleEntry(n === 500 ? 0 : n)] }),
    ),
  );
  t.equal(outcomes.filter(({ status }) => status === 'rejected').length, 1);
  t.equal(store.counts().entries, 999);
  t.ok(store.transactions - before <= 8, `${store.transactions - before} transactions for 1,000 appends`);
  const flood = Array.from({ length: 10_300 }, (_, n) => store.setMeta('k', String(n)));
  const last = (await Promise.allSettled(flood)).at(-1);
  t.match(last, { status: 'rejected', reason: { code: 'store-busy' } }, 'the queue has an end');
});

t.test('blocks place entries, merges judge them, in this order and once', async (t) => {
  const store = await opened(t);
  await store.appendEntries({ entries: entries(3) });
  t.equal(store.entriesOf(node, 'main', 'unblocked', 10).length, 3);
  const block = sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 2));
  await store.putBlock(block);
  t.equal(store.entriesOf(node, 'main', 'unblocked', 10).length, 1);
  t.same(
    store.blockEntries(block.block.id).map(({ n, idx }) => [n, idx]),
    [
      [0, 0],
      [1, 1],
    ],
  );
  await t.rejects(store.putBlock(block), { code: 'duplicate-block' });
  const thief = sampleBlock(store, entries(1));
  await t.rejects(store.putBlock(thief), { code: 'entry-not-free' });
  t.equal(store.block(thief.block.id), null);
  t.match(store.branches(9), [{ node, line: 'main', seq: 0, head: block.block.id, unmergedBlocks: 1 }]);
  t.equal(store.ref(branch), block.block.oid);

  const merge = sampleMerge(store);
  await t.rejects(store.adopt({ ...merge, merge: { ...merge.merge, height: 1 } }), { code: 'wrong-height' });
  t.equal(store.lastMerge(), null);
  const notice = { member: 'm1' as MemberId, entry: null, at: 1 as Millis, text: 'paid' };
  await store.adopt({ ...merge, notices: [notice] });
  await t.rejects(store.adopt(merge), { code: 'wrong-height' });
  t.same(store.lastMerge(), { ...merge.merge, raw: Buffer.from(merge.merge.raw) });
  t.equal(store.mergesByPrefix(merge.merge.id.slice(0, 8)).length, 1);
  t.match(store.entry(block.entryIds[0]!), { state: 'merged', verdict: 'accepted', height: 0 });
  t.same(
    store.pendingOn('main', 10).map(({ n }) => n),
    [2],
  );
  t.same(store.blocksUnmerged(node, 'main', 10), []);
  t.equal(store.blocksOfMerge(0, 10).length, 1);
  t.equal(store.mergeEntries(0, 10).length, 2);
  t.equal(store.certificate(0), '{}');
  t.same([...store.allState()], [{ dapp: 'kernel', collection: 'heights', key: 'last', value: '0' }]);
  t.match(store.notices('m1', 5), [{ text: 'paid', read: false }]);
  await store.readNotices('m1' as MemberId, 99);
  t.match(store.notices('m1', 5), [{ read: true }]);

  await store.appendEntries({ entries: entries(1, 3) });
  const removal = sampleMerge(store);
  await store.adopt({
    ...removal,
    state: [{ dapp: 'kernel', collection: 'heights', key: 'last', value: null }],
  });
  t.equal(store.stateValue('kernel', 'heights', 'last'), null, 'a null value deletes');
  t.same(store.counts(), { ...store.counts(), height: 1, pending: 2, unblocked: 2 });
});

t.test('votes are kept by height and forgotten below one; an invitation is used once', async (t) => {
  const store = await opened(t);
  const vote = (height: number) => ({
    height,
    round: 0,
    step: 'prevote',
    kind: 'vote',
    text: '{}',
    bytes: null,
  });
  await store.logConsensus([vote(1), vote(2), vote(2)]);
  await store.forgetConsensus(2);
  t.same([store.consensusLog(1).length, store.consensusLog(2).length], [0, 2]);
  await store.putInvitation({ hash: 'h', text: '{}', expires: 100 as Millis });
  t.equal(await store.useInvitation('h', 100 as Millis), false, 'expired');
  const both = await Promise.all([
    store.useInvitation('h', 9 as Millis),
    store.useInvitation('h', 9 as Millis),
  ]);
  t.same(both, [true, false], 'two at once: one gets in');
  t.equal(store.invitation('h')?.used, 9);
  t.equal(await store.useInvitation('unknown', 9 as Millis), false);
});

t.test('one process a folder: the second is told which one has it', async (t) => {
  const folder = temporaryFolder(t);
  const store = await opened(t, folder);
  t.ok(holdsLock(folder));
  const there = new URL('./folder-lock.js', import.meta.url).href;
  const code = `import(${JSON.stringify(there)}).then(m => m.lockFolder(${JSON.stringify(folder)})).then(() => console.log('taken'), e => console.log(e.code, e.message))`;
  const other = (): string => execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  t.match(other(), new RegExp(`^folder-in-use .*process ${process.pid}`));
  await t.rejects(lockFolder(folder), { code: 'folder-in-use' });
  await store.close();
  writeFileSync(join(folder, 'lock'), '1\n');
  t.match(other(), /^taken/, 'what a dead process left behind does not lock');
});

/** A database whose last transactions are only in its log, as after a power cut. */
async function cutOff(t: Test): Promise<{ folder: string; wal: string }> {
  const source = temporaryFolder(t);
  const folder = temporaryFolder(t);
  const store = await opened(t, source);
  for (let n = 0; n < 20; n += 1) await store.appendEntries({ entries: [sampleEntry(n, 'x'.repeat(300))] });
  for (const name of ['town.db', 'town.db-wal']) cpSync(join(source, name), join(folder, name));
  return { folder, wal: join(folder, 'town.db-wal') };
}

t.test('a torn tail of the log opens silently, with everything that was acknowledged', async (t) => {
  const { folder, wal } = await cutOff(t);
  // The beginning of a transaction that never got its commit: half a frame of a page.
  appendFileSync(wal, readFileSync(wal).subarray(32, 32 + 2_345));
  const store = await opened(t, folder);
  t.equal(store.lastN(node, 'main'), 19);
  t.equal(store.counts().entries, 20);
});

t.test('a flipped byte is refused, and the repair is named', async (t) => {
  const { folder } = await cutOff(t);
  await (await opened(t, folder)).close();
  const file = join(folder, 'town.db');
  const whole = readFileSync(file);
  // A page keeps old copies of rows in its unused part: every copy is hit, so that the live one is.
  const bytes = Buffer.from(sampleEntry(19, 'x'.repeat(300)).bytes);
  const inBytes: number[] = [];
  for (let at = whole.indexOf(bytes); at >= 0; at = whole.indexOf(bytes, at + 1)) inBytes.push(at + 50);
  const db = new Database(file, { readonly: true });
  const root = db
    .prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'")
    .pluck()
    .get() as number;
  db.close();
  const pageSize = whole.readUInt16BE(16);
  for (const [where, offsets] of [
    ['the bytes of an entry', inBytes],
    ['the header of a page', [(root - 1) * pageSize]],
    ['the magic of the file', [3]],
  ] as const) {
    const handle = openSync(file, 'r+');
    for (const at of offsets) writeSync(handle, Buffer.from([whole[at]! ^ 0x40]), 0, 1, at);
    closeSync(handle);
    await t.rejects(
      Store.open(folder, { onFatal: () => t.fail('refused, not fatal') }),
      { code: 'database-corrupt', advice: /aside.*copy of the whole data folder.*git/s },
      where,
    );
    t.notOk(holdsLock(folder), 'a refused folder is free again');
    writeFileSync(file, whole);
  }
  const store = await opened(t, folder);
  t.equal(store.counts().entries, 20, 'and put back, it opens');
});

t.test('invitations for nodes are kept, replaced and forgotten', async (t) => {
  const folder = temporaryFolder(t);
  const store = await opened(t, folder);
  await store.putNodeInvitation('00000000000000bb', '{"asker":null}');
  await store.putNodeInvitation('00000000000000aa', '{}');
  await store.putNodeInvitation('00000000000000bb', '{"asker":"x"}');
  await store.close();
  const again = await opened(t, folder);
  t.same(again.nodeInvitations(10), [
    { id: '00000000000000aa', text: '{}' },
    { id: '00000000000000bb', text: '{"asker":"x"}' },
  ]);
  t.equal(again.nodeInvitations(1).length, 1);
  await again.forgetNodeInvitation('00000000000000aa');
  await again.forgetNodeInvitation('00000000000000cc');
  t.same(
    again.nodeInvitations(10).map(({ id }) => id),
    ['00000000000000bb'],
  );
});

t.test('a database of the first version gets the new tables and keeps what it has', async (t) => {
  const folder = temporaryFolder(t);
  const first = new Database(join(folder, 'town.db'));
  first.exec(firstTables);
  first.prepare("INSERT INTO meta VALUES ('town', 'x')").run();
  first.pragma('user_version = 1');
  first.close();
  const store = await opened(t, folder);
  t.equal(store.meta('town'), 'x');
  await store.appendEntries({ entries: [sampleEntry(1)] });
  await store.putNodeInvitation('00000000000000aa', '{}');
  t.equal(store.nodeInvitations(10).length, 1);
  await store.close();
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  t.equal(db.pragma('user_version', { simple: true }), schemaVersion);
  db.close();
});

t.test('a database of a later program is left alone', async (t) => {
  const folder = temporaryFolder(t);
  await (await opened(t, folder)).close();
  const db = new Database(join(folder, 'town.db'));
  db.pragma('user_version = 99');
  db.close();
  await t.rejects(Store.open(folder, { onFatal: () => undefined }), { code: 'database-newer' });
});

t.test('of a member who is told much, what was read goes first and then the oldest', async (t) => {
  const store = await opened(t);
  const noticesOf = (member: string, count: number, from = 0) =>
    Array.from({ length: count }, (_, index) => ({
      ...{ member: member as MemberId, entry: null, at: 1 as Millis },
      text: String(from + index),
    }));
  const tell = async (...notices: ReturnType<typeof noticesOf>): Promise<void> => {
    await store.appendEntries({ entries: [sampleEntry(store.counts().entries)] });
    await store.putBlock(sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 1)));
    await store.adopt({ ...sampleMerge(store), notices });
  };
  const texts = (member: string) => store.notices(member, 2_000).map(({ text }) => Number(text));
  await tell(...noticesOf('m1', 999), ...noticesOf('m2', 3));
  await store.readNotices('m2' as MemberId, 2_000);
  const read = store.notices('m1', 2_000).find(({ text }) => text === '4')!.id;
  await store.readNotices('m1' as MemberId, read);
  await tell(...noticesOf('m1', 4, 999));
  t.equal(texts('m1').length, 1_000);
  t.same(texts('m1').slice(-3), [5, 4, 3], 'the oldest that were read have gone');
  await tell(...noticesOf('m1', 5, 1_003));
  t.equal(texts('m1').length, 1_000);
  t.equal(texts('m1')[0], 1_007);
  t.same(texts('m1').slice(-1), [8], 'then the oldest of those that nobody has read');
  t.same(texts('m2'), [2, 1, 0], 'each member for itself');
  await tell(...noticesOf('m3', 1_200));
  t.same([texts('m3').length, texts('m3').at(-1)], [1_000, 200]);
});

t.test('what waits is counted without reading what is staged', async (t) => {
  const store = await opened(t);
  t.same([store.pendingCount(), store.hasUnblocked()], [0, false]);
  await store.appendEntries({ entries: entries(3) });
  t.same([store.pendingCount(), store.hasUnblocked()], [3, true]);
  await store.putBlock(sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 3)));
  t.same([store.pendingCount(), store.hasUnblocked()], [3, false]);
  await store.adopt(sampleMerge(store));
  t.same([store.pendingCount(), store.counts().pending], [0, 0]);
});
