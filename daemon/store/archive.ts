/**
 * Entries wherever they are: the newest in the database, older ones in git, read from their block's commit and the receipt
 * of the merge that judged it. The same rows either way, but for `member`, which only the database knew.
 */
import { parseCommit, parseTree, type GitObject } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import { TownError, type EntryId, type Oid } from '../ledger/ids.js';
import type { Entry } from '../ledger/entry.js';
import type { Receipt, ReceiptEntry } from '../ledger/replay.js';
import { logPlaceText, parseLogPlace, type ArchivedBlock, type LogPlace } from './archived-reads.js';
import type { LedgerReads } from './ledger-reads.js';
import type { EntryRow } from './rows.js';

/** Blocks and receipts that are kept once read: a page of the log asks for the same ones again. */
const blocksKept = 16;
const receiptsKept = 4;
const blocksPerMerge = 4_096;
const blocksPerBranch = 4_096;
/** Blocks that are looked through for a prefix of an id. */
const blocksPerPrefix = 16;

export interface LogPage {
  /** Newest first. */
  readonly rows: readonly EntryRow[];
  /** Where the next page begins; null: this was the last. */
  readonly next: string | null;
}

export class Archive {
  readonly #store: LedgerReads;
  readonly #read: (oid: Oid) => Promise<GitObject>;
  readonly #blocks = new Recent<readonly EntryRow[]>(blocksKept);
  readonly #receipts = new Recent<ReadonlyMap<string, ReceiptEntry>>(receiptsKept);

  /** @param read a git object that is staged or in the repository, its bytes held against its name */
  constructor(store: LedgerReads, read: (oid: Oid) => Promise<GitObject>) {
    this.#store = store;
    this.#read = read;
  }

  /** @throws TownError `archive-damaged`, and what reading git throws */
  async entry(id: string): Promise<EntryRow | null> {
    return this.#store.entry(id) ?? (await this.entriesByPrefix(id, 1))[0] ?? null;
  }

  /** Entries whose id begins with `prefix` (8–64 hex digits), in order of their ids. @throws as `entry`, and TownError `bad-prefix` */
  async entriesByPrefix(prefix: string, limit = 2): Promise<EntryRow[]> {
    const found = new Map<string, EntryRow>();
    // First git, then the database: what moves meanwhile is found twice rather than not at all.
    const ids = this.#store.archived.blocksWith(prefix, blocksPerPrefix);
    const hot = this.#store.entriesByPrefix(prefix, limit);
    for (const id of ids)
      for (const row of await this.blockEntries(id)) if (row.id.startsWith(prefix)) found.set(row.id, row);
    for (const row of hot) found.set(row.id, row);
    return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit);
  }

  /** The block's entries in their order; none where the block is not here. @throws as `entry` */
  async blockEntries(id: string): Promise<readonly EntryRow[]> {
    const hot = this.#store.blockEntries(id);
    if (hot.length > 0) return hot;
    const block = this.#store.archived.block(id);
    return block === null ? [] : this.#entriesOf(block);
  }

  /** The block's `entries.jsonl`; null where the block is not here. @throws as `entry` */
  async blockText(id: string): Promise<string | null> {
    const hot = this.#store.blockEntries(id);
    if (hot.length > 0) return hot.map(({ bytes }) => `${Buffer.from(bytes).toString('utf8')}\n`).join('');
    const block = this.#store.archived.block(id);
    return block === null ? null : this.#textOf(block);
  }

  /** The entries that the merge judged, in order of arrival here; `limit` at most. @throws as `entry` */
  async mergeEntries(height: number, limit: number): Promise<readonly EntryRow[]> {
    const rows: EntryRow[] = [];
    for (const { id } of this.#store.blocksOfMerge(height, blocksPerMerge)) {
      rows.push(...(await this.blockEntries(id)));
      if (rows.length >= limit) break;
    }
    return rows.sort((a, b) => a.row - b.row).slice(0, limit);
  }

  /**
   * Entries of one node on one line with `n` > `after`, in order of `n`; `limit` at most. Reads the archive's blocks from where
   * they begin: for a branch of a few thousand blocks at most, as a draft's is. @throws as `entry`
   */
  async entriesOf(node: string, line: string, limit: number, after = -1): Promise<readonly EntryRow[]> {
    const store = this.#store;
    const { blocks, hot } = store.atOnce(() => {
      const isOld = after < store.archivedTo(node, line);
      const all = isOld ? store.blocksFrom(node, line, 1, blocksPerBranch) : [];
      return {
        blocks: all.filter(({ id }) => store.archived.block(id) !== null),
        hot: store.entriesOf(node, line, 'all', limit, after),
      };
    });
    const rows: EntryRow[] = [];
    for (const { id } of blocks.slice(await this.#firstAfter(blocks, after))) {
      if (rows.length >= limit) break;
      rows.push(...(await this.blockEntries(id)).filter(({ n }) => n > after));
    }
    return [...rows, ...hot].slice(0, limit);
  }

  /** The place of the first block that has an entry with `n` > `after`: by halves, for each that is looked at is read from git. */
  async #firstAfter(blocks: readonly { readonly id: string }[], after: number): Promise<number> {
    let [from, to] = [0, blocks.length];
    while (from < to && after >= 0) {
      const middle = (from + to) >> 1;
      const last = (await this.blockEntries(blocks[middle]!.id)).at(-1);
      if (last !== undefined && last.n > after) to = middle;
      else from = middle + 1;
    }
    return from;
  }

  /**
   * Newest first: by arrival as far as they are in the database, then as they went to the archive. Whatever is recorded and
   * archived between two pages, each entry that was here at the first page comes once.
   * @param before what the page before gave as `next` @throws TownError `bad-page`, and as `entry`
   */
  async log(limit: number, before?: string): Promise<LogPage> {
    const { hot, taken, next } = this.#pageAt(limit, before === undefined ? null : parseLogPlace(before));
    const rows = [...hot];
    for (const { block, indexes } of taken) {
      const entries = await this.#entriesOf(block);
      for (const index of indexes) rows.push(entries[index] as EntryRow);
    }
    return { rows, next: next === null ? null : logPlaceText(next) };
  }

  /** What the page holds, and where it ends: one moment of the database. */
  #pageAt(limit: number, place: LogPlace | null): { hot: EntryRow[]; taken: Taken[]; next: LogPlace | null } {
    const { archived } = this.#store;
    return this.#store.atOnce(() => {
      const last = archived.last();
      const { row, mark, archive } = place ?? { row: Number.MAX_SAFE_INTEGER, mark: last, archive: null };
      const hot = archive === null ? this.#store.log(limit, row) : [];
      if (hot.length === limit)
        return { hot, taken: [], next: { row: hot[limit - 1]!.row, mark, archive: null } };
      const taken: Taken[] = [];
      let left = limit - hot.length;
      for (const block of archived.blocksDown(archive?.number ?? last)) {
        const end = archive?.number === block.number ? archive.before : block.arrivals.length;
        const indexes: number[] = [];
        for (let index = end - 1; index >= 0; index -= 1) {
          // What went there since the first page was shown, unless it came before where the pages had got to.
          if (block.number > mark && block.arrivals[index]! >= row) continue;
          indexes.push(index);
          if (indexes.length === left) {
            taken.push({ block, indexes });
            return { hot, taken, next: { row, mark, archive: { number: block.number, before: index } } };
          }
        }
        left -= indexes.length;
        if (indexes.length > 0) taken.push({ block, indexes });
      }
      return { hot, taken, next: null };
    });
  }

  async #entriesOf(block: ArchivedBlock): Promise<readonly EntryRow[]> {
    const known = this.#blocks.get(block.id);
    if (known !== undefined) return known;
    const lines = (await this.#textOf(block)).split('\n').slice(0, -1);
    const verdicts = await this.#verdictsOf(block.height);
    if (lines.length !== block.arrivals.length) throw damaged(block, 'git has another number of entries');
    const rows = lines.map((line, idx): EntryRow => {
      const { node, line: on, n, type, by, at } = JSON.parse(line) as Entry;
      const id = sha256(line) as string as EntryId;
      const judged = verdicts.get(id);
      if (judged === undefined)
        throw damaged(block, `the receipt of merge ${block.height} does not name ${id}`);
      const { verdict, code = null, reason = null, other = null, writes } = judged;
      return {
        ...{ id, node, line: on, n, type, by, at, idx, verdict, code, reason, other, writes },
        row: block.arrivals[idx]!,
        kind: block.facts.has(idx) ? 'fact' : 'claim',
        member: null,
        bytes: Buffer.from(line),
        state: verdict === 'rejected' ? 'rejected' : 'merged',
        block: block.id,
        height: block.height,
      };
    });
    this.#blocks.set(block.id, rows);
    return rows;
  }

  async #textOf({ oid }: ArchivedBlock): Promise<string> {
    const commit = parseCommit((await this.#read(oid)).data);
    return (await this.#file(commit.fields.tree, 'entries.jsonl')).toString('utf8');
  }

  async #verdictsOf(height: number): Promise<ReadonlyMap<string, ReceiptEntry>> {
    const key = String(height);
    const known = this.#receipts.get(key);
    if (known !== undefined) return known;
    const merge = this.#store.merge(height);
    if (merge === null)
      throw new TownError('archive-damaged', `Merge ${height} is not in the database.`, advice);
    const text = await this.#file(parseCommit(merge.raw).fields.tree, 'receipt.json');
    const { entries } = JSON.parse(text.toString('utf8')) as Receipt;
    const verdicts = new Map(entries.map((entry) => [entry.id as string, entry]));
    this.#receipts.set(key, verdicts);
    return verdicts;
  }

  async #file(tree: Oid, name: string): Promise<Buffer> {
    const found = parseTree((await this.#read(tree)).data).find((child) => child.name === name);
    if (found === undefined)
      throw new TownError('archive-damaged', `The tree ${tree} has no ${name}.`, advice);
    return Buffer.from((await this.#read(found.oid)).data);
  }
}

interface Taken {
  readonly block: ArchivedBlock;
  readonly indexes: readonly number[];
}

const advice = 'See town verify for what is damaged and how it is repaired.';

const damaged = ({ id }: ArchivedBlock, what: string): TownError =>
  new TownError('archive-damaged', `Block ${id} is not as the archive says: ${what}.`, advice);

/** The values used last. */
class Recent<T> {
  readonly #kept = new Map<string, T>();

  constructor(private readonly max: number) {}

  get(key: string): T | undefined {
    const value = this.#kept.get(key);
    if (value !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, value);
    }
    return value;
  }

  set(key: string, value: T): void {
    this.#kept.set(key, value);
    if (this.#kept.size > this.max) this.#kept.delete(this.#kept.keys().next().value as string);
  }
}
