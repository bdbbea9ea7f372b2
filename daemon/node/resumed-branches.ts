/** Branches of nodes that were readmitted: each goes on from where the stewards said, once for each readmission. */
import { readmittedNodes } from '../ledger/kernel-evidence.js';
import type { EntryId, NodeId } from '../ledger/ids.js';
import type { StateReader } from '../ledger/state.js';
import type { BlockRow } from '../store/rows.js';
import type { Tip } from '../sync/bodies.js';

export interface ResumedBranchesParts {
  readonly state: () => StateReader;
  /** Takes the branches back to there; their last blocks then. */
  readonly resume: (nodes: readonly NodeId[]) => Promise<ReadonlyMap<NodeId, BlockRow | null>>;
  /** A branch goes on from there; null: it begins anew. */
  readonly resumed: (node: NodeId, tip: Tip | null) => void;
  readonly failed: (error: unknown) => void;
}

export class ResumedBranches {
  /** Readmissions that were carried out here. */
  private readonly done = new Set<EntryId>();

  constructor(private readonly parts: ResumedBranchesParts) {}

  /**
   * Those that were readmitted since this was looked at last.
   * @param undisturbed runs something while no blocks are being taken
   */
  look(undisturbed: (task: () => Promise<void>) => void): void {
    const { state, resume, resumed, failed } = this.parts;
    const fresh = readmittedNodes(state()).filter(({ entry }) => !this.done.has(entry));
    if (fresh.length === 0) return;
    for (const { entry } of fresh) this.done.add(entry);
    undisturbed(async () => {
      try {
        const tips = await resume(fresh.map(({ node }) => node));
        for (const [node, last] of tips) resumed(node, last && { seq: last.seq, head: last.id });
      } catch (error) {
        // Tried again with the next merge.
        for (const { entry } of fresh) this.done.delete(entry);
        failed(error);
      }
    });
  }
}
