/** What those who act in a simulated town have of it. */
import type { EntryId } from '../ledger/ids.js';
import type { NodeKeys } from '../node/key-files.js';
import type { FaultPlan } from './faults.js';
import type { SimulatedBroker } from './simulated-broker.js';
import type { SimulatedNode, SimulatedProcess } from './simulated-node.js';
import type { Stewards } from './stewards.js';
import type { Chance, Timeline } from './timeline.js';
import type { Watch } from './watch.js';
import type { Workload } from './workload.js';

export interface Stage {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly watch: Watch;
  /** In each place the node that stands there now. */
  readonly nodes: readonly SimulatedNode[];
  /** All there ever were: also those that were lost, and copies. */
  readonly everyone: readonly SimulatedNode[];
  readonly broker: SimulatedBroker;
  /** Another broker that every node is at too, and that lies; null: there is none. */
  readonly second: SimulatedBroker | null;
  readonly workload: Workload;
  readonly stewards: Stewards;
  /** What goes wrong just now; null: nothing. */
  plan: FaultPlan | null;
  /** A node that stands in a place, with what its disk holds already; it has to be booted. */
  addNode(keys: NodeKeys, index: number, image: Buffer | undefined): SimulatedNode;
  /**
   * The node is lost, with its key; another stands in its place, with what a backup held.
   * @param kept what it acknowledged and counts all the same
   */
  replace(old: SimulatedNode, image: Buffer | undefined, why: string, kept?: ReadonlySet<EntryId>): void;
  /** The processes of the nodes of which something is expected. */
  present(): readonly SimulatedProcess[];
}
