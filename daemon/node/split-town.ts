/**
 * Splits a town: founds a new one with a new id in a folder of its own, from the state at a merge of this one. Members, credits,
 * gigs and badges go along, with open locks, allowances and dues; the supply is the same. From then on the two go apart: what was
 * signed for the one means nothing in the other. Only reads the old folder, so its daemon may run.
 */
import { randomBytes } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { parseCharter, type Charter } from '../ledger/charter.js';
import { sha256 } from '../ledger/hash.js';
import type { Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { makeGenesis } from '../ledger/merge.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import type { StateWrite } from '../ledger/state.js';
import { openForReading } from '../store/database.js';
import { makeFolderDurably, writeFileDurably } from '../store/durable-file.js';
import { lockFolder } from '../store/folder-lock.js';
import { inNewFolder } from '../store/new-folder.js';
import { StoreReads } from '../store/reads.js';
import { Repository } from '../store/repository.js';
import { GitObjects } from '../store/repository-reader.js';
import type { MergeRow, PrivateKeyRow } from '../store/rows.js';
import { readState } from '../store/snapshot.js';
import { Store } from '../store/store.js';
import type { Clock } from './clock.js';
import { defaultConfig, writeConfig } from './config.js';
import { mergeNamed } from './forks.js';
import { storeGenesis } from './genesis-store.js';
import { hasTown } from './init-town.js';
import { cleanName, makeNodeKeys, type NodeKeys } from './key-files.js';

/** Keys of records, and subjects that have some, at most. */
const RECORDS_MAX = 10_000_000;

export interface SplitOptions {
  /** What the new town is called. */
  readonly name: string;
  /** A folder that is empty or not there. */
  readonly to: string;
  /** A merge: height, git id, or a start of its SHA-256; without it the head. */
  readonly from?: string | undefined;
  readonly clock: Clock;
}

export interface SplitTown {
  readonly town: Sha256;
  readonly folder: string;
  /** The new town's one node. */
  readonly node: string;
  /** The merge of the old town that it begins from. */
  readonly origin: { readonly town: Sha256; readonly merge: Sha256; readonly height: number };
}

/** What is taken out of the old folder. */
interface Taken {
  readonly merge: MergeRow;
  readonly town: Sha256;
  readonly rows: readonly StateWrite[];
  readonly keys: readonly PrivateKeyRow[];
}

/**
 * Splits the town in `folder`. All of the new one is there, or nothing of it.
 * @throws TownError `no-town`, `folder-not-empty`, `no-such-merge`, `bad-name`, and what reading git throws
 */
export async function splitTown(folder: string, options: SplitOptions): Promise<SplitTown> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const name = cleanName(options.name);
  const target = resolve(options.to);
  return inNewFolder(target, 'Split into a new folder: --to DIR.', async (work) => {
    const taken = await take(folder, options.from);
    const keys = await copyKeys(folder, work);
    const town = await found(work, name, keys, taken, options.clock);
    const { id: merge, height } = taken.merge;
    return { town, folder: target, node: keys.id, origin: { town: taken.town, merge, height } };
  });
}

/** Reads the state at the merge and the keys of records; the daemon may go on beside it. */
async function take(folder: string, from: string | undefined): Promise<Taken> {
  const db = openForReading(folder);
  const git = new GitObjects(join(folder, 'ledger.git'));
  try {
    const reads = new StoreReads(db);
    const genesis = reads.merge(0);
    if (!genesis) throw new TownError('no-town', `There is no town in ${folder}.`);
    const merge = mergeNamed(reads, from);
    // What is not in the repository yet is in the database, and what has left that is in the repository.
    const read = async (oid: Oid) => reads.stagedObject(oid) ?? (await git.read(oid));
    const rows: StateWrite[] = [];
    for await (const row of readState({ read }, merge.oid)) rows.push(row);
    const keys = reads.records
      .subjects(RECORDS_MAX)
      .flatMap((subject) => reads.records.handlesOf(subject, RECORDS_MAX))
      .map((handle) => reads.records.key(handle))
      .filter((key): key is PrivateKeyRow => key !== null);
    return { merge, town: genesis.content, rows, keys };
  } finally {
    db.close();
    await git.close();
  }
}

/** New keys of a node; members sign in with what they have, and badges are the same. */
async function copyKeys(folder: string, work: string): Promise<NodeKeys> {
  const members = join('keys', 'members');
  await makeFolderDurably(join(work, members));
  const files = (await readdir(join(folder, members)).catch(() => []))
    .filter((file) => file.endsWith('.json'))
    .map((file) => join(members, file));
  for (const file of [join('keys', 'badge.key'), ...files])
    await writeFileDurably(join(work, file), await readFile(join(folder, file)), 0o600);
  return makeNodeKeys(work);
}

function charterOf(before: Charter, name: string, node: NodeKeys, nodeName: string): Charter {
  // The keys of recovery are in the hands of people of the other town.
  const { recovery: _, ...old } = before;
  return parseCharter({
    ...old,
    name,
    nodes: {
      [node.id]: {
        name: nodeName,
        key: node.key,
        sealing: sealingKeyOf(node.sealingSecret),
        roles: [node.badgeKey === null ? 'hub' : 'door'],
      },
    },
    validators: [node.id],
  });
}

async function found(
  work: string,
  name: string,
  keys: NodeKeys,
  { merge, town, rows, keys: records }: Taken,
  clock: Clock,
): Promise<Sha256> {
  const nodeName = hostname().slice(0, 60) || 'board';
  const old = rows.find(({ dapp, collection }) => dapp === 'kernel' && collection === 'charter');
  const charter = charterOf(parseCharter(JSON.parse(old?.value ?? 'null')), name, keys, nodeName);
  const origin = { town, merge: merge.id, height: merge.height };
  const genesis = makeGenesis(charter, sha256(randomBytes(32)), keys.id, clock.now(), keys.secretKey, {
    origin,
    state: rows,
  });
  const release = await lockFolder(work);
  let failure: Error | null = null;
  try {
    const store = await Store.open(work, { onFatal: (error) => (failure = error) });
    try {
      await storeGenesis(store, genesis);
      for (const key of records) await store.putPrivateKey(key);
      const repository = await Repository.open(join(work, 'ledger.git'), store);
      await repository.close();
    } finally {
      await store.close();
    }
    await writeConfig(work, defaultConfig(nodeName));
  } finally {
    await release();
  }
  if (failure !== null) throw failure as Error;
  return genesis.merge.content;
}
