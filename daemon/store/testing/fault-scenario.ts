/**
 * A child process for the fault tests: everything the store and the repository do, once, from opening to closing; it says on stdout
 * what was acknowledged, and what was refused. A disk that is full for a moment is no reason to stop; everything else is.
 * Begins when its input says so. Arguments: data folder.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256 } from '../../ledger/hash.js';
import type { Millis } from '../../ledger/ids.js';
import { Repository } from '../repository.js';
import { Store } from '../store.js';
import { tell, tellFatal, told } from './acknowledged.js';
import { node, sampleBlock, sampleEntry, sampleMerge } from './samples.js';

const rounds = 2;
/** More requests than the writer takes before it folds its log in; these change nothing. */
const requestsToCheckpoint = 220;
/** Longer than the writer waits for more before it does. */
const idleMs = 120;
/** A failure of the disk in git is told to the store in the next turns. */
const fatalSoonMs = 500;

const folder = process.argv[2]!;
await told();
const store = await Store.open(folder, { onFatal: tellFatal }).catch(tellFatal);
const repository = await Repository.open(join(folder, 'ledger.git'), store).catch(tellFatal);
tell('open');

/** Does a step; a full disk refuses it, and that is all. */
async function step(what: string, done: () => Promise<string>): Promise<boolean> {
  try {
    tell(await done());
    return true;
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    // Packs that cannot be combined stay as they are.
    if (code === 'disk-full' || code === 'combine-failed' || (code === 'ENOSPC' && syscall !== 'fsync')) {
      tell(`refused ${what}: ${String(error)}`);
      return false;
    }
    await sleep(fatalSoonMs);
    return tellFatal(error);
  }
}

async function append(n: number, text: string): Promise<void> {
  const entry = sampleEntry(n, text);
  const record = { id: `record ${n}`, entry: entry.id, door: 'front', at: n as Millis };
  await step('append', async () => {
    await store.appendEntries({ entries: [entry], gateRecords: [record] });
    return `entry ${entry.id}`;
  });
}

const flush = (): Promise<boolean> =>
  step('flush', async () => {
    const last = store.lastBlock(node, 'main');
    await repository.flush();
    return last === null ? 'nothing to flush' : `flushed ${last.oid}`;
  });

async function block(): Promise<void> {
  const entries = store.entriesOf(node, 'main', 'unblocked', 200);
  if (entries.length === 0) return;
  const batch = sampleBlock(store, entries);
  await step('block', async () => {
    await store.putBlock(batch);
    return `block ${batch.block.id}`;
  });
}

async function merge(): Promise<void> {
  const batch = sampleMerge(store);
  const text = `prevote at ${batch.merge.height}, ${process.pid}`;
  const { height } = batch.merge;
  await step('vote', async () => {
    await store.logConsensus([{ height, round: 0, step: 'prevote', kind: 'vote', text, bytes: null }]);
    return `vote ${height} ${sha256(text)}`;
  });
  await step('merge', async () => {
    await store.adopt(batch);
    return `merge ${batch.merge.id}`;
  });
}

for (let round = 0; round < rounds; round += 1) {
  const first = Math.max(store.lastN(node, 'main'), 0) + 1;
  await append(first, 'one');
  await Promise.all([append(first + 1, 'two'), append(first + 2, 'x'.repeat(9_000))]);
  await block();
  await merge();
  await flush();
}
await step('checkpoint', async () => {
  await Promise.all(Array.from({ length: requestsToCheckpoint }, () => store.forgetNodeInvitation('none')));
  return 'idle';
});
await sleep(idleMs);
await append(Math.max(store.lastN(node, 'main'), 0) + 1, 'after the checkpoint');
await block();
await flush();
await step(
  'archive',
  async () => `archived ${await store.archiveStep({ entriesKept: 3, recordsPerDoor: 2 })}`,
);
await step('combine', async () => {
  const { length } = await repository.combine({ all: true });
  return `combined ${length}`;
});
await step('remove', async () => `removed ${(await repository.removeCombined()).length}`);
await append(Math.max(store.lastN(node, 'main'), 0) + 1, 'after the packs were combined');
await block();
await flush();
await step('close', async () => {
  await repository.close();
  return 'closing';
});
await store.close().catch(tellFatal);
tell('closed');
process.exit(0);
