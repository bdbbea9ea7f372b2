/** What is wrong with a node's heart after a crash, beyond what was acknowledged. */
import { blobObject } from '../../ledger/git-object.js';
import { openForReading } from '../../store/database.js';
import { StoreReads } from '../../store/reads.js';
import { git } from '../../store/testing/rounds.js';
import { MainLine } from '../main-line.js';
import type { CoreStore } from '../core-store.js';

/** Git's tree of `main` is walked after every so many rounds. */
const treeEvery = 10;

/**
 * The state of `main` loads, its supply holds, no number is missing in the branch's blocks; and, every tenth round, git's `main`
 * holds exactly the values of the database.
 */
export async function heartProblems(folder: string, round: number): Promise<readonly string[]> {
  const db = openForReading(folder);
  try {
    const store = new StoreReads(db);
    if (store.lastMerge() === null) return [];
    MainLine.load(Object.assign(store, { folder }) as unknown as CoreStore);
    if (round % treeEvery !== 0) return [];
    const here = new Set(
      git(folder, 'ls-tree', '-r', '--format=%(objectname)', 'refs/heads/main').split('\n'),
    );
    return [...store.allState()]
      .filter(({ value }) => !isBlobOf(here, value))
      .map(
        ({ dapp, collection, key }) => `state/${dapp}/${collection}/${key} is not in git as in the database`,
      );
  } finally {
    db.close();
  }
}

const isBlobOf = (here: ReadonlySet<string>, value: string): boolean =>
  here.has(blobObject(Buffer.from(value)).oid) || here.has(blobObject(Buffer.from(`${value}\n`)).oid);
