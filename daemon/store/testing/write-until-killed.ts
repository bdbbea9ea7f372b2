/**
 * A child process for the crash tests: appends, makes blocks, merges, votes, flushes, combines packs and archives without end, all at
 * once, and says on stdout what was acknowledged, only after it was. Begins when its input says so. Arguments: data folder.
 */
import { join } from 'node:path';
import { sha256 } from '../../ledger/hash.js';
import type { Millis } from '../../ledger/ids.js';
import { blobObject } from '../../ledger/git-object.js';
import { Repository } from '../repository.js';
import { Store } from '../store.js';
import { told, tell, tellFatal } from './acknowledged.js';
import { keepTidy } from './keep-tidy.js';
import { node, sampleBlock, sampleEntry, sampleMerge } from './samples.js';

/** Appends on their way at once; block, merge, vote and flush come beside them. */
const appendersMax = 8;
const fatNow = 40;
const notesRef = 'refs/notes/sample';

const folder = process.argv[2]!;
await told();
const store = await Store.open(folder, { onFatal: tellFatal });
const repository = await Repository.open(join(folder, 'ledger.git'), store);
tell('open');

let n = store.lastN(node, 'main');
async function append(): Promise<never> {
  for (;;) {
    n += 1;
    const entry = sampleEntry(n, 'x'.repeat(n % fatNow === 0 ? 6_000 : n % 300));
    const record = { id: `record ${n}`, entry: entry.id, door: 'front', at: n as Millis };
    await store.appendEntries({ entries: [entry], ...(n % 3 === 0 ? { gateRecords: [record] } : {}) });
    tell(`entry ${entry.id}`);
  }
}

async function makeBlocks(): Promise<never> {
  for (let round = 0; ; round += 1) {
    const entries = store.entriesOf(node, 'main', 'unblocked', 200);
    if (entries.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      continue;
    }
    const block = sampleBlock(store, entries);
    await store.putBlock(block);
    tell(`block ${block.block.id}`);
    if (round % 2 === 0) await merge();
    if (round % 3 === 0) {
      await repository.flush();
      tell(`flushed ${block.block.oid}`);
    } else repository.scheduleFlush();
  }
}

/** As a validator does: votes, durable before the merge; the merge; the votes of what is decided are forgotten; a note. */
async function merge(): Promise<void> {
  const height = (store.lastMerge()?.height ?? -1) + 1;
  for (const step of ['prevote', 'precommit']) {
    const text = `${step} at ${height}, ${sha256(String(process.pid))}`;
    await store.logConsensus([{ height, round: 0, step, kind: 'vote', text, bytes: null }]);
    tell(`vote ${height} ${sha256(text)}`);
  }
  const batch = sampleMerge(store);
  await store.adopt(batch);
  tell(`merge ${batch.merge.id}`);
  await store.forgetConsensus(height);
  const note = blobObject(Buffer.from(`note ${height}`));
  await store.putRefs({ objects: [note], refs: [{ name: notesRef, oid: note.oid }] });
  tell(`ref ${notesRef} ${note.oid}`);
}

await Promise.all([
  ...Array.from({ length: appendersMax }, append),
  makeBlocks(),
  keepTidy(store, repository),
]).catch(tellFatal);
