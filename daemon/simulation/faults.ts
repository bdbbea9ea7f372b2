/** What goes wrong in a simulated town, and when: drawn from the seed before it begins. */
import type { SimulatedBroker, Weather } from './simulated-broker.js';
import type { SimulatedNode } from './simulated-node.js';
import { SECOND, type Chance, type Timeline } from './timeline.js';

/** A node is cut off, in both directions or one. */
interface Cut {
  readonly node: number;
  readonly toBroker: boolean;
  readonly fromBroker: boolean;
  readonly fromMs: number;
  readonly forMs: number;
}

interface BrokerAway {
  readonly fromMs: number;
  readonly forMs: number;
  readonly forgets: boolean;
}

export interface FaultPlan {
  readonly badMs: number;
  readonly weather: Weather;
  /** How often a process ends at a point where it may. */
  readonly crashes: number;
  /** How often a contract is slow. */
  readonly slowness: number;
  /** The first is the one in which credits are spent twice. */
  readonly cuts: readonly [Cut, ...Cut[]];
  readonly brokerAway: BrokerAway | null;
  /** When the power fails at every node at once; null: it does not. */
  readonly blackoutMs: number | null;
}

export function planFaults(chance: Chance, nodes: number): FaultPlan {
  const badMs = 45 * SECOND;
  const cut = (): Cut => {
    const way = chance.next();
    return {
      node: chance.index(nodes),
      toBroker: way > 0.8,
      fromBroker: way > 0.6 && way <= 0.8,
      fromMs: chance.between(0, 15 * SECOND),
      forMs: chance.between(8 * SECOND, 30 * SECOND),
    };
  };
  return {
    badMs,
    weather: {
      loss: chance.hits(0.2) ? 0 : chance.between(0, 0.3),
      doubled: chance.between(0, 0.15),
      late: chance.between(0, 0.3),
      lateMs: chance.between(200, 8 * SECOND),
    },
    crashes: chance.hits(0.3) ? 0 : chance.between(0.001, 0.02),
    slowness: chance.hits(0.5) ? 0 : chance.between(0, 0.1),
    cuts: chance.hits(0.4) ? [cut(), cut()] : [cut()],
    brokerAway: chance.hits(0.4)
      ? {
          fromMs: chance.between(0, badMs / 2),
          forMs: chance.between(SECOND, badMs / 3),
          forgets: chance.hits(0.5),
        }
      : null,
    blackoutMs: chance.hits(0.2) ? chance.between(0, badMs) : null,
  };
}

/** Sets the faults of a plan going; `endFaults` ends them all. */
export function startFaults(
  plan: FaultPlan,
  time: Timeline,
  broker: SimulatedBroker,
  nodes: readonly SimulatedNode[],
): void {
  broker.weather = plan.weather;
  for (const { node, toBroker, fromBroker, fromMs, forMs } of plan.cuts) {
    const { id } = nodes[node] as SimulatedNode;
    time.after(fromMs, () => broker.setWay(id, { toBroker, fromBroker }));
    time.after(fromMs + forMs, () => broker.setWay(id, { toBroker: true, fromBroker: true }));
  }
  if (plan.blackoutMs !== null)
    time.after(plan.blackoutMs, () => {
      for (const node of nodes) node.crash('blackout');
    });
  if (plan.brokerAway === null) return;
  const { fromMs, forMs, forgets } = plan.brokerAway;
  time.after(fromMs, () => broker.leave(forgets));
  time.after(fromMs + forMs, () => broker.comeBack());
}
