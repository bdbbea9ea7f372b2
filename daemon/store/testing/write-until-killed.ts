/**
 * A child process for the crash tests: appends, makes blocks, merges and flushes without end, and says on stdout
 * what was acknowledged, only after it was. Arguments: data folder.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { Repository } from '../repository.js';
import { Store } from '../store.js';
import { node, sampleBlock, sampleEntry, sampleMerge } from './samples.js';

const folder = process.argv[2]!;
const tell = (line: string): void => void writeSync(1, `${line}\n`);

const store = await Store.open(folder, {
  onFatal(error) {
    tell(`fatal ${error.message}`);
    process.exit(3);
  },
});
const repository = await Repository.open(join(folder, 'ledger.git'), store);
tell('open');
for (let round = 0; round < 100_000; round += 1) {
  const first = store.lastN(node, 'main') + 1;
  await Promise.all(
    Array.from({ length: 1 + (round % 7) }, async (_, index) => {
      const entry = sampleEntry(first + index, 'x'.repeat(round % 400));
      await store.appendEntries({ entries: [entry] });
      tell(`entry ${entry.id}`);
    }),
  );
  const block = sampleBlock(store, store.entriesOf(node, 'main', 'unblocked', 200));
  await store.putBlock(block);
  tell(`block ${block.block.id}`);
  if (round % 3 === 0) {
    const merge = sampleMerge(store);
    await store.adopt(merge);
    tell(`merge ${merge.merge.id}`);
  }
  if (round % 2 === 0) {
    await repository.flush();
    tell(`flushed ${block.block.oid}`);
  } else repository.scheduleFlush();
}
