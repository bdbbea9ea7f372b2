/**
 * What came from peers, on its way into the ledger: it waits in quarantine until it can be checked, and leaves it only when it
 * holds. Blocks go to their branches, merges to `main` with their certificate and an own replay.
 */
import { parseCertificate } from '../consensus/certificate.js';
import { sha256 } from '../ledger/hash.js';
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { resumptionOf } from '../ledger/kernel-evidence.js';
import { readFork } from '../ledger/kernel-forks.js';
import {
  sizeOfBlock,
  unpackBlocks,
  unpackMerges,
  type RawBlock,
  type RawMerge,
} from '../sync/block-batch.js';
import { placeOf, type Branch, type HaveBody, type Tip } from '../sync/bodies.js';
import { admitBlocks, Quarantine } from '../sync/quarantine.js';
import { isHead, type Item } from '../sync/sync-state.js';
import { MAIN } from './main-line.js';
import { NOT_STORED } from './peer-blocks.js';
import type { SignedCommit } from './signature-batch.js';
import { missingHeads, SoughtBlocks, type SoughtBlocksParts } from './sought-blocks.js';
import type { Welcomed } from './welcomed.js';

export interface PeerIntakeParts extends SoughtBlocksParts {
  /** Checks the signatures of a batch ahead, on other cores; all is decided in its order afterwards. */
  readonly prepare?:
    ((texts: readonly string[], commits: readonly SignedCommit[]) => Promise<void>) | undefined;
  /** A merge that the history must contain; null where nothing is known of it. */
  readonly checkpoint: () => Welcomed['checkpoint'] | null;
  /** A branch has grown, durably. */
  readonly stored: (branch: Branch, tip: Tip) => void;
  /** Blocks left a branch and others came: it ends here now. */
  readonly replaced: (branch: Branch, tip: Tip | null) => void;
  /** The next merge is proven, and these blocks that it folds in are not here; `voters` have them. */
  readonly lacking: (heads: readonly Sha256[], voters: readonly NodeId[]) => void;
  /** Of the blocks up to one that is lacking so much has come; null: it is stored. */
  readonly collected: (head: Sha256, upTo: number | null) => void;
  /** All that came of an item is stored. */
  readonly settled: (item: Item) => void;
  /** What came of an item does not hold, and is forgotten. */
  readonly refused: (item: Item, from: NodeId, code: string, reason: string) => void;
  /** Something else went wrong; what waits goes on waiting. */
  readonly failed: (code: string, reason: string) => void;
}

const sizeOfMerge = (merge: RawMerge): number => merge.raw.length + merge.certificate.length;

export class PeerIntake {
  private readonly blocks = new Quarantine<RawBlock>(sizeOfBlock);
  private readonly merges = new Quarantine<RawMerge>(sizeOfMerge);
  private readonly sought: SoughtBlocks;
  /** What waits for its turn between two batches. */
  private readonly tasks: (() => Promise<void>)[] = [];
  private isPumping = false;
  private again = false;
  private stopped = false;

  constructor(private readonly parts: PeerIntakeParts) {
    this.sought = new SoughtBlocks(parts);
  }

  stop(): void {
    this.stopped = true;
  }

  /** Takes what a peer has sent of an item, in place of what waited for that. */
  admit(from: NodeId, item: Item, body: HaveBody): void {
    try {
      if ('blocks' in body) this.blocks.put(item, from, unpackBlocks(body.blocks.packed));
      else if ('head' in body) this.sought.put(from, body.head);
      else if ('merges' in body) this.merges.put(item, from, unpackMerges(body.merges.packed));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      return this.refuse(item, from, error.code, error.message);
    }
    this.pump();
  }

  discard(item: Item): void {
    if (isHead(item)) this.sought.discard(item);
    else (item === 'merges' ? this.merges : this.blocks).discard(item);
  }

  /** Runs something while no block is taken out of quarantine. It must not fail. */
  undisturbed(task: () => Promise<void>): void {
    this.tasks.push(task);
    this.pump();
  }

  /** Takes out of quarantine what can be taken by now, until nothing more goes; one run at a time. */
  pump(): void {
    this.again = true;
    if (!this.isPumping) void this.pumpAll();
  }

  private async pumpAll(): Promise<void> {
    this.isPumping = true;
    try {
      while (this.again && !this.stopped) {
        this.again = false;
        for (const task of this.tasks.splice(0)) await this.attempt(task);
        for (const head of this.sought.heads()) await this.attempt(() => this.pumpSought(head));
        for (const item of this.blocks.items()) await this.attempt(() => this.pumpBranch(item as Branch));
        await this.attempt(() => this.pumpMerges());
      }
    } finally {
      this.isPumping = false;
    }
  }

  /** What fails of one branch holds up no other. */
  private async attempt(task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.parts.failed(
        error instanceof TownError ? error.code : 'sync-failed',
        `What the others sent could not be taken in: ${reason}`,
      );
    }
  }

  private refuse(item: Item, from: NodeId, code: string, reason: string): void {
    this.discard(item);
    this.parts.refused(item, from, code, reason);
  }

  private async pumpBranch(branch: Branch): Promise<void> {
    const { node, line } = placeOf(branch);
    const found = this.blocks.get(branch);
    if (found === null) return;
    const { store, main, peerBlocks } = this.parts;
    await this.prepare(node, found.batch);
    // It was given up, or others came in its place, meanwhile: those are looked at in the next turn.
    if (this.blocks.get(branch)?.batch !== found.batch) return;
    const before = store.lastBlock(node, line);
    const { admitted, waiting, refused } = admitBlocks(found.batch, {
      town: main.town,
      line,
      node,
      keyOf: this.parts.keyOf,
      tip: before,
      heldAt: (seq) => store.blocksFrom(node, line, seq, 1)[0]?.id ?? null,
      mergeOid: (base) => (base === main.head.id ? main.head.oid : (store.mergeById(base)?.oid ?? null)),
      resumes: resumptionOf(main.state, node, line),
    });
    if (refused?.equivocation) peerBlocks.equivocations.ofBlocks(refused.equivocation);
    let refusal: { readonly code: string; readonly reason: string } | null = refused;
    try {
      // Of a draft only what the town adopted is of any use.
      const wanted = line === MAIN ? Infinity : (readFork(main.state, line)?.seq ?? 0);
      await peerBlocks.take(admitted.filter(({ seq }) => seq <= wanted));
    } catch (error) {
      if (!(error instanceof TownError) || !NOT_STORED.has(error.code)) throw error;
      refusal = { code: error.code, reason: error.message };
    }
    const last = store.lastBlock(node, line);
    if (last !== null && last.seq > (before?.seq ?? 0)) {
      this.parts.stored(branch, { seq: last.seq, head: last.id });
      this.again = true;
    }
    // It was given up, or others came in its place, while the store was at work.
    if (this.blocks.get(branch)?.batch !== found.batch) return;
    if (refusal !== null) return this.refuse(branch, found.peer, refusal.code, refusal.reason);
    this.blocks.keepRest(branch, waiting);
    if (waiting.length === 0) this.parts.settled(branch);
  }

  private async pumpSought(head: Sha256): Promise<void> {
    const from = this.sought.givenBy(head);
    if (from === null) return;
    try {
      const { upTo, replaced } = await this.sought.take(head);
      if (replaced?.isCut) this.parts.replaced(replaced.branch, replaced.tip);
      else if (replaced?.tip) this.parts.stored(replaced.branch, replaced.tip);
      if (replaced) this.again = true;
      if (replaced?.refused) throw replaced.refused;
      this.parts.collected(head, upTo);
      if (upTo === null) this.sought.discard(head);
      this.parts.settled(head);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.refuse(head, from, error.code, error.message);
    }
  }

  private async prepare(node: NodeId, batch: readonly RawBlock[]): Promise<void> {
    const key = this.parts.keyOf(node);
    if (!this.parts.prepare || key === undefined) return;
    const texts = batch.flatMap(({ entries }) =>
      Buffer.from(entries).toString('utf8').split('\n').slice(0, -1),
    );
    await this.parts.prepare(
      texts,
      batch.map(({ raw }) => ({ raw, key })),
    );
  }

  private async pumpMerges(): Promise<void> {
    const found = this.merges.get('merges');
    if (found === null) return;
    const isCurrent = (): boolean => this.merges.get('merges')?.batch === found.batch;
    let taken = 0;
    try {
      for (const merge of found.batch) {
        if (this.stopped || !(await this.takeMerge(merge))) break;
        taken += 1;
      }
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      if (isCurrent()) this.refuse('merges', found.peer, error.code, error.message);
      return;
    }
    if (taken > 0) this.again = true;
    if (!isCurrent()) return;
    this.merges.keepRest('merges', found.batch.slice(taken));
    if (taken === found.batch.length) this.parts.settled('merges');
  }

  /**
   * True: it is `main` now, or was already. False: what it folds in is not here yet.
   * @throws TownError `bad-certificate`, `checkpoint-differs`, `gap`, `other-line`, and what the merge itself is refused for
   */
  private async takeMerge({ raw, certificate }: RawMerge): Promise<boolean> {
    const { main, merger } = this.parts;
    const { height, votes } = parseCertificate(certificate);
    if (height <= main.head.height) return true;
    if (height > main.head.height + 1)
      throw new TownError('gap', `Merge ${main.head.height + 1} is missing before merge ${height}.`);
    const checkpoint = this.parts.checkpoint();
    const isOther = checkpoint?.height === height && sha256(raw) !== checkpoint.id;
    if (isOther && merger.isProven(raw, certificate))
      throw new TownError(
        'checkpoint-differs',
        `Merge ${height} of the others is another than the one that this node was let in with: one of them has another history.`,
      );
    try {
      if (await merger.adoptDecided(raw, certificate)) return true;
    } catch (error) {
      if (!(error instanceof TownError) || error.code !== 'unknown-head') throw error;
      const missing = missingHeads(this.parts.store, raw, this.parts.keyOf);
      this.parts.lacking(
        missing,
        votes.map(({ node }) => node),
      );
      return false;
    }
    // Consensus was faster.
    if (height <= main.head.height) return true;
    throw new TownError(
      'other-line',
      `Merge ${height} does not follow merge ${main.head.height} of this line.`,
    );
  }
}
