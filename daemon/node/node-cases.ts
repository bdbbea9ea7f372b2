/**
 * What people do with the nodes of a town, and what they are shown: who is there, who waits to be let in, who merges.
 * The use cases of the power house. Every method may throw a `TownError`.
 */
import type { Cosigner } from './fork-cases.js';
import type { Recorded } from './recorded.js';

/** How many blocks and merges one side has and the other has not. */
export interface Distance {
  readonly blocks: number;
  readonly merges: number;
}

export interface NodeView {
  readonly id: string;
  readonly name: string;
  /** `door`: it may tell badges apart; `hub`: it may not. */
  readonly roles: readonly string[];
  /** The node that is asked. */
  readonly self: boolean;
  readonly validator: boolean;
  /** It signed two things for one place: its entries are merged no more, until stewards readmit it. */
  readonly suspended?: true;
  /** Heard lately, by this node. Always true of itself. */
  readonly connected: boolean;
  /** When its heads were heard last: milliseconds; null: never since this node's start. */
  readonly heardAt: number | null;
  /** Its last merge; null where it was never heard. */
  readonly height: number | null;
  /** What it has and this node has not, and the other way round. */
  readonly ahead: Distance;
  readonly behind: Distance;
  /** How many things are being fetched from it just now. */
  readonly fetching: number;
  /** `pending` while the charter change that names it is not merged yet. */
  readonly state: 'pending' | 'merged';
}

/**
 * `open`: nobody has shown it; `asked`: a node waits for a steward; `approved`: the change of the charter waits for its
 * merge; `welcomed`: the node has what it needs; the others are the end.
 */
export type NodeInvitationState =
  'open' | 'asked' | 'approved' | 'welcomed' | 'refused' | 'withdrawn' | 'expired';

export interface NodeInvitationView {
  /** 16 hex digits. */
  readonly id: string;
  readonly role: 'door' | 'hub';
  readonly expiresAt: number;
  readonly state: NodeInvitationState;
  /** The node that has shown it first. */
  readonly asker: { readonly node: string; readonly name: string; readonly askedAt: number } | null;
}

/** A broker, as this node sees it. */
export interface BrokerView {
  readonly url: string | null;
  readonly connected: boolean;
  /** Why it is not connected, in words for people; null while it is, or where that is not known (yet). */
  readonly error: string | null;
}

export interface NodesView {
  readonly nodes: readonly NodeView[];
  readonly validators: {
    readonly count: number;
    readonly quorum: number;
    readonly mayBeOff: number;
    /** Connected just now, this node with them. */
    readonly heard: number;
  };
  /** `url` null: this node meets no others. */
  readonly broker: BrokerView & {
    /** Whether this node runs it. */
    readonly embedded: boolean;
    /** The further ones that this node is at, the best first. */
    readonly others?: readonly BrokerView[];
  };
  /** Not merged yet, of all branches that are here. */
  readonly pending: { readonly entries: number; readonly blocks: number };
  /** Messages that were not taken, by reason, since the start. */
  readonly refused: readonly {
    readonly code: string;
    readonly reason: string;
    readonly count: number;
    readonly at: number;
  }[];
  /** Null for who may not see them (`charter.change`). */
  readonly invitations: readonly NodeInvitationView[] | null;
}

export interface NodeInvited {
  readonly id: string;
  readonly code: string;
  readonly link: string;
  /** The link as a QR code: an SVG document, and lines for a terminal. */
  readonly qr: { readonly svg: string; readonly lines: readonly string[] };
  readonly expiresAt: number;
}

export interface NodeCases {
  list(s: string): NodesView;
  /**
   * Needs `charter.change`. `brokers`: the addresses that the new node shall dial, the best first; without them the one this
   * node is at. `hours`: 1 to 168, without it 24.
   */
  invite(
    s: string,
    input: {
      role: 'door' | 'hub';
      brokers?: readonly string[] | undefined;
      hours?: number | undefined;
    },
  ): Promise<NodeInvited>;
  /** Takes back an invitation that nobody was let in with. */
  withdraw(s: string, invitation: string): Promise<void>;
  /** Turns away the node that waits with it. */
  refuse(s: string, invitation: string, reason: string): Promise<void>;
  /**
   * Lets in the node that waits with the invitation: `node` is its id, as the steward saw it on its screen. Records the change of
   * the charter (and the new node's first door); once that is merged the node gets the town's keys. Called again it adds the door
   * that is still missing, if one is. @throws TownError `already-approved`, `other-asker`, `nobody-waits`
   */
  approve(s: string, input: { invitation: string; node: string }): Promise<Recorded>;
  /**
   * Makes a node a validator or takes that back, one at a time. `anyway`: also one that is not heard or far behind.
   * @throws TownError `node-not-heard`, `node-behind`, `last-validator`
   */
  setValidator(
    s: string,
    input: { node: string; validator: boolean; anyway?: boolean | undefined },
  ): Promise<Recorded>;
  /**
   * Takes a node out of the charter: nothing of it is taken any more. It still knows the keys that it was given.
   * @throws TownError `still-validator`, `still-unmerged` (blocks of it that are here wait for a merge), `own-node`
   */
  remove(s: string, node: string): Promise<Recorded>;
  /**
   * Readmits a suspended node. `from`: the block (a start of its id) after which its branch goes on; without it what is merged.
   * @throws TownError `not-suspended`, `no-such-block`, `wrong-passphrase`
   */
  readmit(
    s: string,
    node: string,
    input: { from?: string | undefined; cosigners?: readonly Cosigner[] | undefined },
  ): Promise<Recorded>;
  /** Tells and asks the others now; resolves when this node has all that those connected have, at the latest after a minute. */
  sync(s: string): Promise<NodesView>;
}
