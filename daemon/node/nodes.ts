/** The nodes of the town: who is there, letting one in, who makes merges, taking one out. Use cases of the power house. */
import { quorumOf } from '../consensus/quorum.js';
import { canonicalize } from '../ledger/canonical.js';
import { keyOfNode, type Charter } from '../ledger/charter.js';
import { hexOf } from '../ledger/hash.js';
import type { Json, JsonObject, Millis, NodeId } from '../ledger/ids.js';
import { isNodeId, TownError } from '../ledger/ids.js';
import { isSuspended } from '../ledger/kernel-evidence.js';
import { readCharter } from '../ledger/kernel.js';
import { readJson } from '../ledger/state.js';
import type { Store } from '../store/store.js';
import { BROKERS_MAX, invitationCode, invitationLink, type Invitation } from '../sync/invitation.js';
import { qrLines, qrSvg } from '../sync/invitation-qr.js';
import type { Asker, HostedInvitation } from '../sync/joining-host.js';
import type { PeerView } from '../sync/sync-state.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import { withCosigners } from './cosigners.js';
import { doorIdOf } from './door-id.js';
import type { KeyStore, NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import type { NodeCases, NodeInvited, NodesView } from './node-cases.js';
import { isAdmitted, type NodeInvitations } from './node-invitations.js';
import { countHeard, invitationView, nodeViews, stateOf, validatorsView } from './node-overview.js';
import { recorded } from './people.js';
import { readmissionBody } from './readmission.js';
import type { Session, Sessions } from './sessions.js';
import type { Recorded } from './use-cases.js';
import type { View } from './view.js';

/** What the nodes' use cases ask of the network. */
export interface Peers {
  /** Every other node whose messages count. `heardAt`: milliseconds of the clock. */
  views(): readonly PeerView[];
  broker(): NodesView['broker'];
  /** The broker's address as an invited node dials it, with the name and password that it asks for; null: there is none. */
  brokerAddress(): string | null;
  /** Those of the further brokers. */
  otherBrokerAddresses?(): readonly string[];
  refusals(): NodesView['refused'];
  /** Resolves when this node has all that those connected have, at the latest after a minute. */
  syncNow(): Promise<void>;
}

export interface NodesParts {
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly sessions: Sessions;
  readonly invitations: NodeInvitations;
  readonly peers: Peers;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Resolves when the view holds what is not merged. @throws TownError `starting` */
  readonly settled: () => Promise<unknown>;
  /** Who is there, or who waits, has changed. */
  readonly changed: () => void;
}

export const INVITED_HOURS = 24;
export const INVITED_HOURS_MAX = 168;
const HOUR_MS = 3_600_000;
const BRANCHES_MAX = 1000;
/** A node that lacks more merges than this is too far behind to vote. */
const BEHIND_MERGES_MAX = 2;
const CHANGE = 'charter.change';
const ADD_DOOR = 'door-access.add-door';

export class Nodes implements NodeCases {
  /** Approvals that are under way, by invitation. */
  private readonly approving = new Map<string, Promise<unknown>>();

  constructor(private readonly parts: NodesParts) {}

  // What is shown --------------------------------------------------------------------------------------------------------

  list(s: string): NodesView {
    const { sessions, peers, invitations, store, main, keys, clock } = this.parts;
    const session = sessions.need(s);
    const views = peers.views();
    const [wanted, now] = [this.wanted(), clock.now()];
    return {
      nodes: nodeViews({
        ...{ merged: main.charter, wanted, views, now },
        isSuspended: (id) => isSuspended(main.state, id),
        self: keys.id,
        height: main.head.height,
      }),
      validators: validatorsView(main.charter, views, keys.id),
      broker: peers.broker(),
      pending: { entries: store.pendingCount(), blocks: store.countUnmerged(MAIN) },
      refused: [...peers.refusals(), ...invitations.refusals()],
      invitations: sessions.may(session, CHANGE)
        ? invitations.records().map((record) => invitationView(record, wanted, now))
        : null,
    };
  }

  /** The charter with what was asked for and is not merged yet. */
  private wanted(): Charter {
    return readCharter(this.parts.view.state);
  }

  // Letting in -----------------------------------------------------------------------------------------------------------

  async invite(
    s: string,
    input: {
      role: 'door' | 'hub';
      brokers?: readonly string[] | undefined;
      hours?: number | undefined;
    },
  ): Promise<NodeInvited> {
    const { invitations, main, keys, clock, random } = this.parts;
    await this.steward(s);
    const hours = input.hours ?? INVITED_HOURS;
    if (!Number.isInteger(hours) || hours < 1 || hours > INVITED_HOURS_MAX)
      throw new TownError('bad-hours', `An invitation is good for 1 to ${INVITED_HOURS_MAX} hours.`);
    if (input.role === 'door' && keys.badgeKey === null)
      throw new TownError(
        'no-badge-key',
        'This node is a hub: it has no badge key to give to a node with a door.',
        'Invite it from a node with a door, or invite a hub.',
      );
    const { height, id } = main.head;
    const invitation: Invitation = {
      v: 1,
      town: main.town,
      name: main.charter.name,
      host: keys.id,
      brokers: input.brokers?.length ? [...input.brokers] : this.ownBrokers(),
      checkpoint: { height, id },
      id: hexOf(random(8)),
      secret: Buffer.from(random(32)).toString('base64url'),
      expires: (clock.now() + hours * HOUR_MS) as Millis,
      role: input.role,
    };
    // Before it is kept: a code that cannot be made is an invitation that nobody can use.
    const code = invitationCode(invitation);
    await invitations.invite(invitation);
    this.parts.changed();
    return {
      id: invitation.id,
      code,
      link: invitationLink(code),
      qr: { svg: qrSvg(code), lines: qrLines(code) },
      expiresAt: invitation.expires,
    };
  }

  private ownBrokers(): readonly string[] {
    const { peers } = this.parts;
    const address = peers.brokerAddress();
    if (address !== null) return [address, ...(peers.otherBrokerAddresses?.() ?? [])].slice(0, BROKERS_MAX);
    throw new TownError(
      'no-broker',
      'This node meets no others: there is no broker for a new one to dial.',
      'Name one with --broker, such as mqtt://192.168.1.10:1883.',
    );
  }

  async withdraw(s: string, invitation: string): Promise<void> {
    await this.steward(s);
    this.assertNotApproved(invitation);
    await this.parts.invitations.withdraw(invitation);
    this.parts.changed();
  }

  async refuse(s: string, invitation: string, reason: string): Promise<void> {
    await this.steward(s);
    this.assertNotApproved(invitation);
    await this.parts.invitations.refuse(
      invitation,
      'turned-away',
      reason.trim() || 'A steward turned this node away.',
    );
    this.parts.changed();
  }

  private assertNotApproved(invitation: string): void {
    if (
      stateOf(this.parts.invitations.record(invitation), this.wanted(), this.parts.clock.now()) === 'approved'
    )
      throw new TownError(
        'already-approved',
        'A steward has let this node in; the change of the charter waits for its merge.',
        'Take the node out again: town node remove',
      );
  }

  async approve(s: string, input: { invitation: string; node: string }): Promise<Recorded> {
    const session = await this.steward(s);
    const { id } = this.parts.invitations.record(input.invitation).invitation;
    // One after the other: a second click, or a second steward, finds what the first has done.
    const before = this.approving.get(id) ?? Promise.resolve();
    const approval = before.catch(() => undefined).then(() => this.approveAs(session, input));
    this.approving.set(id, approval);
    try {
      return await approval;
    } finally {
      if (this.approving.get(id) === approval) this.approving.delete(id);
    }
  }

  private async approveAs(session: Session, input: { invitation: string; node: string }): Promise<Recorded> {
    const { invitations, appender } = this.parts;
    const record = invitations.record(input.invitation);
    const { role } = record.invitation;
    const addDoor = (door: JsonObject): Promise<Recorded> =>
      appender.claim(ADD_DOOR, door, session).then(recorded);
    if (record.asker?.node === input.node && isAdmitted(this.wanted(), record)) {
      // What an approval that was interrupted has left to do, even if the node is at work by now.
      const door = this.doorFor(role, record.asker, session);
      if (door !== null) return addDoor(door);
      if (record.answer.status !== 'waiting')
        throw new TownError(
          'already-approved',
          `The node ${input.node} was let in: it has its keys already.`,
        );
      throw new TownError(
        'already-approved',
        `The node ${input.node} is let in already; it gets its keys with the next merge.`,
        'Ask for one now: town merge',
      );
    }
    const asker = this.askerOf(record, input.node);
    const door = this.doorFor(role, asker, session);
    const { name, key, sealing, node } = asker;
    const set = { [`/nodes/${node}`]: { name, key, sealing, roles: [role] } };
    const change = recorded(await appender.claim(CHANGE, { set, remove: [] }, session));
    this.parts.changed();
    if (door !== null)
      await addDoor(door).catch((error: unknown) => {
        if (!(error instanceof TownError)) throw error;
        throw new TownError(
          error.code,
          `The node ${node} is let in, but its first door could not be added: ${error.message}`,
          `Approve it once more: town node approve ${node}`,
        );
      });
    return change;
  }

  /** The node that waits with the invitation. @throws TownError `nobody-waits`, `already-answered`, `other-asker`, `known-node` */
  private askerOf(record: HostedInvitation, node: string): Asker {
    const { invitation, asker, answer } = record;
    if (!asker) throw new TownError('nobody-waits', `No node has shown the invitation ${invitation.id} yet.`);
    if (answer.status !== 'waiting')
      throw new TownError(
        'already-answered',
        `The invitation ${invitation.id} is answered already: ${answer.status}.`,
      );
    if (asker.node !== node)
      throw new TownError(
        'other-asker',
        `The node that waits with the invitation ${invitation.id} is ${asker.node}, another than the one approved.`,
        'Compare the ids of the nodes on both screens.',
      );
    // From the start of its branch it would sign numbers a second time.
    if (this.parts.invitations.isKnown(record))
      throw new TownError(
        'known-node',
        `The node ${asker.node} has written in this town before: its key cannot begin anew.`,
        'Let it join with an empty data folder, so that it makes a new key.',
      );
    return asker;
  }

  /** The body that adds the first door of a node that waits; null where none is to be added. */
  private doorFor(role: 'door' | 'hub', { name, node }: Asker, session: Session): JsonObject | null {
    const { view, sessions } = this.parts;
    const hasDoors = this.wanted().dapps.some((dapp) => dapp.name === 'door-access' && dapp.enabled);
    if (role !== 'door' || !hasDoors) return null;
    const door = doorIdOf(name, node);
    const known = readJson<{ node: string }>(view.state, 'door-access', 'doors', door);
    if (known?.node === node) return null;
    if (known)
      throw new TownError(
        'door-exists',
        `There is a door "${door}" of another node already.`,
        'Give the new node another name, and let it ask again with a new invitation.',
      );
    if (!sessions.may(session, ADD_DOOR))
      throw new TownError(
        'not-allowed',
        `The charter does not allow "${ADD_DOOR}" to you.`,
        'Ask a steward.',
      );
    return { door, name, node };
  }

  // Who makes merges -----------------------------------------------------------------------------------------------------

  async setValidator(
    s: string,
    input: { node: string; validator: boolean; anyway?: boolean | undefined },
  ): Promise<Recorded> {
    const session = await this.steward(s);
    const { main } = this.parts;
    const { validators } = this.knownNode(input.node);
    if (canonicalize(validators) !== canonicalize(main.charter.validators))
      throw new TownError(
        'validators-changing',
        'The validators change one at a time, and a change of them waits for its merge.',
        'Wait for that merge, or ask for it now: town merge',
      );
    const next = input.validator ? this.with(validators, input.node) : this.without(validators, input.node);
    if (input.anyway !== true) this.assertHeard(input, next);
    return this.change(session, { set: { '/validators': next as Json[] }, remove: [] });
  }

  private with(validators: readonly string[], node: string): readonly string[] {
    if (validators.includes(node))
      throw new TownError('already-validator', `The node ${node} is a validator already.`);
    return [...validators, node];
  }

  private without(validators: readonly string[], node: string): readonly string[] {
    if (!validators.includes(node)) throw new TownError('no-validator', `The node ${node} is no validator.`);
    if (validators.length === 1)
      throw new TownError(
        'last-validator',
        'Without this validator nobody could make a merge any more.',
        'Make another node a validator first.',
      );
    return validators.filter((id) => id !== node);
  }

  /** @throws TownError `node-not-heard`, `node-behind`, `too-few-heard` where the next merges would not come about */
  private assertHeard(input: { node: string; validator: boolean }, next: readonly string[]): void {
    const { peers, main, keys } = this.parts;
    const views = peers.views();
    const anyway = 'Wait until it is connected, or say that you want it anyway.';
    if (input.validator && input.node !== keys.id) {
      const peer = views.find(({ node }) => node === input.node);
      if (!peer?.connected)
        throw new TownError('node-not-heard', `The node ${input.node} is not connected.`, anyway);
      const { merges } = peer.behind;
      if (merges > BEHIND_MERGES_MAX)
        throw new TownError('node-behind', `The node ${input.node} lacks ${merges} merges.`, anyway);
    }
    const quorum = quorumOf(next.length, main.charter.quorum);
    const heard = countHeard(next, views, keys.id);
    if (heard < quorum)
      throw new TownError(
        'too-few-heard',
        `Of the ${next.length} validators ${quorum} must sign a merge then, and ${heard} are connected.`,
        'Wait until more are connected, or say that you want it anyway.',
      );
    // The change itself is merged by the validators that there are.
    const { validators } = main.charter;
    const needed = quorumOf(validators.length, main.charter.quorum);
    const here = countHeard(validators, views, keys.id);
    if (!input.validator && here < needed)
      throw new TownError(
        'too-few-heard',
        `The change is itself merged only when ${needed} of the ${validators.length} validators sign it, and ${here} ${here === 1 ? 'is' : 'are'} connected. Where so many are lost for good, nothing is merged any more: going on without them is not possible yet.`,
        'Bring them back, if need be with a copy of their data. What you insist on waits until then.',
      );
  }

  async remove(s: string, node: string): Promise<Recorded> {
    const session = await this.steward(s);
    const { keys, main } = this.parts;
    const { validators } = this.knownNode(node);
    if (node === keys.id)
      throw new TownError(
        'own-node',
        'A node cannot take out itself: it could not tell anybody any more.',
        'Do it at another node of the town.',
      );
    if (validators.includes(node) || main.charter.validators.includes(node))
      throw new TownError(
        'still-validator',
        `The node ${node} is a validator.`,
        'Take that back first, and wait for the merge.',
      );
    // What waits of a suspended node would wait for ever in any case.
    const waiting = isSuspended(main.state, node) ? 0 : this.unmergedOf(node);
    if (waiting > 0)
      throw new TownError(
        'still-unmerged',
        `${waiting === 1 ? '1 block' : `${waiting} blocks`} of the node ${node} wait${waiting === 1 ? 's' : ''} for a merge: once it is out, what is in there would wait for ever.`,
        'Merge first: town merge. Then remove it, while it is off or has nothing new.',
      );
    return this.change(session, { set: {}, remove: [`/nodes/${node}`] });
  }

  async readmit(
    s: string,
    node: string,
    { from, cosigners = [] }: Parameters<NodeCases['readmit']>[2],
  ): Promise<Recorded> {
    const session = await this.steward(s);
    const { store, main, appender, keyStore } = this.parts;
    this.knownNode(node);
    const body = await readmissionBody(store, main, node as NodeId, from);
    const entry = await withCosigners(keyStore, cosigners, (signers) =>
      appender.claim('node.readmit', body, session, signers),
    );
    this.parts.changed();
    return recorded(entry);
  }

  private unmergedOf(node: string): number {
    const branch = this.parts.store
      .branches(BRANCHES_MAX)
      .find((each) => each.node === node && each.line === MAIN);
    return branch?.unmergedBlocks ?? 0;
  }

  // Sync -----------------------------------------------------------------------------------------------------------------

  async sync(s: string): Promise<NodesView> {
    this.parts.sessions.need(s);
    await this.parts.peers.syncNow();
    return this.list(s);
  }

  // --------------------------------------------------------------------------------------------------------------------

  /** The session of who may change the charter, once the view is whole. @throws TownError `signed-out`, `not-allowed`, `starting` */
  private async steward(s: string): Promise<Session> {
    await this.parts.settled();
    return this.parts.sessions.needPermission(s, CHANGE);
  }

  /** The wanted charter, if it has the node. @throws TownError `no-such-node` */
  private knownNode(node: string): Charter {
    const charter = this.wanted();
    if (isNodeId(node) && keyOfNode(charter, node as NodeId)) return charter;
    throw new TownError('no-such-node', `There is no node ${node.slice(0, 16)}.`, 'See them: town node list');
  }

  private async change(
    session: Session,
    body: { set: JsonObject; remove: readonly string[] },
  ): Promise<Recorded> {
    const entry = await this.parts.appender.claim(CHANGE, body, session);
    this.parts.changed();
    return recorded(entry);
  }
}
