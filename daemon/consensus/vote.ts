/** Votes: what a validator signs in a round, and the id of the value that it votes for. */
import { sha256 } from '../ledger/hash.js';
import type { Json, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { signText, verifyText } from '../ledger/signature.js';
import { VOTE_DOMAIN, voteText } from '../ledger/vote-text.js';
import { isHash, isNode, isSignature, parseMessage, PLACE_CHECKS, problemOf, type Place } from './place.js';

export type VoteStep = 'prevote' | 'precommit';

/** What is signed. `value` null is a vote for nil: for nothing in this round. */
export interface VoteContent extends Place {
  readonly step: VoteStep;
  readonly value: Sha256 | null;
}

export interface Vote extends VoteContent {
  readonly node: NodeId;
  readonly sig: string;
}

const VOTE_CHECKS = {
  ...PLACE_CHECKS,
  step: (value: Json | undefined) => value === 'prevote' || value === 'precommit',
  value: (value: Json | undefined) => value === null || isHash(value),
  node: isNode,
  sig: isSignature,
};

/** Signs a vote with the node's seed (32 bytes). */
export function signVote(content: VoteContent, node: NodeId, secretKey: Uint8Array): Vote {
  const { town, line, epoch, height, round, step, value, parent } = content;
  const sig = signText(secretKey, VOTE_DOMAIN, voteText(content));
  return { town, line, epoch, height, round, step, value, parent, node, sig };
}

/** Whether the vote is well-formed and signed by this key. That the key is the node's is the caller's to know. */
export function verifyVote(vote: Vote, key: KeyId): boolean {
  return (
    problemOf<Vote>(vote as unknown as Json, VOTE_CHECKS) === null &&
    verifyText(key, VOTE_DOMAIN, voteText(vote), vote.sig)
  );
}

/**
 * Reads a vote from its canonical text; its signature is not looked at here.
 * @throws TownError `not-canonical`, or `bad-vote` naming the field.
 */
export function parseVote(text: string): Vote {
  return parseMessage<Vote>(text, VOTE_CHECKS, 'bad-vote');
}

/** The id of a value, which is the exact bytes of a merge commit: SHA-256("mergetown/value/v1\0" ‖ bytes). */
export function valueIdOf(mergeCommitBytes: Uint8Array): Sha256 {
  return sha256('mergetown/value/v1\0', mergeCommitBytes);
}
