/** What a merge must be beside what the replay confirms: the same for a node that adopts it and for who verifies the history. */
import { canonicalize } from '../ledger/canonical.js';
import type { Charter } from '../ledger/charter.js';
import type { Millis, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { foldableTo } from '../ledger/kernel-forks.js';
import type { ClaimedMerge } from '../ledger/merge.js';
import { branchName, type BranchPart } from '../ledger/order.js';
import type { StateReader } from '../ledger/state.js';
import { MAIN } from './main-line.js';

const bad = (what: string): TownError => new TownError('bad-merge', `The merge ${what}.`);

/**
 * The merge follows that parent on `main` of that town, later than it, and a validator made it.
 * @param charter of the parent
 * @throws TownError `bad-merge`
 */
export function assertFollows(
  claimed: ClaimedMerge,
  parent: { readonly height: number; readonly id: Sha256; readonly time: Millis },
  town: Sha256,
  charter: Charter,
): void {
  const place = { town: claimed.town, line: claimed.line, height: claimed.height, parent: claimed.parent };
  const expected = { town, line: MAIN, height: parent.height + 1, parent: parent.id };
  if (canonicalize(place) !== canonicalize(expected)) throw bad('belongs to another place');
  if (!charter.validators.includes(claimed.node)) throw bad('was made by a node that is no validator');
  if (claimed.time <= parent.time) throw bad('has a time that is not after that of its parent');
}

/**
 * What the replay takes for granted: something is folded in, of nodes of the town, each branch once, in the order of the nodes, and
 * no more than a merge holds (one block always goes). Else a proposer could turn a branch's mark back, keep every board busy for as
 * long as it likes, or fold in what those who come late are given by nobody.
 * @throws TownError `bad-merge`
 */
export function assertFoldable(
  parts: readonly BranchPart[],
  { nodes, limits }: Charter,
  state: StateReader,
): void {
  if (parts.length === 0) throw bad('folds in nothing');
  const names = parts.map(({ node, line }) => branchName(node, line));
  if (names.some((name, i) => i > 0 && name <= (names[i - 1] as string)))
    throw bad('does not name each branch once, in their order');
  if (parts.some(({ node }) => nodes[node] === undefined)) throw bad('folds in blocks of who is no node');
  for (const { node, line, blocks } of parts)
    if (blocks.some(({ seq }) => seq > foldableTo(state, node, line)))
      throw bad(`folds in blocks of the line ${line} that the town has not adopted`);
  const blocks = parts.flatMap((part) => part.blocks);
  const entries = blocks.flatMap((block) => block.entries);
  const bytes = entries.reduce((sum, { text }) => sum + Buffer.byteLength(text) + 1, 0);
  if (blocks.length > 1 && (entries.length > limits.mergeEntries || bytes > limits.mergeBytes))
    throw bad('holds more than the charter allows');
}
