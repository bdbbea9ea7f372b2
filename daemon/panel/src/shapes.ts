/**
 * What the panel reads from the API, field by field as `GET /docs` describes it.
 * The panel imports nothing of the daemon: these types are its own reading of the HTTP surface.
 */

export type EntryState = 'pending' | 'merged' | 'rejected';

export interface Entry {
  readonly id: string;
  readonly type: string;
  readonly at: number;
  readonly node: string;
  readonly n: number;
  readonly by: string;
  readonly member: string | null;
  readonly state: EntryState;
  readonly verdict: 'accepted' | 'rejected' | 'irregular' | null;
  readonly code?: string;
  readonly reason?: string;
  readonly other?: string;
  readonly merge?: string;
  readonly height?: number;
  readonly says: string;
  readonly body: { readonly [name: string]: unknown };
}

export interface Merge {
  readonly height: number;
  readonly id: string;
  readonly oid: string;
  readonly content: string;
  readonly time: number;
  readonly by: string;
  readonly heads: readonly { readonly node: string; readonly id: string; readonly entries: number }[];
  readonly counts: { readonly accepted: number; readonly rejected: number; readonly irregular: number };
  readonly testedBy: readonly string[];
  readonly attestedBy: readonly string[];
  readonly entries?: readonly Entry[];
}

export interface Branch {
  readonly node: string;
  readonly name: string;
  readonly seq: number;
  readonly head: string | null;
  readonly unmerged: number;
}

export interface Badge {
  readonly badge: string;
  readonly person: string;
  readonly doors: readonly string[] | '*';
  readonly status: 'active' | 'revoked';
  readonly until?: number;
  readonly reason?: string;
  readonly state: 'pending' | 'merged';
}

export interface Person {
  readonly id: string;
  readonly name: string | null;
  readonly contact: string | null;
  readonly status: 'active' | 'suspended';
  readonly reason?: string;
  readonly member: string | null;
  readonly badges: readonly Badge[];
  readonly state: 'pending' | 'merged';
}

export interface DoorEvent {
  readonly id: string;
  readonly at: number;
  readonly door: string;
  readonly kind: 'tap' | 'exit' | 'open' | 'late';
  readonly outcome: 'granted' | 'refused';
  readonly code: string;
  readonly reason?: string;
  readonly badge?: string;
  readonly person?: string;
  readonly by?: string;
  readonly table: number;
  readonly waitedMs?: number;
  readonly personName: string | null;
  readonly entry: string | null;
}

export interface Door {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly mode: 'normal' | 'lockdown';
  readonly here: boolean;
  readonly reader: 'simulated' | 'wiegand' | null;
  readonly strikeOn: boolean;
  readonly last: DoorEvent | null;
}

export interface Member {
  readonly id: string;
  readonly name: string | null;
  readonly roles: readonly string[];
  /** Null: not told to who is signed in. */
  readonly balance: number | null;
  readonly locked: number | null;
  readonly incoming: number | null;
  readonly here: boolean;
}

export type GigStatus =
  | 'open'
  | 'taken'
  | 'accepted'
  | 'submitted'
  | 'rated'
  | 'completed'
  | 'cancelled'
  | 'disputed'
  | 'settled'
  | 'expired';

export type GigStep =
  | 'take'
  | 'withdraw'
  | 'accept'
  | 'decline'
  | 'submit'
  | 'complete'
  | 'accept-rating'
  | 'dispute'
  | 'settle'
  | 'close'
  | 'cancel';

export interface Gig {
  readonly id: string;
  readonly opener: string;
  readonly openerName: string | null;
  readonly taker: string | null;
  readonly takerName: string | null;
  readonly title: string;
  readonly description: string;
  readonly price: number;
  readonly status: GigStatus;
  readonly stars: number | null;
  readonly payout: number | null;
  readonly details: string;
  readonly state: 'pending' | 'merged';
  readonly can: readonly GigStep[];
}

export interface Status {
  readonly town: { readonly id: string; readonly name: string; readonly preset: string };
  readonly node: { readonly id: string; readonly name: string };
  readonly version: string;
  readonly needsSetup: boolean;
  readonly height: number;
  readonly main: string;
  readonly pendingEntries: number;
  readonly merging: boolean;
  readonly alarm: { readonly code: string; readonly message: string } | null;
  readonly gate: { readonly connected: boolean; readonly board: string | null; readonly simulated: boolean };
  readonly dapps: {
    readonly driver: 'container' | 'process' | 'starting';
    readonly isolated: boolean;
    readonly ready: boolean;
    readonly list: readonly { readonly name: string; readonly version: string; readonly digest: string }[];
    readonly warning: string | null;
  };
  readonly broker: { readonly listening: boolean; readonly port: number | null };
  readonly supply: {
    readonly total: number;
    readonly vault: number;
    readonly members: number;
    readonly locked: number;
  };
  readonly validators: {
    readonly count: number;
    readonly quorum: number;
    readonly mayBeOff: number;
    readonly heard: number;
  };
  readonly peers: { readonly count: number; readonly connected: number };
  readonly startedAt: number;
}

export interface Session {
  readonly member: string;
  readonly name: string;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly expiresAt: number;
}

/** The answer to an action: its entry is durable; a merge will judge it. */
export interface Recorded {
  readonly entry: string;
  readonly state: 'pending';
}

export interface EnrolmentEvent {
  readonly kind: 'enrol';
  readonly enrolment: string;
  readonly status: 'waiting' | 'read' | 'done' | 'expired' | 'failed';
  readonly person: string;
  readonly badge?: string;
  readonly message?: string;
}

export type TownEvent =
  | { readonly kind: 'door'; readonly event: DoorEvent }
  | { readonly kind: 'strike'; readonly door: string; readonly on: boolean; readonly at: number }
  | EnrolmentEvent
  | { readonly kind: 'entry'; readonly entry: Entry }
  | { readonly kind: 'merge'; readonly merge: Merge }
  | { readonly kind: 'status'; readonly status: Status };

export type EventKind = TownEvent['kind'];

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}
