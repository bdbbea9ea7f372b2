/**
 * What a validator knows of one height, as a value, and the bounds on it.
 * Here messages are kept and counted; what follows from them is in algorithm.ts.
 */
import { invariant, type NodeId, type Sha256 } from '../ledger/ids.js';
import { isSameHeight, type Place } from './place.js';
import { VALUE_BYTES_MAX, type Proposal } from './proposal.js';
import { quorumOf, skipCountOf, type QuorumRule } from './quorum.js';
import type { SafetyRules } from './safety-rules.js';
import { valueIdOf, type Vote, type VoteStep } from './vote.js';

export type Step = 'propose' | 'prevote' | 'precommit';

/** Rounds kept behind the current one (and beside those of lock, valid value and proposal). */
export const ROUNDS_BEHIND_MAX = 16;
/** Rounds ahead of the current one in which the messages of one validator are kept: the highest that it sent. */
export const ROUNDS_AHEAD_MAX = 4;
/**
 * Different votes of one validator for one round and step, different proposals for one round. Two, because a liar may send one
 * to us and another to the others; the second is evidence. More are kept only of values that someone honest voted for
 * (`isBacked`): the liar's part in the others' quorum may be among them. At most six values can be so backed in one round and step.
 */
const VERSIONS_MAX = 2;

/** How long a step waits before the round goes on without it: milliseconds, `growMs` more each round, at most `maxMs`. */
export interface Timeouts {
  readonly proposeMs: number;
  readonly prevoteMs: number;
  readonly precommitMs: number;
  readonly growMs: number;
  readonly maxMs: number;
}

/** A proposal takes a replay with the dapps' tests on a slow board; votes take a broker's round trip and a rebroadcast. */
export const DEFAULT_TIMEOUTS: Timeouts = {
  proposeMs: 15_000,
  prevoteMs: 4_000,
  precommitMs: 4_000,
  growMs: 2_000,
  maxMs: 300_000,
};

/** The messages of one round. */
export interface RoundLog {
  readonly proposals: readonly Proposal[];
  readonly votes: readonly Vote[];
}
const EMPTY_ROUND: RoundLog = { proposals: [], votes: [] };

/** A value whose bytes are here, and what is known of it. */
export interface KnownValue {
  readonly bytes: Uint8Array;
  /** What has been asked of the caller: nothing, whether it is valid, whether it is valid and ready. */
  readonly asked: 'nothing' | 'validity' | 'readiness';
  readonly verdict: 'unknown' | 'valid' | 'invalid';
  readonly ready: boolean;
}

export interface Decision {
  readonly value: Sha256;
  readonly round: number;
}

export interface HeightState {
  readonly place: Omit<Place, 'round'>;
  /** Null: an onlooker, who follows and decides but never signs. */
  readonly self: NodeId | null;
  readonly validators: readonly NodeId[];
  readonly quorum: number;
  readonly skipCount: number;
  readonly timeouts: Timeouts;
  readonly rules: SafetyRules;

  readonly started: boolean;
  readonly round: number;
  readonly step: Step;
  readonly lockedValue: Sha256 | null;
  readonly lockedRound: number;
  readonly validValue: Sha256 | null;
  readonly validRound: number;

  readonly rounds: ReadonlyMap<number, RoundLog>;
  readonly values: ReadonlyMap<Sha256, KnownValue>;
  /** The steps of the current round whose timeout runs. */
  readonly running: readonly Step[];
  /** The last thing asked to be signed, as `orderOf`: nothing at or below it is ever asked again. */
  readonly signed: number;
  readonly decision: Decision | null;
  /** After an alarm: nothing is signed or decided any more. */
  readonly halted: boolean;
}

const STEPS: readonly Step[] = ['propose', 'prevote', 'precommit'];

/** One number for round and step, growing with both. */
export const orderOf = (round: number, step: Step): number => round * STEPS.length + STEPS.indexOf(step);

export function emptyHeight(input: {
  readonly self: NodeId | null;
  readonly place: Omit<Place, 'round'>;
  readonly validators: readonly NodeId[];
  readonly rule: QuorumRule;
  readonly timeouts: Timeouts;
  readonly rules: SafetyRules;
}): HeightState {
  const { self, place, validators, rule, timeouts, rules } = input;
  invariant(new Set(validators).size === validators.length, 'each validator is named once');
  return {
    place,
    self: self !== null && validators.includes(self) ? self : null,
    validators,
    quorum: quorumOf(validators.length, rule),
    skipCount: skipCountOf(validators.length, rule),
    timeouts,
    rules,
    started: false,
    round: 0,
    step: 'propose',
    lockedValue: null,
    lockedRound: -1,
    validValue: null,
    validRound: -1,
    rounds: new Map(),
    values: new Map(),
    running: [],
    signed: -1,
    decision: null,
    halted: false,
  };
}

/** Whose turn it is to propose in a round. */
export function proposerOf(state: HeightState, round: number): NodeId {
  return state.validators[(state.place.height + round) % state.validators.length] as NodeId;
}

export const roundLog = (state: HeightState, round: number): RoundLog =>
  state.rounds.get(round) ?? EMPTY_ROUND;

/** Whether a quorum of validators has voted for this value (or nil) in this round and step. */
export function hasQuorum(state: HeightState, round: number, step: VoteStep, value: Sha256 | null): boolean {
  return votesFor(state, round, step, value).length >= state.quorum;
}

/** The votes for one value (or nil), one a validator. */
export function votesFor(
  state: HeightState,
  round: number,
  step: VoteStep,
  value: Sha256 | null,
): readonly Vote[] {
  return roundLog(state, round).votes.filter((vote) => vote.step === step && vote.value === value);
}

/** What the other validators prevoted for this value. */
export const othersPrevotes = (state: HeightState, round: number, value: Sha256): readonly Vote[] =>
  votesFor(state, round, 'prevote', value).filter(({ node }) => node !== state.self);

/** Whether a quorum of validators has voted in this round and step, for whatever. */
export function hasQuorumOfAny(state: HeightState, round: number, step: VoteStep): boolean {
  const votes = roundLog(state, round).votes.filter((vote) => vote.step === step);
  return new Set(votes.map((vote) => vote.node)).size >= state.quorum;
}

/** Whether a quorum of validators has prevoted this value in this round. */
export function hasPolka(state: HeightState, round: number, value: Sha256): boolean {
  const { quorum, rules } = state;
  return votesFor(state, round, 'prevote', value).length >= (rules.needsPolka ? quorum : 1);
}

/** The value that has a polka in this round, if one has. */
export function polkaValue(state: HeightState, round: number): Sha256 | null {
  const values = new Set(roundLog(state, round).votes.map((vote) => vote.value));
  for (const value of values) if (value !== null && hasPolka(state, round, value)) return value;
  return null;
}

/** The value that has a quorum in this round and step, if one has. */
export function quorumValue(state: HeightState, round: number, step: VoteStep): Sha256 | null {
  const values = new Set(roundLog(state, round).votes.map((vote) => vote.value));
  for (const value of values) if (value !== null && hasQuorum(state, round, step, value)) return value;
  return null;
}

/**
 * The highest round at or beyond which enough validators are that no round below can have a quorum without them.
 * (Algorithm 1, line 55, asks for messages of one and the same round; with lost messages "at or beyond" gets there sooner.)
 */
export function skipTarget(state: HeightState): number {
  const highest = new Map<NodeId, number>();
  for (const [round, { votes, proposals }] of state.rounds) {
    for (const { node } of [...votes, ...proposals]) {
      highest.set(node, Math.max(round, highest.get(node) ?? 0));
    }
  }
  const rounds = [...highest.values()].sort((a, b) => b - a);
  return rounds[state.skipCount - 1] ?? 0;
}

/** The rounds whose messages still matter though they are far behind. */
function roundsInUse(state: HeightState): Set<number> {
  const used = new Set([state.lockedRound, state.validRound, state.decision?.round ?? -1]);
  for (const { validRound } of roundLog(state, state.round).proposals) used.add(validRound);
  return used;
}

/** Forgets what is out of every bound: called whenever a round begins. */
export function pruned(state: HeightState): HeightState {
  const used = roundsInUse(state);
  const rounds = new Map(
    [...state.rounds].filter(([r]) => r >= state.round - ROUNDS_BEHIND_MAX || used.has(r)),
  );
  return withNamedValues({ ...state, rounds });
}

/** Forgets the values that no kept message, lock or valid value names. */
function withNamedValues(state: HeightState): HeightState {
  const named = new Set([state.lockedValue, state.validValue]);
  for (const { proposals } of state.rounds.values()) for (const { value } of proposals) named.add(value);
  return { ...state, values: new Map([...state.values].filter(([value]) => named.has(value))) };
}

/** Makes room for a message of a validator in a round ahead; null where the message itself is the one to leave out. */
function withRoomAhead(state: HeightState, node: NodeId, round: number): HeightState | null {
  if (round <= state.round || state.rounds.get(round)?.votes.some((vote) => vote.node === node)) return state;
  const ofNode = (log: RoundLog): boolean => [...log.votes, ...log.proposals].some((m) => m.node === node);
  const ahead = [...state.rounds].filter(([r, log]) => r > state.round && ofNode(log)).map(([r]) => r);
  if (ahead.includes(round) || ahead.length < ROUNDS_AHEAD_MAX) return state;
  const lowest = Math.min(...ahead);
  if (round < lowest) return null;
  const rounds = new Map(state.rounds);
  const log = roundLog(state, lowest);
  const without = {
    proposals: log.proposals.filter((proposal) => proposal.node !== node),
    votes: log.votes.filter((vote) => vote.node !== node),
  };
  if (without.proposals.length + without.votes.length === 0) rounds.delete(lowest);
  else rounds.set(lowest, without);
  return withNamedValues({ ...state, rounds });
}

/** Whether a message is of this height, of a validator, and of a round that is kept. */
function belongs(state: HeightState, message: Vote | Proposal): boolean {
  return (
    isSameHeight(message, state.place) &&
    state.validators.includes(message.node) &&
    Number.isSafeInteger(orderOf(message.round, 'precommit')) &&
    (message.round >= state.round - ROUNDS_BEHIND_MAX || roundsInUse(state).has(message.round))
  );
}

export interface Kept<T> {
  readonly state: HeightState;
  /** The other message that the sender signed for the same place: evidence of equivocation. Told once. */
  readonly conflict: T | null;
}

/** Whether more validators than may be off (or lie) voted for the value in some round and step: at least one honest one did. */
function isBacked(state: HeightState, value: Sha256 | null): boolean {
  const mayBeOff = state.validators.length - state.quorum;
  for (const round of state.rounds.keys()) {
    for (const step of ['prevote', 'precommit'] as const) {
      if (votesFor(state, round, step, value).length > mayBeOff) return true;
    }
  }
  return false;
}

/** Keeps a vote (its signature verified before); a vote that is known, foreign or out of the bounds changes nothing. */
export function keepVote(state: HeightState, vote: Vote): Kept<Vote> {
  if (!belongs(state, vote)) return { state, conflict: null };
  const earlier = roundLog(state, vote.round).votes.filter(
    (other) => other.node === vote.node && other.step === vote.step,
  );
  const { value } = vote;
  if (earlier.some((other) => other.value === value)) return { state, conflict: null };
  if (earlier.length >= VERSIONS_MAX && !isBacked(state, value)) return { state, conflict: null };
  const room = withRoomAhead(state, vote.node, vote.round);
  if (room === null) return { state, conflict: null };
  const log = roundLog(room, vote.round);
  const rounds = new Map(room.rounds).set(vote.round, { ...log, votes: [...log.votes, vote] });
  return { state: { ...room, rounds }, conflict: earlier.length === 1 ? (earlier[0] ?? null) : null };
}

/** Keeps a proposal with its bytes; one that is known, not of its round's proposer, or out of the bounds changes nothing. */
export function keepProposal(state: HeightState, proposal: Proposal, bytes: Uint8Array): Kept<Proposal> {
  const { round, validRound, value, node } = proposal;
  const sound =
    belongs(state, proposal) &&
    node === proposerOf(state, round) &&
    validRound >= -1 &&
    validRound < round &&
    bytes.length <= VALUE_BYTES_MAX &&
    valueIdOf(bytes) === value;
  if (!sound) return { state, conflict: null };
  const earlier = roundLog(state, round).proposals;
  if (earlier.some((other) => other.value === value && other.validRound === validRound)) {
    return { state, conflict: null };
  }
  const isNew = !earlier.some((other) => other.value === value);
  if (earlier.length >= VERSIONS_MAX && !(isNew && isBacked(state, value))) return { state, conflict: null };
  const room = withRoomAhead(state, node, round);
  if (room === null) return { state, conflict: null };
  const log = roundLog(room, round);
  const rounds = new Map(room.rounds).set(round, { ...log, proposals: [...log.proposals, proposal] });
  return {
    state: keepValue({ ...room, rounds }, value, bytes),
    conflict: earlier.length === 1 ? (earlier[0] ?? null) : null,
  };
}

/** Keeps the bytes of a value, not yet judged. */
export function keepValue(state: HeightState, value: Sha256, bytes: Uint8Array): HeightState {
  if (state.values.has(value)) return state;
  const known: KnownValue = { bytes, asked: 'nothing', verdict: 'unknown', ready: false };
  return { ...state, values: new Map(state.values).set(value, known) };
}
