/**
 * Proof of merge at this node: when a height begins (only while unmerged blocks are known), who waits for it, and what the
 * others decided. One height itself is at work in height-work.ts.
 */
import { keyOfNode } from '../ledger/charter.js';
import type { Json, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { parseRecovery, type Recovery } from '../ledger/recovery.js';
import { startHeight } from '../consensus/algorithm.js';
import { parseCertificate } from '../consensus/certificate.js';
import type { Message } from '../consensus/gossip.js';
import { recordsOf } from '../consensus/own-records.js';
import { isNext, proveMerge } from '../consensus/proof.js';
import { verifyProposal } from '../consensus/proposal.js';
import type { SafetyRules } from '../consensus/safety-rules.js';
import { valueIdOf, verifyVote } from '../consensus/vote.js';
import type { Blocks } from './blocks.js';
import { Serial } from './drive.js';
import { HeightWork, type Alarm, type HeightWorkParts } from './height-work.js';
import { diverged, type Epochs } from './epochs.js';
import { MAIN, type RecoveryStanding } from './main-line.js';

/** Heights that one request for a merge may take. */
const HEIGHTS_AT_ONCE_MAX = 100;
/** Requests for a merge that wait for others. */
const AWAITING_MAX = 1000;
/** How long a request for a merge waits for its decision. */
const MERGE_WAIT_MS = 60_000;
const RETRY_MS_MIN = 2_000;
const RETRY_MS_MAX = 300_000;
/** Messages of the next height that may wait until it begins. */
const INBOX_MAX = 256;
/** What others recorded has waited at their place already: it is merged this soon. */
const FOREIGN_WAIT_MS = 100;
/** The meta value that names a height whose votes of this node are lost. */
export const VOTES_LOST_META = 'votes-lost';

export interface MergerParts extends Omit<HeightWorkParts, 'adopting' | 'alarm' | 'gossiped'> {
  readonly blocks: Blocks;
  /** Told when merging stops working, with null when it works again. */
  readonly alarm: (alarm: Alarm | null) => void;
  readonly epochs: Epochs;
  /** The simulation leaves one out. */
  readonly rules?: SafetyRules | undefined;
}

export class Merger {
  private dueAt: number | null = null;
  private cancelTimer: (() => void) | null = null;
  private running: Promise<void> | null = null;
  private retryMs = RETRY_MS_MIN;
  private stopped = false;
  private ready = false;
  /** The most urgent that was recorded since the last height began. */
  private waiting: 'claim' | 'fact' | null = null;
  private work: HeightWork | null = null;
  private readonly inbox: Message[] = [];
  private readonly adoptions = new Serial(64);
  private readonly awaiting: (() => void)[] = [];

  constructor(private readonly parts: MergerParts) {}

  get isMerging(): boolean {
    return this.running !== null;
  }

  /** The dapps answer: what waits can be merged, first of all what was voted on before a restart. */
  start(): void {
    this.ready = true;
    const { store, main, blocks } = this.parts;
    const hasVotes = store.consensusLog(main.head.height + 1, 1).length > 0;
    if (hasVotes) this.dueIn(0);
    else if (blocks.areWaiting()) this.noticed('claim');
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTimer?.();
    // A height that waits for others is left where it is: the vote log knows how to go on.
    this.work?.abandon(new TownError('stopping', 'The node is stopping.'));
    this.tellProgress();
    await this.running?.catch(() => undefined);
  }

  /** Something was recorded: people do not wait long, facts alone are gathered. */
  noticed(kind: 'claim' | 'fact'): void {
    const { interactiveMs, factsMs } = this.parts.main.charter.pace;
    if (kind === 'claim' || this.waiting === null) this.waiting = kind;
    this.dueIn(kind === 'claim' ? interactiveMs : factsMs);
  }

  /**
   * Merges all that is durable now; resolves when it is `main` (false: there was nothing).
   * @throws TownError `starting` while the dapps start, `merge-waits`, and what stopped the merge
   */
  async mergeNow(): Promise<boolean> {
    if (!this.ready)
      throw new TownError('starting', 'The dapps are not ready yet.', 'Try again in a few seconds.');
    const { main, blocks, clock } = this.parts;
    const before = main.head.height;
    const until = clock.now() + MERGE_WAIT_MS;
    if (this.work) await this.cutMeanwhile();
    await this.within(this.running?.catch(() => undefined));
    for (
      let turns = 0;
      turns < HEIGHTS_AT_ONCE_MAX && blocks.areWaiting() && !this.stopped && clock.now() <= until;
      turns += 1
    ) {
      const { height } = main.head;
      await this.within(this.run());
      if (main.head.height > height) continue;
      // Alone there is nothing to wait for; else the others have to have the blocks first.
      if (main.charter.validators.length === 1 && main.charter.validators.includes(this.parts.keys.id)) break;
      await this.within(this.progress());
    }
    return main.head.height > before;
  }

  /** Resolves when a quorum holds more, or `main` has moved. */
  private progress(): Promise<void> {
    if (this.stopped) return Promise.resolve();
    if (this.awaiting.length >= AWAITING_MAX)
      return Promise.reject(new TownError('busy', 'Many wait for a merge already.'));
    return new Promise((resolve) => this.awaiting.push(resolve));
  }

  /** Waits for a height no longer than people do. @throws TownError `merge-waits` */
  private async within<T>(height: Promise<T> | undefined): Promise<void> {
    if (!height) return;
    let cancel = (): void => undefined;
    const late = new Promise<never>((_, reject) => {
      cancel = this.parts.clock.after(MERGE_WAIT_MS, () =>
        reject(
          new TownError(
            'merge-waits',
            'The merge is not decided yet: too few validators are there, or they are slow.',
            'It goes on by itself; see `town status`.',
          ),
        ),
      );
    });
    await Promise.race([height, late]).finally(cancel);
  }

  private dueIn(ms: number): void {
    if (!this.ready || this.stopped) return;
    const at = this.parts.clock.now() + ms;
    if (this.dueAt !== null && this.dueAt <= at) return;
    this.dueAt = at;
    this.cancelTimer?.();
    this.cancelTimer = this.parts.clock.after(ms, () => {
      this.dueAt = null;
      (this.work ? this.cutMeanwhile() : this.run()).catch(() => undefined);
    });
  }

  /**
   * A height is under way already, maybe with nothing to merge (a message of others began it): what was recorded since is put
   * into blocks, for this height or the next; else such a height would wait for ever.
   */
  private async cutMeanwhile(): Promise<void> {
    this.waiting = null;
    if ((await this.parts.blocks.cut()) > 0) this.blocksChanged();
  }

  /** Blocks wait to be merged. A height that is about to begin, or has just ended, looks for them itself. */
  private foreignNoticed(): void {
    if (this.running === null) this.dueIn(FOREIGN_WAIT_MS);
  }

  /** Runs one height to its end, or joins the one that runs; a failure raises the alarm and is tried again later. */
  private run(): Promise<void> {
    const { height } = this.parts.main.head;
    this.running ??= this.tryHeight().finally(() => {
      this.running = null;
      this.planNext(this.parts.main.head.height > height);
    });
    return this.running;
  }

  private async tryHeight(): Promise<void> {
    try {
      await this.oneHeight();
      this.retryMs = RETRY_MS_MIN;
      this.parts.alarm(null);
    } catch (error) {
      if (this.stopped) return;
      const { code, message } =
        error instanceof TownError ? error : { code: 'merge-failed', message: String(error) };
      this.parts.alarm({ code, message });
      this.dueIn(this.retryMs);
      this.retryMs = Math.min(this.retryMs * 2, RETRY_MS_MAX);
      throw error;
    }
  }

  private planNext(hasMoved: boolean): void {
    if (this.waiting !== null) this.noticed(this.waiting);
    else if (this.parts.blocks.areWaiting()) this.noticed('fact');
    // What is in blocks already, and found no place in this merge, has waited long enough.
    if (hasMoved && !this.stopped && this.parts.workshop.choose().length > 0) this.dueIn(FOREIGN_WAIT_MS);
  }

  /**
   * A message of another validator, from whoever brought it. What is of another height or epoch is passed over: it comes from who
   * is late or ahead. @returns why it was refused: `bad-vote`, `bad-proposal`, `not-a-validator`; null where it was not
   */
  receive(message: Message): { readonly code: string; readonly reason: string } | null {
    const { main } = this.parts;
    const { node, height, epoch } = message.t === 'vote' ? message.vote : message.proposal;
    const code = `bad-${message.t}`;
    if (!Number.isSafeInteger(height)) return { code, reason: `It is no ${message.t}.` };
    if (epoch < main.epoch) this.parts.epochs.announceSoon();
    if (height !== main.head.height + 1 || epoch !== main.epoch) return null;
    const key = main.charter.validators.includes(node) ? keyOfNode(main.charter, node) : undefined;
    if (key === undefined)
      return { code: 'not-a-validator', reason: `A ${message.t} of who is no validator.` };
    const isSigned =
      message.t === 'vote'
        ? verifyVote(message.vote, key)
        : verifyProposal(message.proposal, message.bytes, key);
    if (!isSigned) return { code, reason: `It is malformed, or not signed by ${node}.` };
    if (this.work) this.work.take(message);
    else {
      if (this.inbox.length >= INBOX_MAX) this.inbox.shift();
      this.inbox.push(message);
      this.dueIn(0);
    }
    return null;
  }

  /** Sends what a node that was away may have missed. */
  gossipNow(): void {
    this.work?.gossip();
    this.parts.epochs.announce();
  }

  /**
   * A recovery that another node has sent. @returns why it was refused
   * @throws TownError `bad-recovery` where it is none
   */
  receiveRecovery(value: Json): { readonly code: string; readonly reason: string } | null {
    const { main, trouble } = this.parts;
    const recovery = parseRecovery(value);
    this.parts.epochs.seen(recovery);
    if (recovery.statement.epoch <= main.epoch || main.knows(recovery)) return null;
    try {
      if (main.standingOf(recovery) === 'past') return null;
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      // Of what goes on from what is not here yet the keys may not be here either; it comes again, with the merge that it begins.
      return recovery.statement.height > main.head.height
        ? null
        : { code: error.code, reason: error.message };
    }
    this.recover(recovery).catch((error: unknown) => trouble('recovery-failed', String(error)));
    return null;
  }

  /**
   * Begins an epoch. @param mayLeave false: not where this node would be left behind by it
   * @returns what the recovery is to this node; @throws TownError `bad-recovery`, `no-recovery`, `leaves-behind`, `busy`
   */
  recover(recovery: Recovery, mayLeave = true): Promise<RecoveryStanding> {
    return this.adopting(() => this.parts.epochs.take(recovery, mayLeave));
  }

  /** What was voted on is void. */
  epochBegan(): void {
    this.inbox.length = 0;
    this.work?.giveWay();
    this.tellProgress();
    this.dueIn(FOREIGN_WAIT_MS);
  }

  /** The town goes on without what is here: nothing more is decided here. */
  leftBehind(): void {
    this.inbox.length = 0;
    this.work?.giveWay();
    this.tellProgress();
  }

  /** A quorum holds more blocks than before: what waited for that goes on. */
  heldChanged(): void {
    this.tellProgress();
    if (this.work) this.work.heldChanged();
    else this.foreignNoticed();
  }

  /** Other nodes came or went, or told something new. */
  heardChanged(): void {
    this.work?.heardChanged();
  }

  /** Another node lags, and is not heard until it does no more: it may go by an older epoch. */
  lagTold(): void {
    this.parts.epochs.announceSoon();
  }

  /** What another node says to be the last merge there. */
  headTold(head: { readonly height: number; readonly id: Sha256 }): void {
    this.parts.epochs.headTold(head);
  }

  /** The height at work; null: none. `parkedSince` (ms): nothing is done for it, as no quorum is heard since then. */
  get heightAtWork(): { readonly round: number; readonly parkedSince: number | null } | null {
    const { work } = this;
    return work && { round: work.round, parkedSince: work.parkedSince };
  }

  private tellProgress(): void {
    for (const tell of this.awaiting.splice(0)) tell();
  }

  /** Blocks came in: what waited for them goes on. */
  blocksChanged(): void {
    if (this.work) this.work.blocksChanged();
    else this.foreignNoticed();
  }

  /**
   * Whether a quorum signed these bytes as the next merge; false where they are for another place.
   * @throws TownError `bad-certificate`, `bad-recovery`, `no-recovery`
   */
  isProven(raw: Uint8Array, certificate: string): boolean {
    const { main } = this.parts;
    const proof = parseCertificate(certificate);
    if (!isNext(proof, main.authority) || main.divergedFrom !== null) return false;
    const { epoch, recovery } = proveMerge(proof, raw, main.authority);
    if (recovery && main.isRival(recovery)) {
      this.parts.epochs.seen(recovery);
      throw new TownError('bad-certificate', `Epoch ${epoch} has begun here by another statement.`);
    }
    if (epoch >= main.epoch) return true;
    this.parts.epochs.announceSoon();
    throw new TownError(
      'bad-certificate',
      `The certificate is of epoch ${epoch}, and epoch ${main.epoch} has begun.`,
    );
  }

  /**
   * Takes over a merge that others decided: certificate, own replay, then `main`. False: it is not the next one.
   * @throws TownError `bad-certificate`, `content-differs`, `unknown-head` while its blocks are not here
   */
  adoptDecided(raw: Uint8Array, certificate: string): Promise<boolean> {
    return this.adopting(async () => {
      if (!this.isProven(raw, certificate)) return false;
      const { workshop, epochs } = this.parts;
      const { recovery } = parseCertificate(certificate);
      if (recovery) await epochs.take(recovery);
      const built = this.work?.builtOf(valueIdOf(raw)) ?? (await workshop.replayOf(raw));
      await workshop.adopt(built, certificate);
      this.work?.mainMoved();
      this.tellProgress();
      return true;
    });
  }

  /** Runs something while no merge is adopted. @throws TownError `busy` */
  undisturbed<T>(task: () => Promise<T>): Promise<T> {
    return this.adopting(task);
  }

  /**
   * What a quorum of the validators stands behind at the height at work, and cannot be judged here for want of its blocks;
   * `voters` have them. Null: nothing.
   */
  lacking(): { readonly bytes: Uint8Array; readonly voters: readonly NodeId[] } | null {
    return this.work?.lacking() ?? null;
  }

  private adopting<T>(task: () => Promise<T>): Promise<T> {
    return this.adoptions.run(task, () => new TownError('busy', 'Merges are being adopted already.'));
  }

  /**
   * A validator; and not on a height of which it may have voted without knowing how: its vote log was lost (a repair says so). Alone it
   * decides anew: nobody else counted its votes.
   */
  private mayVote(height: number): boolean {
    const { store, main, keys } = this.parts;
    const { validators } = main.charter;
    if (!validators.includes(keys.id)) return false;
    return validators.length === 1 || store.meta(VOTES_LOST_META) !== String(height);
  }

  private async oneHeight(): Promise<void> {
    const { store, main, blocks, keys, workshop } = this.parts;
    this.waiting = null;
    if (main.divergedFrom) throw diverged(main.divergedFrom);
    await blocks.cut();
    // One that began now nobody would end; and who does not know the history yet has no say.
    if (this.stopped || main.ahead !== null) return;
    const { head, charter, town } = main;
    const { epoch } = main;
    const resume = recordsOf(store.consensusLog(head.height + 1), epoch);
    const inbox = this.inbox.splice(0);
    if (resume.length === 0 && inbox.length === 0 && workshop.choose().length === 0) return;
    const state = startHeight({
      self: this.mayVote(head.height + 1) ? keys.id : null,
      town,
      line: MAIN,
      epoch,
      height: head.height + 1,
      parent: head.id,
      validators: charter.validators as NodeId[],
      rule: charter.quorum,
      resume,
      rules: this.parts.rules,
    });
    const adopting = (task: () => Promise<void>): Promise<void> => this.adopting(task);
    const gossiped = (): void => this.parts.epochs.gossiped();
    const work = new HeightWork({ ...this.parts, adopting, gossiped }, state);
    this.work = work;
    try {
      work.begin(inbox);
      await work.done;
    } finally {
      work.close();
      this.work = null;
      await work.settled();
    }
  }
}
