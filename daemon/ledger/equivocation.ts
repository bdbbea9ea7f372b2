/**
 * Equivocation: one node signed two different things for one place. The two signatures are the proof; nothing else has to
 * be believed, and anybody's node may put them on record (`evidence.equivocation`).
 */
import { claimedPlace } from './block.js';
import { canonicalize } from './canonical.js';
import { parseCommit } from './git-object.js';
import type { Json, JsonObject, KeyId, NodeId, Sha256 } from './ids.js';
import { TownError, isNodeId, isSha256 } from './ids.js';
import { verifyText } from './signature.js';
import { sshVerify } from './sshsig.js';
import { VOTE_DOMAIN, voteText, type VoteWords } from './vote-text.js';

/** A vote as it stands in evidence: what was signed, by whom, and the signature. */
export type SignedVote = VoteWords & { readonly node: NodeId; readonly sig: string };

/**
 * The body of the entry. `blocks`: base64 of the raw bytes of two block commits; `votes`: the canonical texts of two votes.
 * `a` stands before `b` bytewise, so that a pair has one spelling.
 */
export interface EvidenceBody {
  readonly kind: 'blocks' | 'votes';
  readonly a: string;
  readonly b: string;
}

/** What the two prove. `at`: the number of the blocks, or the height of the votes. */
export interface Equivocated {
  readonly kind: 'blocks' | 'votes';
  readonly node: NodeId;
  readonly line: string;
  readonly at: number;
}

const bodyOf = (kind: EvidenceBody['kind'], one: string, other: string): EvidenceBody =>
  one < other ? { kind, a: one, b: other } : { kind, a: other, b: one };

/** Evidence from the raw bytes of two block commits. */
export const evidenceOfBlocks = (one: Uint8Array, other: Uint8Array): EvidenceBody =>
  bodyOf('blocks', Buffer.from(one).toString('base64'), Buffer.from(other).toString('base64'));

/** Evidence from two votes. */
export const evidenceOfVotes = (one: SignedVote, other: SignedVote): EvidenceBody =>
  bodyOf('votes', voteSpelling(one), voteSpelling(other));

function voteSpelling(vote: SignedVote): string {
  const { town, line, epoch, height, round, step, value, parent, node, sig } = vote;
  return canonicalize({ town, line, epoch, height, round, step, value, parent, node, sig });
}

const nothing = (why: string): TownError =>
  new TownError(
    'no-evidence',
    `This proves nothing: ${why}.`,
    'Two signatures of one node for one place are needed.',
  );

/**
 * Checks evidence in full.
 * @param keyOf the key of a node of the town
 * @throws TownError `bad-body`, `no-evidence` with what is missing
 */
export function assertEquivocation(
  body: JsonObject,
  town: Sha256,
  keyOf: (node: NodeId) => KeyId | undefined,
): Equivocated {
  const { kind, a, b } = body;
  const isBody = Object.keys(body).length === 3 && typeof a === 'string' && typeof b === 'string';
  if (!isBody || (kind !== 'blocks' && kind !== 'votes'))
    throw new TownError(
      'bad-body',
      'The body of evidence.equivocation must be {kind: "blocks" | "votes", a, b}.',
    );
  if (a >= b) throw nothing('the two are the same, or not in order');
  const read = kind === 'blocks' ? readBlockProof : readVoteProof;
  const one = read(a, town, keyOf);
  const other = read(b, town, keyOf);
  if (one.place !== other.place) throw nothing('the two are for different places');
  if (one.words === other.words) throw nothing('the two say the same');
  return one.said;
}

/** Whom evidence accuses, as its words claim; null where they name nobody. Nothing is checked. */
export function accusedIn({ kind, a }: JsonObject): NodeId | null {
  if (typeof a !== 'string') return null;
  const text = kind === 'votes' ? a : Buffer.from(a, 'base64').toString('latin1');
  const found = (kind === 'votes' ? /"node":"([0-9a-f]{16})"/ : /^author ([0-9a-f]{16}) /m).exec(text)?.[1];
  return isNodeId(found) ? found : null;
}

interface Signed {
  /** All that must be the same in both. */
  readonly place: string;
  /** And what must not. */
  readonly words: string;
  readonly said: Equivocated;
}

type ReadProof = (text: string, town: Sha256, keyOf: (node: NodeId) => KeyId | undefined) => Signed;

const readBlockProof: ReadProof = (text, town, keyOf) => {
  const raw = Buffer.from(text, 'base64');
  if (raw.toString('base64') !== text) throw nothing('it is not base64');
  const { node, line, seq } = placeOfBlock(raw, town);
  const key = keyOf(node);
  if (key === undefined) throw nothing(`${node} is no node of the town`);
  const { payload, signature } = parseCommit(raw);
  if (signature === null || !sshVerify(signature, payload, key)) throw nothing(`${node} did not sign it`);
  return {
    place: canonicalize([node, line, seq]),
    words: text,
    said: { kind: 'blocks', node, line, at: seq },
  };
};

function placeOfBlock(raw: Uint8Array, town: Sha256): { node: NodeId; line: string; seq: number } {
  try {
    const { town: of, node, line, seq } = claimedPlace(raw);
    if (of !== town) throw nothing('it is of another town');
    if (!isNodeId(node)) throw nothing('its author is no node');
    return { node, line, seq };
  } catch (error) {
    if (error instanceof TownError && error.code !== 'no-evidence')
      throw nothing(error.message.replace(/\.$/, ''));
    throw error;
  }
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const readVoteProof: ReadProof = (text, town, keyOf) => {
  const vote = parseVote(text);
  if (vote === null) throw nothing('it is no vote');
  const { node, line, epoch, height, round, step, sig } = vote;
  if (vote.town !== town) throw nothing('it is of another town');
  const key = keyOf(node);
  if (key === undefined) throw nothing(`${node} is no node of the town`);
  if (!verifyText(key, VOTE_DOMAIN, voteText(vote), sig)) throw nothing(`${node} did not sign it`);
  return {
    place: canonicalize([node, line, epoch, height, round, step]),
    words: canonicalize([vote.value, vote.parent]),
    said: { kind: 'votes', node, line, at: height },
  };
};

/** A vote by its one spelling; null where the text is none. */
function parseVote(text: string): SignedVote | null {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const v = value as { readonly [name: string]: Json };
  const isVote =
    isSha256(v['town']) &&
    isSha256(v['parent']) &&
    isNodeId(v['node']) &&
    typeof v['line'] === 'string' &&
    ['epoch', 'height', 'round'].every((name) => isCount(v[name])) &&
    (v['step'] === 'prevote' || v['step'] === 'precommit') &&
    (v['value'] === null || isSha256(v['value'])) &&
    typeof v['sig'] === 'string';
  const vote = v as unknown as SignedVote;
  return isVote && voteSpelling(vote) === text ? vote : null;
}
