/**
 * Tendermint's Algorithm 1 (arXiv 1807.04938; no unlock on nil) for one height, as a pure state machine.
 * "Line n" below is the line of that algorithm. Signing, storing, sending, judging and waiting are outputs that the caller
 * carries out; what comes of them are inputs. The rules of safety are here; the order in which the caller must work is:
 *
 * 1. on `sign-vote` and `sign-proposal`: sign, make the record durable (own-records.ts), only then send it to the others, and
 *    feed it back as input. After a crash `startHeight` is given the records and asks for no second, different signature;
 * 2. on `judge`: replay the bytes and answer `judged`; with `fresh`, also whether all is here, the clock bound holds and the
 *    dapps' tests have finished (`ready`), again when that changes; when nothing is known, no answer;
 * 3. on `need-value`: answer `value` with the bytes of a signed merge commit, when there is something to merge;
 * 4. send what `gossip` (gossip.ts) names again and again: messages get lost.
 *
 * Signatures of incoming messages are verified by the caller (`verifyVote`, `verifyProposal`). A node whose vote log is lost
 * must start with `self: null`: it follows and never signs.
 */
import { invariant, type NodeId, type Sha256 } from '../ledger/ids.js';
import {
  DEFAULT_TIMEOUTS,
  emptyHeight,
  hasPolka,
  hasQuorum,
  hasQuorumOfAny,
  keepProposal,
  keepVote,
  orderOf,
  othersPrevotes,
  polkaValue,
  proposerOf,
  pruned,
  quorumValue,
  roundLog,
  skipTarget,
  votesFor,
  type HeightState,
  type Kept,
  type KnownValue,
  type Step,
  type Timeouts,
} from './height-state.js';
import { resumed, type OwnRecord } from './own-records.js';
import type { Place } from './place.js';
import { VALUE_BYTES_MAX, type Proposal, type ProposalContent } from './proposal.js';
import type { QuorumRule } from './quorum.js';
import { ALL_RULES, type SafetyRules } from './safety-rules.js';
import { valueIdOf, type Vote, type VoteContent, type VoteStep } from './vote.js';

export type Input =
  | { readonly t: 'start' }
  | { readonly t: 'proposal'; readonly proposal: Proposal; readonly bytes: Uint8Array }
  | { readonly t: 'vote'; readonly vote: Vote }
  | { readonly t: 'timeout'; readonly step: Step; readonly round: number }
  | { readonly t: 'value'; readonly round: number; readonly bytes: Uint8Array }
  | {
      readonly t: 'judged';
      readonly value: Sha256;
      readonly verdict: 'valid' | 'invalid';
      readonly ready: boolean;
    };

export type Output =
  | { readonly t: 'need-value'; readonly round: number }
  | { readonly t: 'judge'; readonly value: Sha256; readonly bytes: Uint8Array; readonly fresh: boolean }
  | { readonly t: 'sign-proposal'; readonly content: ProposalContent; readonly bytes: Uint8Array }
  /** A precommit for a value is a lock: its `bytes`, and the others' prevotes that it rests on, are made durable with it. */
  | {
      readonly t: 'sign-vote';
      readonly content: VoteContent;
      readonly bytes: Uint8Array | null;
      readonly polka: readonly Vote[];
    }
  /** Feed `{t: 'timeout', step, round}` after so long; one that came too late changes nothing. */
  | { readonly t: 'timeout'; readonly step: Step; readonly round: number; readonly ms: number }
  /** `votes`: the precommits that make the certificate. The last output of a height. */
  | {
      readonly t: 'decide';
      readonly value: Sha256;
      readonly bytes: Uint8Array;
      readonly round: number;
      readonly votes: readonly Vote[];
    }
  /** One validator signed two different things for one place. */
  | { readonly t: 'evidence'; readonly first: Vote | Proposal; readonly second: Vote | Proposal }
  /**
   * This node stops voting. `invalid-has-quorum`: a quorum stands behind what its own replay refuses;
   * `own-key-elsewhere`: a signature by its key that it did not make (a copy of the node, or a stolen key).
   */
  | {
      readonly t: 'alarm';
      readonly code: 'invalid-has-quorum' | 'own-key-elsewhere';
      readonly round: number;
      readonly value: Sha256 | null;
    };

export interface HeightOptions extends Omit<Place, 'round'> {
  /** This node; null (or none of the validators): an onlooker, who never signs. */
  readonly self: NodeId | null;
  /** In the charter's order: the proposer of round r is `validators[(height + r) % n]`. */
  readonly validators: readonly NodeId[];
  readonly rule: QuorumRule;
  readonly timeouts?: Timeouts;
  /** What this node signed at this height before a restart, in the order of the log. */
  readonly resume?: readonly OwnRecord[];
  /** Without it, all of them. */
  readonly rules?: SafetyRules | undefined;
}

/**
 * The state before `start`. It takes messages already, and acts on none.
 * @throws TownError `bad-quorum`; `bad-log` when the records are not this node's own for this height, or contradict each other.
 */
export function startHeight(options: HeightOptions): HeightState {
  const { town, line, epoch, height, parent, self, validators, rule } = options;
  const place = { town, line, epoch, height, parent };
  const state = emptyHeight({
    self,
    place,
    validators,
    rule,
    timeouts: options.timeouts ?? DEFAULT_TIMEOUTS,
    rules: options.rules ?? ALL_RULES,
  });
  return resumed(state, options.resume ?? []);
}

/** Takes one input: the state that follows, and what the caller has to do now, in this order. */
export function step(
  state: HeightState,
  input: Input,
): { readonly state: HeightState; readonly outputs: readonly Output[] } {
  if (state.halted || state.decision !== null) return { state, outputs: [] };
  const turn = new Turn(state);
  turn.take(input);
  if (turn.state.started) turn.followRules();
  return { state: turn.state, outputs: turn.outputs };
}

/** One call of `step` at work: the state as it stands, and the outputs so far. Lives no longer than the call. */
class Turn {
  readonly outputs: Output[] = [];
  constructor(public state: HeightState) {}

  take(input: Input): void {
    switch (input.t) {
      case 'start':
        return this.#start();
      case 'proposal':
        return this.#keep(input.proposal, 'propose', keepProposal(this.state, input.proposal, input.bytes));
      case 'vote':
        return this.#keep(input.vote, input.vote.step, keepVote(this.state, input.vote));
      case 'timeout':
        return this.#onTimeout(input.step, input.round);
      case 'value':
        return this.#onValue(input.round, input.bytes);
      case 'judged':
        return this.#onJudged(input.value, input.verdict, input.ready);
    }
  }

  /** Runs the rules until none of them has anything more to do. Each one that fires moves round, step or a verdict on. */
  followRules(): void {
    const rules = [
      () => this.#decide(),
      () => this.#skipRounds(),
      () => this.#prevoteFreshProposal(),
      () => this.#prevoteProposalWithPolka(),
      () => this.#lockOnPolka(),
      () => this.#precommitNil(),
    ];
    while (!this.#isOver() && rules.some((rule) => rule())) continue;
    if (!this.#isOver()) this.#startVoteTimeouts();
  }

  #isOver(): boolean {
    return this.state.halted || this.state.decision !== null;
  }

  #change(change: Partial<HeightState>): void {
    this.state = { ...this.state, ...change };
  }

  // Inputs ------------------------------------------------------------------------------------------------------------

  #start(): void {
    if (this.state.started) return;
    this.#change({ started: true });
    // After a restart the round goes on where it was: only what waits for a proposal needs its clock again.
    if (this.state.signed < 0) this.#startRound(0);
    else if (this.state.step === 'propose') this.#startTimeout('propose');
  }

  #keep<T extends Vote | Proposal>(message: T, step: Step, kept: Kept<T>): void {
    const { round, node, value } = message;
    if (node === this.state.self && kept.state !== this.state) {
      // Everything of our own comes back after it was asked for. What was not asked for was signed by someone else.
      if (kept.conflict !== null || orderOf(round, step) > this.state.signed) {
        this.#alarm('own-key-elsewhere', round, value);
        return;
      }
    }
    this.state = kept.state;
    if (kept.conflict !== null) this.outputs.push({ t: 'evidence', first: kept.conflict, second: message });
  }

  /** Lines 57–67. */
  #onTimeout(step: Step, round: number): void {
    if (!this.state.started || round !== this.state.round) return;
    if (step === 'propose' && this.state.step === 'propose') this.#vote('prevote', null);
    if (step === 'prevote' && this.state.step === 'prevote') this.#vote('precommit', null);
    if (step === 'precommit' && this.state.running.includes('precommit')) this.#moveOn(round + 1);
  }

  #onValue(round: number, bytes: Uint8Array): void {
    invariant(bytes.length <= VALUE_BYTES_MAX, `a merge commit has at most ${VALUE_BYTES_MAX} bytes`);
    const { started, step, self } = this.state;
    const isAwaited = started && round === this.state.round && step === 'propose' && this.#mayPropose();
    if (isAwaited && self !== null) this.#propose(valueIdOf(bytes), bytes, -1);
  }

  #onJudged(value: Sha256, verdict: 'valid' | 'invalid', ready: boolean): void {
    const known = this.state.values.get(value);
    if (known === undefined) return;
    // A verdict stays: the replay is pure. Readiness may come, it does not go.
    const settled = known.verdict === 'unknown' ? verdict : known.verdict;
    this.#know(value, { ...known, verdict: settled, ready: known.ready || ready });
  }

  #know(value: Sha256, known: KnownValue): void {
    this.#change({ values: new Map(this.state.values).set(value, known) });
  }

  // Rules: each returns whether it did something ----------------------------------------------------------------------

  /** Line 49: a quorum of precommits, in whatever round, decides. */
  #decide(): boolean {
    for (const round of this.state.rounds.keys()) {
      const value = quorumValue(this.state, round, 'precommit');
      const known = value === null ? undefined : this.state.values.get(value);
      if (value === null || known === undefined) continue;
      const verdict = this.#validity(value, known);
      if (verdict === 'invalid') return (this.#alarm('invalid-has-quorum', round, value), true);
      if (verdict === 'unknown') continue;
      this.#change({ decision: { value, round } });
      const votes = votesFor(this.state, round, 'precommit', value);
      this.outputs.push({ t: 'decide', value, bytes: known.bytes, round, votes });
      return true;
    }
    return false;
  }

  /** Line 55: so many are further on that this round cannot decide without them. */
  #skipRounds(): boolean {
    const target = skipTarget(this.state);
    if (target <= this.state.round) return false;
    this.#moveOn(target);
    return true;
  }

  /** Line 22: a fresh proposal. */
  #prevoteFreshProposal(): boolean {
    if (this.state.step !== 'propose') return false;
    const { round, lockedRound, lockedValue, rules } = this.state;
    for (const { value, validRound } of roundLog(this.state, round).proposals) {
      if (validRound !== -1) continue;
      if (rules.keepsLock && lockedRound !== -1 && lockedValue !== value) return this.#vote('prevote', null);
      const known = this.#known(value);
      // What had a quorum of prevotes was ready for others: the clock no longer counts.
      const needsReadiness = lockedValue !== value && !hasQuorum(this.state, round, 'prevote', value);
      const verdict = needsReadiness ? this.#readiness(value, known) : this.#validity(value, known);
      if (verdict === 'invalid') return this.#vote('prevote', null);
      if (verdict === 'valid') return this.#vote('prevote', value);
    }
    return false;
  }

  /** Line 28: a proposal again, of a value that had its quorum of prevotes (a polka) in an earlier round. */
  #prevoteProposalWithPolka(): boolean {
    if (this.state.step !== 'propose') return false;
    const { round, lockedRound, lockedValue, rules } = this.state;
    for (const { value, validRound } of roundLog(this.state, round).proposals) {
      if (validRound === -1 || !hasPolka(this.state, validRound, value)) continue;
      if (rules.keepsLock && lockedRound > validRound && lockedValue !== value)
        return this.#vote('prevote', null);
      const verdict = this.#validity(value, this.#known(value));
      if (verdict === 'invalid') return (this.#alarm('invalid-has-quorum', validRound, value), true);
      if (verdict === 'valid') return this.#vote('prevote', value);
    }
    return false;
  }

  /** Line 36: a polka in this round. Locks, once a round; and remembers the value as the one to propose again. */
  #lockOnPolka(): boolean {
    const { round, step, validRound } = this.state;
    if (step === 'propose' || validRound === round) return false;
    const value = polkaValue(this.state, round);
    const known = value === null ? undefined : this.state.values.get(value);
    if (value === null || known === undefined) return false;
    const verdict = this.#validity(value, known);
    if (verdict === 'invalid') return (this.#alarm('invalid-has-quorum', round, value), true);
    if (verdict === 'unknown') return false;
    this.#change({ validValue: value, validRound: round });
    if (step === 'prevote') {
      this.#change({ lockedValue: value, lockedRound: round });
      this.#vote('precommit', value);
    }
    return true;
  }

  /** Line 44. */
  #precommitNil(): boolean {
    if (this.state.step !== 'prevote' || !hasQuorum(this.state, this.state.round, 'prevote', null))
      return false;
    return this.#vote('precommit', null);
  }

  /** Lines 34 and 47: a quorum has voted, for different things; the rest get a last while. */
  #startVoteTimeouts(): void {
    const { round, step } = this.state;
    if (step === 'prevote' && hasQuorumOfAny(this.state, round, 'prevote')) this.#startTimeout('prevote');
    if (hasQuorumOfAny(this.state, round, 'precommit')) this.#startTimeout('precommit');
  }

  // What rules do -----------------------------------------------------------------------------------------------------

  /**
   * Leaves the round, with nil in the steps in which this node has not voted. The algorithm relies on everything that one of them
   * has reaching all; here a vote that moved this node on may be with nobody else, and its signer gone: then the others need this
   * node's votes to leave the round too.
   */
  #moveOn(round: number): void {
    if (this.state.step === 'propose') this.#vote('prevote', null);
    if (this.state.step === 'prevote') this.#vote('precommit', null);
    this.#startRound(round);
  }

  /** Line 11. */
  #startRound(round: number): void {
    invariant(round > this.state.round || this.state.signed < 0, 'rounds never go back');
    this.state = pruned({ ...this.state, round, step: 'propose', running: [] });
    this.#startTimeout('propose');
    if (!this.#mayPropose()) return;
    const { validValue, validRound } = this.state;
    const known = validValue === null ? undefined : this.state.values.get(validValue);
    if (validValue !== null && known !== undefined) this.#propose(validValue, known.bytes, validRound);
    else this.outputs.push({ t: 'need-value', round });
  }

  #mayPropose(): boolean {
    const { self, round, signed } = this.state;
    return self !== null && proposerOf(this.state, round) === self && signed < orderOf(round, 'propose');
  }

  #propose(value: Sha256, bytes: Uint8Array, validRound: number): void {
    const { round, place } = this.state;
    this.#markSigned('propose');
    this.outputs.push({ t: 'sign-proposal', content: { ...place, round, validRound, value }, bytes });
  }

  /** Moves the step on and asks for the vote; always true: something was done. */
  #vote(step: VoteStep, value: Sha256 | null): true {
    const { round, place, self } = this.state;
    invariant(orderOf(round, step) > orderOf(round, this.state.step), 'steps never go back');
    this.#change({ step });
    if (self === null) return true;
    this.#markSigned(step);
    const content = { ...place, round, step, value };
    const isLock = step === 'precommit' && value !== null;
    const bytes = isLock ? this.#known(value).bytes : null;
    const polka = isLock ? othersPrevotes(this.state, round, value) : [];
    this.outputs.push({ t: 'sign-vote', content, bytes, polka });
    return true;
  }

  #markSigned(step: Step): void {
    const signed = orderOf(this.state.round, step);
    invariant(signed > this.state.signed, 'no second signature for one height, round and step');
    this.#change({ signed });
  }

  #startTimeout(step: Step): void {
    const { running, round, timeouts } = this.state;
    if (running.includes(step)) return;
    this.#change({ running: [...running, step] });
    // Where a quorum wants nothing of this round, no late precommit can decide it: there is nothing to wait for.
    const isOver = step === 'precommit' && hasQuorum(this.state, round, 'precommit', null);
    const ms = isOver ? 0 : Math.min(timeouts[`${step}Ms`] + timeouts.growMs * round, timeouts.maxMs);
    this.outputs.push({ t: 'timeout', step, round, ms });
  }

  /** Ends this node's part in the height; always true: something was done. */
  #alarm(code: 'invalid-has-quorum' | 'own-key-elsewhere', round: number, value: Sha256 | null): true {
    this.#change({ halted: true });
    this.outputs.push({ t: 'alarm', code, round, value });
    return true;
  }

  #known(value: Sha256): KnownValue {
    const known = this.state.values.get(value);
    invariant(known !== undefined, 'the bytes of a proposed value are kept');
    return known;
  }

  /** Whether the value replays to what it says; asks the caller when that is not known. */
  #validity(value: Sha256, known: KnownValue): KnownValue['verdict'] {
    if (known.asked === 'nothing') this.#ask(value, known, 'validity');
    return known.verdict;
  }

  /** As `#validity`; a valid value that is not ready counts as not known yet. */
  #readiness(value: Sha256, known: KnownValue): KnownValue['verdict'] {
    if (known.asked !== 'readiness' && known.verdict !== 'invalid') this.#ask(value, known, 'readiness');
    return known.verdict === 'valid' && !known.ready ? 'unknown' : known.verdict;
  }

  #ask(value: Sha256, known: KnownValue, asked: 'validity' | 'readiness'): void {
    this.#know(value, { ...known, asked });
    this.outputs.push({ t: 'judge', value, bytes: known.bytes, fresh: asked === 'readiness' });
  }
}
