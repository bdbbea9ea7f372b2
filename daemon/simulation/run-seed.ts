/** Plays seeds, each in a town that was founded once for all of its shape. */
import { NOTES, notesContract } from '../ledger/testing/small-town.js';
import type { BrokenRule } from './broken-rules.js';
import { scenarioOf, FAULTS, type Fault, type Shape } from './scenario.js';
import { foundTown, playTown, type EndedTown, type Founded, type TownReport } from './simulated-town.js';

const dapp = { manifest: NOTES, contract: notesContract };

/** What is played; a seed with these always gives the same run. */
export interface SeedOptions {
  readonly nodes?: number | undefined;
  readonly days?: number | undefined;
  readonly faults?: readonly Fault[] | undefined;
  readonly phases?: number | undefined;
  readonly actsMax?: number | undefined;
  /** The share of the messages that is lost while things go wrong, in place of the seed's own. */
  readonly loss?: number | undefined;
  readonly broken?: BrokenRule | undefined;
  /** Given the town once it has come to its end and everything held. */
  readonly ended?: ((town: EndedTown) => Promise<void>) | undefined;
}

const towns = new Map<string, Promise<Founded>>();

function founded(shape: Shape): Promise<Founded> {
  const name = JSON.stringify(shape);
  let town = towns.get(name);
  if (town === undefined) towns.set(name, (town = foundTown(shape, dapp)));
  return town;
}

/** Plays one seed. */
export async function playSeed(seed: number, options: SeedOptions = {}): Promise<TownReport> {
  const { nodes, faults = FAULTS, phases, days, actsMax, loss, broken, ended } = options;
  const scenario = scenarioOf(seed, nodes, faults);
  return playTown({
    scenario,
    founded: await founded(scenario.shape),
    ...(phases === undefined ? {} : { phases }),
    ...(days === undefined ? {} : { days }),
    ...(actsMax === undefined ? {} : { actsMax }),
    ...(loss === undefined ? {} : { loss }),
    ...(broken === undefined ? {} : { broken }),
    ended,
  });
}
