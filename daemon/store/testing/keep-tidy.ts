/**
 * Does without end, beside a writer that will be killed, what a daemon does on idle after months: combines packs, takes the combined ones
 * away, and moves old rows to the archive; as soon as there is anything to do, so that a short round passes through all of it.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TownError } from '../../ledger/ids.js';
import { packDisk } from '../pack-disk.js';
import type { Repository } from '../repository.js';
import type { Store } from '../store.js';
import { readSuperseded } from '../superseded.js';
import { tell } from './acknowledged.js';

/** Instead of the 20,000 entries and 1,000 records of a door that stay in the database. */
const bounds = { entriesKept: 150, recordsPerDoor: 20 };
const gapMs = 5;

export async function keepTidy(store: Store, repository: Repository): Promise<never> {
  return (await Promise.all([keepPacksFew(repository), keepTablesSmall(store)]))[0];
}

async function keepPacksFew(repository: Repository): Promise<never> {
  const packs = join(repository.folder, 'objects', 'pack');
  for (;;) {
    const superseded = readSuperseded(repository.folder, packDisk).length;
    const indexes = packDisk.list(packs).filter((name) => name.endsWith('.idx')).length;
    if (superseded > 0) {
      tell('removing');
      tell(`removed ${(await repository.removeCombined()).length}`);
    } else if (indexes > 1) {
      tell('combining');
      tell(`combined ${(await repository.combine({ all: true })).length}`);
    }
    await sleep(gapMs);
  }
}

async function keepTablesSmall(store: Store): Promise<never> {
  for (;;) {
    let moved = 0;
    try {
      moved = await store.archiveStep(bounds);
    } catch (error) {
      if (!(error instanceof TownError && error.code === 'store-busy')) throw error;
    }
    if (moved > 0) tell(`archived ${moved}`);
    await sleep(gapMs);
  }
}
