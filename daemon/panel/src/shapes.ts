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

/** What is told of an entry or a merge beside itself. */
export interface Explained {
  readonly story: readonly string[];
  readonly other?: Entry;
  readonly changes:
    | readonly { readonly path: string; readonly before: string | null; readonly after: string | null }[]
    | null;
  readonly more: number;
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
  readonly record: 'readable' | 'erased' | 'not-here';
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
  /** Who is suspended only looks and receives; who left is gone. */
  readonly status: 'active' | 'suspended' | 'left';
  readonly here: boolean;
}

/** Credits of a member at a board. */
export interface Allowance {
  readonly member: string;
  readonly memberName: string | null;
  readonly node: string;
  readonly nodeName: string;
  /** At the board that was asked. */
  readonly here: boolean;
  readonly amount: number;
  /** On their way there. */
  readonly coming: number;
  readonly fence: { readonly n: number; readonly until: number } | null;
}

export interface Allowances {
  readonly most: number;
  readonly fenceWaitMs: number;
  readonly items: readonly Allowance[];
}

/** A debt on record; `to` is a member's id, or `vault`. */
export interface Due {
  readonly id: string;
  readonly member: string;
  readonly memberName: string | null;
  readonly to: string;
  readonly toName: string | null;
  readonly amount: number;
  readonly entry: string;
  readonly since: number;
  readonly can: readonly ('pay' | 'waive')[];
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
    readonly list: readonly {
      readonly name: string;
      readonly version: string;
      readonly digest: string;
      readonly suspended: string | null;
    }[];
    readonly warning: string | null;
  };
  readonly broker: { readonly listening: boolean; readonly port: number | null };
  readonly supply: {
    readonly total: number;
    readonly vault: number;
    readonly members: number;
    readonly locked: number;
    readonly allowances: number;
    readonly suspense: number;
  };
  readonly validators: {
    readonly count: number;
    readonly quorum: number;
    readonly mayBeOff: number;
    readonly heard: number;
  };
  readonly peers: { readonly count: number; readonly connected: number };
  readonly next: {
    readonly state: 'nothing' | 'due' | 'open' | 'parked' | 'diverged';
    readonly epoch: number;
    readonly round: number | null;
    readonly parkedSince: number | null;
    readonly connected: readonly string[];
    readonly away: readonly string[];
  };
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
  /** Who is there, or who waits to be let in, has changed. */
  | { readonly kind: 'nodes' }
  /** Only to the member that it is for. */
  | { readonly kind: 'notice'; readonly member: string; readonly notice: Notice }
  | { readonly kind: 'status'; readonly status: Status };

export type EventKind = TownEvent['kind'];

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** How many blocks and merges one side has and the other has not. */
export interface Distance {
  readonly blocks: number;
  readonly merges: number;
}

export interface TownNode {
  readonly id: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** The board that was asked. */
  readonly self: boolean;
  readonly validator: boolean;
  /** It signed two things for one place. */
  readonly suspended?: true;
  readonly connected: boolean;
  readonly heardAt: number | null;
  readonly height: number | null;
  readonly ahead: Distance;
  readonly behind: Distance;
  readonly fetching: number;
  readonly state: 'pending' | 'merged';
}

export type NodeInvitationState =
  'open' | 'asked' | 'approved' | 'welcomed' | 'refused' | 'withdrawn' | 'expired';

export interface NodeInvitation {
  readonly id: string;
  readonly role: 'door' | 'hub';
  readonly expiresAt: number;
  readonly state: NodeInvitationState;
  readonly asker: { readonly node: string; readonly name: string; readonly askedAt: number } | null;
}

export interface Refusals {
  readonly code: string;
  readonly reason: string;
  readonly count: number;
  readonly at: number;
}

export interface Nodes {
  readonly nodes: readonly TownNode[];
  readonly validators: Status['validators'];
  readonly broker: {
    readonly url: string | null;
    readonly embedded: boolean;
    readonly connected: boolean;
    /** Why it is not connected, where that is known. */
    readonly error: string | null;
    /** Further ones that this board is at. */
    readonly others?: readonly {
      readonly url: string | null;
      readonly connected: boolean;
      readonly error: string | null;
    }[];
  };
  readonly pending: { readonly entries: number; readonly blocks: number };
  readonly refused: readonly Refusals[];
  /** Null: not told to who is signed in. */
  readonly invitations: readonly NodeInvitation[] | null;
}

export interface NodeInvited {
  readonly id: string;
  readonly code: string;
  readonly link: string;
  readonly qr: { readonly svg: string };
  readonly expiresAt: number;
}

/** How far a fresh node is with joining a town. */
export interface NodeJoining {
  readonly state: 'idle' | 'asking' | 'waiting' | 'joined' | 'failed';
  readonly node: string;
  readonly town: string | null;
  readonly broker: { readonly url: string; readonly reached: 'trying' | 'connected' | 'away' } | null;
  readonly error: { readonly code: string; readonly message: string; readonly advice?: string } | null;
}

export interface GraphMerge {
  readonly height: number;
  readonly id: string;
  readonly oid: string;
  readonly time: number;
  readonly by: string;
  /** Ids of the last block of each branch that it folded in. */
  readonly heads: readonly string[];
}

export interface GraphBlock {
  readonly id: string;
  readonly node: string;
  readonly seq: number;
  readonly prev: string | null;
  /** Id of the merge that its board stood on. */
  readonly base: string;
  readonly at: number;
  readonly entries: number;
  /** Height of the merge that folded it in; null: none has. */
  readonly height: number | null;
  readonly own: boolean;
}

export interface LedgerGraph {
  /** Newest first. */
  readonly merges: readonly GraphMerge[];
  readonly blocks: readonly GraphBlock[];
  /** The board that was asked comes first. */
  readonly nodes: readonly { readonly id: string; readonly name: string }[];
  readonly truncated: boolean;
}

/** Something this member is told. */
export interface Notice {
  readonly id: number;
  readonly at: number;
  readonly text: string;
  readonly entry: string | null;
  /** Why the entry was rejected; null: it was not. */
  readonly code: string | null;
  /** The entry that won over it. */
  readonly other: string | null;
  readonly read: boolean;
}

export interface Notices {
  /** Newest first. */
  readonly items: readonly Notice[];
  readonly unread: number;
}

/** A key that waits for its member to register it; its code goes to a board where they can sign in. */
export interface KeyRequested {
  readonly code: string;
  readonly key: string;
  readonly member: string;
}

export interface OwnKey {
  readonly key: string;
  readonly status: 'active' | 'revoked';
  readonly state: 'pending' | 'merged';
  /** When it was registered or revoked. */
  readonly since: number;
  /** The board that keeps it, where that is known. */
  readonly node: { readonly id: string; readonly name: string } | null;
  readonly here: boolean;
  /** The one this session signs with. */
  readonly current: boolean;
}
