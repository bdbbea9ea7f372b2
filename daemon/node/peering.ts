/**
 * This node among its peers: carries out what the sync machine asks for over a transport, puts what came through quarantine into
 * the ledger, brings the validators' messages to where they are judged. What must arrive is in SQLite (blocks, merges, votes) and
 * is told and asked for anew until it has; nothing that is on its way is kept here.
 */
import type { Message as ConsensusMessage } from '../consensus/gossip.js';
import { quorumOf } from '../consensus/quorum.js';
import { keyOfNode } from '../ledger/charter.js';
import type { EntryId, JsonObject, KeyId, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readmittedNodes } from '../ledger/kernel-evidence.js';
import type { MergeRow } from '../store/rows.js';
import {
  branchOf,
  placeOf,
  readHave,
  readHeads,
  readWant,
  type HaveBody,
  type Branch,
  type Tip,
} from '../sync/bodies.js';
import { joinAskFilter, readJoinTopic } from '../sync/joining.js';
import {
  headsTopic,
  Inbox,
  ReplayGuard,
  topicParts,
  topicsFor,
  type Delivery,
  type Message,
} from '../sync/message.js';
import { nextDue, startSync, step, type Input } from '../sync/peer-sync.js';
import type { Output } from '../sync/sync-output.js';
import { heldByQuorum, isConnected, peerViews, type PeerView, type SyncState } from '../sync/sync-state.js';
import type { Transport, TransportEvents } from '../sync/transport.js';
import { draftsOf, draftTips } from './adopted-drafts.js';
import type { MadeBlock } from './blocks.js';
import type { Clock } from './clock.js';
import type { PeeringStore } from './core-store.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import type { Merger } from './merger.js';
import { Offers } from './offers.js';
import { PeerAnswers } from './peer-answers.js';
import type { PeerBlocks } from './peer-blocks.js';
import { PeerIntake, type PeerIntakeParts } from './peer-intake.js';
import { PeerSender } from './peer-sender.js';
import { missingHeads } from './sought-blocks.js';
import { readWelcomed, type Welcomed } from './welcomed.js';

const BRANCHES_MAX = 1000;
/** A retained head of ours that somebody took back is published again, not more often than this. */
const REPUBLISH_MS_MIN = 1_000;
/** What the others may have missed is sent to those who come back at most so often. */
const GOSSIP_GAP_MS = 500;
/** Heads of nodes that are not in the charter yet. */
const EARLY_MAX = 16;
const EARLY_BYTES_MAX = 16 * 1024;
/** What is refused of a merge only once its certificate holds: a quorum signed what does not hold here, and people have to look. */
const UNSOUND = new Set([
  'checkpoint-differs',
  'content-differs',
  'bad-merge',
  'bad-commit',
  'bad-signature',
]);
const SYNC_WAIT_MS = 60_000;
const SYNC_LOOK_MS = 50;

export interface PeeringParts {
  readonly store: PeeringStore;
  readonly main: MainLine;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  readonly merger: Merger;
  readonly peerBlocks: PeerBlocks;
  /** Checks signatures of what came ahead of need, on other cores; without it each is checked where it is needed. */
  readonly prepare?: PeerIntakeParts['prepare'];
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Milliseconds that never go back, whatever is done to the clock. */
  readonly steady: () => number;
  /** Something that people should look at; told once each time it happens. */
  readonly trouble: (code: string, message: string) => void;
  /** Who is there, or how far they are, may have changed. */
  readonly changed: () => void;
  /** A message of a node that was invited. */
  readonly joining: (delivery: Delivery) => void;
  /** Who looks after the keys of sealed records, where somebody does. */
  readonly records?: RecordPeering;
}

/** What the keeper of the keys of records is told. */
export interface RecordPeering {
  /** @returns why the message is not taken, or null; @throws TownError where it is malformed */
  receive(
    kind: string,
    from: NodeId,
    body: JsonObject,
  ): { readonly code: string; readonly reason: string } | null;
  peersChanged(): void;
  /** Entries have come. */
  stored(): void;
}

/** Makes the transport to a broker, for these filters; `will` is the retained topic that is emptied when this node goes away. */
export type MakeTransport = (options: {
  readonly subscriptions: readonly string[];
  readonly will: string;
  readonly events: TransportEvents;
}) => Transport;

export class Peering {
  private state: SyncState;
  private transport: Transport | null = null;
  private readonly inbox: Inbox;
  private readonly guard = new ReplayGuard();
  private readonly sender: PeerSender;
  private readonly answers: PeerAnswers;
  private readonly intake: PeerIntake;
  /** What others hold and does not come over the broker. */
  readonly offers: Offers;
  private cancelTimer: (() => void) | null = null;
  private cancelGossip: (() => void) | null = null;
  private republishedAt = -Infinity;
  /** Not before then is anything more packed for others. */
  private answersFrom = -Infinity;
  private syncing: Promise<void> | null = null;
  private held: { readonly of: SyncState; readonly map: ReadonlyMap<Branch, number> } | null = null;
  private told: ReadonlyMap<Branch, number> = new Map();
  private readonly early = new Map<NodeId, Delivery>();
  private stopped = false;
  private steppedAt: number;
  /** The height of a proven merge that waits for blocks; 0: of none. */
  private provenAt = 0;
  /** Readmissions that were carried out here. */
  private readonly resumed = new Set<EntryId>();
  private readonly welcome: Welcomed | null;

  constructor(private readonly parts: PeeringParts) {
    const { store, main, keys } = parts;
    const tips = store
      .branches(BRANCHES_MAX)
      .filter(({ line }) => line === MAIN)
      .map(({ node, seq, head }) => [node, { seq, head }] as const);
    const { height, id } = main.head;
    this.steppedAt = parts.steady();
    this.welcome = readWelcomed(store);
    this.state = startSync({
      ...{ self: keys.id, nodes: this.nodes(), height, main: id },
      tips: new Map<Branch, Tip>([...tips, ...draftTips(store, main.state)]),
      drafts: draftsOf(main.state),
    });
    this.inbox = new Inbox(
      keys.id,
      { town: main.town, townKey: keys.townKey, keyOf: (node) => this.keyOf(node) },
      this.guard,
    );
    this.sender = new PeerSender({
      ...{ store, main, keys },
      clock: parts.clock,
      random: parts.random,
      failed: (error) => parts.trouble('store-failed', String(error)),
    });
    this.answers = new PeerAnswers(store);
    const common = {
      ...{ self: keys.id, store, main },
      merger: parts.merger,
      peerBlocks: parts.peerBlocks,
      prepare: parts.prepare,
      keyOf: (node: NodeId) => this.keyOf(node),
      checkpoint: () => this.welcomed?.checkpoint ?? null,
      stored: (node: Branch, tip: Tip) => this.feed({ t: 'stored', node, tip }),
      replaced: (node: Branch, tip: Tip | null) => this.feed({ t: 'resumed', node, tip }),
    };
    this.offers = new Offers({ ...common, keys, undisturbed: (task) => this.intake.undisturbed(task) });
    this.intake = new PeerIntake({
      ...common,
      lacking: (heads, holders) => {
        this.provenAt = main.head.height + 1;
        this.feed({ t: 'sought', heads, holders });
      },
      collected: (head, upTo) => this.feed({ t: 'collected', head, upTo }),
      settled: (item) => this.feed({ t: 'settled', item, refused: null }),
      refused: (item, from, code, reason) => {
        this.inbox.refuse({ code, reason: `From ${from}: ${reason}` }, parts.clock.now());
        this.feed({ t: 'settled', item, refused: code });
        const isUnsound = item === 'merges' && UNSOUND.has(code);
        if (isUnsound) parts.trouble(code, reason);
      },
      failed: (code, reason) => parts.trouble(code, reason),
    });
  }

  // What others ask ----------------------------------------------------------------------------------------------------

  get isOnline(): boolean {
    return this.state.online;
  }

  /** How the other nodes of the charter stand; `heardAt` by the clock. */
  views(): readonly PeerView[] {
    const now = this.parts.steady();
    const offset = this.parts.clock.now() - now;
    return peerViews(this.state, now).map((view) => ({
      ...view,
      heardAt: view.heardAt === null ? null : Math.round(view.heardAt + offset),
    }));
  }

  /** The nodes that are heard just now. */
  heard(): readonly NodeId[] {
    const now = this.parts.steady();
    return [...this.state.peers.keys()].filter(
      (node) =>
        node !== this.parts.keys.id && this.state.nodes.has(node) && isConnected(this.state, node, now),
    );
  }

  isHeard(node: NodeId): boolean {
    return isConnected(this.state, node, this.parts.steady());
  }

  /** What was not taken, by reason. */
  refusals(): ReturnType<Inbox['refusals']> {
    return this.inbox.refusals();
  }

  /** Up to which block of a branch a quorum of the validators says it holds it. */
  heldByQuorum(node: NodeId, line: string = MAIN): number {
    if (this.held?.of !== this.state) {
      const { validators, quorum } = this.parts.main.charter;
      const map = heldByQuorum(this.state, validators as NodeId[], quorumOf(validators.length, quorum));
      this.held = { of: this.state, map };
    }
    return this.held.map.get(branchOf(node, line)) ?? 0;
  }

  /** Whether a quorum holds more of any branch than when this was asked last. */
  private holdsMore(): boolean {
    const { told } = this;
    const now = new Map(
      [...this.state.tips.keys()].map((branch) => {
        const { node, line } = placeOf(branch);
        return [branch, this.heldByQuorum(node, line)] as const;
      }),
    );
    this.told = now;
    return [...now].some(([branch, seq]) => seq > (told.get(branch) ?? 0));
  }

  // What happens here ----------------------------------------------------------------------------------------------------

  /** Begins to meet the others. The counter of messages is durable before the first is sent. */
  async start(makeTransport: MakeTransport): Promise<void> {
    const { main, keys } = this.parts;
    await this.sender.reserveNumbers();
    if (this.stopped) return;
    this.transport = makeTransport({
      subscriptions: [...topicsFor(main.town, keys.id), joinAskFilter(main.town)],
      will: headsTopic(main.town, keys.id),
      events: {
        connected: () => this.feed({ t: 'connected' }),
        disconnected: () => this.feed({ t: 'disconnected' }),
        delivered: (delivery) => this.receive(delivery),
        tooLarge: () =>
          this.inbox.refuse(
            { code: 'too-large', reason: 'A packet was larger than any message.' },
            this.parts.clock.now(),
          ),
      },
    });
    this.sender.use(this.transport);
    this.resume();
    this.transport.start();
    this.schedule();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.intake.stop();
    this.offers.stop();
    this.cancelTimer?.();
    this.cancelGossip?.();
    await this.transport?.stop();
  }

  /** A block of the own branch is durable. */
  blockMade({ node, seq, id }: MadeBlock): void {
    this.feed({ t: 'stored', node, tip: { seq, head: id } });
  }

  /** A merge became `main`: others may be nodes now, and what waited for it goes on. */
  adopted({ height, id }: Pick<MergeRow, 'height' | 'id'>): void {
    const nodes = this.nodes();
    this.guard.retain(new Set(nodes));
    this.held = null;
    this.feed({ t: 'adopted', height, main: id });
    this.feed({ t: 'nodes', nodes, drafts: draftsOf(this.parts.main.state) });
    for (const [node, tip] of draftTips(this.parts.store, this.parts.main.state))
      this.feed({ t: 'stored', node, tip });
    this.takeEarly();
    this.intake.pump();
    this.resume();
  }

  /** Branches of nodes that were readmitted since this was looked at last go on from where the stewards said. */
  private resume(): void {
    const { main, peerBlocks, trouble } = this.parts;
    const fresh = readmittedNodes(main.state).filter(({ entry }) => !this.resumed.has(entry));
    if (fresh.length === 0) return;
    for (const { entry } of fresh) this.resumed.add(entry);
    // Not while blocks of those branches are being taken.
    this.intake.undisturbed(async () => {
      try {
        const tips = await peerBlocks.equivocations.resume(fresh.map(({ node }) => node));
        for (const [node, last] of tips)
          this.feed({ t: 'resumed', node, tip: last && { seq: last.seq, head: last.id } });
      } catch (error) {
        // Tried again with the next merge.
        for (const { entry } of fresh) this.resumed.delete(entry);
        trouble('store-failed', String(error));
      }
    });
  }

  /** A message to the other validators; they may miss it. */
  broadcast(message: ConsensusMessage): void {
    const body =
      message.t === 'vote'
        ? { vote: message.vote }
        : { proposal: message.proposal, bytes: Buffer.from(message.bytes).toString('base64') };
    this.sendWhileOnline(message.t, null, body as unknown as JsonObject);
  }

  /** What cannot be sent now is asked for again by who needs it. */
  sendWhileOnline(kind: string, to: NodeId | null, body: JsonObject): void {
    if (this.state.online) this.sender.send(kind, to, body);
  }

  /** Publishes on a topic of joining. @returns false where it was dropped */
  sendJoining(topic: string, payload: string): boolean {
    return this.transport?.publish(topic, payload, false) ?? false;
  }

  /** Tells and asks anew; resolves when those connected have nothing that is not here, at the latest after a minute. */
  syncNow(): Promise<void> {
    if (this.state.online) this.feed({ t: 'connected' });
    // However many ask, one looks.
    return (this.syncing ??= this.caughtUp().finally(() => (this.syncing = null)));
  }

  private async caughtUp(): Promise<void> {
    const { steady, clock } = this.parts;
    const until = steady() + SYNC_WAIT_MS;
    const isBehind = (): boolean =>
      this.state.wants.size > 0 ||
      this.views().some(
        ({ node, connected, ahead }) => connected && ahead.blocks + ahead.merges > 0 && !this.hasFailed(node),
      );
    do await new Promise<void>((resolve) => void clock.after(SYNC_LOOK_MS, resolve));
    while (!this.stopped && isBehind() && steady() < until);
  }

  /** Whether a peer was asked in vain lately: what it promises is not waited for. */
  private hasFailed(node: NodeId): boolean {
    const now = this.parts.steady();
    return [...this.state.failures].some(([key, { until }]) => key.endsWith(` ${node}`) && until > now);
  }

  // Messages -------------------------------------------------------------------------------------------------------------

  /** Nodes whose messages count: those of the charter, and until this node has caught up those it was welcomed with. */
  private nodes(): readonly NodeId[] {
    const { charter } = this.parts.main;
    const welcomed = this.welcomed?.nodes ?? {};
    return [...new Set([...Object.keys(charter.nodes), ...Object.keys(welcomed)])] as NodeId[];
  }

  /** What this node was welcomed with, until it has caught up with that: from then on the charter says who is there. */
  private get welcomed(): Welcomed | null {
    const { welcome } = this;
    return welcome !== null && this.parts.main.head.height < welcome.checkpoint.height ? welcome : null;
  }

  private keyOf(node: NodeId): KeyId | undefined {
    return keyOfNode(this.parts.main.charter, node) ?? (this.welcomed?.nodes[node]?.key as KeyId | undefined);
  }

  private receive(delivery: Delivery): void {
    if (this.stopped) return;
    const { clock, main, keys, merger } = this.parts;
    if (readJoinTopic(delivery.topic) !== null) return this.parts.joining(delivery);
    if (delivery.payload.length === 0) return this.takenBack(delivery);
    const now = clock.now();
    const message = this.inbox.receive(delivery, now);
    if (message === null) return this.keepForLater(delivery);
    try {
      if (message.class === 'consensus') {
        const refusal = merger.receive(readConsensus(message));
        if (refusal !== null) this.inbox.refuse(refusal, now);
        return this.seekForVotes();
      }
      const { from, body } = message;
      switch (message.kind) {
        case 'heads': {
          const wasConnected = isConnected(this.state, from, this.parts.steady());
          this.feed({ t: 'heads', from, body: readHeads(body) });
          // What was sent while it was away, it needs again.
          if (!wasConnected && main.charter.validators.includes(keys.id)) this.gossipSoon();
          return;
        }
        case 'want':
          return this.feed({ t: 'want', from, body: readWant(body) });
        case 'have':
          return this.feed({ t: 'have', from, body: readHave(body) });
        case 'keys-ask':
        case 'keys-give': {
          const refusal = this.parts.records?.receive(message.kind, from, body) ?? null;
          if (refusal !== null) this.inbox.refuse(refusal, now);
          return;
        }
        default:
          throw new TownError('malformed', `A message of an unknown kind: ${message.kind}.`);
      }
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.inbox.refuse({ code: 'malformed', reason: error.message }, now);
    }
  }

  /**
   * What a quorum votes for and cannot be judged for want of blocks is sought as what it decided: they may need this node's vote.
   * What is decided goes before.
   */
  private seekForVotes(): void {
    const { main, merger, store } = this.parts;
    const found = merger.lacking();
    if (found === null || this.provenAt > main.head.height) return;
    const heads = missingHeads(store, found.bytes, (node) => this.keyOf(node));
    this.feed({ t: 'sought', heads, holders: found.voters });
  }

  /** However often peers come and go, at most so often. */
  private gossipSoon(): void {
    this.cancelGossip ??= this.parts.clock.after(GOSSIP_GAP_MS, () => {
      this.cancelGossip = null;
      if (!this.stopped) this.parts.merger.gossipNow();
    });
  }

  /** Heads of a node that the charter does not name yet: the merge that names it may be on its way. */
  private keepForLater(delivery: Delivery): void {
    const parts = topicParts(this.parts.main.town, delivery.topic);
    const { early } = this;
    if (parts?.class !== 'heads' || parts.node === null || this.keyOf(parts.node) !== undefined) return;
    if (delivery.payload.length > EARLY_BYTES_MAX) return;
    early.delete(parts.node);
    early.set(parts.node, delivery);
    // The newest stay: who fills the places with junk has to go on doing so.
    for (const oldest of early.keys()) if (early.size > EARLY_MAX) early.delete(oldest);
  }

  private takeEarly(): void {
    for (const [node, delivery] of [...this.early])
      if (this.keyOf(node) !== undefined) {
        this.early.delete(node);
        this.receive(delivery);
      }
  }

  /** A retained head was emptied: by the last will of a node that went away, or of a former connection of our own. */
  private takenBack({ topic, retained }: Delivery): void {
    const { main, keys, steady } = this.parts;
    const parts = topicParts(main.town, topic);
    if (parts?.class !== 'heads' || parts.node === null || retained) return;
    if (parts.node !== keys.id) return this.feed({ t: 'gone', node: parts.node });
    if (steady() - this.republishedAt < REPUBLISH_MS_MIN) return;
    this.republishedAt = steady();
    this.feed({ t: 'taken-back' });
  }

  // The sync machine -----------------------------------------------------------------------------------------------------

  private feed(input: InputWithoutTime): void {
    if (this.stopped) return;
    const before = this.state;
    const now = this.parts.steady();
    const { state, outputs } = step(before, { ...input, now } as Input);
    this.state = state;
    this.steppedAt = now;
    for (const output of outputs) this.carryOut(output);
    if (state.peers !== before.peers || state.tips !== before.tips || state.online !== before.online) {
      if (this.holdsMore()) this.parts.merger.heldChanged();
      this.parts.changed();
      this.parts.records?.peersChanged();
    }
    if (state.tips !== before.tips) this.parts.records?.stored();
    this.schedule();
  }

  private schedule(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    if (this.stopped || this.transport === null) return;
    // As the last step saw it: what has become due since is due at once.
    const ms = Math.max(1, nextDue(this.state, this.steppedAt) - this.parts.steady());
    this.cancelTimer = this.parts.clock.after(ms, () => this.feed({ t: 'tick' }));
  }

  private carryOut(output: Output): void {
    switch (output.t) {
      case 'publish-heads':
        return this.sendWhileOnline('heads', null, output.body as unknown as JsonObject);
      case 'send-want':
        return this.sendWhileOnline('want', output.to, output.body as unknown as JsonObject);
      case 'send-have':
        return this.later(() => this.answer(output));
      case 'admit':
        return this.later(() => this.intake.admit(output.from, output.item, output.body));
      case 'discard':
        return this.intake.discard(output.item);
      case 'refused':
        this.inbox.refuse(
          {
            code: output.code,
            reason: `An answer or a question too many from ${output.from}.`,
          },
          this.parts.clock.now(),
        );
        return;
      case 'contradiction':
        return this.contradicted(output);
    }
  }

  /** After the step at hand: the machine is not fed while it is at work. */
  private later(task: () => void): void {
    queueMicrotask(() => {
      if (!this.stopped) task();
    });
  }

  private contradicted({ branch, peer, ours, theirs }: Output & { t: 'contradiction' }): void {
    const { keys, trouble } = this.parts;
    if (branch === keys.id && theirs.seq > (ours?.seq ?? 0))
      return trouble(
        'own-branch-longer',
        `Node ${peer} says that it has ${theirs.seq} blocks of this node, which has ${ours?.seq ?? 0}. If this board was put back ` +
          'from an old copy, stop it and let it join anew with a new key; if not, a steward should look at that other node.',
      );
    trouble(
      'branches-differ',
      `Node ${peer} has another block ${theirs.seq} of node ${branch} than this node: one of them signed two. ` +
        'A steward decides about it.',
    );
  }

  /** Reads, packs and sends; then others have their turn for as long as that took, however much is asked. */
  private answer(output: Output & { readonly t: 'send-have' }): void {
    const { steady, clock } = this.parts;
    const began = steady();
    if (began < this.answersFrom) {
      clock.after(this.answersFrom - began, () => this.later(() => this.answer(output)));
      return;
    }
    const { to, item, what } = output;
    const send = (body: HaveBody | null): void => {
      if (body !== null) this.sendWhileOnline('have', to, body as unknown as JsonObject);
      const now = steady();
      this.answersFrom = now + (now - began);
      this.feed({ t: 'answered', to, item });
    };
    const body = this.answers.to(what);
    if (!(body instanceof Promise)) return send(body);
    // What is old is read from git first.
    const failed = (error: unknown): void => {
      this.parts.trouble('archive-unreadable', `Old blocks cannot be given to peers: ${String(error)}`);
      send(null);
    };
    body.then(
      (read) => this.later(() => send(read)),
      (error) => this.later(() => failed(error)),
    );
  }
}

type InputWithoutTime = Input extends infer I ? (I extends Input ? Omit<I, 'now'> : never) : never;

/** @throws TownError `malformed` */
function readConsensus({ kind, body }: Message): ConsensusMessage {
  const bad = (): TownError => new TownError('malformed', 'Not a message of the validators.');
  const part = body[kind];
  if (typeof part !== 'object' || part === null || Array.isArray(part)) throw bad();
  if (kind === 'vote') return { t: 'vote', vote: part } as unknown as ConsensusMessage;
  const { bytes } = body;
  if (kind !== 'proposal' || typeof bytes !== 'string') throw bad();
  return {
    t: 'proposal',
    proposal: part,
    bytes: Buffer.from(bytes, 'base64'),
  } as unknown as ConsensusMessage;
}
