/**
 * Draft forks that came home. `fork.adopt` names one branch of one line and how far it goes; from the next merge on its
 * blocks are folded into `main` like those of any branch. Kept as `kernel/forks/<line>`: a line comes home once.
 */
import type { EntryId, NodeId, Sha256 } from './ids.js';
import { TownError, isNodeId, isSha256 } from './ids.js';
import { isSuspended } from './kernel-evidence.js';
import {
  KERNEL,
  badBody,
  hasOnly,
  refuse,
  tooFewStewards,
  type Handler,
  type KernelContext,
} from './kernel.js';
import { readJson, writeJson, type Overlay, type StateReader } from './state.js';

/** Lines that ever came home, at most. */
export const FORKS_MAX = 10_000;

export interface AdoptedFork {
  /** Whose branch it is. */
  readonly node: NodeId;
  /** Its last block that comes home, and that block's number. */
  readonly head: Sha256;
  readonly seq: number;
  /** The merge of `main` where the line went off. */
  readonly base: Sha256;
  /** Height of the merge that adopted it, and the entry that asked for it. */
  readonly height: number;
  readonly entry: EntryId;
}

/** Names that are no fork's: they mean something else among the refs, or make no key of the state (`<node>.lock`). */
export const NO_FORKS: ReadonlySet<string> = new Set(['main', 'nodes', 'evidence', 'lock']);

export const readFork = (state: StateReader, line: string): AdoptedFork | undefined =>
  readJson<AdoptedFork>(state, KERNEL, 'forks', line);

/** Marks a line as one that came home. */
export const writeFork = (state: Overlay, line: string, fork: AdoptedFork): void =>
  writeJson(state, KERNEL, 'forks', line, fork);

/** Every line that came home. */
export const adoptedForks = (state: StateReader): ReadonlyMap<string, AdoptedFork> =>
  new Map(
    state.keys(KERNEL, 'forks', '', FORKS_MAX).map((line) => [line, readFork(state, line) as AdoptedFork]),
  );

/**
 * Up to which block a node's branch of a line belongs to `main`: every block of its own line, of a fork what was
 * adopted, none of a suspended node's.
 */
export function foldableTo(state: StateReader, node: NodeId, line: string): number {
  if (isSuspended(state, node)) return 0;
  if (line === 'main') return Infinity;
  const fork = readFork(state, line);
  return fork?.node === node ? fork.seq : 0;
}

/** Brings a draft home as far as it says; signed by as many stewards as change the charter. A line comes home once. */
export const adopt: Handler = (entry, state, context) => {
  const { line, node, head, seq, base } = entry.body;
  const isRight =
    hasOnly(entry.body, 'line', 'node', 'head', 'seq', 'base') &&
    typeof line === 'string' &&
    /^[a-z0-9][a-z0-9-]{0,63}$/.test(line) &&
    isNodeId(node) &&
    isSha256(head) &&
    isSha256(base) &&
    Number.isSafeInteger(seq) &&
    (seq as number) >= 1;
  if (!isRight) return badBody(entry.type, '{line, node, head, seq, base}');
  if (NO_FORKS.has(line) || line === entry.line)
    return refuse('bad-line', `"${line}" is not the name of a draft fork.`);
  const unsigned = tooFewStewards(entry, context);
  if (unsigned) return unsigned;
  if (!context.charter.nodes[node])
    return refuse('no-such-node', `The town has no node ${node}.`, 'charter/charter');
  if (readFork(state, line))
    return refuse(
      'fork-adopted',
      `The draft "${line}" came home before: a line does so once.`,
      `forks/${line}`,
    );
  if (state.keys(KERNEL, 'forks', '', FORKS_MAX).length >= FORKS_MAX)
    return refuse(
      'too-many-forks',
      `${FORKS_MAX} drafts have come home: there is room for no more.`,
      'forks/',
    );
  if (!hasMerge(base, context))
    return refuse(
      'unknown-base',
      `The draft begins at ${base.slice(0, 12)}…, which is no merge before this one.`,
    );
  const { height } = context;
  const fork: AdoptedFork = { node, head, seq: seq as number, base, height, entry: entry.id };
  writeFork(state, line, fork);
  return null;
};

/** Its time is when the draft's entries begin. */
function hasMerge(base: Sha256, { baseTime }: KernelContext): boolean {
  try {
    baseTime(base);
    return true;
  } catch (error) {
    if (error instanceof TownError && error.code === 'unknown-base') return false;
    throw error;
  }
}
