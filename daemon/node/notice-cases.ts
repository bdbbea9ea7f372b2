/** What members are told: by dapps, and by merges that rejected what they had said or what had been promised to them. */

export interface NoticeView {
  /** Rises with every notice of this node. */
  readonly id: number;
  readonly at: number;
  /** What happened, in plain words. */
  readonly text: string;
  /** The entry it is about. */
  readonly entry: string | null;
  /** Why that was rejected; null: it was not. */
  readonly code: string | null;
  /** The entry that won over it, where that is known. */
  readonly other: string | null;
  readonly read: boolean;
}

export interface NoticesView {
  /** Newest first. */
  readonly items: readonly NoticeView[];
  /** How many are not read yet, counted up to 1000. */
  readonly unread: number;
}
