/**
 * The vote log: what this node signed at a height, as it is made durable, and the state that follows from it. With each lock it
 * holds the others' prevotes that it rests on: should one of their signers be gone for ever, nobody else could show that quorum
 * again, and who is locked on something else would never follow.
 */
import { parseCanonical } from '../ledger/canonical.js';
import { invariant, TownError, type Json, type JsonObject } from '../ledger/ids.js';
import { keepProposal, keepValue, keepVote, orderOf, type HeightState } from './height-state.js';
import { isSameHeight, messageText } from './place.js';
import { parseProposal, type Proposal } from './proposal.js';
import { parseVote, type Vote } from './vote.js';

/** One record of the log; a row of the store's consensus log has these fields. */
export interface OwnRecord {
  readonly kind: string;
  /** The signed message, canonical JSON. */
  readonly text: string;
  /** The value's bytes: with each proposal, and with each precommit for a value. */
  readonly bytes: Uint8Array | null;
}

/** A record with the columns by which a log is sorted and looked through. */
export interface IndexedRecord extends OwnRecord {
  readonly kind: 'proposal' | 'vote' | 'seen';
  readonly height: number;
  readonly round: number;
  readonly step: string;
}

/** The record of a proposal that this node signed. */
export function proposalRecord(proposal: Proposal, bytes: Uint8Array): IndexedRecord {
  const { height, round } = proposal;
  return { kind: 'proposal', height, round, step: 'propose', text: messageText(proposal), bytes };
}

/** The record of a vote that this node signed, with the `bytes` of the `sign-vote` that asked for it. */
export function voteRecord(vote: Vote, bytes: Uint8Array | null): IndexedRecord {
  const { height, round, step } = vote;
  invariant(
    (bytes !== null) === (step === 'precommit' && vote.value !== null),
    'a lock is logged with its value',
  );
  return { kind: 'vote', height, round, step, text: messageText(vote), bytes };
}

/** The records of the prevotes that a lock rests on (`polka` of the `sign-vote` that asked for it): they go with its own. */
export function polkaRecords(polka: readonly Vote[]): IndexedRecord[] {
  return polka.map((vote) => ({ ...voteRecord(vote, null), kind: 'seen' }));
}

/** The records of one epoch: what was signed in an earlier one, for a height that it did not decide, is void. */
export const recordsOf = <T extends OwnRecord>(records: readonly T[], epoch: number): readonly T[] =>
  records.filter(({ text }) => {
    const value = parseCanonical(text);
    return isObject(value) && value['epoch'] === epoch;
  });

const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function badLog(why: string): TownError {
  return new TownError(
    'bad-log',
    `The log of this node's own votes cannot be relied on: ${why}.`,
    'This node must not vote at this height: let the other validators decide it, or readmit the node with a new key.',
  );
}

type Own =
  | { readonly kind: 'proposal'; readonly message: Proposal; readonly bytes: Uint8Array }
  | { readonly kind: 'vote'; readonly message: Vote; readonly bytes: Uint8Array | null };

function parseRecord({ kind, text, bytes }: OwnRecord): Own {
  if (kind === 'vote') {
    const message = parseVote(text);
    if (message.step === 'precommit' && message.value !== null && bytes === null) {
      throw badLog('a lock stands there without its value');
    }
    return { kind, message, bytes };
  }
  if (kind !== 'proposal') throw badLog(`a record is of the unknown kind ${JSON.stringify(kind)}`);
  if (bytes === null) throw badLog('a proposal stands there without its value');
  return { kind, message: parseProposal(text), bytes };
}

const stepOf = (own: Own): 'propose' | 'prevote' | 'precommit' =>
  own.kind === 'proposal' ? 'propose' : own.message.step;

/** Round, step and the guard against a second signature: where the last signature was made. */
function atLastSignature(state: HeightState, own: readonly Own[]): HeightState {
  return own.reduce((best, record) => {
    const signed = orderOf(record.message.round, stepOf(record));
    return signed <= best.signed
      ? best
      : { ...best, signed, round: record.message.round, step: stepOf(record) };
  }, state);
}

/**
 * Lock and valid value. The lock is the last precommit for a value (line 36 sets both in one act). A proposal of one's own
 * that names a valid round knows of a later valid value.
 */
function withLock(state: HeightState, own: readonly Own[]): HeightState {
  let locked = state;
  for (const { kind, message, bytes } of own) {
    const { round, value } = message;
    if (
      kind === 'vote' &&
      message.step === 'precommit' &&
      value !== null &&
      bytes &&
      round > locked.lockedRound
    ) {
      locked = keepValue({ ...locked, lockedValue: value, lockedRound: round }, value, bytes);
    }
  }
  let valid: HeightState = { ...locked, validValue: locked.lockedValue, validRound: locked.lockedRound };
  for (const { kind, message, bytes } of own) {
    if (kind === 'proposal' && message.validRound > valid.validRound) {
      const known = keepValue(valid, message.value, bytes);
      valid = { ...known, validValue: message.value, validRound: message.validRound };
    }
  }
  return valid;
}

/**
 * The state after a restart, from the node's own records of this height. An onlooker's records are left aside.
 * @throws TownError `bad-log` when a record is not this node's for this height or two contradict each other;
 *   `bad-vote`, `bad-proposal` or `not-canonical` when one cannot be read.
 */
export function resumed(state: HeightState, records: readonly OwnRecord[]): HeightState {
  if (state.self === null) return state;
  const own = records.filter(({ kind }) => kind !== 'seen').map(parseRecord);
  let next = withLock(atLastSignature(state, own), own);
  for (const { kind, text } of records) if (kind === 'seen') next = keepVote(next, parseVote(text)).state;
  for (const { kind, message, bytes } of own) {
    const { place, self } = next;
    if (message.node !== self) throw badLog('a record is by another node');
    if (!isSameHeight(message, place)) throw badLog('a record is of another height');
    const kept = kind === 'proposal' ? keepProposal(next, message, bytes) : keepVote(next, message);
    if (kept.conflict !== null) throw badLog('it holds two different signatures for one place');
    next = kept.state;
  }
  return next;
}
