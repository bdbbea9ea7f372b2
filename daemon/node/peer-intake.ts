/**
 * What came from peers, on its way into the ledger: it waits in quarantine until it can be checked, and leaves it only when it
 * holds. Blocks go to their branches, merges to `main` with their certificate and an own replay.
 */
import { parseCertificate } from '../consensus/certificate.js';
import { claimedPlace } from '../ledger/block.js';
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
import { admitBlocks, Quarantine, QUARANTINE_BYTES_MAX } from '../sync/quarantine.js';
import { isHead, type Item } from '../sync/sync-state.js';
import { Lane } from './lane.js';
import { MAIN } from './main-line.js';
import { NOT_STORED } from './peer-blocks.js';
import { PreparedBatches } from './prepared-batches.js';
import type { SignedCommit } from './signature-batch.js';
import { missingHeads, SoughtBlocks, type SoughtBlocksParts } from './sought-blocks.js';
import type { Welcomed } from './welcomed.js';

export interface PeerIntakeParts extends SoughtBlocksParts {
  /** Checks the signatures of a batch ahead, on other cores; all is decided in its order afterwards. */
  readonly prepare?:
    ((texts: readonly string[], commits: readonly SignedCommit[]) => Promise<void>) | undefined;
  /** A merge that the history must contain; null where nothing is known of it. */
  readonly checkpoint: () => Welcomed['checkpoint'] | null;
  /** Blocks of a branch up to this one wait here, and there is room for those after them. */
  readonly received: (branch: Branch, upTo: number) => void;
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

/**
 * Batches of a branch that may wait, one of them at work, when more is asked for: one is checked while the one before it is stored
 * and the one after it is on its way. And what a peer may have waiting then, so that many branches keep within their bound.
 */
const BATCHES_WAITING_MAX = 2;
const BYTES_WAITING_MAX = QUARANTINE_BYTES_MAX / 4;
/** Entries whose signatures are checked ahead of their turn, and one batch: those found good are known for a while, and not for ever. */
const PREPARED_MAX = 6_000;

/** The number that a block claims to have; null where it is none: that is found out in its turn. */
function claimedSeq({ raw }: RawBlock): number | null {
  try {
    return claimedPlace(raw).seq;
  } catch (error) {
    if (error instanceof TownError) return null;
    throw error;
  }
}

const sizeOfMerge = (merge: RawMerge): number => merge.raw.length + merge.certificate.length;

export class PeerIntake {
  private readonly blocks = new Quarantine<RawBlock>(sizeOfBlock);
  private readonly merges = new Quarantine<RawMerge>(sizeOfMerge);
  private readonly sought: SoughtBlocks;
  private readonly prepared = new PreparedBatches();
  /** What waits for its turn between two batches. */
  private readonly tasks: (() => Promise<void>)[] = [];
  /** Blocks and merges are taken beside each other: while a merge is written, blocks are checked. */
  private readonly lanes = {
    blocks: new Lane(() => this.pumpBlocks()),
    merges: new Lane(() => this.attempt(() => this.pumpMerges())),
  };
  private stopped = false;

  constructor(private readonly parts: PeerIntakeParts) {
    this.sought = new SoughtBlocks(parts);
  }

  stop(): void {
    this.stopped = true;
    this.lanes.blocks.stop();
    this.lanes.merges.stop();
  }

  /** Takes what a peer has sent of an item: in place of what waited for that, or of a branch behind it. */
  admit(from: NodeId, item: Item, body: HaveBody, follows = false): void {
    try {
      if ('blocks' in body) this.putBlocks(from, item as Branch, unpackBlocks(body.blocks.packed), follows);
      else if ('head' in body) this.sought.put(from, body.head);
      else if ('merges' in body) this.merges.put(item, from, unpackMerges(body.merges.packed));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      return this.refuse(item, from, error.code, error.message);
    }
    this.pump();
  }

  private putBlocks(from: NodeId, branch: Branch, batch: readonly RawBlock[], follows: boolean): void {
    if (follows) this.blocks.append(branch, from, batch);
    else this.blocks.put(branch, from, batch);
    this.prepareAhead();
    this.tellRoom(branch);
  }

  /** More of a branch may be asked for while what has come is worked off. */
  private tellRoom(branch: Branch): void {
    const found = this.blocks.last(branch);
    if (found === null || found.count > BATCHES_WAITING_MAX) return;
    if (this.blocks.bytesOf(found.peer) > BYTES_WAITING_MAX) return;
    const seq = claimedSeq(found.batch[found.batch.length - 1] as RawBlock);
    if (seq !== null) this.parts.received(branch, seq);
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
    this.lanes.blocks.pump();
    this.lanes.merges.pump();
  }

  private async pumpBlocks(): Promise<void> {
    const tasks = this.tasks.splice(0);
    if (tasks.length > 0)
      await this.lanes.merges.halted(async () => {
        for (const task of tasks) await this.attempt(task);
      });
    for (const head of this.sought.heads()) await this.attempt(() => this.pumpSought(head));
    for (const item of this.blocks.items()) await this.attempt(() => this.pumpBranch(item as Branch));
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
    await this.prepare(branch, found.batch);
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
      this.pump();
    }
    // It was given up, or others came in its place, while the store was at work.
    if (this.blocks.get(branch)?.batch !== found.batch) return;
    if (refusal !== null) return this.refuse(branch, found.peer, refusal.code, refusal.reason);
    this.blocks.keepRest(branch, waiting);
    this.prepared.isRestOf(waiting, found.batch);
    const next = this.blocks.get(branch);
    if (next === null) return this.parts.settled(branch);
    if (waiting.length > 0) return;
    this.prepareAhead();
    this.tellRoom(branch);
    this.lanes.blocks.pump();
  }

  private async pumpSought(head: Sha256): Promise<void> {
    const from = this.sought.givenBy(head);
    if (from === null) return;
    try {
      const { upTo, replaced } = await this.sought.take(head);
      if (replaced?.isCut) this.parts.replaced(replaced.branch, replaced.tip);
      else if (replaced?.tip) this.parts.stored(replaced.branch, replaced.tip);
      if (replaced) this.pump();
      if (replaced?.refused) throw replaced.refused;
      this.parts.collected(head, upTo);
      if (upTo === null) this.sought.discard(head);
      this.parts.settled(head);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.refuse(head, from, error.code, error.message);
    }
  }

  /** Signatures of what waits, as many as will still be known when its turn comes. */
  private prepareAhead(): void {
    let count = 0;
    for (const item of this.blocks.items())
      for (const batch of this.blocks.batches(item)) {
        if (count >= PREPARED_MAX) return;
        // What fails here fails again in its turn, and is told then.
        this.prepare(item as Branch, batch).catch(() => undefined);
        count += this.prepared.countOf(batch);
      }
  }

  /** Once for each batch. */
  private prepare(branch: Branch, batch: readonly RawBlock[]): Promise<void> {
    const { prepare } = this.parts;
    const key = this.parts.keyOf(placeOf(branch).node);
    if (!prepare || key === undefined) return Promise.resolve();
    return this.prepared.once(batch, (texts) =>
      prepare(
        texts,
        batch.map(({ raw }) => ({ raw, key })),
      ),
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
    if (taken > 0) this.pump();
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
