/** One node, put together: what the API, the panel and the CLI call. Parts know each other only as they are given here. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { ContractDriver } from '../dapps/driver.js';
import type { DappPackage } from '../dapps/package.js';
import { changeCharter, type Charter, type CharterChange } from '../ledger/charter.js';
import type { EntryId, JsonObject, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import { readCharter } from '../ledger/kernel.js';
import { Repository } from '../store/repository.js';
import type { MergeRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { Transport } from '../sync/transport.js';
import type { Appender } from './appender.js';
import { Bulletin } from './bulletin.js';
import type { Clock } from './clock.js';
import { addressOf, type NodeConfig } from './config.js';
import { Core } from './core.js';
import { manifestsOf, packagesOf } from './dapp-set.js';
import { Doors } from './doors.js';
import { Events } from './events.js';
import type { Fork } from './fork.js';
import { forkTown } from './fork-town.js';
import { Forks } from './forks.js';
import { Gigs } from './gigs.js';
import { cleanName, type KeyStore, type NodeKeys } from './key-files.js';
import { LedgerCases } from './ledger-cases.js';
import { ledgerGraph } from './ledger-graph.js';
import { MainLine } from './main-line.js';
import { MemberKeys } from './member-keys.js';
import { Members } from './members.js';
import { Money } from './money.js';
import type { Merger } from './merger.js';
import { Names } from './names.js';
import { NodeInvitations } from './node-invitations.js';
import { Nodes } from './nodes.js';
import { Notices } from './notices.js';
import { Peering, type MakeTransport } from './peering.js';
import { People, recorded } from './people.js';
import { forgetFiles } from './erased-files.js';
import { PrivateRecords } from './private-records.js';
import { RecordKeeper } from './record-keeper.js';
import { Records } from './records.js';
import { Readiness } from './readiness.js';
import { SetupLock } from './setup-lock.js';
import { SignaturePool } from './signature-pool.js';
import { Signers } from './signers.js';
import { StateChanges } from './state-changes.js';
import { Standing } from './standing.js';
import { Sessions } from './sessions.js';
import type { MergeView, Recorded, SessionView, StatusView, TownEvent, TownNode } from './use-cases.js';
import type { View } from './view.js';
import { observingRefusal, observingTrouble, type Restored } from './restored.js';
import { readWelcomed } from './welcomed.js';
import type { GateLogger } from '../gate/link.js';

const EVENTS_OF_MERGE_MAX = 200;

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
  /** The folder was restored from a backup, and this node was not let in since: it observes. Null: a node like any other. */
  readonly restored: Restored | null;
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
  private readonly recordKeeper: RecordKeeper;
  private readonly sessions: Sessions;
  private readonly peopleCases: People;
  private readonly doorCases: Doors;
  private readonly memberCases: Members;
  private readonly gigCases: Gigs;
  private readonly ledgerCases: LedgerCases;
  private readonly noticeCases: Notices;
  readonly forks: Forks;
  readonly money: Money;
  readonly standing: Standing;
  readonly recordCases: Records;
  private readonly townsOnForks = new WeakMap<Fork, TownNode>();
  private readonly readiness: Readiness;
  private readonly bulletin: Bulletin;
  private readonly signers: Signers;
  private readonly signatures = new SignaturePool();
  /** Held while this board goes into another town. */
  readonly setupLock = new SetupLock();
  private readonly manifests: Manifests;
  private repository: Repository | null = null;
  private transport: Transport | null = null;

  constructor(private readonly parts: RunningParts) {
    const { store, keys, keyStore, clock, config, folder, logger } = parts;
    const readiness = (this.readiness = new Readiness(clock, store.pendingCount() === 0));
    const main = (this.main = MainLine.load(store));
    const packages = packagesOf(main.charter, parts.packages);
    const manifests = (this.manifests = manifestsOf(packages));
    const contracts = {
      exchange: async (...call: Parameters<ContractDriver['exchange']>) =>
        (await readiness.contracts()).exchange(...call),
    };
    const readObject = async (oid: Oid) => {
      if (!this.repository) throw new TownError('starting', 'The repository is not open yet.');
      return this.repository.read(oid);
    };
    const bulletin = (this.bulletin = new Bulletin({
      ...{ store, main, keys, config, clock, logger, readiness },
      events: this.events,
      version: parts.version,
      brokerPort: parts.brokerPort,
      brokerTrouble: () => this.transport?.trouble?.() ?? null,
      peering: () => this.peering,
      gate: () => this.doorCases.gate,
      isMerging: () => this.merger.isMerging,
      needsSetup: () => this.memberCases.needsSetup,
    }));
    this.signers = new Signers(store, main, folder);
    const core = new Core({
      store,
      keys,
      clock,
      main,
      manifests,
      contracts,
      readObject,
      // Its history is told by no notices: whom they are for was told when it happened, elsewhere.
      silentUpTo: readWelcomed(store)?.checkpoint.height,
      broadcast: (message) => this.peering.broadcast(message),
      heldByQuorum: (node, line) => this.peering.heldByQuorum(node, line),
      isHeard: (node) => this.peering.isHeard(node),
      blockMade: (block) => this.peering.blockMade(block),
      alarm: (alarm) => bulletin.setAlarm(alarm),
      trouble: (code, message) => bulletin.setTrouble({ code, message }),
      appended: (entry) => this.appended(entry.id),
      adopted: (merge, entries) => this.adopted(merge, entries),
    });
    const { view, appender } = core;
    if (parts.restored) appender.refuse(observingRefusal);
    this.view = view;
    this.appender = appender;
    this.merger = core.merger;
    this.peering = new Peering({
      ...{ store, main, keys, clock },
      merger: core.merger,
      peerBlocks: core.peerBlocks,
      prepare: (texts, commits) => this.signatures.prepare(texts, commits),
      random: randomBytes,
      steady: () => performance.now(),
      trouble: (code, message) => bulletin.setTrouble({ code, message }),
      changed: () => bulletin.peersChanged(),
      joining: (delivery) => this.invitations.receive(delivery),
      records: {
        receive: (...message) => this.recordKeeper.receive(...message),
        peersChanged: () => this.recordKeeper.peersChanged(),
        stored: () => this.recordKeeper.stored(),
      },
    });
    this.recordKeeper = new RecordKeeper({
      ...{ store, main, keys, clock },
      random: randomBytes,
      steady: () => performance.now(),
      connected: () => this.peering.heard(),
      send: (kind, to, body) => this.peering.sendWhileOnline(kind, to, body),
      changed: () => this.recordsChanged(),
      erased: (owners) => this.forgetErased(owners),
      failed: (error) =>
        logger.warn({ error: String(error) }, 'The keys of records could not be looked after.'),
    });
    this.invitations = new NodeInvitations({
      ...{ store, main, keys, clock, readObject },
      random: randomBytes,
      send: (topic, payload) => this.peering.sendJoining(topic, payload),
      changed: () => bulletin.nodesChanged(),
      warn: (message) => logger.warn({}, message),
    });
    this.records = new PrivateRecords({
      store,
      state: main.state,
      made: (row) => this.recordKeeper.made(row),
    });
    const names = new Names(view, this.records, keyStore);
    const sessions = (this.sessions = new Sessions(keyStore, main, view, clock));
    this.nodes = new Nodes({
      ...{ store, main, view, appender, sessions, keyStore, keys, clock },
      invitations: this.invitations,
      peers: {
        views: () => this.peering.views(),
        broker: () => bulletin.broker(),
        brokerAddress: () => (config.broker ? addressOf(config.broker) : bulletin.broker().url),
        refusals: () => this.peering.refusals(),
        syncNow: () => this.peering.syncNow(),
      },
      random: randomBytes,
      settled: () => readiness.settled(),
      changed: () => bulletin.nodesChanged(),
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
    const settled = (): Promise<void> => readiness.settled();
    this.money = new Money({
      ...{ main, view, appender, records, names, sessions, keyStore, keys, clock, settled },
    });
    this.standing = new Standing({ view, appender, records, sessions, clock, settled });
    this.recordCases = new Records({
      ...{ main, view, appender, sessions, people, keys, settled },
      keeper: this.recordKeeper,
    });
    this.gigCases = new Gigs(view, main, appender, names, sessions, clock);
    const conversations = () => view.conversations;
    const changes = new StateChanges({ store, main, manifests, conversations, readObject });
    this.ledgerCases = new LedgerCases(store, main, view, records, names, sessions, changes);
    this.forks = new Forks({
      ...{ store, keys, clock, main, manifests, view, appender, sessions, keyStore, readObject },
      contracts: view.conversations,
      namesOn: (fork) => new Names(fork.view, records, keyStore),
      flush: async () => this.repository?.flush(),
      tell: async (fork, row, open) => {
        const onFork = new Names(fork.view, records, keyStore);
        return new LedgerCases(store, fork.line, fork.view, records, onFork, sessions).entryView(row, open)
          .says;
      },
      changed: (entries) => {
        this.repository?.scheduleFlush();
        for (const id of entries.slice(0, EVENTS_OF_MERGE_MAX)) this.appended(id);
      },
      trouble: (code, message) => bulletin.setTrouble({ code, message }),
    });
    this.noticeCases = new Notices(store, sessions, this.ledgerCases);
    this.keys = new MemberKeys({ store, main, view, appender, sessions, keyStore, keys, clock });
    this.settleKeys();
  }

  // Life --------------------------------------------------------------------------------------------------------------

  /** Connects the doors: they serve before anything else does. */
  startDoors(): void {
    if (this.parts.restored) this.bulletin.setTrouble(observingTrouble(this.parts.restored));
    else this.doorCases.start();
  }

  /** Completes the git repository from the store. @throws TownError where history is lost */
  async openRepository(): Promise<void> {
    const { folder, store, logger } = this.parts;
    this.repository = await Repository.open(join(folder, 'ledger.git'), store, {
      onTrouble: (error) =>
        logger.warn({ error: error.message }, 'The git repository could not be written; it is tried again.'),
    });
    await this.signers.keep();
    this.invitations.start();
    this.recordKeeper.start();
  }

  /** The dapps could not be started: told as an alarm, while doors and reading go on. */
  reportTrouble(error: unknown): void {
    const code = error instanceof TownError ? error.code : 'dapps-failed';
    const message = error instanceof Error ? error.message : String(error);
    this.bulletin.setAlarm({ code, message: `The dapps do not start: ${message}` });
  }

  /** The contracts answer from now on: the view takes in what is not merged, the doors follow it, merging begins. */
  async startDapps(driver: ContractDriver, warning: string | null): Promise<void> {
    this.readiness.chosen(driver);
    this.bulletin.setWarning(warning);
    await driver.start(packagesOf(this.main.charter, this.parts.packages));
    // First the contracts: what waits for them may stand before the view in its queue.
    this.readiness.contractsAnswer(driver);
    await this.main.prepare();
    await this.view.settle();
    this.readiness.viewSettled();
    if (!this.parts.restored) {
      this.doorCases.follow();
      this.merger.start();
    }
    this.bulletin.setAlarm(null);
    this.bulletin.tell();
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
    this.bulletin.stop();
    await this.merger.stop();
    await this.forks.stop();
    await this.recordKeeper.stop();
    await this.peering.stop();
    await this.signatures.close();
    await this.invitations.stop();
    await this.doorCases.stop(gateToo && this.parts.restored === null);
    await this.readiness.driver?.stop();
    await this.repository?.close();
  }

  /** Meets the other nodes over this transport; a node that observes meets nobody. */
  async startPeering(makeTransport: MakeTransport): Promise<void> {
    // The others would not hear a node that they do not know.
    if (this.parts.restored) return;
    return this.peering.start((options) => {
      const troubled = (): void => this.bulletin.peersChanged();
      return (this.transport = makeTransport({ ...options, events: { ...options.events, troubled } }));
    });
  }

  setupToken(): Promise<string> {
    return this.memberCases.newSetupToken();
  }

  /** The node's parts, once the view is as it was before the start. @throws TownError `starting` */
  private async settled(): Promise<this> {
    await this.readiness.settled();
    return this;
  }

  private appended(id: EntryId): void {
    if (!this.events.isHeard) return;
    const entry = this.ledgerCases.recentEntry(id, true);
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

  /** Keys have come or were destroyed: what was opened is forgotten, the doors show reasons only as long as they may be read. */
  private recordsChanged(): void {
    this.records.forget();
    this.doorCases.recordsChanged();
  }

  /** What is kept in plain of people whose records were erased, beside the records. */
  private async forgetErased(owners: readonly string[]): Promise<void> {
    const { folder, keyStore } = this.parts;
    await keyStore.forgetNames(owners);
    this.sessions.forgetNames(owners);
    await forgetFiles(folder);
    this.recordsChanged();
  }

  private adopted(merge: MergeRow, entries: readonly EntryId[]): void {
    this.peering.adopted(merge);
    this.recordKeeper.adopted();
    this.settleKeys();
    this.bulletin.peersChanged();
    void this.invitations.welcomeAdmitted();
    this.repository?.scheduleFlush();
    this.signers
      .keep()
      .catch((error: unknown) =>
        this.parts.logger.warn({ error: String(error) }, 'allowed_signers could not be written.'),
      );
    const notices = this.noticeCases.fresh();
    // Telling costs: where nobody listens, as while catching up, nothing is told.
    if (!this.events.isHeard) return;
    this.events.emit({ kind: 'merge', merge: this.ledgerCases.mergeView(merge) });
    for (const id of entries.slice(0, EVENTS_OF_MERGE_MAX)) this.appended(id);
    for (const notice of notices) this.events.emit(notice);
    this.bulletin.tell();
  }

  // Status and sessions -----------------------------------------------------------------------------------------------

  status(): StatusView {
    return this.bulletin.status();
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
    return this.setupLock.whileSettingUp(async () => {
      await this.settled();
      return this.memberCases.setup(input, async (session) => {
        if (first) await this.doorCases.addAs(session, { id: first.id, name: doorName ?? first.name });
        this.bulletin.tell();
      });
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

  onLine: TownNode['onLine'] = async (name) => {
    await this.settled();
    const fork = await this.forks.open(name);
    let town = this.townsOnForks.get(fork);
    if (!town) {
      const { store, keys, keyStore, clock, url } = this.parts;
      const { records, sessions } = this;
      const flush = async (): Promise<void> => this.repository?.flush();
      const assertCanRun = (charter: Charter, change: CharterChange): void =>
        this.assertCanRun(charter, change);
      town = forkTown(fork, {
        ...{ store, keys, keyStore, clock, url, records, sessions, assertCanRun, flush },
        town: this,
      });
      this.townsOnForks.set(fork, town);
    }
    return town;
  };

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
    this.assertCanRun(readCharter(this.view.state), { set, remove });
    return recorded(await this.appender.claim('charter.change', { set, remove: [...remove] }, session));
  }

  /**
   * A dapp that this build cannot run would stop every merge after this change, or the next start.
   * @throws TownError `dapp-missing`, `dapp-differs`
   */
  private assertCanRun(charter: Charter, change: CharterChange): void {
    let next: Charter;
    try {
      next = changeCharter(charter, change);
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
    return last ? this.ledgerCases.mergeWithEntries(last, session) : null;
  }
}
