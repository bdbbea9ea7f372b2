/**
 * What a node does for people: the use cases behind the API, the panel and the `town` command, and the shapes they speak.
 * `daemon/node` implements them; `daemon/api` puts them on HTTP; nothing here knows HTTP.
 * Every method may throw a `TownError` (code, message, advice).
 */
import type { DoorWiring, GateRecord } from '../gate/shapes.js';
import type { JsonObject } from '../ledger/ids.js';
import type { ForkCases } from './fork-cases.js';
import type { KeyCases } from './key-cases.js';
import type { LedgerGraph } from './ledger-graph.js';
import type { MoneyCases, StandingCases } from './money-cases.js';
import type { NodeCases } from './node-cases.js';
import type { NoticesView, NoticeView } from './notice-cases.js';
import type { RecoveryCases } from './recovery-cases.js';
import type { RecordCases } from './record-cases.js';
import type { Recorded } from './recorded.js';
import type { StateChange } from './state-changes.js';

export type EntryState = 'pending' | 'merged' | 'rejected';

/** One entry, told to people. */
export interface EntryView {
  readonly id: string;
  readonly type: string;
  readonly at: number;
  readonly node: string;
  readonly n: number;
  /** The draft it was recorded on; absent: `main`. */
  readonly line?: string;
  /** Name of the author where this node may read it, else their id. */
  readonly by: string;
  readonly member: string | null;
  readonly state: EntryState;
  readonly verdict: 'accepted' | 'rejected' | 'irregular' | null;
  readonly code?: string;
  readonly reason?: string;
  /** The rule that decided, or the entry that won, where there is one. */
  readonly other?: string;
  /** SHA-256 of the merge that folded it in, and its height. */
  readonly merge?: string;
  readonly height?: number;
  /** One plain sentence: who did what. */
  readonly says: string;
  /** As signed; personal fields replaced by their plain text where this node may read it. */
  readonly body: JsonObject;
}

export interface MergeView {
  readonly height: number;
  /** SHA-256 of the raw commit, its git id, and its content hash. */
  readonly id: string;
  readonly oid: string;
  readonly content: string;
  readonly time: number;
  readonly by: string;
  readonly heads: readonly { readonly node: string; readonly id: string; readonly entries: number }[];
  readonly counts: { readonly accepted: number; readonly rejected: number; readonly irregular: number };
  /** `<dapp>@<version>` of the tests that passed. */
  readonly testedBy: readonly string[];
  /** Validators (node ids) whose signatures make the certificate. */
  readonly attestedBy: readonly string[];
  readonly entries?: readonly EntryView[];
}

/** What `show` tells beside the thing itself. */
export interface Explained {
  /** Sentences, in the order in which they are best read. */
  readonly story: readonly string[];
  /** The entry that this one lost to. */
  readonly other?: EntryView;
  /** What it changed in the state, the first of it; null: that cannot be told here. */
  readonly changes: readonly StateChange[] | null;
  /** How many changes are left out. */
  readonly more: number;
}

/** An entry or a merge, and what is to be said of it. */
export type Shown =
  | { readonly kind: 'entry'; readonly entry: EntryView; readonly explained?: Explained }
  | { readonly kind: 'merge'; readonly merge: MergeView; readonly explained?: Explained };

export interface BranchView {
  readonly node: string;
  readonly name: string;
  readonly seq: number;
  readonly head: string | null;
  readonly unmerged: number;
}

export interface PersonView {
  readonly id: string;
  /** Null where the record is erased or this node may not read it. */
  readonly name: string | null;
  readonly contact: string | null;
  /** Whether name and contact can be read; else why not: they were erased, or their key is not at this node. */
  readonly record: 'readable' | 'erased' | 'not-here';
  readonly status: 'active' | 'suspended';
  /** Why the person is suspended, where this node may read it. */
  readonly reason?: string;
  /** The credit member this person is, if any. */
  readonly member: string | null;
  readonly badges: readonly BadgeView[];
  /** `pending` until the entry that last changed it is in a merge. */
  readonly state: 'pending' | 'merged';
}

export interface BadgeView {
  /** The keyed hash; never the number. */
  readonly badge: string;
  readonly person: string;
  readonly doors: readonly string[] | '*';
  readonly status: 'active' | 'revoked';
  readonly until?: number;
  readonly reason?: string;
  readonly state: 'pending' | 'merged';
}

export interface DoorView {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly mode: 'normal' | 'lockdown';
  /** Wired to this node's gate, and by which reader. */
  readonly here: boolean;
  readonly reader: DoorWiring['reader']['kind'] | null;
  readonly strikeOn: boolean;
  readonly last: DoorEventView | null;
}

/** A gate record with what this node may know of the person. */
export interface DoorEventView extends GateRecord {
  readonly personName: string | null;
  /** The ledger entry that holds it, once appended. */
  readonly entry: string | null;
}

export interface MemberView {
  readonly id: string;
  readonly name: string | null;
  readonly roles: readonly string[];
  readonly keys: readonly { readonly key: string; readonly status: 'active' | 'revoked' }[];
  /** What the member owns: null where the asker is not told. */
  readonly balance: number | null;
  readonly locked: number | null;
  /** Credits on their way to the member in entries not merged yet; cannot be spent yet. */
  readonly incoming: number | null;
  /** Who is suspended has no say and still receives credits; who left neither. */
  readonly status: 'active' | 'suspended' | 'left';
  /** Whether this node keeps a key of the member, so that they can sign in here. */
  readonly here: boolean;
}

export interface GigView {
  readonly id: string;
  readonly opener: string;
  readonly openerName: string | null;
  readonly taker: string | null;
  readonly takerName: string | null;
  readonly title: string;
  readonly description: string;
  readonly price: number;
  readonly status:
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
  readonly stars: number | null;
  readonly payout: number | null;
  readonly details: string;
  readonly state: 'pending' | 'merged';
  /** What the person asking may do next. */
  readonly can: readonly GigStep[];
}

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

export interface StatusView {
  readonly town: { readonly id: string; readonly name: string; readonly preset: string };
  readonly node: { readonly id: string; readonly name: string };
  readonly version: string;
  /** True until a steward has been set up. */
  readonly needsSetup: boolean;
  /**
   * This node was away: it stands on the state at merge `height`, which a quorum signed, and goes through the history up to there.
   * Until then it does not vote.
   */
  readonly catchingUp?: { readonly height: number };
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
      /** Why the town has suspended it. */
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
    /** What would have gone to members who left: a steward can grant it to others. */
    readonly suspense: number;
  };
  /** `heard`: connected just now, this node with them. */
  readonly validators: {
    readonly count: number;
    readonly quorum: number;
    readonly mayBeOff: number;
    readonly heard: number;
  };
  /** The other nodes of the charter, and how many of them are heard. */
  readonly peers: { readonly count: number; readonly connected: number };
  readonly next: NextMergeView;
  readonly startedAt: number;
}

/** How the next merge stands, and who is there for it. */
export interface NextMergeView {
  /**
   * `nothing` waits; it is `due` soon; it is `open`, being decided; `parked`: no quorum of the validators was heard for a minute, so that
   * nothing is done for it until enough are back; `diverged`: the town went on in a later epoch without what this node has merged.
   */
  readonly state: 'nothing' | 'due' | 'open' | 'parked' | 'diverged';
  readonly epoch: number;
  /** While it is open or parked: the round of voting, and since when (ms) no quorum is heard where it is parked. */
  readonly round: number | null;
  readonly parkedSince: number | null;
  /** Names of the other nodes that are connected. */
  readonly connected: readonly string[];
  /** Names of the validators that are not heard. */
  readonly away: readonly string[];
}

/** Who is asking: made by signing in; holds the unlocked key inside the node. */
export interface SessionView {
  readonly token: string;
  readonly member: string;
  readonly name: string;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly expiresAt: number;
}

export type { Recorded };

/** Live events, for server-sent events. */
export type TownEvent =
  | { readonly kind: 'door'; readonly event: DoorEventView }
  | { readonly kind: 'strike'; readonly door: string; readonly on: boolean; readonly at: number }
  | {
      readonly kind: 'enrol';
      readonly enrolment: string;
      readonly status: 'waiting' | 'read' | 'done' | 'expired' | 'failed';
      readonly person: string;
      readonly badge?: string;
      readonly message?: string;
    }
  | { readonly kind: 'entry'; readonly entry: EntryView }
  | { readonly kind: 'merge'; readonly merge: MergeView }
  /** Who is there, or who waits to be let in, has changed: ask `nodes.list` anew. At most one a second. */
  | { readonly kind: 'nodes' }
  /** Only for the member that it is for. */
  | { readonly kind: 'notice'; readonly member: string; readonly notice: NoticeView }
  | { readonly kind: 'status'; readonly status: StatusView };

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

export interface TownNode {
  /** The nodes of the town. */
  readonly nodes: NodeCases;
  /** Draft forks of this node. */
  readonly forks: ForkCases;
  /** Allowances and dues. */
  readonly money: MoneyCases;
  /** Suspending, reinstating and leaving. */
  readonly standing: StandingCases;
  /** Going on with other validators when too few are left. */
  readonly recovery: RecoveryCases;
  /** Sealed records of persons. */
  readonly recordCases: RecordCases;
  /** The town as one of its drafts sees it. @throws TownError `no-such-fork` */
  onLine(name: string): Promise<TownNode>;

  status(): StatusView;
  /** Calls back for each event until the returned function is called. */
  subscribe(listener: (event: TownEvent) => void): () => void;

  // Sessions. Tokens are 43 base64url characters; sessions end after 12 idle hours or by `signOut`.
  setup(input: {
    token: string;
    name: string;
    passphrase: string;
    doorName?: string | undefined;
  }): Promise<SessionView>;
  signIn(input: { name: string; passphrase: string }): Promise<SessionView>;
  /** `peek`: its idle time goes on. */
  session(token: string, peek?: boolean): SessionView | null;
  signOut(token: string): void;

  // People and badges (`s`: the session's token).
  people(s: string): Promise<readonly PersonView[]>;
  addPerson(
    s: string,
    input: { name: string; contact?: string | undefined },
  ): Promise<Recorded & { person: string }>;
  suspendPerson(s: string, person: string, reason: string): Promise<Recorded>;
  reinstatePerson(s: string, person: string): Promise<Recorded>;
  enrolBadge(
    s: string,
    input: {
      person: string;
      badgeNumber: string;
      doors?: readonly string[] | '*' | undefined;
      until?: number | undefined;
    },
  ): Promise<Recorded & { badge: string }>;
  /** The next unknown badge at this door within 60 s is enrolled for the person; progress comes as `enrol` events. */
  startEnrolment(
    s: string,
    input: { person: string; door: string; doors?: readonly string[] | '*' | undefined },
  ): Promise<{ enrolment: string; expiresAt: number }>;
  enrolment(s: string, enrolment: string): Promise<TownEvent & { kind: 'enrol' }>;
  cancelEnrolment(s: string, enrolment: string): void;
  revokeBadge(s: string, badge: string, reason: string): Promise<Recorded>;

  // Doors.
  doors(s: string): Promise<readonly DoorView[]>;
  addDoor(s: string, input: { id: string; name: string }): Promise<Recorded>;
  lockDown(s: string, door: string, on: boolean): Promise<Recorded>;
  /** Only at a simulated reader. Needs the permission `door.simulate`. */
  tap(s: string, door: string, badgeNumber: string): Promise<DoorEventView>;
  open(s: string, door: string): Promise<DoorEventView>;
  doorEvents(
    s: string,
    input: { door?: string | undefined; limit: number },
  ): Promise<readonly DoorEventView[]>;

  // Credit members.
  members(s: string): Promise<readonly MemberView[]>;
  inviteMember(
    s: string,
    input: { name: string; roles?: readonly string[] | undefined },
  ): Promise<{ code: string; link: string; expiresAt: number }>;
  /** Needs no session: the code is the right to join, once. */
  join(input: {
    code: string;
    name?: string | undefined;
    passphrase: string;
  }): Promise<SessionView & { entry: string }>;
  transfer(s: string, input: { to: string; amount: number; memo?: string | undefined }): Promise<Recorded>;
  /** Out of the vault, or out of what would have gone to members who left. */
  grant(
    s: string,
    input: { to: string; amount: number; reason: string; from?: 'suspense' | undefined },
  ): Promise<Recorded>;

  // Gigs.
  gigs(s: string): Promise<readonly GigView[]>;
  openGig(
    s: string,
    input: { title: string; description: string; price: number },
  ): Promise<Recorded & { gig: string }>;
  gigStep(
    s: string,
    gig: string,
    step: GigStep,
    input: { stars?: number | undefined; sharePercent?: number | undefined },
  ): Promise<Recorded>;

  /** Further keys of a member. */
  readonly keys: KeyCases;

  // What the signed-in member is told.
  notices(s: string, input: { limit: number }): Promise<NoticesView>;
  /** Those up to this id were read. Gives what is unread still. */
  readNotices(s: string, input: { upTo: number }): Promise<{ unread: number }>;

  // Charter.
  charter(): Promise<JsonObject>;
  changeCharter(s: string, input: { set: JsonObject; remove: readonly string[] }): Promise<Recorded>;

  // The ledger.
  log(s: string, input: { limit: number; before?: string | undefined }): Promise<Page<EntryView>>;
  merges(s: string, input: { limit: number; before?: number | undefined }): Promise<Page<MergeView>>;
  branches(s: string): Promise<readonly BranchView[]>;
  /** `limit`: of merges, at most 50. */
  graph(s: string, input: { limit: number }): Promise<LedgerGraph>;
  /** An entry or a merge, by its id or a unique start of it (8 characters at least). */
  show(s: string, id: string): Promise<Shown>;
  /** Asks for a merge of everything now; resolves when it is `main`. Null: there was nothing to merge. */
  mergeNow(s: string): Promise<MergeView | null>;
}
