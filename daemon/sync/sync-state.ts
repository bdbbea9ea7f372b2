/** What a node knows of its peers and of what it fetches from them, as a value. What follows from it is in peer-sync.ts. */
import { isSha256, type NodeId, type Sha256 } from '../ledger/ids.js';
import type { Branch, HeadsBody, Tip, WantBody } from './bodies.js';

/** Heads are told again after this long, whatever happens; and not twice within the gap. */
export const HEADS_EVERY_MS = 60_000;
export const HEADS_GAP_MS = 100;
/** A peer that is silent for so long counts as gone. */
export const SILENT_MS_MAX = 150_000;
/** How long an answer may take, and how long what came may wait without any progress here. */
export const ANSWER_MS = 10_000;
export const ADMIT_MS = 60_000;
/** How long an answer may take once its sender is gone: it may be on its way. */
export const GONE_MS = 1_000;
/** After a failure the same peer is not asked for the same for so long, doubling. */
export const BACK_OFF_MS_MIN = 2_000;
export const BACK_OFF_MS_MAX = 60_000;
/** Answers that one peer may have in the making; and how long until one that was not reported as sent is forgotten. */
export const ANSWERS_MAX = 16;
export const ANSWERING_MS = 30_000;

/** A block that a proven merge folds in and that is not here is asked for by its id: so long after that was found, */
export const SEEK_AFTER_MS = 5_000;
/** or so long, while branches are being fetched: it may come with them. */
export const SEEK_LATE_MS = 30_000;
/** Blocks that are asked for by their ids at one time. */
export const SEEK_AT_ONCE = 4;

/**
 * What is fetched: a branch, the merges, the blocks up to one that is sought, or what a state ahead of the history takes. One want for
 * each at a time.
 */
export type Item = Branch | 'merges' | 'state' | Sha256;

/** Whether an item is a block that is sought. */
export const isHead = (item: Item): item is Sha256 => isSha256(item);

/** A block that a quorum stands behind, and that is not here: its branch may be told by nobody, or be another one here. */
export interface Sought {
  /** Milliseconds. */
  readonly since: number;
  /** Who voted for what it stands in: they have it. */
  readonly holders: ReadonlySet<NodeId>;
  /** The last number of what was collected of the blocks before it, and of whom; 0 and null: nothing. */
  readonly upTo: number;
  readonly of: NodeId | null;
}

/** What is fetched next so that the node is of use before the history is here. */
export interface Ahead {
  readonly body: WantBody;
  /** Who is so high has it. */
  readonly height: number;
  /** Counted up with every answer that was of use. */
  readonly step: number;
}

/** A branch of a draft that the town adopted. */
export interface Draft {
  /** Its last block that is wanted. */
  readonly seq: number;
  /** All of it is merged: it is told to nobody any more, and fetched only by who comes late. */
  readonly done: boolean;
}

export interface Peer {
  readonly heads: HeadsBody;
  /** Milliseconds. */
  readonly heardAt: number;
  /** False once it was told to be gone, until it is heard again. */
  readonly present: boolean;
}

export interface Want {
  readonly peer: NodeId;
  readonly body: WantBody;
  /** The last number that was held of the item when it was asked for. */
  readonly had: number;
  /** `asked`: no answer yet; `admitting`: it is being checked, or waits in quarantine. */
  readonly phase: 'asked' | 'admitting';
  readonly deadline: number;
  /** While it is admitted: the highest block that came of the branch, and whether those after it may be asked for. */
  readonly cameTo: number;
  readonly mayFollow: boolean;
}

export const NOTHING_CAME: Pick<Want, 'cameTo' | 'mayFollow'> = { cameTo: 0, mayFollow: false };

/** The blocks after those that are being checked, asked of the same peer so that they are on their way meanwhile. */
export type Following = Pick<Want, 'peer' | 'body' | 'deadline'>;

export interface Failure {
  readonly count: number;
  readonly until: number;
  /** The peer's branch leaves ours: ask from our last block on, which its other block contradicts. */
  readonly overlap: boolean;
}

export interface SyncState {
  readonly self: NodeId;
  /** The nodes of the charter. */
  readonly nodes: ReadonlySet<NodeId>;
  readonly height: number;
  readonly main: Sha256;
  /** What is held here, by branch; the own one too. */
  readonly tips: ReadonlyMap<Branch, Tip>;
  /** Branches of drafts that the town adopted. */
  readonly drafts: ReadonlyMap<Branch, Draft>;

  readonly online: boolean;
  /** When the heads were told last; null: not since the connection. */
  readonly publishedAt: number | null;
  /** Whether something changed since. */
  readonly changed: boolean;

  readonly peers: ReadonlyMap<NodeId, Peer>;
  readonly wants: ReadonlyMap<Item, Want>;
  /** One at most for each branch that is being admitted. */
  readonly following: ReadonlyMap<Item, Following>;
  /** By `failureKey`. */
  readonly failures: ReadonlyMap<string, Failure>;
  /** Until when an answer counts as being made, by peer and item. */
  readonly answering: ReadonlyMap<string, number>;
  /** Branches of nodes that signed two blocks for one number: nothing more of them is fetched. */
  readonly frozen: ReadonlySet<Branch>;
  /** By block. Until the next merge is `main`. */
  readonly sought: ReadonlyMap<Sha256, Sought>;
  /** Null: nothing is wanted. */
  readonly ahead: Ahead | null;
  /** Contradictions that were told. */
  readonly told: ReadonlySet<string>;
}

/** The last number that is held of an item. */
export function reachedOf(state: SyncState, item: Item): number {
  if (item === 'merges') return state.height;
  if (item === 'state') return state.ahead?.step ?? Infinity;
  if (isHead(item)) return state.sought.get(item)?.upTo ?? 0;
  return state.tips.get(item)?.seq ?? 0;
}

export const failureKey = (item: Item, peer: NodeId): string => `${item} ${peer}`;

/** Whether a peer can be asked: heard not too long ago, and not gone since. */
export function isConnected(state: SyncState, node: NodeId, now: number): boolean {
  const peer = state.peers.get(node);
  return state.online && peer !== undefined && peer.present && now - peer.heardAt < SILENT_MS_MAX;
}

/** The highest `main` that somebody who can be asked for a state says it has; 0: nobody. */
export function highestAhead(state: SyncState, now: number): number {
  const heights = [...state.peers]
    .filter(([node]) => state.nodes.has(node) && isConnected(state, node, now))
    .filter(([node]) => (state.failures.get(failureKey('state', node))?.until ?? 0) <= now)
    .map(([, { heads }]) => heads.height);
  return Math.max(0, ...heights);
}

/** How a peer stands, for people. */
export interface PeerView {
  readonly node: NodeId;
  readonly connected: boolean;
  /** When its heads came last; null: never. */
  readonly heardAt: number | null;
  /** Its last merge; null where it was never heard. */
  readonly height: number | null;
  /** Blocks and merges that it has and this node has not, and the other way round. */
  readonly ahead: { readonly blocks: number; readonly merges: number };
  readonly behind: { readonly blocks: number; readonly merges: number };
  /** How many things are being fetched from it. */
  readonly fetching: number;
}

/** Every node of the charter but the own, by id. */
export function peerViews(state: SyncState, now: number): readonly PeerView[] {
  return [...state.nodes]
    .filter((node) => node !== state.self)
    .sort()
    .map((node) => {
      const peer = state.peers.get(node);
      const fetching = [...state.wants.values()].filter((want) => want.peer === node).length;
      const connected = isConnected(state, node, now);
      const none = { blocks: 0, merges: 0 };
      if (peer === undefined)
        return { node, connected, heardAt: null, height: null, ahead: none, behind: none, fetching };
      const { heads, heardAt } = peer;
      const ahead = { blocks: 0, merges: Math.max(0, heads.height - state.height) };
      const behind = { blocks: 0, merges: Math.max(0, state.height - heads.height) };
      for (const branch of new Set([...state.tips.keys(), ...(Object.keys(heads.tips) as Branch[])])) {
        if (state.drafts.get(branch)?.done) continue;
        const difference = (heads.tips[branch]?.seq ?? 0) - (state.tips.get(branch)?.seq ?? 0);
        if (difference > 0) ahead.blocks += difference;
        else behind.blocks -= difference;
      }
      return { node, connected, heardAt, height: heads.height, ahead, behind, fetching };
    });
}

/**
 * The prefixes that a quorum of validators says it holds and that are held here: the last number of each branch. A claim that
 * contradicts the block held here counts for nothing.
 */
export function heldByQuorum(
  state: SyncState,
  validators: readonly NodeId[],
  quorum: number,
): ReadonlyMap<Branch, number> {
  const held = new Map<Branch, number>();
  for (const [branch, own] of state.tips) {
    const claims = validators
      .map((node) => {
        const claim = node === state.self ? own : state.peers.get(node)?.heads.tips[branch];
        if (claim === undefined || (claim.seq === own.seq && claim.head !== own.head)) return 0;
        return Math.min(claim.seq, own.seq);
      })
      .sort((a, b) => b - a);
    const seq = claims[quorum - 1] ?? 0;
    if (seq > 0) held.set(branch, seq);
  }
  return held;
}
