/**
 * Dapps that the town has suspended: their tests did not pass, though none of their own entries was left in the merge. A suspended
 * dapp judges nothing and tests nothing, its state stays. What is suspended is the dapp just as the charter has it: when the
 * stewards change its entry there (another version or parameter, or enabled no more), it is over.
 */
import { canonicalize } from './canonical.js';
import type { Charter } from './charter.js';
import { sha256 } from './hash.js';
import type { Millis, Sha256 } from './ids.js';
import { KERNEL, keysOf, readCharter } from './kernel.js';
import { readJson, writeJson, type Overlay, type StateReader } from './state.js';

/** `kernel/suspended/<dapp>`. */
export interface SuspendedDapp {
  /** SHA-256 of the dapp's entry in the charter, in canonical form: it is this that is suspended. */
  readonly charter: Sha256;
  readonly height: number;
  readonly reason: string;
  /** The time of the merge. */
  readonly since: Millis;
}

type DappInCharter = Charter['dapps'][number];

const COLLECTION = 'suspended';

const entryOf = (charter: Charter, name: string): DappInCharter | undefined =>
  charter.dapps.find((dapp) => dapp.name === name);

const hashOf = (entry: DappInCharter): Sha256 => sha256(canonicalize(entry));

/** Why a dapp is suspended; undefined where it is not. */
export function suspensionOf(state: StateReader, charter: Charter, name: string): SuspendedDapp | undefined {
  const found = readJson<SuspendedDapp>(state, KERNEL, COLLECTION, name);
  const entry = entryOf(charter, name);
  return found && entry && hashOf(entry) === found.charter ? found : undefined;
}

/** The dapps that a charter enables and the town has not suspended, in the charter's order. */
export const workingDapps = (state: StateReader, charter: Charter): readonly DappInCharter[] =>
  charter.dapps.filter(({ name, enabled }) => enabled && !suspensionOf(state, charter, name));

/** Suspends a dapp as it stands in the charter of this state. */
export function suspendDapp(
  state: Overlay,
  name: string,
  { height, time, reason }: { readonly height: number; readonly time: Millis; readonly reason: string },
): void {
  const entry = entryOf(readCharter(state), name);
  if (!entry) return;
  const record: SuspendedDapp = { charter: hashOf(entry), height, reason, since: time };
  writeJson(state, KERNEL, COLLECTION, name, record);
}

/** Forgets suspensions of dapps that stand otherwise in the charter by now. */
export function liftSuspensions(state: Overlay): void {
  const charter = readCharter(state);
  for (const name of [...keysOf(state, COLLECTION)])
    if (!suspensionOf(state, charter, name)) writeJson(state, KERNEL, COLLECTION, name, null);
}
