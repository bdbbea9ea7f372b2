/** One node, put together: its life from start to stop. Parts know each other only as they are given here. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { ContractDriver } from '../dapps/driver.js';
import type { DappPackage } from '../dapps/package.js';
import type { Charter } from '../ledger/charter.js';
import type { EntryId, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { LateObjects } from '../store/late-objects.js';
import { Repository } from '../store/repository.js';
import type { MergeRow } from '../store/rows.js';
import type { Transport } from '../sync/transport.js';
import { refreshUsers } from './broker-config.js';
import { Bulletin } from './bulletin.js';
import { Core } from './core.js';
import { manifestsOf, packagesOf } from './dapp-set.js';
import { forgetFiles } from './erased-files.js';
import { Events } from './events.js';
import { MainLine } from './main-line.js';
import type { Merger } from './merger.js';
import { NodeInvitations } from './node-invitations.js';
import type { Offers } from './offers.js';
import { Peering } from './peering.js';
import type { MakeTransport } from './peering-parts.js';
import { PrivateRecords } from './private-records.js';
import { Readiness } from './readiness.js';
import { RecordKeeper } from './record-keeper.js';
import { observingRefusal, observingTrouble, type Restored } from './restored.js';
import { SetupLock } from './setup-lock.js';
import { prepareSignatures } from './signatures-ahead.js';
import { Signers } from './signers.js';
import { TownCases, type TownCasesParts } from './town-cases.js';
import type { TownKeys } from './town-keys.js';
import { TownOnMain, type TownOnMainParts } from './town-on-main.js';
import { updateRefusal } from './update-needed.js';
import type { View } from './view.js';
import { readWelcomed } from './welcomed.js';

export interface RunningParts extends Pick<
  TownCasesParts,
  'folder' | 'store' | 'keys' | 'keyStore' | 'config' | 'clock' | 'logger' | 'url'
> {
  /** Where not given, the one of `keys`: for a node that meets nobody. */
  readonly townKeys?: TownKeys;
  readonly version: string;
  readonly packages: readonly DappPackage[];
  /** The port of the embedded broker while it listens. */
  readonly brokerPort: () => number | null;
  /** The folder was restored from a backup, and this node was not let in since: it observes. Null: a node like any other. */
  readonly restored: Restored | null;
}

export class RunningNode {
  private readonly events = new Events();
  private readonly main: MainLine;
  private readonly view: View;
  private readonly merger: Merger;
  private readonly peering: Peering;
  private readonly invitations: NodeInvitations;
  private readonly records: PrivateRecords;
  private readonly recordKeeper: RecordKeeper;
  private readonly cases: TownCases;
  /** What the API calls. */
  readonly onMain: TownOnMain;
  private readonly readiness: Readiness;
  private readonly bulletin: Bulletin;
  private readonly signers: Signers;
  /** Held while this board goes into another town. */
  readonly setupLock = new SetupLock();
  private repository: Repository | null = null;
  private transport: Transport | null = null;
  private brokerWork: Promise<unknown> = Promise.resolve();
  /** The nodes that the broker's users were written for. */
  private brokerNodes = '';

  constructor(private readonly parts: RunningParts) {
    const { store, keys, clock, config, folder, logger } = parts;
    const readiness = (this.readiness = new Readiness(clock, store.pendingCount() === 0));
    const main = (this.main = MainLine.load(store));
    const packages = packagesOf(main.charter, parts.packages);
    const manifests = manifestsOf(packages);
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
      brokerStates: () => this.transport?.states?.() ?? [],
      peering: () => this.peering,
      gate: () => this.cases.doors.gate,
      isMerging: () => this.merger.isMerging,
      heightAtWork: () => this.merger.heightAtWork,
      needsSetup: () => this.cases.members.needsSetup,
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
      sendRecovery: (recovery) => this.peering.sendRecovery(recovery),
      epochBegan: () => {
        this.peering.epochBegan();
        // The first merge of the epoch may need a node that the broker does not know yet.
        this.keepBroker();
        bulletin.nodesChanged();
      },
      epochLeft: () => this.peering.epochLeft(),
      epochAwaited: () => this.peering.epochAwaited(),
      blockMade: (block) => this.peering.blockMade(block),
      parkedChanged: () => bulletin.tell(),
      alarm: (alarm) => bulletin.setAlarm(alarm),
      trouble: (code, message) => bulletin.setTrouble({ code, message }),
      appended: (entry) => this.cases.tellEntries([entry.id]),
      adopted: (merge, entries) => this.adopted(merge, entries),
    });
    const { view, appender } = core;
    if (parts.restored) appender.refuse(observingRefusal);
    this.view = view;
    this.merger = core.merger;
    this.peering = new Peering({
      ...{ store, main, keys, clock },
      ...(parts.townKeys ? { townKeys: parts.townKeys } : {}),
      merger: core.merger,
      peerBlocks: core.peerBlocks,
      prepare: prepareSignatures,
      readObject,
      catchUp: { view, late: new LateObjects(join(folder, 'ahead.objects')) },
      bytesPerSecond: config.sync?.bytesPerSecond,
      random: randomBytes,
      steady: () => performance.now(),
      trouble: (code, message) => bulletin.setTrouble({ code, message }),
      changed: () => bulletin.peersChanged(),
      joining: (delivery) => this.invitations.receive(delivery),
      outdated: (version) => {
        appender.refuseClaims(() => updateRefusal(version));
        void core.merger.stop();
      },
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
      forgetCopies: () => forgetFiles(this.parts.folder),
      erased: (owners) => this.forgetErased(owners),
      failed: (error) =>
        logger.warn({ error: String(error) }, 'The keys of records could not be looked after.'),
    });
    this.invitations = new NodeInvitations({
      ...{ store, main, keys, clock, readObject },
      ...(parts.townKeys ? { townKey: () => (parts.townKeys as TownKeys).current } : {}),
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
    const partsOfTown: TownOnMainParts = {
      ...parts,
      ...{ main, view, appender, manifests, readObject, readiness, bulletin },
      merger: core.merger,
      events: this.events,
      records: this.records,
      recordKeeper: this.recordKeeper,
      invitations: this.invitations,
      peering: this.peering,
      setupLock: this.setupLock,
      flush: async () => this.repository?.flush(),
      scheduleFlush: () => this.repository?.scheduleFlush(),
    };
    this.cases = new TownCases(partsOfTown);
    this.onMain = new TownOnMain(this.cases, partsOfTown);
    this.settleKeys();
  }

  // Life --------------------------------------------------------------------------------------------------------------

  /** Connects the doors: they serve before anything else does. */
  startDoors(): void {
    if (this.parts.restored) this.bulletin.setTrouble(observingTrouble(this.parts.restored));
    else this.cases.doors.start();
  }

  /** Completes the git repository from the store. @throws TownError where history is lost */
  async openRepository(): Promise<void> {
    const { folder, store, logger } = this.parts;
    this.repository = await Repository.open(join(folder, 'ledger.git'), store, {
      onTrouble: (error) =>
        logger.warn({ error: error.message }, 'The git repository could not be written; it is tried again.'),
    });
    await this.signers.keep();
    this.keepBroker();
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
    await this.startContracts(driver, warning);
    if (!this.parts.restored) {
      this.cases.doors.follow();
      this.merger.start();
    }
    this.bulletin.setAlarm(null);
    this.bulletin.tell();
  }

  /** The contracts answer from now on, and the view takes in what is not merged: what others decided can be taken over. */
  async startContracts(driver: ContractDriver, warning: string | null): Promise<void> {
    this.readiness.chosen(driver);
    this.bulletin.setWarning(warning);
    await driver.start(packagesOf(this.main.charter, this.parts.packages));
    // First the contracts: what waits for them may stand before the view in its queue.
    this.readiness.contractsAnswer(driver);
    await this.main.prepare();
    await this.view.settle();
    this.readiness.viewSettled();
  }

  /** Takes in what others hold and does not come over the broker. */
  get offers(): Offers {
    return this.peering.offers;
  }

  get town(): string {
    return this.main.town;
  }

  get id(): string {
    return this.parts.keys.id;
  }

  /** To be told before anything else is stopped, so that nothing warns of what then fails. */
  expectStop(): void {
    this.cases.doors.expectStop();
  }

  /** Stops merging, lets go of the gate (`gateToo`: sends it home), completes the repository. The store stays open. */
  async stop(gateToo: boolean): Promise<void> {
    this.expectStop();
    this.bulletin.stop();
    await this.merger.stop();
    await this.cases.forks.stop();
    await this.recordKeeper.stop();
    await this.peering.stop();
    await this.invitations.stop();
    await this.brokerWork;
    await this.cases.doors.stop(gateToo && this.parts.restored === null);
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

  /** The nodes whose keys are known: those of the charter, and those that this node was welcomed with. */
  get nodes(): Charter['nodes'] {
    return { ...(readWelcomed(this.parts.store)?.nodes ?? {}), ...this.main.charter.nodes };
  }

  setupToken(): Promise<string> {
    return this.cases.members.newSetupToken();
  }

  /** Keys that the ledger has by now are their members'. */
  private settleKeys(): void {
    this.cases.memberKeys
      .settle()
      .catch((error: unknown) =>
        this.parts.logger.warn({ error: String(error) }, 'A registered key could not be marked as such.'),
      );
  }

  /** Keys have come or were destroyed: what was opened is forgotten, the doors show reasons only as long as they may be read. */
  private recordsChanged(): void {
    this.records.forget();
    this.cases.doors.recordsChanged();
  }

  /** What is kept in plain of people whose records were erased, beside the records. */
  private async forgetErased(owners: readonly string[]): Promise<void> {
    const { folder, keyStore } = this.parts;
    await keyStore.forgetNames(owners);
    this.cases.sessions.forgetNames(owners);
    await forgetFiles(folder);
    this.recordsChanged();
  }

  /** Where this board keeps the town's broker: who came gets a user there, who went has none any more. */
  private keepBroker(): void {
    const { folder, keys, logger } = this.parts;
    const { charter, town } = this.main;
    const nodes = JSON.stringify(charter.nodes);
    if (nodes === this.brokerNodes) return;
    this.brokerNodes = nodes;
    this.brokerWork = this.brokerWork
      .then(() => refreshUsers(folder, keys, town, charter))
      .then(
        (wrote) =>
          wrote &&
          logger.warn({}, 'The nodes of the town are others: the broker has to read its users anew.'),
      )
      .catch((error: unknown) =>
        logger.warn({ error: String(error) }, "The broker's users could not be written."),
      );
  }

  private adopted(merge: MergeRow, entries: readonly EntryId[]): void {
    this.peering.adopted(merge);
    this.keepBroker();
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
    const notices = this.cases.notices.fresh();
    // Telling costs: where nobody listens, as while catching up, nothing is told.
    if (!this.events.isHeard) return;
    this.events.emit({ kind: 'merge', merge: this.cases.ledger.mergeView(merge) });
    this.cases.tellEntries(entries);
    for (const notice of notices) this.events.emit(notice);
    this.bulletin.tell();
  }
}
