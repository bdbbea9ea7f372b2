/** What a seed stands for: how large the town is, who decides, and what can go wrong in it. Each fault is drawn by itself. */
import { Chance } from './timeline.js';

export const FAULTS = [
  'loss',
  'dup',
  'reorder',
  'delay',
  'partition',
  'crash',
  'torn',
  'wipe',
  'old-backup',
  'lost-quorum',
  'skew',
  'slow-dapp',
  'diverge',
  'equivocate',
  'lying-broker',
  'charter',
  'second-broker',
  'clock-stays-wrong',
] as const;

export type Fault = (typeof FAULTS)[number];

/** The nodes of a town, and how many of them decide by which rule. The validators are the first nodes. */
export interface Shape {
  readonly nodes: number;
  readonly validators: number;
  readonly quorum: 'majority' | 'two-thirds';
}

export interface Scenario {
  readonly seed: number;
  readonly shape: Shape;
  readonly faults: ReadonlySet<Fault>;
}

/** How likely a seed has a fault, where it may have it. */
const SHARES: { readonly [fault in Fault]: number } = {
  loss: 0.7,
  dup: 0.5,
  reorder: 0.5,
  delay: 0.5,
  partition: 0.6,
  crash: 0.6,
  torn: 0.5,
  wipe: 0.2,
  'old-backup': 0.2,
  'lost-quorum': 0.2,
  skew: 0.3,
  'slow-dapp': 0.4,
  diverge: 0.25,
  equivocate: 0.2,
  'lying-broker': 0.3,
  charter: 0.4,
  'second-broker': 0.3,
  'clock-stays-wrong': 0.3,
};

const SHAPES: readonly Shape[] = [
  { nodes: 3, validators: 3, quorum: 'majority' },
  { nodes: 3, validators: 3, quorum: 'majority' },
  { nodes: 4, validators: 4, quorum: 'two-thirds' },
  { nodes: 4, validators: 3, quorum: 'majority' },
  { nodes: 5, validators: 5, quorum: 'majority' },
];

/** The shapes that a town of so many nodes may have. */
function shapesOf(nodes: number | undefined): readonly Shape[] {
  if (nodes === undefined) return SHAPES;
  const majority: Shape = { nodes, validators: nodes, quorum: 'majority' };
  if (nodes < 4) return [majority];
  return [
    majority,
    { nodes, validators: nodes, quorum: 'two-thirds' },
    { nodes, validators: nodes - 1, quorum: 'majority' },
  ];
}

/** Whether the quorum of this shape bears a node that lies: it is no validator, or the rule is made for that. */
const bearsLiar = ({ nodes, validators, quorum }: Shape): boolean =>
  quorum === 'two-thirds' || nodes > validators;

/**
 * The scenario of a seed: the same whatever other seeds there are.
 * @param nodes how many nodes; without it, the seed says
 * @param allowed faults that may happen; one left out changes nothing about the others
 */
export function scenarioOf(seed: number, nodes: number | undefined, allowed: readonly Fault[]): Scenario {
  const shapes = shapesOf(nodes);
  const wanted = new Set(FAULTS.filter((fault) => Chance.of(seed, `has ${fault}`).hits(SHARES[fault])));
  const liars = shapes.filter(bearsLiar);
  if (liars.length === 0) wanted.delete('equivocate');
  // The shape is drawn before faults are left out: a smaller story is told of the same town.
  const shape = Chance.of(seed, 'shape').pick(wanted.has('equivocate') ? liars : shapes);
  const faults = new Set([...wanted].filter((fault) => allowed.includes(fault)));
  return { seed, shape, faults };
}
