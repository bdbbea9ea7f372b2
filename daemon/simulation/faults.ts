/** What goes wrong in one phase of a simulated town, and when: drawn from the seed before the phase begins. */
import type { Lies, Weather } from './simulated-broker.js';
import type { Fault, Scenario, Shape } from './scenario.js';
import { Chance, DAY, HOUR, SECOND } from './timeline.js';

/** A node is cut off, in both directions or one. */
export interface Cut {
  readonly node: number;
  readonly toBroker: boolean;
  readonly fromBroker: boolean;
  readonly fromMs: number;
  readonly forMs: number;
}

export interface BrokerAway {
  readonly fromMs: number;
  readonly forMs: number;
  readonly forgets: boolean;
}

/** A clock that is wrong: by so much, or as that of a board without a battery, which begins in 1970. */
export interface Skew {
  readonly node: number;
  readonly offMs: number | '1970';
  /** Whether nobody sets it right again. */
  readonly stays: boolean;
}

/** A node that is lost in this phase; another takes its place. */
export interface Loss {
  readonly kind: 'wipe' | 'old-backup' | 'equivocate' | 'expel';
  readonly node: number;
  /** When the backup was made, or the card copied; not after `atMs`. */
  readonly copiedMs: number;
  /** When it is lost, or its copy begins to run beside it. */
  readonly atMs: number;
}

/** So many validators are lost at once that no quorum is left, and those who hold the keys of recovery begin an epoch at one that is. */
export interface LostQuorum {
  /** The validator that is left for sure. */
  readonly keeper: number;
  /** When that one is cut off, so that the others merge without it; null: it is not. */
  readonly behindMs: number | null;
  readonly atMs: number;
  /** How long it takes until somebody begins the epoch. */
  readonly forMs: number;
}

export type CharterChange = 'pace' | 'limits' | 'order' | 'validator-away';

export interface FaultPlan {
  readonly badMs: number;
  readonly weather: Weather;
  readonly lies: Lies | null;
  /** What the second broker does, where there is one; the first is as the rest says. */
  readonly secondLies: Lies | null;
  /** How often a process ends at a point where it may. */
  readonly crashes: number;
  /** When the power fails at every node at once; null: it does not. */
  readonly blackoutMs: number | null;
  /** How likely what was being written at a crash is on the disk all the same, though nobody was told. */
  readonly torn: number;
  /** How often a contract is slow. */
  readonly slowness: number;
  /** The node at whose side of the town the same credits are spent again. */
  readonly far: number;
  readonly cuts: readonly Cut[];
  readonly brokerAway: BrokerAway | null;
  readonly skews: readonly Skew[];
  /** The node whose dapp diverges. */
  readonly diverges: { readonly node: number; readonly fromMs: number; readonly forMs: number } | null;
  readonly loss: Loss | null;
  readonly lostQuorum: LostQuorum | null;
  readonly charter: readonly { readonly change: CharterChange; readonly atMs: number }[];
}

const BAD_MS = 40 * SECOND;
const LOSSES: readonly Loss['kind'][] = ['wipe', 'old-backup', 'equivocate', 'expel'];

/** @param phase from 0 on: each has its own chances */
export function planFaults({ seed, shape, faults }: Scenario, phase: number): FaultPlan {
  const badMs = BAD_MS;
  const chanceOf = (name: string): Chance => Chance.of(seed, `${phase} ${name}`);
  /** What a fault does, if the seed has it. Its chances are its own. */
  const of = <T>(fault: Fault, without: T, make: (chance: Chance) => T): T =>
    faults.has(fault) ? make(chanceOf(fault)) : without;
  const lostQuorum = of<LostQuorum | null>('lost-quorum', null, (chance) => {
    const atMs = chance.between(badMs * 0.45, badMs * 0.8);
    return {
      keeper: chance.index(shape.validators),
      behindMs: chance.hits(0.6) ? atMs - chance.between(badMs * 0.25, badMs * 0.45) : null,
      atMs,
      forMs: chance.between(SECOND, badMs * 0.3),
    };
  });
  // What is lost with the quorum is enough for one phase.
  const loss = lostQuorum === null ? lossOf({ seed, shape, faults }, phase, badMs) : null;
  const cut = (chance: Chance): Cut => {
    const way = chance.next();
    return {
      node: chance.index(shape.nodes),
      toBroker: way > 0.8,
      fromBroker: way > 0.6 && way <= 0.8,
      fromMs: chance.between(0, badMs / 3),
      forMs: chance.between(8 * SECOND, badMs * 0.7),
    };
  };
  const cuts = of('partition', [], (chance) =>
    chance.hits(0.4) ? [cut(chance), cut(chance)] : [cut(chance)],
  );
  return {
    badMs,
    weather: {
      loss: of('loss', 0, (chance) => chance.between(0, 0.3)),
      doubled: of('dup', 0, (chance) => chance.between(0.02, 0.2)),
      reorders: faults.has('reorder'),
      late: of('delay', 0, (chance) => chance.between(0.05, 0.3)),
      lateMs: of('delay', 0, (chance) => chance.between(200, 8 * SECOND)),
    },
    lies: of<Lies | null>('lying-broker', null, (chance) => ({
      replays: chance.between(0, 0.15),
      tampers: chance.between(0, 0.1),
      junk: chance.between(0, 0.1),
      withholds: chance.hits(0.5) ? chance.index(shape.nodes) : null,
    })),
    secondLies: of<Lies | null>('second-broker', null, (chance) => ({
      replays: chance.between(0, 0.3),
      tampers: chance.between(0, 0.3),
      junk: chance.between(0, 0.3),
      withholds: chance.hits(0.5) ? chance.index(shape.nodes) : null,
    })),
    crashes: of('crash', 0, (chance) => chance.between(0.001, 0.02)),
    blackoutMs: of('crash', null, (chance) => (chance.hits(0.25) ? chance.between(0, badMs) : null)),
    torn: of('torn', 0, (chance) => chance.between(0.2, 0.8)),
    slowness: of('slow-dapp', 0, (chance) => chance.between(0.02, 0.12)),
    far: cuts[0]?.node ?? chanceOf('far').index(shape.nodes),
    cuts,
    brokerAway: of('partition', null, (chance) => {
      chance.next();
      if (!chance.hits(0.4)) return null;
      const fromMs = chance.between(0, badMs / 2);
      return { fromMs, forMs: chance.between(SECOND, badMs / 3), forgets: chance.hits(0.5) };
    }),
    skews: [
      ...of<readonly Skew[]>('skew', [], (chance) =>
        Array.from({ length: 1 + chance.index(2) }, () => skewOf(chance, shape, false)),
      ),
      ...of<readonly Skew[]>('clock-stays-wrong', [], (chance) => [skewOf(chance, shape, true)]),
    ],
    // A single validator whose dapp diverges decides by it: nobody is left to contradict.
    diverges:
      lostQuorum !== null
        ? null
        : of('diverge', null, (chance) => ({
            node: chance.index(shape.nodes),
            fromMs: chance.between(0, badMs / 3),
            forMs: chance.between(badMs / 4, badMs / 2),
          })),
    loss,
    lostQuorum,
    charter: of('charter', [], (chance) =>
      Array.from({ length: 1 + chance.index(2) }, () => ({
        change: changeOf(chance, { seed, shape, faults }, loss !== null || lostQuorum !== null),
        atMs: chance.between(0, badMs),
      })),
    ),
  };
}

const skewOf = (chance: Chance, { nodes }: Shape, stays: boolean): Skew => ({
  node: chance.index(nodes),
  offMs: chance.hits(0.3)
    ? '1970'
    : chance.hits(0.5)
      ? chance.between(-12, 12) * HOUR
      : chance.between(-3, 3) * DAY,
  stays,
});

/** At most one node is lost in a phase, so that a quorum is left; the kinds that a seed has take turns. */
function lossOf({ seed, shape, faults }: Scenario, phase: number, badMs: number): Loss | null {
  const chance = Chance.of(seed, `${phase} lost`);
  const isSmaller = shape.nodes > shape.validators || shape.nodes > 4;
  const kinds = LOSSES.filter((kind) =>
    kind === 'expel' ? faults.has('charter') && isSmaller : faults.has(kind),
  );
  const kind =
    kinds[(Chance.of(seed, 'turn of the lost').index(LOSSES.length) + phase) % Math.max(kinds.length, 1)];
  if (kind === undefined) return null;
  // Crashes only are what a majority bears: there a liar is no validator.
  const node =
    shape.nodes > shape.validators && (kind === 'equivocate' || kind === 'expel')
      ? shape.nodes - 1
      : chance.index(shape.nodes);
  const atMs = chance.between(badMs / 5, badMs * 0.8);
  return { kind, node, copiedMs: chance.between(0, atMs), atMs };
}

/** Validators go away for a while only where a quorum is sure to be left. */
function changeOf(chance: Chance, { shape }: Scenario, isOneLost: boolean): CharterChange {
  const changes: CharterChange[] = ['pace', 'limits', 'order'];
  const mayLeave = shape.quorum === 'majority' ? shape.validators > 2 : shape.validators > 4;
  if (!isOneLost && mayLeave) changes.push('validator-away', 'validator-away');
  return chance.pick(changes);
}
