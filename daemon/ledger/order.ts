/**
 * The one order in which a merge replays entries: the same for everybody, whatever came first to whom.
 */
import type { VerifiedEntry } from './entry.js';
import { sha256 } from './hash.js';
import type { Millis, NodeId, Sha256 } from './ids.js';
import { readJson, type StateReader } from './state.js';

/** A run of blocks of one branch, oldest first, that a merge folds in. */
export interface BranchPart {
  readonly node: NodeId;
  readonly line: string;
  readonly blocks: readonly {
    readonly id: Sha256;
    readonly seq: number;
    readonly entries: readonly VerifiedEntry[];
  }[];
  /** τ of the last entry merged before, 0 at the start. */
  readonly tau: Millis;
  /** Of a fork that came home: the merge where it went off. Its entries are as old as that, whatever they say. */
  readonly base?: Sha256;
}

export interface OrderedEntry {
  readonly entry: VerifiedEntry;
  /** The line of the branch that it stands in. */
  readonly line: string;
  /** The entry's time for schedules: its own clock's, held between what is known to be before and after it. */
  readonly tau: Millis;
}

export const branchName = (node: string, line: string): string => `${node}.${line}`;

/**
 * Every entry with its τ = clamp(`at`, max(previous τ in its branch, time of its base), T), all branches merged by
 * (τ, SHA-256(parent ‖ branch), sequence, index). τ never falls within a branch, so this is the k-way merge.
 * @param time T of the merge; @param baseTime the time of an adopted merge
 */
export function orderEntries(
  parts: readonly BranchPart[],
  parent: Sha256,
  time: Millis,
  baseTime: (base: Sha256) => Millis,
): readonly OrderedEntry[] {
  const list: (OrderedEntry & { salt: Sha256; seq: number; index: number })[] = [];
  // Those who follow each other mostly stand on the same merge.
  let asked: { readonly base: Sha256; readonly time: Millis } | null = null;
  const timeOf = (base: Sha256): Millis => {
    if (asked?.base !== base) asked = { base, time: baseTime(base) };
    return asked.time;
  };
  for (const part of parts) {
    const salt = sha256(parent, branchName(part.node, part.line));
    let last = part.tau;
    for (const block of part.blocks)
      for (const [index, entry] of block.entries.entries()) {
        const floor = Math.max(last, timeOf(part.base ?? entry.base));
        const tau = Math.min(Math.max(entry.at, floor), time) as Millis;
        last = tau;
        list.push({ entry, line: part.line, tau, salt, seq: block.seq, index });
      }
  }
  list.sort(
    (a, b) =>
      a.tau - b.tau || (a.salt < b.salt ? -1 : a.salt > b.salt ? 1 : 0) || a.seq - b.seq || a.index - b.index,
  );
  return list.map(({ entry, line, tau }) => ({ entry, line, tau }));
}

/** How far one branch is folded in: kept in the state as `kernel/branches/<node>.<line>`. */
export interface BranchMark {
  readonly head: Sha256;
  readonly seq: number;
  /** The highest running number of an entry: none at or below it applies again. */
  readonly n: number;
  readonly tau: number;
}

export const readBranch = (state: StateReader, node: string, line: string): BranchMark | undefined =>
  readJson<BranchMark>(state, 'kernel', 'branches', branchName(node, line));
