/**
 * A history from elsewhere, taken into the ledger part by part: for each merge that is not here the blocks that it folds in, then
 * the merge with its certificate; at the end the blocks that wait. Each part passes the checks that messages of peers pass, is
 * durable before the next, and what is here already is passed over: who is interrupted begins again.
 */
import { claimedPlace, NO_BLOCK, type BlockPlace } from '../ledger/block.js';
import { parseCommit, parseTrailers, parseTree, type GitObject } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import type { NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { StoreReads } from '../store/reads.js';
import type { MergeRow } from '../store/rows.js';
import { packBlocks, packMerges, type RawBlock } from '../sync/block-batch.js';
import { branchOf, WANT_BLOCKS_MAX, type HaveBody } from '../sync/bodies.js';
import { notesIn } from './bundle-notes.js';
import { oidOf, type ForeignHistory } from './bundle-quarantine.js';
import type { Offered, OfferTaker } from './offers.js';
import { certificateIn, NOTES_REF } from './proof-notes.js';

const MERGES_MAX = 50_000_000;
const BLOCKS_MAX = 10_000_000;
const BRANCH_REF = /^refs\/heads\/nodes\/[0-9a-f]{16}\/[a-z0-9][a-z0-9-]{0,63}$/;
const MAIN_REF = 'refs/heads/main';

/** As much of the store as tells what is here; what is taken in shows at once. */
export type HeldHere = Pick<StoreReads, 'knowsCommit' | 'block' | 'mergesByOid' | 'merge' | 'lastMerge'>;

export interface Applied {
  /** What came and was not here: merges that are `main` now, and blocks. */
  readonly merges: number;
  readonly blocks: number;
  /** Height of `main` before and after. */
  readonly from: number;
  readonly height: number;
  /** Branches with blocks that build on a merge which is neither here nor in it. */
  readonly waiting: readonly string[];
}

/** What is refused of blocks that contradict those here: their node signed two histories. */
const CONTRADICTIONS: ReadonlySet<string> = new Set(['equivocation', 'other-predecessor']);

interface FoundBlock {
  readonly oid: Oid;
  readonly place: BlockPlace;
  readonly raw: RawBlock;
}

/**
 * Takes a history in.
 * @param self the node that takes it; what is told of its own branch is not believed
 * @throws TownError `foreign-town`, `bundle-gap`, `bundle-incomplete`, `no-certificate`, `other-history`, `own-branch`,
 *   and with the code that a peer's message is refused with what does not hold; what came before that stays
 */
export async function applyHistory(
  history: ForeignHistory,
  here: HeldHere,
  self: NodeId,
  taker: OfferTaker,
  onProgress: (done: number, total: number, what: string) => void = () => undefined,
): Promise<Applied> {
  return new Application(history, here, self, taker, onProgress).run();
}

class Application {
  private merges = 0;
  private blocks = 0;
  private readonly waiting = new Set<string>();
  private notes: ReadonlyMap<Oid, Oid> | null = null;

  constructor(
    private readonly history: ForeignHistory,
    private readonly here: HeldHere,
    private readonly self: NodeId,
    private readonly taker: OfferTaker,
    private readonly onProgress: (done: number, total: number, what: string) => void,
  ) {}

  async run(): Promise<Applied> {
    const from = this.height;
    for (const { oid, comment } of this.history.prerequisites)
      if (!this.here.knowsCommit(oid)) throw this.gap(oid, comment);
    const main = oidOf(this.history, MAIN_REF);
    const branches = this.history.refs.filter(({ name }) => BRANCH_REF.test(name));
    if (main === null && branches.length === 0)
      throw new TownError(
        'foreign-town',
        'It holds neither main nor a branch of a node: this is no ledger.',
        'Name what `town bundle create` made, or a mirror of this town.',
      );
    // All that it names is looked at before anything is taken in.
    if (main !== null) await this.assertTown(main);
    for (const { oid } of branches) await this.assertTown(oid);
    const chain = main === null ? [] : await this.chain(main);
    for (const [at, oid] of chain.entries()) {
      await this.takeMerge(oid);
      this.onProgress(at + 1, chain.length, `merges, ${this.blocks} blocks`);
    }
    const problems: TownError[] = [];
    for (const { oid } of branches) {
      try {
        await this.takeRun(await this.unknownTo(oid), false);
      } catch (error) {
        if (!(error instanceof TownError)) throw error;
        problems.push(error); // of one branch: the others are as good
      }
    }
    if (problems[0]) throw problems[0];
    const { merges, blocks, height } = this;
    return { merges, blocks, from, height, waiting: [...this.waiting] };
  }

  private get height(): number {
    return (this.here.lastMerge() as MergeRow).height;
  }

  // What is in it ------------------------------------------------------------------------------------------------------

  /** @throws TownError `foreign-town` */
  private async assertTown(oid: Oid): Promise<void> {
    if (this.here.knowsCommit(oid)) return;
    const { content } = this.here.merge(0) as MergeRow;
    const { data } = await this.object(oid);
    // Genesis names no town: it is one. What is no commit of a ledger may come from any repository.
    if (townOf(data) !== content) throw this.foreign();
  }

  private foreign(): TownError {
    return new TownError(
      'foreign-town',
      'This is the history of another town than the one here.',
      'Name the data folder of its town with --data.',
    );
  }

  /** The merges that are not here, the oldest first. @throws TownError `bundle-gap`, `foreign-town`, `other-history` */
  private async chain(main: Oid): Promise<readonly Oid[]> {
    const isHere = (oid: Oid): boolean => this.here.mergesByOid(oid, 1).length > 0;
    const found: Oid[] = [];
    for (let oid: Oid | undefined = main; oid !== undefined && !isHere(oid);) {
      if (found.length === MERGES_MAX) throw incomplete(`more than ${MERGES_MAX} merges of it are not here`);
      found.push(oid);
      const { data }: GitObject = await this.object(oid, true);
      oid = commitOf(data).parents[0];
      if (oid === undefined) throw this.foreign();
    }
    const missing = found.reverse().filter((oid) => !isHere(oid));
    const [first] = missing;
    if (first === undefined) return [];
    const [parent] = this.here.mergesByOid(commitOf((await this.object(first)).data).parents[0] as Oid, 1);
    // Others may bring the first of them just now.
    if (parent?.height === this.height || isHere(first)) return missing;
    throw new TownError(
      'other-history',
      `Merge ${(parent?.height ?? 0) + 1} of it is another than the one here: this town has two histories.`,
      'Look with the other stewards at `town log --merges` on both; nothing of it was taken in.',
    );
  }

  private gap(oid: Oid, comment: string): TownError {
    const what = /^merge [0-9]{1,15}$/.test(comment) ? comment : `commit ${oid.slice(0, 12)}…`;
    return new TownError(
      'bundle-gap',
      `It begins after ${what}, which is not here: the last one here is merge ${this.height}.`,
      `Ask for one that begins earlier: town bundle create FILE --since ${this.height}`,
    );
  }

  /** @throws TownError `bundle-incomplete`, of merges `bundle-gap` */
  private async object(oid: Oid, isMerge = false): Promise<GitObject> {
    try {
      return await this.history.read(oid);
    } catch (error) {
      if (!(error instanceof TownError) || error.code !== 'no-such-object') throw error;
      if (isMerge) throw this.gap(oid, '');
      throw incomplete(`it lacks the object ${oid}`);
    }
  }

  /** The blocks of a branch up to one, the oldest first, from the one after where it ends. */
  private async runTo(head: Oid, isEnd: (oid: Oid) => boolean | Promise<boolean>): Promise<readonly Oid[]> {
    const run: Oid[] = [];
    for (let oid: Oid | undefined = head; oid !== undefined && !(await isEnd(oid));) {
      if (run.length === BLOCKS_MAX)
        throw incomplete(`more than ${BLOCKS_MAX} blocks of one branch are not here`);
      run.push(oid);
      const { data }: GitObject = await this.object(oid);
      oid = claimedPlace(data).prev === NO_BLOCK ? undefined : commitOf(data).parents[0];
    }
    return run.reverse();
  }

  private unknownTo(head: Oid): Promise<readonly Oid[]> {
    return this.runTo(head, (oid) => this.here.knowsCommit(oid));
  }

  // Taking it in -------------------------------------------------------------------------------------------------------

  private async takeMerge(oid: Oid): Promise<void> {
    const { data } = await this.object(oid);
    const { message, parents } = commitOf(data);
    const height = Number(parseTrailers(message).get('Height')?.[0]);
    const heads = parents.slice(1);
    const certificate = await this.certificate(oid, height);
    const { packed, count } = packMerges([{ raw: data, certificate }]);
    if (count === 0 || !Number.isSafeInteger(height) || height < 1)
      throw new TownError('bad-merge', 'A merge of it is none of this ledger.');
    for (const head of heads) await this.takeRun(await this.unknownTo(head), true);
    const part: HaveBody = { merges: { from: height, packed } };
    let offered = await this.taker.take(part);
    if (offered.refused === null && offered.lacking.length > 0) {
      // A quorum merged other blocks than those that are here of a branch: they are offered as what it decided.
      for (const head of heads) await this.takeDecided(head, offered.lacking);
      offered = await this.taker.take(part);
    }
    assertTaken(offered, `Merge ${height}`);
    const [lacking] = offered.lacking;
    if (lacking !== undefined)
      throw incomplete(
        `merge ${height} folds in the block ${lacking.slice(0, 12)}…, which is neither here nor in it`,
      );
    if (offered.height < height) throw incomplete(`merge ${height} does not follow merge ${offered.height}`);
    this.merges += 1;
  }

  /** @throws TownError `no-certificate` */
  private async certificate(oid: Oid, height: number): Promise<string> {
    const notes = oidOf(this.history, NOTES_REF);
    this.notes ??= await notesIn((object) => this.object(object), notes);
    const note = this.notes.get(oid);
    const certificate = note === undefined ? null : certificateIn((await this.object(note)).data);
    if (certificate !== null) return certificate;
    throw new TownError(
      'no-certificate',
      `Merge ${height} comes without the certificate that proves it.`,
      `It stands in the notes: ${NOTES_REF} must come along.`,
    );
  }

  /**
   * Blocks that follow each other, in parts as messages have them.
   * @param isMerged a merge folds them in: what contradicts them here is decided with that merge
   */
  private async takeRun(run: readonly Oid[], isMerged: boolean): Promise<void> {
    for (let at = 0; at < run.length;) {
      const found = await this.found(run.slice(at, at + WANT_BLOCKS_MAX));
      const { node, line, seq } = (found[0] as FoundBlock).place;
      if (node === this.self && isMerged) return;
      if (node === this.self)
        throw new TownError(
          'own-branch',
          `It has block ${seq} of this node, which is not here: this board was put back from an old copy, or its key is in other hands.`,
          'Stop this node, and let it join the town anew with a new key.',
        );
      const { packed, count } = packBlocks(found.map(({ raw }) => raw));
      if (count === 0) throw new TownError('bad-block', `Block ${seq} of node ${node} is larger than any.`);
      const branch = branchOf(node, line);
      const offered = await this.taker.take({ blocks: { node: branch, from: seq, packed } });
      const taken = found.slice(0, count).filter(({ oid }) => this.here.knowsCommit(oid)).length;
      this.blocks += taken;
      if (isMerged && CONTRADICTIONS.has(offered.refused?.code ?? '')) return;
      assertTaken(offered, `Block ${seq + taken} of node ${node}`);
      if (offered.waits) this.waiting.add(branch);
      if (taken < count) return;
      at += count;
    }
  }

  private async found(oids: readonly Oid[]): Promise<readonly FoundBlock[]> {
    const found: FoundBlock[] = [];
    for (const oid of oids) {
      const { data } = await this.object(oid);
      const [file] = parseTree((await this.object(commitOf(data).tree)).data);
      if (file?.name !== 'entries.jsonl')
        throw new TownError('bad-block', 'A block of it holds something else than entries.jsonl.');
      const raw = { raw: data, entries: (await this.object(file.oid)).data };
      found.push({ oid, place: claimedPlace(data), raw });
    }
    return found;
  }

  /** The blocks up to a head that a quorum merged, in place of others that are here of their branch. */
  private async takeDecided(head: Oid, lacking: readonly Sha256[]): Promise<void> {
    const id = sha256((await this.object(head)).data);
    if (!lacking.includes(id)) return;
    const isMerged = async (oid: Oid): Promise<boolean> => {
      const commit = await this.history.read(oid).catch(() => null);
      // What is here and not in it, it leaves out as merged long ago.
      return commit === null || (this.here.block(sha256(commit.data))?.height ?? null) !== null;
    };
    const run = await this.runTo(head, (oid) => this.here.knowsCommit(oid) && isMerged(oid));
    for (let at = 0; at < run.length;) {
      const found = await this.found(run.slice(at, at + WANT_BLOCKS_MAX));
      const { packed, count } = packBlocks(found.map(({ raw }) => raw));
      if (count === 0) throw new TownError('bad-block', 'A block of it is larger than any.');
      const from = at === 0 ? 0 : (found[0] as FoundBlock).place.seq;
      assertTaken(await this.taker.take({ head: { id, from, packed } }), `Block ${id.slice(0, 12)}…`);
      at += count;
    }
    this.blocks += run.length;
  }
}

const commitOf = (data: Uint8Array) => parseCommit(data).fields;

/** The town that a commit claims to be of; null: none. */
function townOf(data: Uint8Array): string | null {
  try {
    const [town, ...more] = parseTrailers(commitOf(data).message).get('Town') ?? [];
    return more.length === 0 ? (town ?? null) : null;
  } catch (error) {
    if (error instanceof TownError) return null;
    throw error;
  }
}

/** @throws TownError with the code that it was refused with */
function assertTaken({ refused }: Offered, what: string): void {
  if (refused === null) return;
  throw new TownError(
    refused.code,
    `${what} was refused: ${refused.reason}`,
    'What came before it holds and was taken in.',
  );
}

const incomplete = (what: string): TownError =>
  new TownError(
    'bundle-incomplete',
    `Not all that is needed is in it: ${what}.`,
    'Make it anew, as a whole.',
  );
