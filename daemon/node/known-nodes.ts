/** The nodes whose messages count: those of the charter, and until this node has caught up those it was welcomed with. */
import { keyOfNode } from '../ledger/charter.js';
import type { KeyId, NodeId } from '../ledger/ids.js';
import type { PeeringStore } from './core-store.js';
import type { MainLine } from './main-line.js';
import { readWelcomed, type Welcomed } from './welcomed.js';

export class KnownNodes {
  private readonly welcome: Welcomed | null;

  constructor(
    private readonly main: MainLine,
    store: Pick<PeeringStore, 'meta'>,
  ) {
    this.welcome = readWelcomed(store);
  }

  ids(): readonly NodeId[] {
    const welcomed = this.welcomed?.nodes ?? {};
    return [...new Set([...Object.keys(this.main.charter.nodes), ...Object.keys(welcomed)])] as NodeId[];
  }

  keyOf(node: NodeId): KeyId | undefined {
    return keyOfNode(this.main.charter, node) ?? (this.welcomed?.nodes[node]?.key as KeyId | undefined);
  }

  /** A merge that the history must contain; null where nothing is known of it, or not any more. */
  get checkpoint(): Welcomed['checkpoint'] | null {
    return this.welcomed?.checkpoint ?? null;
  }

  /** Whether this node has come to where the town was when it was let in: before that, who left long ago seems to be there. */
  get isSettled(): boolean {
    return this.welcomed === null;
  }

  /** What this node was welcomed with, until it has caught up with that: from then on the charter says who is there. */
  private get welcomed(): Welcomed | null {
    const { welcome } = this;
    return welcome !== null && this.main.head.height < welcome.checkpoint.height ? welcome : null;
  }
}
