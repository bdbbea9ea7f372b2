/** One node, put together: what the API, the panel and the CLI call. Parts know each other only as they are given here. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { ContractDriver } from '../dapps/driver.js';
import type { DappPackage } from '../dapps/package.js';
import { mayBeOff, quorumOf } from '../consensus/quorum.js';
import { totalsOf } from '../ledger/accounts.js';
import { changeCharter, type Charter, type CharterChange } from '../ledger/charter.js';
import type { EntryId, JsonObject, KeyId, NodeId, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import { readCharter } from '../ledger/kernel.js';
import { allowedSignersLine } from '../ledger/sshsig.js';
import { writeAllowedSigners } from '../store/allowed-signers.js';
import { Repository } from '../store/repository.js';
import type { MergeRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import { addressOf, type NodeConfig } from './config.js';
import { Core } from './core.js';
import { manifestsOf, packagesOf } from './dapp-set.js';
import { Doors } from './doors.js';
import { Events } from './events.js';
import { Gigs } from './gigs.js';
import { cleanName, type KeyStore, type NodeKeys } from './key-files.js';
import { LedgerCases } from './ledger-cases.js';
import { ledgerGraph } from './ledger-graph.js';
import { MainLine } from './main-line.js';
import { MemberKeys } from './member-keys.js';
import { Members } from './members.js';
import type { Alarm, Merger } from './merger.js';
import { Names } from './names.js';
import { NodeInvitations } from './node-invitations.js';
import type { NodesView } from './node-cases.js';
import { Nodes } from './nodes.js';
import { Notices } from './notices.js';
import { Peering, type MakeTransport } from './peering.js';
import { People, recorded } from './people.js';
import { PrivateRecords } from './private-records.js';
import { Sessions } from './sessions.js';
import type { MergeView, Recorded, SessionView, StatusView, TownEvent, TownNode } from './use-cases.js';
import type { View } from './view.js';
import type { GateLogger } from '../gate/link.js';

/** How long a claim waits for dapps that are still starting. */
const DAPPS_WAIT_MS = 60_000;
const EVENTS_OF_MERGE_MAX = 200;
const PEERS_TELL_MS = 1_000;

export interface RunningParts {
  readonly folder: string;
  readonly store: Store;
  readonly keys: NodeKeys;
  readonly keyStore: KeyStore;
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly version: string;
  readonly packages: readonly DappPackage[];
  readonly logger: GateLogger;
  /** The address of the panel, once it listens. */
  readonly url: () => string;
  /** The port of the embedded broker while it listens. */
  readonly brokerPort: () => number | null;
}

export class RunningNode implements TownNode {
  private readonly events = new Events();
  private readonly main: MainLine;
  private readonly view: View;
  private readonly appender: Appender;
  private readonly merger: Merger;
  private readonly peering: Peering;
  private readonly invitations: NodeInvitations;
  readonly nodes: Nodes;
  readonly keys: MemberKeys;
  private readonly records: PrivateRecords;
  private readonly sessions: Sessions;
  private readonly peopleCases: People;
  private readonly doorCases: Doors;
  private readonly memberCases: Members;
  private readonly gigCases: Gigs;
  private readonly ledgerCases: LedgerCases;
  private readonly noticeCases: Notices;
  private readonly startedAt: number;
  private readonly manifests: Manifests;
  private driver: ContractDriver | null = null;
  private driverWarning: string | null = null;
  private alarm: Alarm | null = null;
  /** What peering found that a person has to look at; it stays until the next start. */
  private trouble: Alarm | null = null;
  private cancelTold: (() => void) | null = null;
  private toldPeers = '';
  private dappsReady = false;
  /** Whether the view holds what was not merged before this start. */
  private viewSettled: boolean;
  private readonly dappsStarted: Promise<ContractDriver>;
  private resolveDriver: (driver: ContractDriver) => void = () => undefined;
  private readonly viewStarted: Promise<void>;
  private resolveView: () => void = () => undefined;
  private repository: Repository | null = null;

  constructor(private readonly parts: RunningParts) {
    const { store, keys, keyStore, clock, config, folder, logger } = parts;
    this.startedAt = clock.now();
    this.viewSettled = store.counts().pending === 0;
    this.dappsStarted = new Promise((resolve) => (this.resolveDriver = resolve));
    this.viewStarted = new Promise((resolve) => (this.resolveView = resolve));
    const main = (this.main = MainLine.load(store));
    const packages = packagesOf(main.charter, parts.packages);
    const manifests = (this.manifests = manifestsOf(packages));
    const contracts = {
      exchange: async (...call: Parameters<ContractDriver['exchange']>) =>
        (await this.contracts()).exchange(...call),
    };
    const readObject = async (oid: Oid) => {
      if (!this.repository) throw new TownError('starting', 'The repository is not open yet.');
      return this.repository.read(oid);
    };
    const core = new Core({
      store,
      keys,
      clock,
      main,
      manifests,
      contracts,
      readObject,
      broadcast: (message) => this.peering.broadcast(message),
      heldByQuorum: (branch) => this.peering.heldByQuorum(branch),
      isHeard: (node) => this.peering.isHeard(node),
      blockMade: (block) => this.peering.blockMade(block),
      alarm: (alarm) => this.setAlarm(alarm),
      appended: (entry) => this.appended(entry.id),
      adopted: (merge, entries) => this.adopted(merge, entries),
    });
    const { view, appender } = core;
    this.view = view;
    this.appender = appender;
    this.merger = core.merger;
    this.peering = new Peering({
      ...{ store, main, keys, clock },
      merger: core.merger,
      peerBlocks: core.peerBlocks,
      random: randomBytes,
      steady: () => performance.now(),
      trouble: (code, message) => this.setTrouble({ code, message }),
      changed: () => this.peersChanged(),
      joining: (delivery) => this.invitations.receive(delivery),
    });
    this.invitations = new NodeInvitations({
      ...{ store, main, keys, clock, readObject },
      random: randomBytes,
      send: (topic, payload) => this.peering.sendJoining(topic, payload),
      changed: () => this.nodesChanged(),
      warn: (message) => logger.warn({}, message),
    });
    this.records = new PrivateRecords(store, main.town);
    const names = new Names(view, this.records, keyStore);
    const sessions = (this.sessions = new Sessions(keyStore, main, view, clock));
    this.nodes = new Nodes({
      ...{ store, main, view, appender, sessions, keys, clock },
      invitations: this.invitations,
      peers: {
        views: () => this.peering.views(),
        broker: () => this.brokerView(),
        brokerAddress: () => (config.broker ? addressOf(config.broker) : this.brokerView().url),
        refusals: () => this.peering.refusals(),
        syncNow: () => this.peering.syncNow(),
      },
      random: randomBytes,
      settled: () => this.settled(),
      changed: () => this.nodesChanged(),
    });
    const people = (this.peopleCases = new People(
      view,
      main,
      appender,
      this.records,
      names,
      sessions,
      keys,
      clock,
    ));
    const { records, events } = this;
    this.doorCases = new Doors({
      store,
      main,
      view,
      appender,
      records,
      names,
      people,
      sessions,
      events,
      keys,
      clock,
      config,
      logger,
      gateFolder: join(folder, 'gate'),
    });
    this.memberCases = new Members({
      store,
      main,
      view,
      appender,
      records,
      names,
      people,
      sessions,
      keyStore,
      keys,
      clock,
      url: parts.url,
    });
    this.gigCases = new Gigs(view, main, appender, names, sessions, clock);
    this.ledgerCases = new LedgerCases(store, main, view, records, names, sessions);
    this.noticeCases = new Notices(store, sessions, this.ledgerCases);
    this.keys = new MemberKeys({ store, main, view, appender, sessions, keyStore, keys, clock });
    this.settleKeys();
  }

  // Life --------------------------------------------------------------------------------------------------------------

  /** Connects the doors: they serve before anything else does. */
  startDoors(): void {
    this.doorCases.start();
  }

  /** Completes the git repository from the store. @throws TownError where history is lost */
  async openRepository(): Promise<void> {
    const { folder, store, logger } = this.parts;
    this.repository = await Repository.open(join(folder, 'ledger.git'), store, {
      onTrouble: (error) =>
        logger.warn({ error: error.message }, 'The git repository could not be written; it is tried again.'),
    });
    await this.writeSigners();
    this.invitations.start();
  }

  /** The dapps could not be started: told as an alarm, while doors and reading go on. */
  reportTrouble(error: unknown): void {
    const code = error instanceof TownError ? error.code : 'dapps-failed';
    const message = error instanceof Error ? error.message : String(error);
    this.setAlarm({ code, message: `The dapps do not start: ${message}` });
  }

  /** The contracts answer from now on: the view takes in what is not merged, the doors follow it, merging begins. */
  async startDapps(driver: ContractDriver, warning: string | null): Promise<void> {
    this.driver = driver;
    this.driverWarning = warning;
    this.emitStatus();
    await driver.start(packagesOf(this.main.charter, this.parts.packages));
    this.dappsReady = true;
    // First the contracts: what waits for them may stand before the view in its queue.
    this.resolveDriver(driver);
    await this.view.settle();
    this.viewSettled = true;
    this.resolveView();
    this.doorCases.follow();
    this.merger.start();
    this.setAlarm(null);
    this.emitStatus();
  }

  get town(): string {
    return this.main.town;
  }

  get id(): string {
    return this.parts.keys.id;
  }

  /** To be told before anything else is stopped, so that nothing warns of what then fails. */
  expectStop(): void {
    this.doorCases.expectStop();
  }

  /** Stops merging, lets go of the gate (`gateToo`: sends it home), completes the repository. The store stays open. */
  async stop(gateToo: boolean): Promise<void> {
    this.expectStop();
    this.cancelTold?.();
    await this.merger.stop();
    await this.peering.stop();
    await this.invitations.stop();
    await this.doorCases.stop(gateToo);
    await this.driver?.stop();
    await this.repository?.close();
  }

  /** Meets the other nodes over this transport. */
  startPeering(makeTransport: MakeTransport): Promise<void> {
    return this.peering.start(makeTransport);
  }

  setupToken(): Promise<string> {
    return this.memberCases.newSetupToken();
  }

  private contracts(): Promise<ContractDriver> {
    return this.dappsReady && this.driver ? Promise.resolve(this.driver) : this.inTime(this.dappsStarted);
  }

  /** The node's parts, once the view is as it was before the start: at once, unless entries wait for the contracts. */
  private async settled(): Promise<this> {
    if (!this.viewSettled) await this.inTime(this.viewStarted);
    return this;
  }

  /** Waits a bounded time for the dapps. @throws TownError `starting` */
  private inTime<T>(start: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.parts.clock.after(DAPPS_WAIT_MS, () =>
        reject(
          new TownError(
            'starting',
            'The dapps are still starting.',
            'Try again in a moment; `town status` tells how they are.',
          ),
        ),
      );
      start.then((value) => {
        cancel();
        resolve(value);
      }, reject);
    });
  }

  private appended(id: EntryId): void {
    const entry = this.ledgerCases.entry(id, true);
    if (entry) this.events.emit({ kind: 'entry', entry });
  }

  /** Keys that the ledger has by now are their members'. */
  private settleKeys(): void {
    this.keys
      .settle()
      .catch((error: unknown) =>
        this.parts.logger.warn({ error: String(error) }, 'A registered key could not be marked as such.'),
      );
  }

  private adopted(merge: MergeRow, entries: readonly EntryId[]): void {
    this.peering.adopted(merge);
    this.settleKeys();
    this.peersChanged();
    void this.invitations.welcomeAdmitted();
    this.repository?.scheduleFlush();
    this.writeSigners().catch((error: unknown) =>
      this.parts.logger.warn({ error: String(error) }, 'allowed_signers could not be written.'),
    );
    this.events.emit({ kind: 'merge', merge: this.ledgerCases.mergeView(merge) });
    for (const id of entries.slice(0, EVENTS_OF_MERGE_MAX)) {
      const entry = this.ledgerCases.entry(id, true);
      if (entry) this.events.emit({ kind: 'entry', entry });
    }
    for (const notice of this.noticeCases.fresh()) this.events.emit(notice);
    this.emitStatus();
  }

  /** Keys of every node that ever wrote here: old commits stay verifiable. */
  private async writeSigners(): Promise<void> {
    const { store, folder } = this.parts;
    const known = new Set(JSON.parse(store.meta('signers') ?? '[]') as string[]);
    const before = known.size;
    for (const [id, { key }] of Object.entries(this.main.charter.nodes))
      known.add(allowedSignersLine(`${id}@node.invalid`, key as KeyId));
    if (known.size > before) await store.setMeta('signers', JSON.stringify([...known].sort()));
    await writeAllowedSigners(join(folder, 'allowed_signers'), [...known]);
  }

  private setAlarm(alarm: Alarm | null): void {
    if (alarm?.code === this.alarm?.code && alarm?.message === this.alarm?.message) return;
    this.alarm = alarm;
    if (alarm) this.parts.logger.warn({ code: alarm.code }, alarm.message);
    this.emitStatus();
  }

  private setTrouble(trouble: Alarm): void {
    this.parts.logger.warn({ code: trouble.code }, trouble.message);
    if (this.trouble?.code === trouble.code) return;
    this.trouble = trouble;
    this.emitStatus();
  }

  /** Tells people, at most once a second, and only what they would see. */
  private peersChanged(): void {
    this.cancelTold ??= this.parts.clock.after(PEERS_TELL_MS, () => {
      this.cancelTold = null;
      const seen = this.peering.views().map(({ heardAt: _, ...view }) => view);
      const { nodes, validators } = this.main.charter;
      const text = JSON.stringify([this.peering.isOnline, seen, nodes, validators]);
      if (text === this.toldPeers) return;
      this.toldPeers = text;
      this.events.emit({ kind: 'nodes' });
      this.emitStatus();
    });
  }

  /** What people are shown of the nodes has changed beside what the peers tell. */
  private nodesChanged(): void {
    this.toldPeers = '';
    this.peersChanged();
  }

  private brokerView(): NodesView['broker'] {
    const { config } = this.parts;
    const port = this.parts.brokerPort();
    const embedded = config.broker === undefined && port !== null;
    const url = config.broker?.url ?? (port === null ? null : `mqtt://127.0.0.1:${port}`);
    return { url, embedded, connected: this.peering.isOnline };
  }

  private emitStatus(): void {
    this.events.emit({ kind: 'status', status: this.status() });
  }

  // Status and sessions -----------------------------------------------------------------------------------------------

  status(): StatusView {
    const { store, keys, config, version } = this.parts;
    const { charter, head, state } = this.main;
    const { vault, members, locked } = totalsOf(state);
    const count = charter.validators.length;
    const gate = this.doorCases.gate;
    const { driver } = this;
    const peers = this.peering.views();
    const heard = new Set(peers.filter(({ connected }) => connected).map(({ node }) => node));
    const brokerPort = this.parts.brokerPort();
    return {
      town: { id: this.main.town, name: charter.name, preset: charter.preset },
      node: { id: keys.id, name: charter.nodes[keys.id]?.name ?? config.nodeName },
      version,
      needsSetup: this.memberCases.needsSetup,
      height: head.height,
      main: head.oid,
      pendingEntries: store.counts().pending,
      merging: this.merger.isMerging,
      alarm: this.alarm ?? this.trouble,
      gate: { connected: gate !== null, board: gate?.board ?? null, simulated: gate?.simulated ?? false },
      dapps: {
        driver: driver?.kind ?? 'starting',
        isolated: driver?.isolated ?? false,
        ready: this.dappsReady,
        list: charter.dapps.map(({ name, version: v, digest }) => ({ name, version: v, digest })),
        warning: this.driverWarning,
      },
      broker: { listening: brokerPort !== null, port: brokerPort },
      supply: { total: charter.supply, vault, members, locked },
      validators: {
        count,
        quorum: quorumOf(count, charter.quorum),
        mayBeOff: mayBeOff(count, charter.quorum),
        heard: charter.validators.filter((id) => id === keys.id || heard.has(id as NodeId)).length,
      },
      peers: { count: peers.length, connected: heard.size },
      startedAt: this.startedAt,
    };
  }

  subscribe(listener: (event: TownEvent) => void): () => void {
    return this.events.subscribe(listener);
  }

  async setup(input: {
    token: string;
    name: string;
    passphrase: string;
    doorName?: string | undefined;
  }): Promise<SessionView> {
    const [first] = this.parts.config.gate.doors;
    // Before anything is recorded: a door that is refused would leave the setup half done.
    const doorName = input.doorName?.trim() ? cleanName(input.doorName) : first?.name;
    await this.settled();
    return this.memberCases.setup(input, async (session) => {
      if (first) await this.doorCases.addAs(session, { id: first.id, name: doorName ?? first.name });
      this.emitStatus();
    });
  }

  async signIn(input: { name: string; passphrase: string }): Promise<SessionView> {
    await this.settled();
    return this.sessions.signIn(input.name, input.passphrase);
  }

  session(token: string, peek = false): SessionView | null {
    return this.sessions.look(token, peek);
  }

  signOut(token: string): void {
    this.sessions.end(token);
  }

  // People, badges, doors, members, gigs --------------------------------------------------------------------------------

  people: TownNode['people'] = async (s) => (await this.settled()).peopleCases.list(s);
  addPerson: TownNode['addPerson'] = async (s, input) => (await this.settled()).peopleCases.add(s, input);
  suspendPerson: TownNode['suspendPerson'] = async (s, person, reason) =>
    (await this.settled()).peopleCases.suspend(s, person, reason);
  reinstatePerson: TownNode['reinstatePerson'] = async (s, person) =>
    (await this.settled()).peopleCases.reinstate(s, person);
  enrolBadge: TownNode['enrolBadge'] = async (s, input) =>
    (await this.settled()).peopleCases.enrolNumber(s, input);
  startEnrolment: TownNode['startEnrolment'] = async (s, input) =>
    (await this.settled()).doorCases.startEnrolment(s, input);
  enrolment: TownNode['enrolment'] = async (s, id) => (await this.settled()).doorCases.enrolment(s, id);
  cancelEnrolment: TownNode['cancelEnrolment'] = (s, id) => this.doorCases.cancelEnrolment(s, id);
  revokeBadge: TownNode['revokeBadge'] = async (s, badge, reason) =>
    (await this.settled()).peopleCases.revoke(s, badge, reason);
  doors: TownNode['doors'] = async (s) => (await this.settled()).doorCases.list(s);
  addDoor: TownNode['addDoor'] = async (s, input) => (await this.settled()).doorCases.add(s, input);
  lockDown: TownNode['lockDown'] = async (s, door, on) =>
    (await this.settled()).doorCases.lockDown(s, door, on);
  tap: TownNode['tap'] = async (s, door, number) => (await this.settled()).doorCases.tap(s, door, number);
  open: TownNode['open'] = async (s, door) => (await this.settled()).doorCases.open(s, door);
  doorEvents: TownNode['doorEvents'] = async (s, input) => (await this.settled()).doorCases.events(s, input);
  members: TownNode['members'] = async (s) => (await this.settled()).memberCases.list(s);
  inviteMember: TownNode['inviteMember'] = async (s, input) =>
    (await this.settled()).memberCases.invite(s, input);
  join: TownNode['join'] = async (input) => (await this.settled()).memberCases.join(input);
  transfer: TownNode['transfer'] = async (s, input) => (await this.settled()).memberCases.transfer(s, input);
  grant: TownNode['grant'] = async (s, input) => (await this.settled()).memberCases.grant(s, input);
  gigs: TownNode['gigs'] = async (s) => (await this.settled()).gigCases.list(s);
  openGig: TownNode['openGig'] = async (s, input) => (await this.settled()).gigCases.open(s, input);
  gigStep: TownNode['gigStep'] = async (s, gig, step, input) =>
    (await this.settled()).gigCases.step(s, gig, step, input);

  notices: TownNode['notices'] = async (s, input) => (await this.settled()).noticeCases.list(s, input);
  readNotices: TownNode['readNotices'] = async (s, input) =>
    (await this.settled()).noticeCases.read(s, input);

  // Charter and ledger ------------------------------------------------------------------------------------------------

  async charter(): Promise<JsonObject> {
    return this.main.charter as unknown as JsonObject;
  }

  async changeCharter(s: string, input: { set: JsonObject; remove: readonly string[] }): Promise<Recorded> {
    await this.settled();
    const session = this.sessions.needPermission(s, 'charter.change');
    const { set, remove } = input;
    this.assertCanRun({ set, remove });
    return recorded(await this.appender.claim('charter.change', { set, remove: [...remove] }, session));
  }

  /**
   * A dapp that this build cannot run would stop every merge after this change, or the next start.
   * @throws TownError `dapp-missing`, `dapp-differs`
   */
  private assertCanRun(change: CharterChange): void {
    let next: Charter;
    try {
      next = changeCharter(readCharter(this.view.state), change);
    } catch (error) {
      if (error instanceof TownError) return; // The judge refuses it and says why.
      throw error;
    }
    const unknown = next.dapps.find(({ name, enabled }) => enabled && !this.manifests.has(name));
    if (unknown)
      throw new TownError(
        'dapp-missing',
        `The dapp ${unknown.name} does not run here: it is not in this build, or was not in the charter when the daemon started.`,
        'Put it into the charter without enabling it, merge, start the daemon of a build that has it, then enable it.',
      );
    packagesOf(next, this.parts.packages);
  }

  log: TownNode['log'] = async (s, input) => (await this.settled()).ledgerCases.log(s, input);
  merges: TownNode['merges'] = async (s, input) => (await this.settled()).ledgerCases.merges(s, input);
  branches: TownNode['branches'] = async (s) => (await this.settled()).ledgerCases.branches(s);
  graph: TownNode['graph'] = async (s, { limit }) => {
    this.sessions.need(s);
    return ledgerGraph(this.parts.store, this.main, this.id, limit);
  };
  show: TownNode['show'] = async (s, id) => (await this.settled()).ledgerCases.show(s, id);

  async mergeNow(s: string): Promise<MergeView | null> {
    const session = this.sessions.needPermission(s, 'ledger.merge');
    if (!(await this.merger.mergeNow())) return null;
    await this.repository?.flush();
    const last = this.parts.store.lastMerge();
    return last ? this.ledgerCases.mergeView(last, session) : null;
  }
}
