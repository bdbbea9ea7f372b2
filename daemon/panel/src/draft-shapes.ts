/** What the panel reads from the API about drafts, field by field as `GET /docs` describes it. */
export interface Draft {
  readonly name: string;
  readonly status: 'open' | 'adopting' | 'adopted' | 'dropped';
  readonly base: { readonly height: number; readonly id: string; readonly oid: string };
  readonly head: { readonly height: number; readonly oid: string };
  readonly created: number;
  readonly entries: number;
}

export interface Judgement {
  readonly verdict: 'accepted' | 'rejected' | 'irregular';
  readonly code?: string;
  readonly reason?: string;
}

export interface DraftDetails {
  readonly fork: Draft;
  readonly entries: readonly {
    readonly id: string;
    readonly says: string;
    readonly onDraft: Judgement | null;
    readonly onMain: Judgement | null;
  }[];
  readonly changes: {
    readonly balances: readonly {
      readonly account: string;
      readonly name: string | null;
      readonly before: number;
      readonly after: number;
    }[];
    readonly members: readonly { readonly member: string; readonly name: string | null }[];
    readonly charter: readonly { readonly at: string; readonly before: unknown; readonly after: unknown }[];
    readonly others: readonly { readonly place: string; readonly count: number }[];
  } | null;
}
