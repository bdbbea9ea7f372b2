/**
 * `town export jsonl`: every entry as one line of JSON, in the order in which the merges judged them; what no merge has judged comes
 * last. Read from git merge by merge, so that the oldest and the newest come alike and memory stays small. The daemon may run.
 */
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { canonicalize } from '../ledger/canonical.js';
import { entryIdOf, type Entry } from '../ledger/entry.js';
import { sha256 } from '../ledger/hash.js';
import type { EntryId, Json, JsonObject, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Receipt, ReceiptEntry } from '../ledger/replay.js';
import { openForReading } from '../store/database.js';
import { syncFolder } from '../store/durable-file.js';
import { LedgerRows } from '../store/ledger-rows.js';
import { StoreReads } from '../store/reads.js';
import { HistoryReader } from './history-reader.js';
import { hasTown } from './init-town.js';
import { LedgerSource } from './ledger-source.js';

/** The first line. */
export interface GenesisLine {
  readonly type: 'genesis';
  readonly height: 0;
  readonly town: Sha256;
  /** The first merge: SHA-256 of its commit. */
  readonly merge: Sha256;
  readonly charter: Json;
  /** `genesis.json`: the nonce, and the origin of a town that split from another. */
  readonly genesis: Json;
}

/** What a line says besides the entry's own fields (`v, town, line, base, node, n, type, by, at, body, sig`, maybe `cosigned`). */
export interface Judged {
  /** SHA-256 of the canonical JSON of the entry's own fields. */
  readonly id: EntryId;
  /** Null: no merge has judged it. */
  readonly verdict: 'accepted' | 'rejected' | 'irregular' | null;
  readonly code: string | null;
  readonly reason: string | null;
  /** The entry that brought a rejection about. */
  readonly other: EntryId | null;
  readonly height: number | null;
  readonly merge: Sha256 | null;
}

/**
 * The lines, each ending with a line feed: genesis first, then every entry.
 * @throws TownError `no-town`, `no-history`, and what reading the ledger throws
 */
export async function* exportLines(
  folder: string,
  onProgress: (done: number, total: number, what: string) => void = () => undefined,
): AsyncGenerator<string, void, void> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const db = openForReading(folder);
  try {
    // One moment for what no merge has judged; the history does not change behind its head.
    db.exec('BEGIN');
    const rows = new LedgerRows(db);
    const head = new StoreReads(db).lastMerge();
    if (head === null) throw new TownError('no-history', 'The town has no genesis yet.', 'Start it first.');
    const source = new LedgerSource(folder, rows);
    const reader = new HistoryReader(source);
    const chain = await reader.chain(head.oid);
    for (const [height, oid] of chain.entries()) {
      onProgress(height, chain.length, 'merges');
      yield height === 0 ? await genesisLine(source, oid) : await linesOf(source, reader, height, oid);
    }
    for (const { bytes } of pendingEntries(rows)) yield lineOf(Buffer.from(bytes).toString('utf8'), null);
  } finally {
    db.close();
  }
}

async function genesisLine(source: LedgerSource, oid: Parameters<LedgerSource['read']>[0]): Promise<string> {
  const commit = await source.read(oid);
  const file = async (name: string): Promise<Json> =>
    JSON.parse(Buffer.from((await source.fileOf(commit, name)) ?? 'null').toString('utf8')) as Json;
  const content = /^Content-SHA256: ([0-9a-f]{64})$/m.exec(Buffer.from(commit.data).toString('utf8'))?.[1];
  const line: GenesisLine = {
    ...{ type: 'genesis', height: 0, town: content as Sha256, merge: sha256(commit.data) },
    charter: await file('charter.json'),
    genesis: await file('genesis.json'),
  };
  return `${canonicalize(line)}\n`;
}

/** The lines of one merge: at most 2,000 entries, or one block. */
async function linesOf(
  source: LedgerSource,
  reader: HistoryReader,
  height: number,
  oid: Parameters<LedgerSource['read']>[0],
): Promise<string> {
  const { commit, branches } = await reader.merge(oid);
  const texts = new Map<string, string>();
  for (const { entries } of branches.flat())
    for (const text of Buffer.from(entries).toString('utf8').split('\n').slice(0, -1))
      texts.set(entryIdOf(text), text);
  const receipt = await source.fileOf(commit, 'receipt.json');
  if (receipt === null)
    throw new TownError('missing-file', `Merge ${height} has no receipt.`, 'See town verify.');
  const { entries } = JSON.parse(Buffer.from(receipt).toString('utf8')) as Receipt;
  const merge = sha256(commit.data);
  return entries
    .map((judged) => {
      const text = texts.get(judged.id);
      if (text === undefined)
        throw new TownError(
          'missing-entry',
          `Entry ${judged.id} of merge ${height} is in none of its blocks.`,
          'See town verify.',
        );
      return lineOf(text, { judged, height, merge });
    })
    .join('');
}

function* pendingEntries(rows: LedgerRows): Generator<{ readonly bytes: Uint8Array }> {
  for (const { id } of rows.unmergedBlocks())
    for (const text of rows.entriesOfBlock(id)) yield { bytes: Buffer.from(text) };
  yield* rows.unblockedEntries();
}

function lineOf(
  text: string,
  of: { readonly judged: ReceiptEntry; readonly height: number; readonly merge: Sha256 } | null,
): string {
  const said: Judged = {
    id: entryIdOf(text),
    verdict: of?.judged.verdict ?? null,
    code: of?.judged.code ?? null,
    reason: of?.judged.reason ?? null,
    other: of?.judged.other ?? null,
    height: of?.height ?? null,
    merge: of?.merge ?? null,
  };
  return `${canonicalize({ ...(JSON.parse(text) as Entry), ...said } as unknown as JsonObject)}\n`;
}

/** Writes lines to a file, which is wholly there or not at all. Returns how many lines there are. */
export async function linesToFile(path: string, parts: AsyncIterable<string>): Promise<number> {
  const temp = join(dirname(path), `.${basename(path)}.${process.pid}.half`);
  const file = await open(temp, 'wx', 0o600);
  let lines = 0;
  try {
    try {
      for await (const part of parts) {
        for (let at = part.indexOf('\n'); at >= 0; at = part.indexOf('\n', at + 1)) lines += 1;
        await file.appendFile(part);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temp, path);
    await syncFolder(dirname(path));
    return lines;
  } catch (error) {
    await rm(temp, { force: true });
    throw error;
  }
}
