/** Proposals: a round's proposer names a value; the value's bytes travel beside. */
import { canonicalize } from '../ledger/canonical.js';
import type { Json, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { signText, verifyText } from '../ledger/signature.js';
import { isCount, isHash, isNode, isSignature, parseMessage, PLACE_CHECKS, problemOf } from './place.js';
import type { Place } from './place.js';
import { valueIdOf } from './vote.js';

/** A value's bytes (a merge commit, without its tree) are at most this long. */
export const VALUE_BYTES_MAX = 131_072;

/** What is signed. `validRound`: the earlier round whose prevotes made the value valid; −1 for a fresh one. */
export interface ProposalContent extends Place {
  readonly validRound: number;
  readonly value: Sha256;
}

export interface Proposal extends ProposalContent {
  readonly node: NodeId;
  readonly sig: string;
}

const DOMAIN = 'mergetown/proposal/v1';

const PROPOSAL_CHECKS = {
  ...PLACE_CHECKS,
  validRound: (value: Json | undefined) => value === -1 || isCount(value),
  value: isHash,
  node: isNode,
  sig: isSignature,
};

function signedText({
  town,
  line,
  epoch,
  height,
  round,
  validRound,
  value,
  parent,
}: ProposalContent): string {
  return canonicalize({ town, line, epoch, height, round, validRound, value, parent });
}

/** Signs a proposal with the node's seed (32 bytes). */
export function signProposal(content: ProposalContent, node: NodeId, secretKey: Uint8Array): Proposal {
  const { town, line, epoch, height, round, validRound, value, parent } = content;
  const sig = signText(secretKey, DOMAIN, signedText(content));
  return { town, line, epoch, height, round, validRound, value, parent, node, sig };
}

/** Whether the proposal is well-formed, names exactly these bytes, and is signed by this key. */
export function verifyProposal(proposal: Proposal, bytes: Uint8Array, key: KeyId): boolean {
  return (
    problemOf<Proposal>(proposal as unknown as Json, PROPOSAL_CHECKS) === null &&
    proposal.validRound < proposal.round &&
    bytes.length <= VALUE_BYTES_MAX &&
    valueIdOf(bytes) === proposal.value &&
    verifyText(key, DOMAIN, signedText(proposal), proposal.sig)
  );
}

/**
 * Reads a proposal from its canonical text; signature and bytes are not looked at here.
 * @throws TownError `not-canonical`, or `bad-proposal` naming the field.
 */
export function parseProposal(text: string): Proposal {
  return parseMessage<Proposal>(text, PROPOSAL_CHECKS, 'bad-proposal');
}
