/** Use cases of recovery: where this node stands, for a statement to be made of, and a signed one to be applied. */
import type { JsonObject } from '../ledger/ids.js';
import type { RecoveryStanding } from './main-line.js';

/** A node as a statement may name it. */
export interface RecoveryNodeView {
  readonly id: string;
  readonly name: string;
  readonly validator: boolean;
  readonly self: boolean;
  readonly connected: boolean;
  /** The last merge that it told of; null: none. */
  readonly height: number | null;
  /** What the charter has to hold of it, where it does not yet; null where it does. */
  readonly brings: JsonObject | null;
}

/** All that a statement is made of. */
export interface RecoveryPlace {
  readonly town: { readonly id: string; readonly name: string };
  /** That of the next merge, and the one that a new statement begins. */
  readonly epoch: number;
  readonly nextEpoch: number;
  readonly height: number;
  /** The id of the merge at that height. */
  readonly parent: string;
  readonly quorum: 'majority' | 'two-thirds';
  /** The charter's offline keys; null: it has none. */
  readonly keys: { readonly k: number; readonly keys: readonly string[] } | null;
  readonly nodes: readonly RecoveryNodeView[];
}

export interface RecoveryApplied {
  readonly standing: RecoveryStanding;
  readonly epoch: number;
  readonly height: number;
  /** This node was restored from a backup and observed: it is one of the town's once it is started again. */
  readonly restart: boolean;
}

export interface RecoveryCases {
  /** Needs a session. */
  place(s: string): Promise<RecoveryPlace>;
  /**
   * Applies a recovery, whoever brings it: what counts are its signatures.
   * @param mayLeave also where this node has merged otherwise, and is left behind
   * @throws TownError `bad-recovery`, `no-recovery`, `leaves-behind`, `busy`
   */
  apply(s: string, recovery: JsonObject, mayLeave: boolean): Promise<RecoveryApplied>;
}
