/** Drafts that the town adopted, as peers fetch them: which branches, how far, and what is here of them. */
import type { NodeId } from '../ledger/ids.js';
import { adoptedForks } from '../ledger/kernel-forks.js';
import { readBranch } from '../ledger/order.js';
import type { StateReader } from '../ledger/state.js';
import type { Store } from '../store/store.js';
import { branchOf, type Branch, type Tip } from '../sync/bodies.js';
import type { Draft } from '../sync/sync-state.js';

/** What the town wants of each draft, and whether all of it is merged. */
export const draftsOf = (state: StateReader): ReadonlyMap<Branch, Draft> =>
  new Map(
    [...adoptedForks(state)].map(([line, { node, seq }]) => [
      branchOf(node, line),
      { seq, done: (readBranch(state, node, line)?.seq ?? 0) >= seq },
    ]),
  );

/** How far the adopted drafts are here. */
export function draftTips(
  store: Pick<Store, 'lastBlock' | 'blocksFrom'>,
  state: StateReader,
): readonly (readonly [Branch, Tip])[] {
  const tips: (readonly [Branch, Tip])[] = [];
  for (const [line, { node, seq }] of adoptedForks(state)) {
    const tip = store.blocksFrom(node, line, seq, 1)[0] ?? store.lastBlock(node, line);
    if (tip) tips.push([branchOf(node as NodeId, line), { seq: tip.seq, head: tip.id }]);
  }
  return tips;
}
