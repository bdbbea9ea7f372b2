/** Use cases of the sealed records of persons: what is kept of them, and erasing them. */
import type { Recorded } from './recorded.js';

/** How many keys of one month this node has. */
export interface RecordMonthView {
  /** `2026-11`, UTC. */
  readonly month: string;
  readonly keys: number;
  /** Past its retention: kept only as long as the register itself still needs it (a name, the reason of a suspension). */
  readonly over: boolean;
}

export interface RecordsView {
  readonly retentionMonths: number;
  /** Roles of the nodes that are given the keys; and whether this node is one of them. */
  readonly readers: readonly string[];
  readonly mayRead: boolean;
  /** Newest first. */
  readonly months: readonly RecordMonthView[];
  /** Keys that the ledger names and that are not here. */
  readonly missing: number;
  /** How many people's and members' records were erased. */
  readonly erased: number;
}

export interface RecordCases {
  /** What this node keeps. Needs the permission `membership.add`. */
  overview(s: string): Promise<RecordsView>;
  /**
   * Destroys the keys of all records of a person at every node that adopts it, for good; their badges are revoked first, where the
   * asker may do that. Without a person: of whoever asks. Needs the permission `record.erase`, and for others `record.erase-others`.
   */
  erase(s: string, person?: string): Promise<Recorded & { readonly person: string; readonly badges: number }>;
}
