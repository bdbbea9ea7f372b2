/** Keys of records in a real database: what is destroyed leaves no byte in its files, what stays is as it was. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import type { Millis, NodeId } from '../ledger/ids.js';
import { checkRows } from './check-rows.js';
import type { PrivateKeyRow } from './rows.js';
import { Store } from './store.js';

t.setTimeout(600_000);

const KEYS = 4_000;
const failed = (error: Error): void => {
  throw error;
};
const person = (index: number): string => `p${index.toString(16).padStart(16, '0')}`;

/** Which of these bytes are in any file of the database: in it, in its log, in its index. */
function found(folder: string, wanted: readonly Uint8Array[]): number {
  const files = readdirSync(folder)
    .filter((name) => name.startsWith('town.db'))
    .map((name) => readFileSync(join(folder, name)));
  return wanted.filter((bytes) => files.some((file) => file.includes(Buffer.from(bytes)))).length;
}

t.test('keys that are destroyed are in no page and no log any more, however they moved before', async (t) => {
  const folder = t.testdir();
  const store = await Store.open(folder, { onFatal: failed });
  t.teardown(() => store.close());
  const rows: PrivateKeyRow[] = Array.from({ length: KEYS }, (_, index) => ({
    ...{ handle: `k${randomBytes(16).toString('hex')}`, subject: person(index % 500) },
    ...{ month: `2026-${String((index % 12) + 1).padStart(2, '0')}`, key: new Uint8Array(randomBytes(32)) },
  }));
  for (let from = 0; from < KEYS; from += 250)
    await Promise.all(rows.slice(from, from + 250).map((row) => store.putPrivateKey(row)));
  const text = (owner: string): string =>
    JSON.stringify({ invitation: {}, name: `Name of ${owner}`, person: owner });
  for (const index of [1, 2])
    await store.putInvitation({ hash: `h${index}`, text: text(person(index)), expires: 1 as Millis });
  t.equal(
    found(
      folder,
      rows.map(({ key }) => key),
    ),
    KEYS,
    'the search finds what is there',
  );

  // Several times, each after others were written: pages were split, filled and left in every way.
  let kept = rows;
  for (let round = 0; round < 4; round += 1) {
    const gone = kept.filter((_, index) => index % 3 === 0);
    kept = kept.filter((_, index) => index % 3 !== 0);
    const persons = round === 3 ? [person(1)] : [];
    await store.eraseRecords({ handles: gone.map(({ handle }) => handle), persons, missing: [] });
    t.equal(
      found(
        folder,
        gone.map(({ key }) => key),
      ),
      0,
    );
    t.equal(
      found(
        folder,
        kept.map(({ key }) => key),
      ),
      kept.length,
    );
    const more = gone
      .slice(0, 200)
      .map((row) => ({ ...row, handle: `${row.handle}x`, key: new Uint8Array(randomBytes(32)) }));
    await store.takeRecordKeys(more);
    kept = [...kept, ...more];
  }
  t.equal(found(folder, [Buffer.from(`Name of ${person(1)}`)]), 0, 'nor is the name in an invitation');
  t.equal(found(folder, [Buffer.from(`Name of ${person(2)}`)]), 1);
  t.equal(store.invitation('h1'), null);
  t.equal(
    store.records.months(100).reduce((sum, { keys }) => sum + keys, 0),
    kept.length,
  );
  for (const { handle, key } of kept.slice(0, 50))
    t.same(Buffer.from(store.records.key(handle)?.key ?? []), Buffer.from(key));
});

t.test(
  'a log that could not be cut off, because somebody was reading, is cut off afterwards, also by the next start',
  async (t) => {
    const folder = t.testdir();
    let store = await Store.open(folder, { onFatal: failed });
    const row = { handle: 'k1', subject: 'p1', month: '2026-11', key: new Uint8Array(randomBytes(32)) };
    await store.putPrivateKey(row);
    const reader = new Database(join(folder, 'town.db'), { readonly: true });
    const reading = reader.prepare('SELECT * FROM meta').iterate();
    await store.setMeta('a', '1');
    reading.next();
    await store.eraseRecords({ handles: ['k1'], persons: [], missing: [] });
    t.equal(store.records.key('k1'), null);
    reading.return?.();
    reader.close();
    await store.close();
    store = await Store.open(folder, { onFatal: failed });
    t.teardown(() => store.close());
    t.equal(found(folder, [row.key]), 0);
  },
);

t.test('what is missing is known once, until its key comes or it is given up', async (t) => {
  const folder = t.testdir();
  const store = await Store.open(folder, { onFatal: failed });
  const node = '0123456789abcdef' as NodeId;
  const missing = ['k1', 'k2', 'k3'].map((handle, index) => ({ handle, node, at: (index * 10) as Millis }));
  await store.putPrivateKey({ handle: 'k1', subject: 'p1', month: '2026-11', key: new Uint8Array(32) });
  await store.followRecords({ upTo: { key: 'followed', value: '7' }, missing });
  t.equal(store.meta('followed'), '7');
  t.same(
    store.records.missing(10).map(({ handle }) => handle),
    ['k3', 'k2'],
    'what is here is not missing',
  );
  t.same(store.records.missingBefore(15 as Millis, 10), ['k2']);
  await store.takeRecordKeys([{ handle: 'k2', subject: 'p1', month: '2026-10', key: new Uint8Array(32) }]);
  await store.eraseRecords({ handles: [], persons: [], missing: ['k3'] });
  t.equal(store.records.missingCount(), 0);
  await store.close();
  const db = new Database(join(folder, 'town.db'));
  t.teardown(() => db.close());
  t.same(await checkRows(db), []);
  db.prepare("UPDATE private_keys SET own = 0 WHERE handle = 'k1'").run();
  t.not((await checkRows(db)).length, 0, 'who made a key is summed too');
});
