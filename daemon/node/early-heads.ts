/**
 * Heads that could not be taken: of nodes that the charter does not name yet (the merge that names them may be on its way), of a clock
 * that is not known, under a key that is not here. The newest few are kept.
 */
import type { NodeId } from '../ledger/ids.js';
import type { Delivery } from '../sync/message.js';

const EARLY_MAX = 16;
const EARLY_BYTES_MAX = 16 * 1024;

export class EarlyHeads {
  private readonly kept = new Map<NodeId, Delivery>();

  keep(node: NodeId, delivery: Delivery): void {
    const { kept } = this;
    if (delivery.payload.length > EARLY_BYTES_MAX) return;
    kept.delete(node);
    kept.set(node, delivery);
    // The newest stay: who fills the places with junk has to go on doing so.
    for (const oldest of kept.keys()) if (kept.size > EARLY_MAX) kept.delete(oldest);
  }

  /** Those of the nodes that can be read by now; they are kept no longer. */
  take(isReadable: (node: NodeId) => boolean): readonly Delivery[] {
    const taken = [...this.kept].filter(([node]) => isReadable(node));
    for (const [node] of taken) this.kept.delete(node);
    return taken.map(([, delivery]) => delivery);
  }
}
