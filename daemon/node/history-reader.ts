/** Reads merges and the blocks that they fold in, by the ids that git gives them. Nothing is verified here. */
import { NO_BLOCK, claimedPlace, type BlockPlace } from '../ledger/block.js';
import { parseCommit, type GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { branchName } from '../ledger/order.js';
import type { LedgerSource } from './ledger-source.js';

/** A history has no more merges than this, a branch no more blocks in one merge. */
const MERGES_MAX = 50_000_000;
const BLOCKS_OF_MERGE_MAX = 4096;

/** A block as it was read, its signature not yet checked. */
export interface ReadBlock {
  readonly commit: GitObject;
  readonly place: BlockPlace;
  readonly entries: Uint8Array;
}

/** A merge with the blocks that it folds in, by the order of its heads. */
export interface ReadMerge {
  readonly commit: GitObject;
  readonly branches: readonly (readonly ReadBlock[])[];
}

export class HistoryReader {
  /** The last block read of each branch. */
  private readonly readTo = new Map<string, Oid>();

  constructor(private readonly source: LedgerSource) {}

  /** The git ids from genesis to the head, by first parents. @throws HistoryError */
  async chain(head: Oid): Promise<readonly Oid[]> {
    const oids: Oid[] = [];
    for (let oid: Oid | undefined = head; oid !== undefined;) {
      if (oids.length === MERGES_MAX)
        throw new TownError('history-too-long', `The history has more than ${MERGES_MAX} merges.`);
      oids.push(oid);
      const found: GitObject = await within(`the merge ${oids.length - 1} before the head`, () =>
        this.source.read(oid as Oid),
      );
      oid = parseCommit(found.data).fields.parents[0] as Oid | undefined;
    }
    return oids.reverse();
  }

  /** A merge and the blocks that it folds in. Merges are asked for in their order, from the first after genesis. */
  async merge(oid: Oid): Promise<ReadMerge> {
    const commit = await this.source.read(oid);
    const heads = parseCommit(commit.data).fields.parents.slice(1);
    const branches: (readonly ReadBlock[])[] = [];
    for (const head of heads) branches.push(await this.readBranch(head));
    return { commit, branches };
  }

  /** The blocks of one branch from where it was read to, up to a head. */
  private async readBranch(head: Oid): Promise<readonly ReadBlock[]> {
    const { source } = this;
    const blocks: ReadBlock[] = [];
    let name: string | null = null;
    for (let oid: Oid | undefined = head; oid !== undefined;) {
      if (name !== null && this.readTo.get(name) === oid) break;
      const commit: GitObject = await source.read(oid);
      const place = claimedPlace(commit.data);
      name ??= branchName(place.node, place.line);
      if (blocks.length === BLOCKS_OF_MERGE_MAX)
        throw new TownError(
          'bad-merge',
          `It folds in more than ${BLOCKS_OF_MERGE_MAX} blocks of one branch.`,
        );
      blocks.push({ commit, place, entries: await source.entriesOf(commit) });
      oid =
        place.prev === NO_BLOCK ? undefined : (parseCommit(commit.data).fields.parents[0] as Oid | undefined);
      if (this.readTo.get(name) === oid) break;
    }
    if (name !== null) this.readTo.set(name, head);
    return blocks.reverse();
  }
}

/** Names the place in what goes wrong there. */
export async function within<T>(where: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (!(error instanceof TownError) || error instanceof HistoryError) throw error;
    throw new HistoryError(where, error);
  }
}

/** What is wrong with a history, and where. */
export class HistoryError extends TownError {
  constructor(
    readonly where: string,
    error: TownError,
  ) {
    super(error.code, error.message, error.advice);
  }
}
