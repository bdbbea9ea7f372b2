/** The certificate of a merge: a quorum's precommits for its value. It is the proof in "proof of merge". */
import { canonicalize, parseCanonical } from '../ledger/canonical.js';
import {
  invariant,
  TownError,
  type Json,
  type JsonObject,
  type KeyId,
  type NodeId,
  type Sha256,
} from '../ledger/ids.js';
import { parseRecovery, type Recovery } from '../ledger/recovery.js';
import { isHash, isNode, isSameHeight, isSignature, PLACE_CHECKS, problemOf } from './place.js';
import type { Place } from './place.js';
import { quorumOf, type QuorumRule } from './quorum.js';
import { verifyVote, type Vote } from './vote.js';

export interface Certificate extends Place {
  readonly value: Sha256;
  /** Precommits for the value in this round, sorted by node, each node once. */
  readonly votes: readonly CertificateVote[];
  /** Of the first merge of an epoch: what began it. What it proves is in proof.ts. */
  readonly recovery?: Recovery;
}

export interface CertificateVote {
  readonly node: NodeId;
  readonly sig: string;
}

/** No charter names more validators. */
const VOTES_MAX = 100;

const VOTE_CHECKS = { node: isNode, sig: isSignature };

const CERTIFICATE_CHECKS = {
  ...PLACE_CHECKS,
  value: isHash,
  votes: (value: Json | undefined) =>
    Array.isArray(value) &&
    value.length <= VOTES_MAX &&
    value.every((vote: Json) => problemOf<CertificateVote>(vote, VOTE_CHECKS) === null),
};

function problemOfCertificate(value: Json): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'it is no object';
  const { recovery, ...signed } = value as JsonObject;
  if (recovery !== undefined && !isRecovery(recovery)) return '"recovery" is none';
  return problemOf<Omit<Certificate, 'recovery'>>(signed, CERTIFICATE_CHECKS);
}

function isRecovery(value: Json): boolean {
  try {
    return parseRecovery(value) !== null;
  } catch (error) {
    if (error instanceof TownError) return false;
    throw error;
  }
}

function bad(why: string): TownError {
  return new TownError('bad-certificate', `The certificate proves nothing: ${why}.`);
}

/**
 * Makes a certificate of the precommits with which a value was decided (at least one; all alike but for node and signature).
 * @param recovery with the first merge of an epoch
 */
export function certificateOf(votes: readonly Vote[], recovery?: Recovery): Certificate {
  const [first] = votes;
  invariant(first !== undefined && first.value !== null, 'a certificate is made of votes for a value');
  const { town, line, epoch, height, round, value, parent } = first;
  for (const vote of votes) {
    invariant(
      vote.step === 'precommit' && vote.value === value && vote.round === round && isSameHeight(vote, first),
      'all votes of a certificate are precommits for one value in one round',
    );
  }
  const sorted = votes
    .map(({ node, sig }) => ({ node, sig }))
    .sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0));
  const certificate = { town, line, epoch, height, round, value, parent, votes: sorted };
  return recovery ? { ...certificate, recovery } : certificate;
}

/**
 * Checks that a quorum of these validators signed. That town, line, epoch, height, parent and value are the expected ones is
 * the caller's to compare: who wants a merge proven calls `proveMerge`.
 * @throws TownError `bad-certificate` naming what is wrong; `bad-quorum` when the charter's rule does not allow so many.
 */
export function verifyCertificate(
  certificate: Certificate,
  validators: ReadonlyMap<NodeId, KeyId>,
  rule: QuorumRule,
): void {
  const problem = problemOfCertificate(certificate as unknown as Json);
  if (problem !== null) throw bad(problem);
  const { votes, recovery: _, ...place } = certificate;
  let previous = '';
  for (const { node, sig } of votes) {
    // One order only: so no node counts twice, and a certificate has one spelling.
    if (node <= previous) throw bad(`the vote of ${node} stands twice or out of order`);
    previous = node;
    const key = validators.get(node);
    if (key === undefined) throw bad(`${node} is not a validator at height ${place.height}`);
    if (!verifyVote({ ...place, step: 'precommit', node, sig }, key)) {
      throw bad(`the signature of ${node} does not hold`);
    }
  }
  const quorum = quorumOf(validators.size, rule);
  if (votes.length < quorum) throw bad(`${votes.length} validators signed, ${quorum} are needed`);
}

/** The canonical text of a certificate, as it is kept and sent. */
export function certificateText(certificate: Certificate): string {
  return canonicalize(certificate);
}

/**
 * Reads a certificate from its canonical text; what it proves is not looked at here.
 * @throws TownError `not-canonical`, or `bad-certificate` naming the field.
 */
export function parseCertificate(text: string): Certificate {
  const value = parseCanonical(text);
  const problem = problemOfCertificate(value);
  if (problem !== null) throw bad(problem);
  return value as unknown as Certificate;
}
