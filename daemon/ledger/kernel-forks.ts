/**
 * Draft forks that came home. `fork.adopt` names one branch of one line and how far it goes; from the next merge on its
 * blocks are folded into `main` like those of any branch. Kept as `kernel/forks/<line>`: a line comes home once.
 */
import type { NodeId, Sha256 } from './ids.js';
import { readJson, type StateReader } from './state.js';

const KERNEL = 'kernel';
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
  /** Height of the merge that adopted it. */
  readonly height: number;
}

export const readFork = (state: StateReader, line: string): AdoptedFork | undefined =>
  readJson<AdoptedFork>(state, KERNEL, 'forks', line);

/** Every line that came home. */
export const adoptedForks = (state: StateReader): ReadonlyMap<string, AdoptedFork> =>
  new Map(
    state.keys(KERNEL, 'forks', '', FORKS_MAX).map((line) => [line, readFork(state, line) as AdoptedFork]),
  );

/** Up to which block a node's branch of a line belongs to `main`: every block of its own line, of a fork what was adopted. */
export function foldableTo(state: StateReader, node: NodeId, line: string): number {
  if (line === 'main') return Infinity;
  const fork = readFork(state, line);
  return fork?.node === node ? fork.seq : 0;
}
