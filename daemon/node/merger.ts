/**
 * Carries out proof of merge for this node: one instance of Algorithm 1 per height, started only while unmerged blocks
 * are known. The algorithm decides; this signs, makes durable, replays, and adopts.
 */
import { canonicalize } from '../ledger/canonical.js';
import { keyOfNode } from '../ledger/charter.js';
import type { KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { BuiltMerge } from '../ledger/merge.js';
import { startHeight, step, type Input, type Output } from '../consensus/algorithm.js';
import {
  certificateOf,
  certificateText,
  parseCertificate,
  verifyCertificate,
} from '../consensus/certificate.js';
import { gossip, type Message } from '../consensus/gossip.js';
import { proposerOf, type HeightState } from '../consensus/height-state.js';
import { proposalRecord, voteRecord } from '../consensus/own-records.js';
import { signProposal, verifyProposal } from '../consensus/proposal.js';
import { signVote, valueIdOf, verifyVote } from '../consensus/vote.js';
import type { CoreStore } from './core-store.js';
import type { Blocks } from './blocks.js';
import type { Clock } from './clock.js';
import { Serial } from './drive.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import type { MergeWorkshop } from './merge-workshop.js';

/** Epochs come with recovery; until then there is one. */
const EPOCH = 0;
/** Heights that one request for a merge may take. */
const HEIGHTS_AT_ONCE_MAX = 100;
/** Requests for a merge that wait for others. */
const AWAITING_MAX = 1000;
/** How long a request for a merge waits for its decision. */
const MERGE_WAIT_MS = 60_000;
const RETRY_MS_MIN = 2_000;
const RETRY_MS_MAX = 300_000;
/** A fresh proposal may be this far ahead of my clock. */
const AHEAD_MS_MAX = 10_000;
/** And this far ahead of `main` where my clock is behind that. */
const AHEAD_OF_MAIN_MS_MAX = 3_600_000;
const GOSSIP_MS_MIN = 2_000;
const GOSSIP_MS_MAX = 60_000;
/** How long a proposer that is not heard is waited for. */
const ABSENT_WAIT_MS = 300;
/** How often a proposer that is waited for is looked for: it may go away meanwhile. */
const PROPOSER_LOOK_MS = 500;
/** A round's time is begun anew so often while a proposal of it is being replayed. */
const JUDGING_TURNS_MAX = 20;
/** Messages of the next height that may wait until it begins. */
const INBOX_MAX = 256;
/** What others recorded has waited at their place already: it is merged this soon. */
const FOREIGN_WAIT_MS = 100;
/** Refusals of a proposal that say nothing about it: what it needs is not here yet. */
const NOT_HERE = new Set(['unknown-head', 'unknown-base']);
const REFUSALS = new Set(['bad-merge', 'bad-commit', 'bad-signature', 'content-differs']);

export interface Alarm {
  readonly code: string;
  readonly message: string;
}

export interface MergerParts {
  readonly store: CoreStore;
  readonly main: MainLine;
  readonly blocks: Blocks;
  readonly workshop: MergeWorkshop;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** Told when merging stops working, with null when it works again. */
  readonly alarm: (alarm: Alarm | null) => void;
  /** Sends a message to the other validators; they may miss it. */
  readonly broadcast: (message: Message) => void;
  /** Whether another validator is heard just now: who is not, is not waited for. */
  readonly isHeard: (node: NodeId) => boolean;
}

/** One height at work. */
interface Work {
  state: HeightState;
  readonly built: Map<Sha256, BuiltMerge>;
  /** Proposals that could not be judged yet. */
  readonly unjudged: Map<Sha256, Uint8Array>;
  /** The round that still waits for a value of ours. */
  wanted: number | null;
  /** Proposals that are being replayed. */
  judging: number;
  /** Ended or failed: nothing is signed in its name any more. */
  over: boolean;
  readonly timers: Set<() => void>;
  readonly ended: () => void;
  readonly failed: (error: unknown) => void;
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
  private work: Work | null = null;
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
    this.work?.failed(new TownError('stopping', 'The node is stopping.'));
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

  /** Runs one height to its end; a failure raises the alarm and is tried again later. */
  private run(): Promise<void> {
    const { height } = this.parts.main.head;
    this.running ??= this.oneHeight()
      .then(
        () => {
          this.retryMs = RETRY_MS_MIN;
          this.parts.alarm(null);
        },
        (error: unknown) => {
          if (this.stopped) return;
          const { code, message } =
            error instanceof TownError ? error : { code: 'merge-failed', message: String(error) };
          this.parts.alarm({ code, message });
          this.running = null;
          this.dueIn(this.retryMs);
          this.retryMs = Math.min(this.retryMs * 2, RETRY_MS_MAX);
          throw error;
        },
      )
      .finally(() => {
        this.running = null;
        if (this.waiting !== null) this.noticed(this.waiting);
        else if (this.parts.blocks.areWaiting()) this.noticed('fact');
        // What is in blocks already, and found no place in this merge, has waited long enough.
        const moved = this.parts.main.head.height > height;
        if (moved && !this.stopped && this.parts.workshop.choose().length > 0) this.dueIn(FOREIGN_WAIT_MS);
      });
    return this.running;
  }

  /**
   * A message of another validator, from whoever brought it. What is of another height is passed over: it comes from who is late
   * or ahead. @returns why it was refused: `bad-vote`, `bad-proposal`, `not-a-validator`; null where it was not
   */
  receive(message: Message): { readonly code: string; readonly reason: string } | null {
    const { main } = this.parts;
    const { node, height } = message.t === 'vote' ? message.vote : message.proposal;
    const code = `bad-${message.t}`;
    if (!Number.isSafeInteger(height)) return { code, reason: `It is no ${message.t}.` };
    if (height !== main.head.height + 1) return null;
    const key = main.charter.validators.includes(node) ? keyOfNode(main.charter, node) : undefined;
    if (key === undefined)
      return { code: 'not-a-validator', reason: `A ${message.t} of who is no validator.` };
    const isSigned =
      message.t === 'vote'
        ? verifyVote(message.vote, key)
        : verifyProposal(message.proposal, message.bytes, key);
    if (!isSigned) return { code, reason: `It is malformed, or not signed by ${node}.` };
    if (this.work) this.feed(this.work, message);
    else {
      if (this.inbox.length >= INBOX_MAX) this.inbox.shift();
      this.inbox.push(message);
      this.dueIn(0);
    }
    return null;
  }

  /** Sends what a node that was away may have missed. */
  gossipNow(): void {
    if (this.work) for (const message of gossip(this.work.state)) this.parts.broadcast(message);
  }

  /** A quorum holds more blocks than before: what waited for that goes on. */
  heldChanged(): void {
    const { work } = this;
    this.tellProgress();
    if (!work) this.foreignNoticed();
    else if (work.wanted !== null) this.attempt(work, () => this.offer(work));
  }

  private tellProgress(): void {
    for (const tell of this.awaiting.splice(0)) tell();
  }

  /** Blocks came in: what waited for them goes on. */
  blocksChanged(): void {
    const { work } = this;
    if (!work) {
      this.foreignNoticed();
      return;
    }
    for (const [value, bytes] of [...work.unjudged])
      this.attempt(work, () => this.judge(work, value, bytes, true));
    if (work.wanted !== null) this.attempt(work, () => this.offer(work));
  }

  /**
   * Takes over a merge that others decided: certificate, own replay, then `main`. False: it is not the next one.
   * @throws TownError `bad-certificate`, `content-differs`, `unknown-head` while its blocks are not here
   */
  adoptDecided(raw: Uint8Array, certificate: string): Promise<boolean> {
    return this.adopting(async () => {
      const { main } = this.parts;
      const { head, charter, town } = main;
      const proof = parseCertificate(certificate);
      const place = { town: proof.town, line: proof.line, height: proof.height, parent: proof.parent };
      const next = { town, line: MAIN, height: head.height + 1, parent: head.id };
      if (canonicalize(place) !== canonicalize(next)) return false;
      const keys = new Map(
        charter.validators.map((id) => [id as NodeId, keyOfNode(charter, id as NodeId) as KeyId]),
      );
      verifyCertificate(proof, keys, charter.quorum);
      if (proof.value !== valueIdOf(raw))
        throw new TownError('bad-certificate', 'The certificate is for another merge.');
      await this.parts.workshop.adopt(
        this.work?.built.get(proof.value) ?? (await this.parts.workshop.replayOf(raw)),
        certificate,
      );
      // The height that was under way here is decided: others were faster.
      if (this.work && this.work.state.place.height <= this.parts.main.head.height) this.work.ended();
      this.tellProgress();
      return true;
    });
  }

  private adopting<T>(task: () => Promise<T>): Promise<T> {
    return this.adoptions.run(task, () => new TownError('busy', 'Merges are being adopted already.'));
  }

  private async oneHeight(): Promise<void> {
    const { store, main, blocks, keys } = this.parts;
    this.waiting = null;
    await blocks.cut();
    // One that began now nobody would end.
    if (this.stopped) return;
    const { head, charter, town } = main;
    const resume = store.consensusLog(head.height + 1);
    const inbox = this.inbox.splice(0);
    if (resume.length === 0 && inbox.length === 0 && this.parts.workshop.choose().length === 0) return;
    const state = startHeight({
      self: charter.validators.includes(keys.id) ? keys.id : null,
      town,
      line: MAIN,
      epoch: EPOCH,
      height: head.height + 1,
      parent: head.id,
      validators: charter.validators as NodeId[],
      rule: charter.quorum,
      resume,
    });
    let mine: Work | null = null;
    try {
      await new Promise<void>((ended, failed) => {
        const work: Work = {
          ...{
            state,
            built: new Map(),
            unjudged: new Map(),
            wanted: null,
            judging: 0,
            over: false,
            timers: new Set(),
          },
          ...{ ended, failed },
        };
        this.work = mine = work;
        this.feed(work, { t: 'start' });
        for (const message of inbox) this.feed(work, message);
        this.gossipLater(work, GOSSIP_MS_MIN);
      });
    } finally {
      this.close(mine);
    }
  }

  private close(work: Work | null): void {
    if (!work) return;
    work.over = true;
    for (const cancel of work.timers) cancel();
    work.timers.clear();
    if (this.work === work) this.work = null;
  }

  private after(work: Work, ms: number, task: () => void): void {
    const cancel = this.parts.clock.after(ms, () => {
      work.timers.delete(cancel);
      if (!work.over) this.attempt(work, async () => task());
    });
    work.timers.add(cancel);
  }

  /** Messages get lost: the current ones are sent again, ever more rarely. */
  private gossipLater(work: Work, ms: number): void {
    if (this.parts.main.charter.validators.length === 1) return;
    this.after(work, ms, () => {
      for (const message of gossip(work.state)) this.parts.broadcast(message);
      this.gossipLater(work, Math.min(ms * 2, GOSSIP_MS_MAX));
    });
  }

  private feed(work: Work, input: Input): void {
    if (work.over) return;
    const { state, outputs } = step(work.state, input);
    work.state = state;
    for (const output of outputs) this.attempt(work, () => this.carryOut(work, output));
  }

  /** Whether `main` has gone by this height already: it is about to be over, and a replay would start from another state. */
  private isPast(work: Work): boolean {
    return this.parts.main.head.height + 1 !== work.state.place.height;
  }

  private attempt(work: Work, task: () => Promise<void>): void {
    task().catch((error: unknown) => {
      // Others were faster: the height is over, or is about to be.
      if (error instanceof TownError && error.code === 'moved-on') return;
      work.failed(error);
    });
  }

  private async carryOut(work: Work, output: Output): Promise<void> {
    const { store, keys, broadcast } = this.parts;
    switch (output.t) {
      case 'need-value':
        work.wanted = output.round;
        return this.offer(work);
      case 'sign-proposal': {
        const proposal = signProposal(output.content, keys.id, keys.secretKey);
        await store.logConsensus([proposalRecord(proposal, output.bytes)]);
        broadcast({ t: 'proposal', proposal, bytes: output.bytes });
        return this.feed(work, { t: 'proposal', proposal, bytes: output.bytes });
      }
      case 'judge':
        return this.judge(work, output.value, output.bytes, output.fresh);
      case 'sign-vote': {
        const vote = signVote(output.content, keys.id, keys.secretKey);
        await store.logConsensus([voteRecord(vote, output.bytes)]);
        broadcast({ t: 'vote', vote });
        return this.feed(work, { t: 'vote', vote });
      }
      case 'timeout':
        return this.timeOut(work, output, output.ms, JUDGING_TURNS_MAX);
      case 'decide': {
        const certificate = certificateText(certificateOf(output.votes));
        await this.adopting(async () => {
          if (work.over || this.isPast(work)) return;
          const built = work.built.get(output.value) ?? (await this.parts.workshop.replayOf(output.bytes));
          await this.parts.workshop.adopt(built, certificate);
        });
        return work.ended();
      }
      case 'evidence':
        // Kept by the algorithm's rules; suspending the node comes with governance.
        return this.parts.alarm({
          code: 'equivocation',
          message: `The validator ${output.first.node} signed two different things for one place.`,
        });
      case 'alarm':
        throw new TownError(
          output.code,
          'The validators do not agree: this node stops merging and serves its doors from the last good state.',
          'See town log and compare the receipts.',
        );
    }
  }

  /** Who is not heard is not waited for, unless what it proposed is being replayed here. */
  private waitOf(work: Work, { step: waited, round }: Output & { t: 'timeout' }, ms: number): number {
    const proposer = proposerOf(work.state, round);
    const isAway = waited === 'propose' && proposer !== this.parts.keys.id && !this.parts.isHeard(proposer);
    return isAway && work.judging === 0 ? Math.min(ms, ABSENT_WAIT_MS) : ms;
  }

  /**
   * Waits, and looks again and again whether the proposer is still there. What is being replayed here is worth waiting for: a
   * board may need longer for a large merge than a round takes.
   */
  private timeOut(work: Work, output: Output & { t: 'timeout' }, ms: number, turns: number): void {
    const waitMs = this.waitOf(work, output, ms);
    const lookMs = output.step === 'propose' ? Math.min(waitMs, PROPOSER_LOOK_MS) : waitMs;
    this.after(work, lookMs, () => {
      if (waitMs > lookMs) return this.timeOut(work, output, waitMs - lookMs, turns);
      const isJudging = output.step === 'propose' && work.judging > 0 && turns > 0;
      if (isJudging) this.timeOut(work, output, output.ms, turns - 1);
      else this.feed(work, { t: 'timeout', step: output.step, round: output.round });
    });
  }

  /** Offers a value for the round that waits for one, if there is anything to merge. */
  private async offer(work: Work): Promise<void> {
    const round = work.wanted;
    if (round === null || this.isPast(work) || this.parts.workshop.choose().length === 0) return;
    work.wanted = null;
    const built = await this.parts.workshop.propose();
    work.built.set(valueIdOf(built.merge.raw), built);
    this.feed(work, { t: 'value', round, bytes: built.merge.raw });
  }

  /** The latest time of a fresh proposal: a clock behind `main` is wrong, and then `main` itself is the measure. */
  private latestTime(): number {
    const now = this.parts.clock.now();
    const { time } = this.parts.main.head;
    return now < time ? time + AHEAD_OF_MAIN_MS_MAX : now + AHEAD_MS_MAX;
  }

  /** Judges a proposal by my own replay; what cannot be judged yet waits for blocks or for the clock. */
  private async judge(work: Work, value: Sha256, bytes: Uint8Array, fresh: boolean): Promise<void> {
    if (this.isPast(work)) return;
    work.unjudged.delete(value);
    let built: BuiltMerge;
    work.judging += 1;
    try {
      built = work.built.get(value) ?? (await this.parts.workshop.replayOf(bytes));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      if (NOT_HERE.has(error.code)) {
        work.unjudged.set(value, bytes);
        return;
      }
      if (!REFUSALS.has(error.code)) throw error;
      this.parts.alarm({ code: error.code, message: error.message });
      return this.feed(work, { t: 'judged', value, verdict: 'invalid', ready: true });
    } finally {
      work.judging -= 1;
    }
    work.built.set(value, built);
    const aheadMs = built.merge.time - this.latestTime();
    const ready = !fresh || aheadMs <= 0;
    if (!ready)
      this.after(work, aheadMs, () => this.feed(work, { t: 'judged', value, verdict: 'valid', ready: true }));
    this.feed(work, { t: 'judged', value, verdict: 'valid', ready });
  }
}
