/** What a quorum of the validators says it holds: what a merge may fold in. */
import { quorumOf } from '../consensus/quorum.js';
import type { NodeId } from '../ledger/ids.js';
import { branchOf, placeOf, type Branch } from '../sync/bodies.js';
import { heldByQuorum, type SyncState } from '../sync/sync-state.js';
import { MAIN, type MainLine } from './main-line.js';

export class HeldBlocks {
  private held: { readonly of: SyncState; readonly map: ReadonlyMap<Branch, number> } | null = null;
  private told: ReadonlyMap<Branch, number> = new Map();

  constructor(
    private readonly main: MainLine,
    private readonly state: () => SyncState,
  ) {}

  /** The charter may be another one now. */
  forget(): void {
    this.held = null;
  }

  /** Up to which block of a branch; 0: none. */
  upTo(node: NodeId, line: string = MAIN): number {
    const state = this.state();
    if (this.held?.of !== state) {
      const { validators, quorum } = this.main.charter;
      const map = heldByQuorum(state, validators as NodeId[], quorumOf(validators.length, quorum));
      this.held = { of: state, map };
    }
    return this.held.map.get(branchOf(node, line)) ?? 0;
  }

  /** Whether it is more of any branch than when this was asked last. */
  isMore(): boolean {
    const { told } = this;
    const now = new Map(
      [...this.state().tips.keys()].map((branch) => {
        const { node, line } = placeOf(branch);
        return [branch, this.upTo(node, line)] as const;
      }),
    );
    this.told = now;
    return [...now].some(([branch, seq]) => seq > (told.get(branch) ?? 0));
  }
}
