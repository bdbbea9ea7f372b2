/** Numbers of arrival: every one that was given is somewhere, or was taken out on purpose. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import type { Millis } from '../ledger/ids.js';
import { FOLLOWED_META, missingArrivals, runsText } from './arrivals.js';
import { openForReading } from './database.js';
import { Store } from './store.js';
import { sampleBlock, sampleEntry } from './testing/samples.js';

const options = {
  onFatal(error: Error): void {
    throw error;
  },
};

t.test(
  'numbers of arrival that nothing has any more are told, but for those taken out on purpose',
  async (t) => {
    const folder = t.testdir();
    const store = await Store.open(folder, options);
    const entries = Array.from({ length: 8 }, (_, n) => sampleEntry(n));
    await store.appendEntries({ entries: entries.slice(0, 6) });
    const missing = (): string => {
      const db = openForReading(folder);
      try {
        return runsText(missingArrivals(db));
      } finally {
        db.close();
      }
    };
    t.equal(missing(), '');
    await store.close();
    const db = new Database(join(folder, 'town.db'));
    db.exec('DELETE FROM entries WHERE row IN (2, 3, 6)');
    db.close();
    t.equal(missing(), '2–3', 'nothing tells how far they went');
    const again = await Store.open(folder, options);
    await again.followRecords({ upTo: { key: FOLLOWED_META, value: '6' }, missing: [] });
    t.equal(missing(), '2–3, 6');
    // What is cut out of a branch is gone on purpose, and its numbers are given again.
    const batch = sampleBlock(again, entries.slice(4, 5));
    await again.putBlock(batch);
    const { node, line, seq } = batch.block;
    const cut = { from: seq, next: seq + 1, refs: [], notice: { at: 1 as Millis, text: 'void' } };
    t.equal(await again.cutBranch({ node, line, ...cut }), 1);
    t.equal(again.meta(FOLLOWED_META), '4');
    t.equal(missing(), '2–3', 'five was the last: it is given again');
    await again.appendEntries({ entries: entries.slice(6) });
    t.same(
      again.records.arrivedAfter(4, 10).map(({ row }) => row),
      [5, 6],
      'and looked at again',
    );
    await again.close();
  },
);
