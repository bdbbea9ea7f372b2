/**
 * This node among its peers: carries out what the sync machine asks for over a transport, puts what came through quarantine into
 * the ledger, brings the validators' messages to where they are judged. What must arrive is in SQLite (blocks, merges, votes) and
 * is told and asked for anew until it has; nothing that is on its way is kept here.
 */
import type { Message as ConsensusMessage } from '../consensus/gossip.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import type { Recovery } from '../ledger/recovery.js';
import type { MergeRow } from '../store/rows.js';
import type { Branch, Tip } from '../sync/bodies.js';
import { joinAskFilter } from '../sync/joining.js';
import { headsTopic, topicsFor } from '../sync/message.js';
import type { Output } from '../sync/sync-output.js';
import { highestAhead, type PeerView, type SyncState } from '../sync/sync-state.js';
import type { Transport } from '../sync/transport.js';
import { Acquaintance } from './acquaintance.js';
import { draftsOf, draftTips } from './adopted-drafts.js';
import type { MadeBlock } from './blocks.js';
import { CatchUp } from './catch-up.js';
import { consensusBody } from './consensus-body.js';
import { contradictionTold } from './contradictions.js';
import { HeldBlocks } from './held-blocks.js';
import { KnownNodes } from './known-nodes.js';
import { MAIN } from './main-line.js';
import { Offers } from './offers.js';
import { PeerAnswering } from './peer-answering.js';
import { PeerAnswers } from './peer-answers.js';
import { PeerIntake } from './peer-intake.js';
import { PeerMail } from './peer-mail.js';
import { PeerSender } from './peer-sender.js';
import type { MakeTransport, PeeringParts } from './peering-parts.js';
import { ResumedBranches } from './resumed-branches.js';
import { missingHeads } from './sought-blocks.js';
import { stateOf, SyncDrive, type InputWithoutTime } from './sync-drive.js';
import { SyncWait } from './sync-wait.js';
import { TownKeys } from './town-keys.js';

/** What the others may have missed is sent to those who come back at most so often. */
const GOSSIP_GAP_MS = 500;
/** What is refused of a merge only once its certificate holds: a quorum signed what does not hold here, and people have to look. */
const UNSOUND = new Set([
  'checkpoint-differs',
  'content-differs',
  'bad-merge',
  'bad-commit',
  'bad-signature',
]);

export class Peering {
  private readonly machine: SyncDrive;
  private transport: Transport | null = null;
  private readonly acquaintance: Acquaintance;
  private readonly mail: PeerMail;
  private readonly sender: PeerSender;
  private readonly answering: PeerAnswering;
  private readonly intake: PeerIntake;
  private readonly catchUp: CatchUp | null;
  /** What others hold and does not come over the broker. */
  readonly offers: Offers;
  private cancelGossip: (() => void) | null = null;
  private readonly waiting: SyncWait;
  private readonly known: KnownNodes;
  private readonly held: HeldBlocks;
  private readonly resumed: ResumedBranches;
  private stopped = false;
  /** The height of a proven merge that waits for blocks; 0: of none. */
  private provenAt = 0;

  constructor(private readonly parts: PeeringParts) {
    const { store, main, keys } = parts;
    this.known = new KnownNodes(main, store);
    this.machine = new SyncDrive(stateOf(store, main, keys.id, this.known.ids()), {
      ...{ self: keys.id, clock: parts.clock, steady: parts.steady },
      carryOut: (output) => this.carryOut(output),
      stepped: (before, after) => this.stepped(before, after),
    });
    this.waiting = new SyncWait({
      ...{ clock: parts.clock, steady: parts.steady },
      state: () => this.machine.state,
      views: () => this.views(),
      stopped: () => this.stopped,
    });
    this.held = new HeldBlocks(main, () => this.machine.state);
    this.resumed = new ResumedBranches({
      state: () => main.state,
      resume: (nodes) => parts.peerBlocks.equivocations.resume(nodes),
      resumed: (node, tip) => this.feed({ t: 'resumed', node, tip }),
      failed: (error) => parts.trouble('store-failed', String(error)),
    });
    const townKeys = parts.townKeys ?? TownKeys.inMemory(keys.townKey);
    this.acquaintance = this.makeAcquaintance(townKeys);
    this.mail = this.makeMail();
    this.sender = new PeerSender({
      ...{ store, main, keys, townKeys },
      clock: parts.clock,
      random: parts.random,
      failed: (error) => parts.trouble('store-failed', String(error)),
    });
    this.answering = new PeerAnswering({
      answers: new PeerAnswers(store, parts.readObject),
      ...{ clock: parts.clock, steady: parts.steady },
      bytesPerSecond: parts.bytesPerSecond ?? Infinity,
      send: (to, body) => this.sendWhileOnline('have', to, body),
      answered: (to, item) => this.feed({ t: 'answered', to, item }),
      failed: (error) =>
        parts.trouble('archive-unreadable', `Old blocks cannot be given to peers: ${String(error)}`),
    });
    this.catchUp = parts.catchUp ? this.makeCatchUp(parts.catchUp) : null;
    const common = {
      ...{ self: keys.id, store, main },
      merger: parts.merger,
      peerBlocks: parts.peerBlocks,
      prepare: parts.prepare,
      keyOf: (node: NodeId) => this.known.keyOf(node),
      checkpoint: () => this.known.checkpoint,
      stored: (node: Branch, tip: Tip) => this.feed({ t: 'stored', node, tip }),
      replaced: (node: Branch, tip: Tip | null) => this.feed({ t: 'resumed', node, tip }),
    };
    this.offers = new Offers({ ...common, keys, undisturbed: (task) => this.intake.undisturbed(task) });
    this.intake = new PeerIntake({
      ...common,
      received: (node, upTo) => this.feed({ t: 'received', node, upTo }),
      lacking: (heads, holders) => {
        this.provenAt = main.head.height + 1;
        this.feed({ t: 'sought', heads, holders });
      },
      collected: (head, upTo) => this.feed({ t: 'collected', head, upTo }),
      settled: (item) => this.feed({ t: 'settled', item, refused: null }),
      refused: (item, from, code, reason) => {
        this.mail.refuse({ code, reason: `From ${from}: ${reason}` });
        this.feed({ t: 'settled', item, refused: code });
        const isUnsound = item === 'merges' && UNSOUND.has(code);
        if (isUnsound) parts.trouble(code, reason);
      },
      failed: (code, reason) => parts.trouble(code, reason),
    });
  }

  private makeAcquaintance(ring: TownKeys): Acquaintance {
    const { main, keys, clock, random, steady, trouble, outdated } = this.parts;
    return new Acquaintance({
      ...{ main, keys, clock, random, steady, trouble, ring, known: this.known },
      ...(outdated ? { outdated } : {}),
      heard: () => this.heard(),
      isBehind: () => this.views().some(({ connected, ahead }) => connected && ahead.merges > 0),
      publish: (topic, text) => this.transport?.publish(topic, text, false) ?? false,
      refused: (code, reason) => this.mail.refuse({ code, reason }),
      send: (kind, to, body) => {
        this.sendWhileOnline(kind, to, body);
        return this.isOnline;
      },
      readable: (from) => this.mail.readEarly(from),
      tellAnew: () => this.feed({ t: 'taken-back' }),
      lags: () => this.parts.merger.lagTold(),
    });
  }

  private makeCatchUp({ view, late }: NonNullable<PeeringParts['catchUp']>): CatchUp {
    const { store, main, readObject, steady, clock, merger, trouble, changed } = this.parts;
    return new CatchUp({
      ...{ store, main, view, late, readObject, steady, clock },
      highest: () => highestAhead(this.machine.state, steady()),
      seek: (ahead) => this.feed({ t: 'ahead', ahead }),
      settled: (refused) => {
        if (refused) {
          const { code, message } = refused.error;
          this.mail.refuse({ code, reason: `From ${refused.from}: ${message}` });
        }
        this.feed({ t: 'settled', item: 'state', refused: refused?.error.code ?? null });
      },
      failed: trouble,
      changed: () => {
        // What waited for this node to be through.
        if (main.ahead === null) merger.noticed('claim');
        this.acquaintance.adopted();
        changed();
      },
    });
  }

  // What others ask ----------------------------------------------------------------------------------------------------

  get isOnline(): boolean {
    return this.machine.state.online;
  }

  /** How the other nodes of the charter stand; `heardAt` by the clock. */
  views(): readonly PeerView[] {
    return this.machine.views();
  }

  /** The nodes that are heard just now. */
  heard(): readonly NodeId[] {
    return this.machine.heard();
  }

  isHeard(node: NodeId): boolean {
    return this.machine.isHeard(node);
  }

  /** What was not taken, by reason. */
  refusals(): ReturnType<PeerMail['refusals']> {
    return this.mail.refusals();
  }

  /** Up to which block of a branch a quorum of the validators says it holds it. */
  heldByQuorum(node: NodeId, line: string = MAIN): number {
    return this.held.upTo(node, line);
  }

  // What happens here ----------------------------------------------------------------------------------------------------

  /** Begins to meet the others. The counter of messages is durable before the first is sent. */
  async start(makeTransport: MakeTransport): Promise<void> {
    const { main, keys } = this.parts;
    await this.sender.reserveNumbers();
    await this.catchUp?.restore();
    if (this.stopped) return;
    this.transport = makeTransport({
      subscriptions: [...topicsFor(main.town, keys.id), joinAskFilter(main.town)],
      will: headsTopic(main.town, keys.id),
      events: {
        connected: () => {
          this.feed({ t: 'connected' });
          // What came with the connection, before anybody could be asked.
          this.mail.readEarly(null);
        },
        disconnected: () => this.feed({ t: 'disconnected' }),
        delivered: (delivery) => {
          if (!this.stopped) this.mail.receive(delivery);
        },
        tooLarge: () =>
          this.mail.refuse({ code: 'too-large', reason: 'A packet was larger than any message.' }),
      },
    });
    this.sender.use(this.transport);
    this.lookForResumed();
    this.acquaintance.start();
    this.transport.start();
    this.machine.run();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.machine.stop();
    this.intake.stop();
    this.offers.stop();
    this.answering.stop();
    this.cancelGossip?.();
    await this.acquaintance.stop();
    await this.transport?.stop();
    await this.catchUp?.stop();
  }

  /** A block of the own branch is durable. */
  blockMade({ node, seq, id }: MadeBlock): void {
    this.feed({ t: 'stored', node, tip: { seq, head: id } });
  }

  /** A merge became `main`: others may be nodes now, and what waited for it goes on. */
  adopted({ height, id }: Pick<MergeRow, 'height' | 'id'>): void {
    const nodes = this.known.ids();
    this.held.forget();
    this.feed({ t: 'adopted', height, main: id });
    this.feed({ t: 'nodes', nodes, drafts: draftsOf(this.parts.main.state) });
    for (const [node, tip] of draftTips(this.parts.store, this.parts.main.state))
      this.feed({ t: 'stored', node, tip });
    this.mail.nodesChanged(nodes);
    this.acquaintance.adopted();
    this.intake.pump();
    this.catchUp?.adopted();
    this.lookForResumed();
  }

  /** Not while blocks of those branches are being taken. */
  private lookForResumed(): void {
    this.resumed.look((task) => this.intake.undisturbed(task));
  }

  /** A message to the other validators; they may miss it. */
  broadcast(message: ConsensusMessage): void {
    this.sendWhileOnline(message.t, null, consensusBody(message));
  }

  /** Tells the other nodes what began an epoch. */
  sendRecovery(recovery: Recovery): void {
    this.sendWhileOnline('recovery', null, recovery as unknown as JsonObject);
  }

  /** An epoch begins: others may be nodes now, and other validators hold the blocks. */
  epochBegan(): void {
    const nodes = this.known.ids();
    this.held.forget();
    this.feed({ t: 'nodes', nodes, drafts: draftsOf(this.parts.main.state) });
    this.mail.nodesChanged(nodes);
    this.intake.pump();
    this.catchUp?.epochBegan();
  }

  /** An epoch has begun without what this node has merged: who takes its blocks seals with a key of that epoch. */
  epochLeft(): void {
    this.acquaintance.adopted();
  }

  /** A later merge, which is not here yet, is of another epoch. */
  epochAwaited(): void {
    this.catchUp?.epochBegan();
  }

  /** What cannot be sent now is asked for again by who needs it. */
  sendWhileOnline(kind: string, to: NodeId | null, body: JsonObject): void {
    if (this.isOnline) this.sender.send(kind, to, body);
  }

  /** Publishes on a topic of joining. @returns false where it was dropped */
  sendJoining(topic: string, payload: string): boolean {
    return this.transport?.publish(topic, payload, false) ?? false;
  }

  /** Tells and asks anew; resolves when those connected have nothing that is not here, at the latest after a minute. */
  syncNow(): Promise<void> {
    if (this.isOnline) this.feed({ t: 'connected' });
    return this.waiting.caughtUp();
  }

  // Messages -------------------------------------------------------------------------------------------------------------

  private makeMail(): PeerMail {
    const { main, keys, clock, steady, merger, joining, records } = this.parts;
    const { known, acquaintance } = this;
    return new PeerMail({
      ...{ main, keys, clock, steady, joining, known, acquaintance },
      heads: (from, body) => {
        const wasConnected = this.isHeard(from);
        this.feed({ t: 'heads', from, body });
        if (!wasConnected) acquaintance.came(from);
        merger.headTold({ height: body.height, id: body.main });
        // What was sent while it was away, it needs again.
        if (!wasConnected && main.charter.validators.includes(keys.id)) this.gossipSoon();
      },
      want: (from, body) => this.feed({ t: 'want', from, body }),
      have: (from, body) => this.feed({ t: 'have', from, body }),
      consensus: (message) => {
        const refused = merger.receive(message);
        this.seekForVotes();
        return refused;
      },
      recovery: (body) => merger.receiveRecovery(body),
      records: (kind, from, body) => records?.receive(kind, from, body) ?? null,
      gone: (node) => this.feed({ t: 'gone', node }),
      takenBack: () => this.feed({ t: 'taken-back' }),
    });
  }

  /**
   * What a quorum votes for and cannot be judged for want of blocks is sought as what it decided: they may need this node's vote.
   * What is decided goes before.
   */
  private seekForVotes(): void {
    const { main, merger, store } = this.parts;
    const found = merger.lacking();
    if (found === null || this.provenAt > main.head.height) return;
    const heads = missingHeads(store, found.bytes, (node) => this.known.keyOf(node));
    this.feed({ t: 'sought', heads, holders: found.voters });
  }

  /** However often peers come and go, at most so often. */
  private gossipSoon(): void {
    this.cancelGossip ??= this.parts.clock.after(GOSSIP_GAP_MS, () => {
      this.cancelGossip = null;
      if (!this.stopped) this.parts.merger.gossipNow();
    });
  }

  // The sync machine -----------------------------------------------------------------------------------------------------

  private feed(input: InputWithoutTime): void {
    this.machine.feed(input);
  }

  private stepped(before: SyncState, after: SyncState): void {
    if (after.peers !== before.peers || after.tips !== before.tips || after.online !== before.online) {
      if (this.held.isMore()) this.parts.merger.heldChanged();
      this.parts.merger.heardChanged();
      this.parts.changed();
      this.parts.records?.peersChanged();
    }
    if (after.tips !== before.tips) this.parts.records?.stored();
    if (after.peers !== before.peers || after.failures !== before.failures)
      this.later(() => this.catchUp?.look());
  }

  private carryOut(output: Output): void {
    switch (output.t) {
      case 'publish-heads':
        return this.sendWhileOnline('heads', null, output.body as unknown as JsonObject);
      case 'send-want':
        return this.sendWhileOnline('want', output.to, output.body as unknown as JsonObject);
      case 'send-have':
        return this.later(() => this.answering.put(output));
      case 'admit':
        return this.later(() => this.admit(output));
      case 'discard':
        // What came of a state is kept: it is a part of it, whoever gave it.
        if (output.item !== 'state') this.intake.discard(output.item);
        return;
      case 'refused':
        this.mail.refuse({
          code: output.code,
          reason: `An answer or a question too many from ${output.from}.`,
        });
        return;
      case 'contradiction': {
        const { code, message } = contradictionTold(this.parts.keys.id, output);
        return this.parts.trouble(code, message);
      }
    }
  }

  private admit({ from, item, body, follows }: Output & { readonly t: 'admit' }): void {
    if (item !== 'state') return this.intake.admit(from, item, body, follows);
    const { trouble } = this.parts;
    this.catchUp?.admit(from, body).catch((error: unknown) => trouble('sync-failed', String(error)));
  }

  /** After the step at hand: the machine is not fed while it is at work. */
  private later(task: () => void): void {
    queueMicrotask(() => {
      if (!this.stopped) task();
    });
  }
}
