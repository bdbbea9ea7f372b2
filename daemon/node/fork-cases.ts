/** What people do with draft forks. Shapes of the use cases; every method may throw a `TownError`. */
import type { Json } from '../ledger/ids.js';
import type { Recorded } from './recorded.js';

/**
 * `open`: it can be worked on; `adopting`: the stewards' claim waits for its merge; `adopted`: its entries are merged into
 * `main`, or have been; `dropped`: given up. Only an open one takes anything more.
 */
export type ForkStatus = 'open' | 'adopting' | 'adopted' | 'dropped';

export interface ForkView {
  readonly name: string;
  readonly status: ForkStatus;
  /** The merge of `main` where it went off. */
  readonly base: { readonly height: number; readonly id: string; readonly oid: string };
  /** Its last merge, which is the base where it has none. */
  readonly head: { readonly height: number; readonly oid: string };
  /** When it was made: milliseconds; and by which member. */
  readonly created: number;
  readonly by: string;
  /** How many entries were recorded on it. */
  readonly entries: number;
}

/** What a draft says of an entry, or what `main` says of it or would say now. */
export interface ForkJudgement {
  readonly verdict: 'accepted' | 'rejected' | 'irregular';
  readonly code?: string;
  readonly reason?: string;
  readonly other?: string;
}

export interface ForkEntryView {
  readonly id: string;
  readonly type: string;
  readonly at: number;
  /** One plain sentence: who did what. */
  readonly says: string;
  /** Null: not in a merge of the draft yet. */
  readonly onDraft: ForkJudgement | null;
  /** After it came home what `main` says, before that what it would say now. Null: not judged, or too much to try. */
  readonly onMain: ForkJudgement | null;
}

/** What `main` would be after the draft's entries, against what it is. */
export interface ForkChanges {
  readonly balances: readonly {
    readonly account: string;
    /** The member's name, where the account is a member's and the name is known. */
    readonly name: string | null;
    readonly before: number;
    readonly after: number;
  }[];
  readonly members: readonly {
    readonly member: string;
    readonly name: string | null;
    readonly before: Json;
    readonly after: Json;
  }[];
  /** By JSON pointer into the charter; null: not there. */
  readonly charter: readonly { readonly at: string; readonly before: Json; readonly after: Json }[];
  /** How many other values would change, by `<dapp>/<collection>`. */
  readonly others: readonly { readonly place: string; readonly count: number }[];
}

export interface ForkDetails {
  readonly fork: ForkView;
  readonly entries: readonly ForkEntryView[];
  /** Null: it came home or was given up, it is empty, or it is too large to be tried. */
  readonly changes: ForkChanges | null;
}

/** A further steward who signs: their key is unlocked for this one signature and leaves the node as little as any other. */
export interface Cosigner {
  readonly name: string;
  readonly passphrase: string;
}

export interface ForkCases {
  list(s: string): Promise<readonly ForkView[]>;
  /** `from`: a merge, by height, git id or a start of its SHA-256; without it the head of `main`. */
  create(s: string, input: { name: string; from?: string | undefined }): Promise<ForkView>;
  show(s: string, name: string): Promise<ForkDetails>;
  /** Gives a draft up: it is closed, its name is used; what was recorded on it stays in git. */
  drop(s: string, name: string): Promise<ForkView>;
  /** Asks the town to take its entries in, as `charter.amend` stewards. */
  adopt(s: string, name: string, input: { cosigners: readonly Cosigner[] }): Promise<Recorded>;
}
