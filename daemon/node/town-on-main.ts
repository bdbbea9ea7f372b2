/** What the API calls: the use cases of the town on `main`. Most of them wait until the view is as it was before the start. */
import { changeCharter, type Charter, type CharterChange } from '../ledger/charter.js';
import type { JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import type { DappPackage } from '../dapps/package.js';
import { packagesOf } from './dapp-set.js';
import type { Fork } from './fork.js';
import { forkTown } from './fork-town.js';
import { cleanName } from './key-files.js';
import { ledgerGraph } from './ledger-graph.js';
import type { Merger } from './merger.js';
import { recorded } from './people.js';
import { Recoveries } from './recoveries.js';
import type { Restored } from './restored.js';
import type { SetupLock } from './setup-lock.js';
import type { TownCases, TownCasesParts } from './town-cases.js';
import type { MergeView, Recorded, SessionView, StatusView, TownEvent, TownNode } from './use-cases.js';

export interface TownOnMainParts extends TownCasesParts {
  readonly merger: Merger;
  readonly packages: readonly DappPackage[];
  readonly setupLock: SetupLock;
  readonly restored: Restored | null;
}

export class TownOnMain implements TownNode {
  readonly nodes: TownNode['nodes'];
  readonly keys: TownNode['keys'];
  readonly forks: TownNode['forks'];
  readonly money: TownNode['money'];
  readonly standing: TownNode['standing'];
  readonly recordCases: TownNode['recordCases'];
  readonly recovery: TownNode['recovery'];
  private readonly townsOnForks = new WeakMap<Fork, TownNode>();

  constructor(
    private readonly cases: TownCases,
    private readonly parts: TownOnMainParts,
  ) {
    this.nodes = cases.nodes;
    this.keys = cases.memberKeys;
    this.forks = cases.forks;
    this.money = cases.money;
    this.standing = cases.standing;
    this.recordCases = cases.records;
    const { peering } = parts;
    this.recovery = new Recoveries({ ...parts, sessions: cases.sessions, views: () => peering.views() });
  }

  /** @throws TownError `starting` */
  private async settled(): Promise<this> {
    await this.parts.readiness.settled();
    return this;
  }

  // Status and sessions -----------------------------------------------------------------------------------------------

  status(): StatusView {
    return this.parts.bulletin.status();
  }

  subscribe(listener: (event: TownEvent) => void): () => void {
    return this.parts.events.subscribe(listener);
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
    return this.parts.setupLock.whileSettingUp(async () => {
      await this.settled();
      return this.cases.members.setup(input, async (session) => {
        if (first) await this.cases.doors.addAs(session, { id: first.id, name: doorName ?? first.name });
        this.parts.bulletin.tell();
      });
    });
  }

  async signIn(input: { name: string; passphrase: string }): Promise<SessionView> {
    await this.settled();
    return this.cases.sessions.signIn(input.name, input.passphrase);
  }

  session(token: string, peek = false): SessionView | null {
    return this.cases.sessions.look(token, peek);
  }

  signOut(token: string): void {
    this.cases.sessions.end(token);
  }

  onLine: TownNode['onLine'] = async (name) => {
    await this.settled();
    const fork = await this.cases.forks.open(name);
    let town = this.townsOnForks.get(fork);
    if (!town) {
      const { store, keys, keyStore, clock, url, records, flush } = this.parts;
      const { sessions } = this.cases;
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

  people: TownNode['people'] = async (s) => (await this.settled()).cases.people.list(s);
  addPerson: TownNode['addPerson'] = async (s, input) => (await this.settled()).cases.people.add(s, input);
  suspendPerson: TownNode['suspendPerson'] = async (s, person, reason) =>
    (await this.settled()).cases.people.suspend(s, person, reason);
  reinstatePerson: TownNode['reinstatePerson'] = async (s, person) =>
    (await this.settled()).cases.people.reinstate(s, person);
  enrolBadge: TownNode['enrolBadge'] = async (s, input) =>
    (await this.settled()).cases.people.enrolNumber(s, input);
  startEnrolment: TownNode['startEnrolment'] = async (s, input) =>
    (await this.settled()).cases.doors.enrolments.start(s, input);
  enrolment: TownNode['enrolment'] = async (s, id) =>
    (await this.settled()).cases.doors.enrolments.look(s, id);
  cancelEnrolment: TownNode['cancelEnrolment'] = (s, id) => this.cases.doors.enrolments.cancel(s, id);
  revokeBadge: TownNode['revokeBadge'] = async (s, badge, reason) =>
    (await this.settled()).cases.people.revoke(s, badge, reason);
  doors: TownNode['doors'] = async (s) => (await this.settled()).cases.doors.list(s);
  addDoor: TownNode['addDoor'] = async (s, input) => (await this.settled()).cases.doors.add(s, input);
  lockDown: TownNode['lockDown'] = async (s, door, on) =>
    (await this.settled()).cases.doors.lockDown(s, door, on);
  tap: TownNode['tap'] = async (s, door, number) => (await this.settled()).cases.doors.tap(s, door, number);
  open: TownNode['open'] = async (s, door) => (await this.settled()).cases.doors.open(s, door);
  doorEvents: TownNode['doorEvents'] = async (s, input) =>
    (await this.settled()).cases.doors.events(s, input);
  members: TownNode['members'] = async (s) => (await this.settled()).cases.members.list(s);
  inviteMember: TownNode['inviteMember'] = async (s, input) =>
    (await this.settled()).cases.members.invite(s, input);
  join: TownNode['join'] = async (input) => (await this.settled()).cases.members.join(input);
  transfer: TownNode['transfer'] = async (s, input) =>
    (await this.settled()).cases.members.transfer(s, input);
  grant: TownNode['grant'] = async (s, input) => (await this.settled()).cases.members.grant(s, input);
  gigs: TownNode['gigs'] = async (s) => (await this.settled()).cases.gigs.list(s);
  openGig: TownNode['openGig'] = async (s, input) => (await this.settled()).cases.gigs.open(s, input);
  gigStep: TownNode['gigStep'] = async (s, gig, step, input) =>
    (await this.settled()).cases.gigs.step(s, gig, step, input);

  notices: TownNode['notices'] = async (s, input) => (await this.settled()).cases.notices.list(s, input);
  readNotices: TownNode['readNotices'] = async (s, input) =>
    (await this.settled()).cases.notices.read(s, input);

  // Charter and ledger ------------------------------------------------------------------------------------------------

  async charter(): Promise<JsonObject> {
    return this.parts.main.charter as unknown as JsonObject;
  }

  async changeCharter(s: string, input: { set: JsonObject; remove: readonly string[] }): Promise<Recorded> {
    await this.settled();
    const session = this.cases.sessions.needPermission(s, 'charter.change');
    const { set, remove } = input;
    this.assertCanRun(readCharter(this.parts.view.state), { set, remove });
    return recorded(await this.parts.appender.claim('charter.change', { set, remove: [...remove] }, session));
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
    const unknown = next.dapps.find(({ name, enabled }) => enabled && !this.parts.manifests.has(name));
    if (unknown)
      throw new TownError(
        'dapp-missing',
        `The dapp ${unknown.name} does not run here: it is not in this build, or was not in the charter when the daemon started.`,
        'Put it into the charter without enabling it, merge, start the daemon of a build that has it, then enable it.',
      );
    packagesOf(next, this.parts.packages);
  }

  log: TownNode['log'] = async (s, input) => (await this.settled()).cases.ledger.log(s, input);
  merges: TownNode['merges'] = async (s, input) => (await this.settled()).cases.ledger.merges(s, input);
  branches: TownNode['branches'] = async (s) => (await this.settled()).cases.ledger.branches(s);
  graph: TownNode['graph'] = async (s, { limit }) => {
    this.cases.sessions.need(s);
    return ledgerGraph(this.parts.store, this.parts.main, this.parts.keys.id, limit);
  };
  show: TownNode['show'] = async (s, id) => (await this.settled()).cases.ledger.show(s, id);

  async mergeNow(s: string): Promise<MergeView | null> {
    const session = this.cases.sessions.needPermission(s, 'ledger.merge');
    if (!(await this.parts.merger.mergeNow())) return null;
    await this.parts.flush();
    const last = this.parts.store.lastMerge();
    return last ? this.cases.ledger.mergeWithEntries(last, session) : null;
  }
}
