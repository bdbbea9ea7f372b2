/**
 * Makes the database of a stopped town anew: the history by replay from git, and every row of the old one that is as it was written
 * and that git does not have. The old files are moved to `damaged/`. It is one way for every kind of damage: a bit, a page, the whole.
 */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { DappPackage } from '../dapps/package.js';
import { NO_BLOCK, claimedPlace, readBlock, type Block } from '../ledger/block.js';
import { keyOfNode } from '../ledger/charter.js';
import { verifyEntry, type VerifiedEntry } from '../ledger/entry.js';
import { parseCommit } from '../ledger/git-object.js';
import type { NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import { readBranch } from '../ledger/order.js';
import { missingArrivals, runsText, startArrivals } from '../store/arrivals.js';
import { databaseFile } from '../store/database.js';
import { makeFolderDurably, syncFolder } from '../store/durable-file.js';
import type { LedgerRows } from '../store/ledger-rows.js';
import { StoreReads } from '../store/reads.js';
import { salvageRows } from '../store/salvage-rows.js';
import { setAside } from '../store/set-aside.js';
import { Store } from '../store/store.js';
import { Tables } from '../store/tables.js';
import type { MergeRow, NewEntry } from '../store/rows.js';
import { manifestsOf } from './dapp-set.js';
import { REBUILT } from './erased-files.js';
import { storeGenesis } from './genesis-store.js';
import { readNodeKeys } from './key-files.js';
import { LedgerSource } from './ledger-source.js';
import { MAIN } from './main-line.js';
import { VOTES_LOST_META } from './merger.js';
import { blockRow, foreignEntryRow } from './new-rows.js';
import { NOTES_REF } from './proof-notes.js';
import type { SignaturePool } from './signature-pool.js';
import { mendGateRecords } from './verify-gate-records.js';
import { walkHistory, type HistorySink, type Walked } from './verify-history.js';
import { gitRefs } from './verify-repository.js';

/** Blocks of a branch that no merge has folded in. */
const UNMERGED_MAX = 100_000;

export interface DatabaseRepair {
  readonly folder: string;
  readonly rows: LedgerRows | null;
  readonly head: Oid;
  readonly packages: readonly DappPackage[];
  readonly driver?: 'container' | 'process' | undefined;
  readonly pool: SignaturePool;
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/** @returns what was done, and what is lost, in words */
export async function rebuildDatabase(
  repair: DatabaseRepair,
): Promise<{ readonly said: readonly string[]; readonly lost: readonly string[] }> {
  const { folder, rows } = repair;
  const half = join(folder, REBUILT);
  await rm(half, { recursive: true, force: true });
  await makeFolderDurably(half);
  try {
    const failures: Error[] = [];
    const store = await Store.open(half, { onFatal: (error) => void failures.push(error) });
    const lost: string[] = [];
    try {
      const walked = await new Rebuild(repair, store).history();
      const refs = await gitRefs(folder);
      for (const row of rows?.refs() ?? []) if (!refs.has(row.name)) refs.set(row.name, row.oid);
      const blocks = await unmergedBlocks(repair, store, walked, refs);
      lost.push(...(await unblockedEntries(repair, store, walked)));
      await putRefs(repair, store, refs);
      lost.push(...blocks);
      if (rows === null || rows.isDamaged()) lost.push(...(await ownBranch(folder, store, walked)));
    } finally {
      await store.close();
    }
    if (failures[0]) throw failures[0];
    const fresh = new Database(databaseFile(half));
    let salvaged: { readonly rows: number; readonly lost: readonly string[] };
    try {
      fresh.pragma('synchronous = FULL');
      salvaged = salvageRows(databaseFile(folder), fresh);
      if (salvaged.lost.some((what) => what.startsWith('consensus_log'))) {
        const height = (fresh.prepare('SELECT max(height) FROM merges').pluck().get() as number) + 1;
        putMeta(fresh, VOTES_LOST_META, String(height));
      }
      lost.push(...gone(folder));
      startArrivals(new Tables(fresh));
      const own = await readNodeKeys(folder).catch(() => null);
      if (own !== null) mendGateRecords(fresh, new StoreReads(fresh).records, own.id);
      fresh.pragma('wal_checkpoint(TRUNCATE)');
      fresh.pragma('journal_mode = DELETE');
    } finally {
      fresh.close();
    }
    const file = databaseFile(folder);
    await setAside(folder, [file, `${file}-wal`, `${file}-shm`]);
    await rename(databaseFile(half), file);
    await syncFolder(folder);
    return {
      said: [
        `The database was made anew: the history from git, ${salvaged.rows} other rows from the old one.`,
      ],
      lost: [...lost, ...salvaged.lost],
    };
  } finally {
    await rm(half, { recursive: true, force: true });
  }
}

/** Entries that are gone from the old database without a trace: those that were in a block have come back. */
function gone(folder: string): readonly string[] {
  const old = new Database(databaseFile(folder), { readonly: true });
  try {
    const missing = missingArrivals(old);
    if (missing.length === 0) return [];
    return [
      `of what arrived here as number ${runsText(missing)}, the entries that were in no block yet: record them again`,
    ];
  } catch {
    return []; // what cannot be read is told as such
  } finally {
    old.close();
  }
}

function putMeta(db: Database.Database, key: string, value: string): void {
  db.prepare('INSERT OR REPLACE INTO meta (key, value, sum) VALUES (?, ?, row_sum(?, ?))').run(
    key,
    value,
    key,
    value,
  );
}

class Rebuild {
  private readonly manifests;

  constructor(
    private readonly repair: DatabaseRepair,
    private readonly store: Store,
  ) {
    this.manifests = manifestsOf(repair.packages);
  }

  history(): Promise<Walked> {
    const { folder, rows, head, packages, driver, pool, onProgress } = this.repair;
    const { store } = this;
    const sink: HistorySink = {
      problem: () => undefined,
      genesis: (genesis) => storeGenesis(store, genesis),
      merge: async (built, parts, certificate, state) => {
        const blocks = parts.flatMap((part) => part.blocks);
        for (const block of blocks)
          await putBlock(store, block, (entry) => foreignEntryRow(entry, this.manifests, state));
        const { merge, receipt, writes } = built;
        const count = (verdict: string): number =>
          receipt.entries.filter((entry) => entry.verdict === verdict).length;
        const { height, id, oid, content, time, node, raw } = merge;
        const counts = {
          accepted: count('accepted'),
          rejected: count('rejected'),
          irregular: count('irregular'),
        };
        const row: MergeRow = { height, id, oid, content, time, node, raw, counts };
        await store.adopt({
          merge: row,
          certificate: certificate ?? '',
          verdicts: receipt.entries.map(({ id: entry, verdict, code, reason, other, writes: hash }) => ({
            id: entry,
            state: verdict === 'rejected' ? 'rejected' : 'merged',
            verdict,
            code: code ?? null,
            reason: reason ?? null,
            other: other ?? null,
            writes: hash,
          })),
          blocks: blocks.map((block) => block.id),
          state: writes,
          objects: [],
          refs: [{ name: 'refs/heads/main', oid }],
        });
      },
    };
    const source = new LedgerSource(folder, rows);
    return walkHistory({
      ...{ source, head, packages, driver, pool, sink },
      onProgress: ({ merges, mergesTotal }) =>
        onProgress?.(merges, mergesTotal, `rebuilding: merge ${merges}`),
    });
  }
}

async function putBlock(store: Store, block: Block, row: (entry: VerifiedEntry) => NewEntry): Promise<void> {
  if (store.block(block.id)) return;
  await store.putBlock({
    block: blockRow(block),
    newEntries: block.entries.map(row),
    entryIds: block.entries.map(({ id }) => id),
    objects: [],
    refs: [],
  });
}

/** Blocks that no merge has folded in: by the branches' refs, and by the rows. Returns what could not be kept. */
async function unmergedBlocks(
  { folder, rows, packages, pool }: DatabaseRepair,
  store: Store,
  { state, oids }: Walked,
  refs: ReadonlyMap<string, Oid>,
): Promise<readonly string[]> {
  const source = new LedgerSource(folder, rows);
  const charter = readCharter(state);
  const manifests = manifestsOf(packages);
  const found = new Map<Sha256, { readonly raw: Uint8Array; readonly oid: Oid; readonly seq: number }>();
  const lost: string[] = [];
  for (const [name, tip] of refs) {
    if (!/^refs\/heads\/nodes\/[0-9a-f]{16}\//.test(name)) continue;
    try {
      let oid: Oid | undefined = tip;
      for (let steps = 0; oid !== undefined && steps < UNMERGED_MAX; steps += 1) {
        const { data }: { data: Uint8Array } = await source.read(oid);
        const place = claimedPlace(data);
        const mark = readBranch(state, place.node, place.line);
        if (place.seq <= (mark?.seq ?? 0)) break;
        found.set(`${place.node}${place.line}${oid}` as Sha256, { raw: data, oid, seq: place.seq });
        oid = place.prev === NO_BLOCK ? undefined : (parseCommit(data).fields.parents[0] as Oid | undefined);
      }
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      lost.push(`blocks of ${name}: ${error.message}`);
    }
  }
  for (const { oid, raw } of rows?.unmergedBlocks() ?? [])
    try {
      const place = claimedPlace(raw);
      found.set(`${place.node}${place.line}${oid}` as Sha256, { raw, oid, seq: place.seq });
    } catch (error) {
      if (!(error instanceof TownError)) throw error; // damaged; git has it, or it is told below
    }
  for (const { raw, oid } of [...found.values()].sort((a, b) => a.seq - b.seq))
    try {
      const place = claimedPlace(raw);
      const key = keyOfNode(charter, place.node as NodeId);
      if (key === undefined) continue;
      const jsonl = await source.entriesOf({ oid, type: 'commit', data: raw });
      await pool.prepare(Buffer.from(jsonl).toString('utf8').split('\n').slice(0, -1));
      const parents = parseCommit(raw).fields.parents as Oid[];
      const prev = place.prev === NO_BLOCK ? null : (parents[0] as Oid);
      const main = parents.length > (prev === null ? 0 : 1) ? (oids.get(place.base) ?? null) : null;
      await putBlock(store, readBlock(raw, jsonl, key, { prev, main }), (entry) =>
        foreignEntryRow(entry, manifests, state),
      );
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      lost.push(`block ${oid.slice(0, 12)}…: ${error.message}`);
    }
  return lost;
}

/**
 * A block goes to the others when the database has it, and into git up to 5 s later: where the old database cannot be read whole, the
 * last one may be missing here, and going on with its number would be signing two for one place.
 */
async function ownBranch(folder: string, store: Store, { state }: Walked): Promise<readonly string[]> {
  const { nodes } = readCharter(state);
  const { id } = await readNodeKeys(folder);
  if (Object.keys(nodes).length < 2 || nodes[id] === undefined) return [];
  const seq = store.lastBlock(id, MAIN)?.seq ?? 0;
  return [
    `blocks of this node after number ${seq}, if it made one in the seconds before. Before you start the daemon see \`town log --branches\` ` +
      'at another node: where that has a higher number of this node, this folder must not go on. Join anew with an empty one.',
  ];
}

/** Entries that were in no block yet. Returns what could not be kept. */
async function unblockedEntries(
  { rows, packages }: DatabaseRepair,
  store: Store,
  { state }: Walked,
): Promise<readonly string[]> {
  if (rows === null) return ['entries that were in no block yet: the old database cannot be read at all'];
  const manifests = manifestsOf(packages);
  const lost: string[] = [];
  for (const { id, bytes } of rows.unblockedEntries())
    try {
      const entry = verifyEntry(Buffer.from(bytes).toString('utf8'));
      if (store.entry(entry.id) === null)
        await store.appendEntries({ entries: [foreignEntryRow(entry, manifests, state)] });
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      lost.push(`entry ${id.slice(0, 12)}…, which no block had yet: ${error.message}`);
    }
  return lost;
}

/** The refs that git has, or that the old rows name: those whose objects are there. `main` is where the history ended. */
async function putRefs(
  { folder, rows }: DatabaseRepair,
  store: Store,
  refs: ReadonlyMap<string, Oid>,
): Promise<void> {
  const source = new LedgerSource(folder, rows);
  const sound: { name: string; oid: Oid }[] = [];
  for (const [name, oid] of refs) {
    if (name === 'refs/heads/main' || !/^refs\/(heads|notes|evidence)\//.test(name)) continue;
    if (name !== NOTES_REF && (await source.fromGit(oid).catch(() => null)) === null) continue;
    sound.push({ name, oid });
  }
  await store.putRefs({ objects: [], refs: sound });
}
