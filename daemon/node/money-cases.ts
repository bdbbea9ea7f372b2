/** What people do with allowances and dues, and how a member stands. Shapes of the use cases; every method may throw a `TownError`. */
import type { Cosigner } from './fork-cases.js';
import type { Recorded } from './recorded.js';

/** Credits that a member put at a node, to be paid out there even while it is cut off. */
export interface AllowanceView {
  readonly member: string;
  readonly memberName: string | null;
  readonly node: string;
  readonly nodeName: string;
  /** The node that is asked holds it: payments out of it are made here. */
  readonly here: boolean;
  /** What can be paid out of it by what this node knows, and what is on its way into it (spendable once merged). */
  readonly amount: number;
  readonly coming: number;
  /** A closing on its way: entries of the node up to number `n` are paid until `until` (ms). */
  readonly fence: { readonly n: number; readonly until: number } | null;
}

export interface AllowancesView {
  /** What one allowance holds at most, and how long a fenced one still pays (ms). */
  readonly most: number;
  readonly fenceWaitMs: number;
  readonly items: readonly AllowanceView[];
}

/** A debt on record. */
export interface DueView {
  readonly id: string;
  /** Who owes. */
  readonly member: string;
  readonly memberName: string | null;
  /** Whom: a member's id, or `vault`. */
  readonly to: string;
  readonly toName: string | null;
  readonly amount: number;
  /** The entry it comes from, and its time (ms). */
  readonly entry: string;
  readonly since: number;
  /** What the person asking may do with it. */
  readonly can: readonly ('pay' | 'waive')[];
}

export interface MoneyCases {
  /** One's own; all of them for who may fence. */
  allowances(s: string): Promise<AllowancesView>;
  /** Puts credits of one's own at a node. @throws TownError `allowance-too-large`, `no-such-node`, `not-enough-credits` */
  openAllowance(s: string, input: { node: string; amount: number }): Promise<Recorded>;
  /**
   * Pays out of one's allowance at this node: it stands, whatever later merges bring.
   * @param input `to`: a member's id, or `vault`
   * @throws TownError `allowance-short`, `allowance-fenced`, `node-suspended`, `not-found`, `member-left`
   */
  payAllowance(
    s: string,
    input: { to: string; amount: number; memo?: string | undefined },
  ): Promise<Recorded>;
  /** Gives back what is left of an allowance at this node: one's own, or (for who may fence) a member's. @throws TownError `no-allowance` */
  returnAllowance(s: string, input: { member?: string | undefined }): Promise<Recorded>;
  /**
   * Closes an allowance whose node is lost, after the charter's wait.
   * @param input `n`: the last number of the node's entries that is paid; left out: the last one that is merged
   */
  fenceAllowance(
    s: string,
    input: {
      member: string;
      node: string;
      n?: number | undefined;
      cosigners?: readonly Cosigner[] | undefined;
    },
  ): Promise<Recorded>;
  /** Those that one owes or is owed; all of them for a steward. */
  dues(s: string): Promise<readonly DueView[]>;
  payDue(s: string, input: { due: string; amount?: number | undefined }): Promise<Recorded>;
  waiveDue(s: string, input: { due: string }): Promise<Recorded>;
}

/** How a member stands in the town. */
export interface StandingCases {
  /** Takes a member's say, at once. @throws TownError `last-steward`, `not-allowed` */
  suspend(s: string, member: string, input: { reason?: string | undefined }): Promise<Recorded>;
  reinstate(s: string, member: string): Promise<Recorded>;
  /** The signed-in member leaves: what they have available goes to the vault. @throws TownError `last-steward` */
  leave(s: string): Promise<Recorded>;
}
