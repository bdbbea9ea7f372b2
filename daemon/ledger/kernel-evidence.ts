/**
 * Nodes that signed two things for one place. `evidence.equivocation` suspends the node: its blocks are not folded in any
 * more, everywhere, and what it serves goes on. `node.readmit` by the stewards ends that, and names the block from which the
 * node's branch goes on. Kept as `kernel/nodes/<node>`.
 *
 * How a branch goes on. The stewards name a block `head` with its number `seq`, which is what is merged of the branch or a
 * block after that, and the number `next` with which it goes on, above every number that was signed twice. What is merged
 * stays; blocks between the merged mark and `head` are folded in like any; the block after `head` has the number `next` and
 * names `head` as its predecessor. All other blocks of the branch below `next` are void: never folded in, and no evidence any
 * more, so that the same pair cannot suspend the node again. They stay in the store and in git. A block above `next` that the
 * node signed before it was readmitted is a new equivocation if it signs another with that number.
 */
import { NO_BLOCK } from './block.js';
import { keyOfNode } from './charter.js';
import { assertEquivocation, type Equivocated } from './equivocation.js';
import type { EntryId, NodeId, Sha256 } from './ids.js';
import { TownError, isNodeId, isSha256 } from './ids.js';
import { KERNEL, badBody, hasOnly, keysOf, refuse, tooFewStewards, type Handler } from './kernel.js';
import { branchName, readBranch, type BranchMark, type BranchPart } from './order.js';
import { readJson, writeJson, type StateReader } from './state.js';

/** The block after which a branch goes on, its number, and the number of the block that follows it. */
export interface Resumption {
  readonly head: Sha256;
  readonly seq: number;
  readonly next: number;
}

/** How a node stands that was ever suspended; of others there is no record. */
export interface NodeStanding {
  readonly status: 'suspended' | 'active';
  /** The entry that gave the present status, and its time (ms). */
  readonly entry: EntryId;
  readonly since: number;
  /** The evidence that suspended it last. */
  readonly evidence: EntryId;
  /** Where its branches go on, by line, since it was readmitted. */
  readonly resumes: { readonly [line: string]: Resumption };
  /** Votes up to this height are evidence no more. */
  readonly settled: number;
}

const SEQ_MAX = 1_000_000_000;

export const readStanding = (state: StateReader, node: string): NodeStanding | undefined =>
  readJson<NodeStanding>(state, KERNEL, 'nodes', node);

export const isSuspended = (state: StateReader, node: string): boolean =>
  readStanding(state, node)?.status === 'suspended';

/** Nodes that were suspended and are not any more, with the entry that readmitted them. */
export const readmittedNodes = (state: StateReader): readonly { node: NodeId; entry: EntryId }[] =>
  [...keysOf(state, 'nodes')].flatMap((key) => {
    const standing = readStanding(state, key);
    return standing?.status === 'active' ? [{ node: key as NodeId, entry: standing.entry }] : [];
  });

/** Where a node's branch goes on since it was readmitted; undefined where nothing was cut. */
export const resumptionOf = (state: StateReader, node: string, line: string): Resumption | undefined =>
  readStanding(state, node)?.resumes[line];

/** The number that the block after this one has. */
export const seqAfter = (
  block: { readonly id: Sha256; readonly seq: number },
  resumes: Resumption | undefined,
): number => (resumes && block.id === resumes.head ? resumes.next : block.seq + 1);

/** Whether evidence was dealt with by a readmission already. */
export function isSettled(standing: NodeStanding | undefined, { kind, line, at }: Equivocated): boolean {
  if (!standing) return false;
  return kind === 'votes' ? at <= standing.settled : at < (standing.resumes[line]?.next ?? 0);
}

/** A fact of whoever found it; it proves itself. A node that is suspended already stays so. */
export const equivocation: Handler = (entry, state, { charter, tau }) => {
  const found = assertEquivocation(entry.body, entry.town, (node) => keyOfNode(charter, node));
  const standing = readStanding(state, found.node);
  if (standing?.status === 'suspended') return null;
  const about = `nodes/${found.node}`;
  if (isSettled(standing, found))
    return refuse('evidence-settled', 'The stewards readmitted the node knowing of this.', about);
  const { resumes = {}, settled = 0 } = standing ?? {};
  const given = { status: 'suspended', entry: entry.id, evidence: entry.id, since: tau } as const;
  writeJson(state, KERNEL, 'nodes', found.node, { ...given, resumes, settled } satisfies NodeStanding);
  return null;
};

/** Ends a suspension; signed by as many stewards as change the charter. */
export const readmit: Handler = (entry, state, context) => {
  const { node, line, head, seq, next } = entry.body;
  const isRight =
    hasOnly(entry.body, 'node', 'line', 'head', 'seq', 'next') &&
    isNodeId(node) &&
    typeof line === 'string' &&
    /^[a-z0-9][a-z0-9-]{0,63}$/.test(line) &&
    isSha256(head) &&
    [seq, next].every((n) => Number.isSafeInteger(n) && (n as number) >= 0 && (n as number) <= SEQ_MAX);
  if (!isRight) return badBody(entry.type, '{node, line, head, seq, next}');
  const unsigned = tooFewStewards(entry, context);
  if (unsigned) return unsigned;
  const standing = readStanding(state, node);
  if (standing?.status !== 'suspended')
    return refuse('not-suspended', `The node ${node} is not suspended.`, `nodes/${node}`);
  const resumes: Resumption = { head, seq: seq as number, next: next as number };
  const mark = readBranch(state, node, line);
  const wrong = wrongPlace(resumes, mark, standing.resumes[line]);
  if (wrong) return refuse('bad-place', wrong, `branches/${branchName(node, line)}`);
  const { evidence } = standing;
  writeJson(state, KERNEL, 'nodes', node, {
    status: 'active',
    entry: entry.id,
    since: context.tau,
    evidence,
    resumes: { ...standing.resumes, [line]: resumes },
    settled: context.height,
  } satisfies NodeStanding);
  if (seq === (mark?.seq ?? 0) && next !== (seq as number) + 1) {
    const { n = 0, tau = 0 } = mark ?? {};
    writeJson(state, KERNEL, 'branches', branchName(node, line), { head, seq: (next as number) - 1, n, tau });
  }
  return null;
};

/** Why a branch cannot go on there; null where it can. */
function wrongPlace(
  { head, seq, next }: Resumption,
  mark: BranchMark | undefined,
  before: Resumption | undefined,
): string | null {
  const merged = mark?.seq ?? 0;
  if (seq < merged) return `Block ${merged} of the branch is merged: it cannot go on before that.`;
  if (seq === merged && head !== (mark?.head ?? NO_BLOCK))
    return `Block ${merged} of the branch that is merged is another one.`;
  if (next <= seq || next < (before?.next ?? 0))
    return 'The number it goes on with must be above those it had.';
  return null;
}

/**
 * What the replay takes for granted of a run of blocks: it goes on where the branch was merged, without a gap but the one that
 * a readmission made, and is not of a suspended node.
 * @throws TownError `bad-merge`
 */
export function assertContinues({ node, line, blocks }: BranchPart, state: StateReader): void {
  const bad = (what: string): TownError =>
    new TownError('bad-merge', `The merge folds in blocks of ${node} on ${line} ${what}.`);
  const standing = readStanding(state, node);
  if (standing?.status === 'suspended') throw bad('who is suspended');
  const resumes = standing?.resumes[line];
  let expected = (readBranch(state, node, line)?.seq ?? 0) + 1;
  for (const block of blocks) {
    if (block.seq !== expected) throw bad(`from number ${block.seq}, where ${expected} is next`);
    expected = seqAfter(block, resumes);
  }
}
