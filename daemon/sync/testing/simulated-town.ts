/**
 * For tests: a town of nodes that sync, in simulated time, from a seed. The state machine, the batches and the quarantine are
 * the real ones, the blocks are signed and verified; broker, disks and merging are played. Messages are lost, doubled, late and
 * out of order, nodes are cut off (and notice it late) and crash at any point; one may lie. Every run repeats.
 */
import type { Json, KeyId, NodeId } from '../../ledger/ids.js';
import { publicKeyOf } from '../../ledger/signature.js';
import { SimulatedNode, type Scenario, type Surroundings } from './simulated-node.js';

export type { Scenario } from './simulated-node.js';
import { randomFrom, SECOND, Timeline } from './timeline.js';

export class SimulatedTown implements Surroundings {
  readonly random: () => number;
  readonly time = new Timeline();
  readonly nodes: SimulatedNode[];
  readonly keys = new Map<NodeId, KeyId>();
  readonly goodFrom: number;
  readonly loss: number;
  readonly crashes: number;
  /** What the broker keeps, by sender. */
  readonly retained = new Map<NodeId, Json>();
  /** Messages sent, by kind. */
  readonly sent = { heads: 0, want: 0, have: 0 };
  crashed = 0;
  refused = 0;
  nonces = 0;

  constructor(readonly scenario: Scenario) {
    this.random = randomFrom(scenario.seed);
    this.goodFrom = this.time.now + scenario.badMs;
    this.loss = this.random() * 0.4;
    this.crashes = this.random() < 0.3 ? 0 : this.random() * 0.03;
    this.nodes = Array.from({ length: scenario.nodes }, (_, i) => new SimulatedNode(this, i));
    for (const node of this.nodes) this.keys.set(node.id, publicKeyOf(node.secret));
    for (const node of this.nodes) node.boot();
  }

  get isGood(): boolean {
    return this.time.now >= this.goodFrom;
  }

  get honest(): readonly SimulatedNode[] {
    return this.nodes.filter((node) => !node.lies);
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** Whether all honest nodes hold the same, everything, and all of it is merged. */
  isEven(): boolean {
    const branches = this.honest.map((node) => node.id);
    return this.honest.every((node) => {
      const own = node.last.folds;
      return (
        node.written === this.scenario.blocks &&
        node.last.id === this.nodes[0]?.last.id &&
        branches.every((branch) => own[branch] === this.scenario.blocks) &&
        branches.every((branch) => node.branch(branch).length === this.scenario.blocks)
      );
    });
  }

  runUntil(at: number, done: () => boolean = () => false): void {
    this.time.runUntil(at, done);
  }

  /** Brings what was sent to a node, as the network is just now. */
  carry(from: SimulatedNode, to: SimulatedNode, kind: 'heads' | 'want' | 'have', wire: Json): void {
    if (!from.linked || !to.linked) return;
    const copies = this.isGood ? 1 : this.chance(this.loss) ? 0 : this.chance(0.15) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const ms = 1 + this.random() * (this.isGood ? 50 : this.chance(0.2) ? 15 * SECOND : SECOND);
      this.time.after(ms, () => to.linked && to.receive(from.id, kind, wire, false));
    }
  }
}
