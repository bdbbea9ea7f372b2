/**
 * One height at work: carries out what Algorithm 1 asks for. It signs and makes durable before it sends, replays what is
 * proposed, and hands over what was decided. Once it is over nothing is signed in its name any more.
 */
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { BuiltMerge } from '../ledger/merge.js';
import { step, type Input, type Output } from '../consensus/algorithm.js';
import { certificateOf, certificateText } from '../consensus/certificate.js';
import { gossip, type Message } from '../consensus/gossip.js';
import { proposerOf, quorumValue, votesFor, type HeightState } from '../consensus/height-state.js';
import { polkaRecords, proposalRecord, voteRecord } from '../consensus/own-records.js';
import { signProposal } from '../consensus/proposal.js';
import { signVote, valueIdOf, type Vote } from '../consensus/vote.js';
import type { Clock } from './clock.js';
import type { CoreStore } from './core-store.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { MergeWorkshop } from './merge-workshop.js';

/** A fresh proposal may be this far ahead of my clock. */
const AHEAD_MS_MAX = 10_000;
/** And this far ahead of `main` where that is further ahead than a fresh proposal may be: then my clock is wrong. */
const AHEAD_OF_MAIN_MS_MAX = 3_600_000;
const GOSSIP_MS_MIN = 2_000;
const GOSSIP_MS_MAX = 60_000;
/** How long a proposer that is not heard is waited for. */
const ABSENT_WAIT_MS = 300;
/** How often a proposer that is waited for is looked for: it may go away meanwhile. */
const PROPOSER_LOOK_MS = 500;
/** A round's time is begun anew so often while a proposal of it is being replayed. */
const JUDGING_TURNS_MAX = 20;
/** With no quorum heard for so long a height is parked: no rounds, no writes. It tells where it stands all the same, ever more rarely. */
const QUORUM_WAIT_MS = 60_000;
const QUORUM_LOOK_MS = 5_000;
/** Refusals of a proposal that say nothing about it: what it needs is not here yet. */
const NOT_HERE = new Set(['unknown-head', 'unknown-base']);
const REFUSALS = new Set(['bad-merge', 'bad-commit', 'bad-signature', 'content-differs']);

export interface Alarm {
  readonly code: string;
  readonly message: string;
}

export interface HeightWorkParts {
  readonly store: CoreStore;
  readonly main: MainLine;
  readonly workshop: MergeWorkshop;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** This height is held up. */
  readonly alarm: (alarm: Alarm) => void;
  /** A validator voted twice for one place. */
  readonly equivocated: (first: Vote, second: Vote) => void;
  /** Something that people should look at, whatever becomes of this height. */
  readonly trouble: (code: string, message: string) => void;
  /** Sends a message to the other validators; they may miss it. */
  readonly broadcast: (message: Message) => void;
  /** The current messages were sent: what they rest on may have been missed too. */
  readonly gossiped: () => void;
  /** Whether another validator is heard just now: who is not, is not waited for. */
  readonly isHeard: (node: NodeId) => boolean;
  /** The height was parked, or goes on. */
  readonly parkedChanged: () => void;
  /** Runs one adoption at a time. */
  readonly adopting: (task: () => Promise<void>) => Promise<void>;
}

export class HeightWork {
  /** Resolves when the height is decided and adopted, rejects with what ended it before. */
  readonly done: Promise<void>;
  private end: () => void = () => undefined;
  private fail: (error: unknown) => void = () => undefined;
  private readonly built = new Map<Sha256, BuiltMerge>();
  /** Proposals that could not be judged yet. */
  private readonly unjudged = new Map<Sha256, Uint8Array>();
  /** The round that still waits for a value of ours. */
  private wanted: number | null = null;
  /** Proposals that are being replayed. */
  private judging = 0;
  private over = false;
  /** While no quorum is heard: since when, and what waits. */
  private parked: { readonly since: number; readonly waiting: (() => void)[] } | null = null;
  /** When the current messages are sent again. */
  private nextGossip: { readonly ms: number; readonly cancel: () => void } | null = null;
  private readonly timers = new Set<() => void>();
  /** Own signatures on their way to the disk. */
  private readonly signing = new Set<Promise<void>>();

  /** @param state as `startHeight` gives it */
  constructor(
    private readonly parts: HeightWorkParts,
    private state: HeightState,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.end = resolve;
      this.fail = reject;
    });
  }

  /** @param inbox messages that came before */
  begin(inbox: readonly Message[]): void {
    this.feed({ t: 'start' });
    for (const message of inbox) this.feed(message);
    this.gossipLater(GOSSIP_MS_MIN);
    this.lookForQuorum(0);
  }

  /** Nothing happens in its name from here on. */
  close(): void {
    this.over = true;
    for (const cancel of this.timers) cancel();
    this.timers.clear();
  }

  /** Resolves when no signature of it is on its way to the vote log: who begins the height anew must know them all. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.signing);
  }

  /** Gives it up: the vote log knows how to go on. */
  abandon(error: TownError): void {
    this.fail(error);
  }

  /** A message whose signature holds. */
  take(message: Message): void {
    this.feed(message);
    this.wake();
  }

  /** Others are heard, or not any more, or hold something else: what was parked goes on. */
  heardChanged(): void {
    if (this.parked !== null && this.hearsQuorum) this.wake();
  }

  /** Since when no quorum is heard and nothing is done therefore (ms); null: it is at work. */
  get parkedSince(): number | null {
    return this.parked?.since ?? null;
  }

  get round(): number {
    return this.state.round;
  }

  /** Sends the current messages. */
  gossip(): void {
    for (const message of gossip(this.state)) this.parts.broadcast(message);
    this.parts.gossiped();
  }

  /** The merge of this value, where it was built or replayed here already. */
  builtOf(value: Sha256): BuiltMerge | undefined {
    return this.built.get(value);
  }

  /** As `Merger.lacking`. The latest votes count: what an earlier round was about may be out. */
  lacking(): { readonly bytes: Uint8Array; readonly voters: readonly NodeId[] } | null {
    const rounds = [...this.state.rounds.keys()].sort((a, b) => b - a);
    for (const round of rounds)
      for (const step of ['precommit', 'prevote'] as const) {
        const value = quorumValue(this.state, round, step);
        const bytes = value === null ? undefined : this.unjudged.get(value);
        if (bytes === undefined) continue;
        return { bytes, voters: votesFor(this.state, round, step, value).map(({ node }) => node) };
      }
    return null;
  }

  /** A quorum holds more blocks than before. */
  heldChanged(): void {
    if (this.wanted !== null) this.attempt(() => this.offer());
  }

  /** Blocks came in: what waited for them goes on. */
  blocksChanged(): void {
    for (const [value, bytes] of [...this.unjudged]) this.attempt(() => this.judge(value, bytes, true));
    this.heldChanged();
    this.tellSoon();
  }

  /** `main` has moved: it is over where `main` has this height already. Others were faster. */
  mainMoved(): void {
    if (this.state.place.height <= this.parts.main.head.height) this.end();
  }

  /** An epoch begins: what was voted on is void. */
  giveWay(): void {
    this.end();
  }

  /** Whether `main` has gone by this height or epoch: it is about to be over, and a replay would start from another state. */
  private get isPast(): boolean {
    const { head, epoch } = this.parts.main;
    const { place } = this.state;
    return head.height + 1 !== place.height || epoch !== place.epoch;
  }

  private after(ms: number, task: () => void): () => void {
    const cancel = this.parts.clock.after(ms, () => {
      this.timers.delete(cancel);
      if (!this.over) this.attempt(async () => task());
    });
    this.timers.add(cancel);
    return () => {
      this.timers.delete(cancel);
      cancel();
    };
  }

  /**
   * Messages get lost: the current ones are sent again, ever more rarely. A height that is woken begins anew. Parked it goes on, for who
   * answers wakes it: were both sides silent, neither would know of the other.
   */
  private gossipLater(ms: number): void {
    if (this.state.validators.length === 1) return;
    this.nextGossip?.cancel();
    const cancel = this.after(ms, () => {
      this.gossip();
      if (this.parked !== null && this.hearsQuorum) this.wake();
      else this.gossipLater(Math.min(ms * 2, GOSSIP_MS_MAX));
    });
    this.nextGossip = { ms, cancel };
  }

  /** Something new waits: others are told soon, though nobody was heard lately. */
  private tellSoon(): void {
    this.heardChanged();
    if (this.parked !== null && (this.nextGossip?.ms ?? Infinity) > GOSSIP_MS_MIN)
      this.gossipLater(GOSSIP_MS_MIN);
  }

  /** This node with the validators that are heard. */
  private get hearsQuorum(): boolean {
    const { keys, isHeard } = this.parts;
    const { validators, quorum } = this.state;
    return validators.filter((id) => id === keys.id || isHeard(id)).length >= quorum;
  }

  /** Counted in looks, not by the clock, which may be set. @param missedMs how long no quorum was heard by now */
  private lookForQuorum(missedMs: number): void {
    if (this.state.validators.length === 1) return;
    this.after(QUORUM_LOOK_MS, () => {
      const missing = this.hearsQuorum ? 0 : missedMs + QUORUM_LOOK_MS;
      if (missing < QUORUM_WAIT_MS) return this.lookForQuorum(missing);
      this.parked = { since: this.parts.clock.now() - missing, waiting: [] };
      this.parts.parkedChanged();
    });
  }

  /** Goes on where it was parked, for another while at least. */
  private wake(): void {
    if (this.parked === null || this.over) return;
    const { waiting } = this.parked;
    this.parked = null;
    for (const task of waiting) this.attempt(async () => task());
    this.heldChanged();
    this.gossipLater(GOSSIP_MS_MIN);
    this.lookForQuorum(0);
    this.parts.parkedChanged();
  }

  private feed(input: Input): void {
    if (this.over) return;
    const { state, outputs } = step(this.state, input);
    this.state = state;
    for (const output of outputs) this.attempt(() => this.carryOut(output));
  }

  private attempt(task: () => Promise<void>): void {
    task().catch((error: unknown) => {
      // Others were faster: the height is over, or is about to be.
      if (error instanceof TownError && error.code === 'moved-on') return;
      this.fail(error);
    });
  }

  private async carryOut(output: Output): Promise<void> {
    const { keys, broadcast } = this.parts;
    switch (output.t) {
      case 'need-value':
        this.wanted = output.round;
        return this.offer();
      case 'sign-proposal': {
        const proposal = signProposal(output.content, keys.id, keys.secretKey);
        await this.log([proposalRecord(proposal, output.bytes)]);
        broadcast({ t: 'proposal', proposal, bytes: output.bytes });
        return this.feed({ t: 'proposal', proposal, bytes: output.bytes });
      }
      case 'judge':
        return this.judge(output.value, output.bytes, output.fresh);
      case 'sign-vote': {
        const vote = signVote(output.content, keys.id, keys.secretKey);
        await this.log([voteRecord(vote, output.bytes), ...polkaRecords(output.polka)]);
        broadcast({ t: 'vote', vote });
        return this.feed({ t: 'vote', vote });
      }
      case 'timeout':
        return this.timeOut(output, output.ms, JUDGING_TURNS_MAX);
      case 'decide':
        return this.decide(output);
      case 'evidence':
        if ('step' in output.first && 'step' in output.second)
          return this.parts.equivocated(output.first, output.second);
        // Two proposals harm nobody: whoever votes for both is found out. People are told all the same.
        return this.parts.trouble(
          'equivocation',
          `The validator ${output.first.node} proposed two different merges in one round.`,
        );
      case 'alarm':
        throw new TownError(
          output.code,
          'The validators do not agree: this node stops merging and serves its doors from the last good state.',
          'See town log and compare the receipts.',
        );
    }
  }

  private async log(records: Parameters<CoreStore['logConsensus']>[0]): Promise<void> {
    const written = this.parts.store.logConsensus(records);
    this.signing.add(written);
    try {
      await written;
    } finally {
      this.signing.delete(written);
    }
  }

  private async decide({ votes, value, bytes }: Output & { t: 'decide' }): Promise<void> {
    const { workshop, adopting, main } = this.parts;
    await adopting(async () => {
      if (this.over || this.isPast) return;
      const certificate = certificateText(certificateOf(votes, main.recovery ?? undefined));
      await workshop.adopt(this.built.get(value) ?? (await workshop.replayOf(bytes)), certificate);
    });
    this.end();
  }

  /** Who is not heard is not waited for, unless what it proposed is being replayed here. */
  private waitOf({ step: waited, round }: Output & { t: 'timeout' }, ms: number): number {
    const { keys, isHeard } = this.parts;
    const proposer = proposerOf(this.state, round);
    const isAway = waited === 'propose' && proposer !== keys.id && !isHeard(proposer);
    return isAway && this.judging === 0 ? Math.min(ms, ABSENT_WAIT_MS) : ms;
  }

  /**
   * Waits, and looks again and again whether the proposer is still there. What is being replayed here is worth waiting for: a
   * board may need longer for a large merge than a round takes.
   */
  private timeOut(output: Output & { t: 'timeout' }, ms: number, turns: number): void {
    const waitMs = this.waitOf(output, ms);
    const lookMs = output.step === 'propose' ? Math.min(waitMs, PROPOSER_LOOK_MS) : waitMs;
    this.after(lookMs, () => {
      // No rounds while nobody would hear them: at most one wait of each step stands here.
      if (this.parked !== null) return void this.parked.waiting.push(() => this.timeOut(output, ms, turns));
      if (waitMs > lookMs) return this.timeOut(output, waitMs - lookMs, turns);
      const isJudging = output.step === 'propose' && this.judging > 0 && turns > 0;
      if (isJudging) this.timeOut(output, output.ms, turns - 1);
      else this.feed({ t: 'timeout', step: output.step, round: output.round });
    });
  }

  /** Offers a value for the round that waits for one, if there is anything to merge. */
  private async offer(): Promise<void> {
    const { workshop } = this.parts;
    const round = this.wanted;
    if (round === null || this.isPast || this.parked !== null || workshop.choose().length === 0) return;
    this.wanted = null;
    const built = await workshop.propose();
    this.built.set(valueIdOf(built.merge.raw), built);
    this.feed({ t: 'value', round, bytes: built.merge.raw });
  }

  /**
   * The latest time of a fresh proposal. A clock that `main` is further ahead of than the clocks of boards differ is wrong, and then
   * `main` itself is the measure. One that is a little behind is not: else each merge by a board whose clock is ahead would take
   * `main` further from the clocks of all others.
   */
  private get latestTime(): number {
    const latest = this.parts.clock.now() + AHEAD_MS_MAX;
    const { time } = this.parts.main.head;
    return latest < time ? time + AHEAD_OF_MAIN_MS_MAX : latest;
  }

  /** Judges a proposal by my own replay; what cannot be judged yet waits for blocks or for the clock. */
  private async judge(value: Sha256, bytes: Uint8Array, fresh: boolean): Promise<void> {
    if (this.isPast) return;
    this.unjudged.delete(value);
    let built: BuiltMerge;
    this.judging += 1;
    try {
      built = this.built.get(value) ?? (await this.parts.workshop.replayOf(bytes));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      if (NOT_HERE.has(error.code)) {
        this.unjudged.set(value, bytes);
        return;
      }
      if (!REFUSALS.has(error.code)) throw error;
      this.parts.alarm({ code: error.code, message: error.message });
      return this.feed({ t: 'judged', value, verdict: 'invalid', ready: true });
    } finally {
      this.judging -= 1;
    }
    this.built.set(value, built);
    const aheadMs = built.merge.time - this.latestTime;
    const ready = !fresh || aheadMs <= 0;
    if (!ready) this.after(aheadMs, () => this.feed({ t: 'judged', value, verdict: 'valid', ready: true }));
    this.feed({ t: 'judged', value, verdict: 'valid', ready });
  }
}
