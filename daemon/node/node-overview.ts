/** How the nodes of a town and the invitations for further ones are shown to people. Pure. */
import { mayBeOff, quorumOf } from '../consensus/quorum.js';
import { canonicalize } from '../ledger/canonical.js';
import type { Charter } from '../ledger/charter.js';
import type { HostedInvitation } from '../sync/joining-host.js';
import type { PeerView } from '../sync/sync-state.js';
import type { NodeInvitationState, NodeInvitationView, NodesView, NodeView } from './node-cases.js';
import { isAdmitted } from './node-invitations.js';

const NOTHING = { blocks: 0, merges: 0 } as const;

/** What the list of nodes is made of. */
export interface NodesSeen {
  readonly merged: Charter;
  /** With what was asked for and is not merged yet. */
  readonly wanted: Charter;
  readonly views: readonly PeerView[];
  readonly isSuspended: (node: string) => boolean;
  /** The node that is asked, and its height. */
  readonly self: string;
  readonly height: number;
  readonly now: number;
}

/** Every node that is in either charter, by id. */
export function nodeViews({
  merged,
  wanted,
  views,
  isSuspended,
  self: own,
  height,
  now,
}: NodesSeen): readonly NodeView[] {
  const peers = new Map<string, PeerView>(views.map((view) => [view.node, view]));
  const ids = new Set([...Object.keys(merged.nodes), ...Object.keys(wanted.nodes)]);
  return [...ids].sort().flatMap((id) => {
    const node = wanted.nodes[id] ?? merged.nodes[id];
    if (!node) return [];
    const self = id === own;
    const peer = peers.get(id);
    return {
      id,
      name: node.name,
      roles: node.roles,
      self,
      validator: wanted.validators.includes(id),
      ...(isSuspended(id) ? { suspended: true as const } : {}),
      connected: self || (peer?.connected ?? false),
      heardAt: self ? now : (peer?.heardAt ?? null),
      height: self ? height : (peer?.height ?? null),
      ahead: peer?.ahead ?? NOTHING,
      behind: peer?.behind ?? NOTHING,
      fetching: peer?.fetching ?? 0,
      state: placeOf(merged, id) === placeOf(wanted, id) ? ('merged' as const) : ('pending' as const),
    };
  });
}

/** All that a charter says of a node, to compare. */
const placeOf = ({ nodes, validators }: Charter, id: string): string =>
  canonicalize([nodes[id] ?? null, validators.includes(id)]);

export function validatorsView(
  { validators, quorum }: Charter,
  views: readonly PeerView[],
  self: string,
): NodesView['validators'] {
  const count = validators.length;
  return {
    count,
    quorum: quorumOf(count, quorum),
    mayBeOff: mayBeOff(count, quorum),
    heard: countHeard(validators, views, self),
  };
}

/** How many of these nodes are connected, the own one with them. */
export function countHeard(nodes: readonly string[], views: readonly PeerView[], self: string): number {
  const heard = new Set<string>(views.filter(({ connected }) => connected).map(({ node }) => node));
  heard.add(self);
  return nodes.filter((id) => heard.has(id)).length;
}

export function invitationView(record: HostedInvitation, wanted: Charter, now: number): NodeInvitationView {
  const { invitation, asker } = record;
  const { id, role, expires } = invitation;
  return {
    id,
    role,
    expiresAt: expires,
    state: stateOf(record, wanted, now),
    asker: asker ? { node: asker.node, name: asker.name, askedAt: asker.askedAt } : null,
  };
}

/** @param wanted the charter with what is not merged yet */
export function stateOf(record: HostedInvitation, wanted: Charter, now: number): NodeInvitationState {
  const { invitation, asker, answer } = record;
  if (answer.status === 'welcome') return 'welcomed';
  if (answer.status === 'refused') return answer.code === 'invitation-withdrawn' ? 'withdrawn' : 'refused';
  if (asker) return isAdmitted(wanted, record) ? 'approved' : 'asked';
  return now >= invitation.expires ? 'expired' : 'open';
}
