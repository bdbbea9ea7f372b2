/** Doors: the gate's records on their way into the ledger, and the use cases of the gatehouse. */
import { randomBytes } from 'node:crypto';
import { GateLink, type GateHello, type GateLogger } from '../gate/link.js';
import type { BadgeRight, GateRecord, RightsTable } from '../gate/shapes.js';
import { canonicalize } from '../ledger/canonical.js';
import { verifyEntry } from '../ledger/entry.js';
import { hexOf } from '../ledger/hash.js';
import type { Json, JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readJson } from '../ledger/state.js';
import type { EntryRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import type { NodeConfig } from './config.js';
import type { Events } from './events.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { ABOUT, type Names } from './names.js';
import { keysOf, recorded, type People } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Session, Sessions } from './sessions.js';
import type { DoorEventView, DoorView, Recorded, TownEvent } from './use-cases.js';
import type { View } from './view.js';

const DOORS_MAX = 1000;
const ENROL_WAIT_MS = 60_000;
const ENROLMENTS_KEPT_MAX = 200;
const RIGHTS_DELAY_MS = 20;
const GATE_WAIT_MS = 3_000;
const GATE_LOOK_MS = 50;
const RIGHTS_RETRY_MS = 2_000;
const RIGHTS_PAGES_MAX = 1000;

/** As the door-access dapp keeps a door. */
interface DoorRecord {
  readonly name: string;
  readonly node: string;
  readonly mode: 'normal' | 'lockdown';
}

/** As the door-access dapp gives it: reasons are sealed. */
type SealedRight = Omit<BadgeRight, 'reason'> & { readonly reason?: Json };

interface RightsPage {
  readonly doors: RightsTable['doors'];
  readonly badges: { readonly [badge: string]: SealedRight };
  readonly next?: string | null;
}

type EnrolEvent = TownEvent & { kind: 'enrol' };

interface Enrolment {
  readonly session: Session;
  readonly door: string;
  readonly doors: readonly string[] | '*';
  readonly stopTimer: () => void;
  event: EnrolEvent;
}

export interface DoorsParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly records: PrivateRecords;
  readonly names: Names;
  readonly people: People;
  readonly sessions: Sessions;
  readonly events: Events;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  readonly config: NodeConfig;
  readonly logger: GateLogger;
  readonly gateFolder: string;
}

export class Doors {
  readonly link: GateLink;
  private readonly strikes = new Map<string, boolean>();
  private readonly last = new Map<string, DoorEventView>();
  private readonly enrolments = new Map<string, Enrolment>();
  private hello: GateHello | null = null;
  private cancelRefresh: (() => void) | null = null;
  /** The table in the gate may be older than the view. */
  private isOld = false;
  private isRefreshing = false;
  private stopped = false;
  private isStopExpected = false;
  private sentRights = '';

  constructor(private readonly parts: DoorsParts) {
    const { config, logger, gateFolder, events } = parts;
    this.link = new GateLink(gateFolder, {
      spawn: config.gate.start === 'spawn',
      logger,
      daemon: parts.keys.id,
      onRecord: (record) => this.take(record),
      onStrike: ({ door, on, at }) => {
        this.strikes.set(door, on);
        events.emit({ kind: 'strike', door, on, at });
      },
      onHello: (hello) => (this.hello = hello),
      onLost: () => (this.hello = null),
      onProblem: (code, message) => logger.warn({ code }, message),
    });
  }

  get gate(): GateHello | null {
    return this.hello;
  }

  /** Connects to the gate (or starts it) and gives it its settings; its own files serve until the rights are known. */
  start(): void {
    const { start: _start, ...config } = this.parts.config.gate;
    this.link.start();
    this.link
      .sendConfig(config)
      .catch((error: unknown) => this.warn(error, 'The gate did not take its settings.'));
  }

  /** Names and reasons that could be read may be gone, or the other way round: nothing told before is kept. */
  recordsChanged(): void {
    this.last.clear();
    if (this.sentRights !== '') this.refreshSoon();
  }

  /** From now on the gate's table follows the view. */
  follow(): void {
    this.parts.view.watch(() => this.refreshSoon());
    this.refreshSoon();
  }

  /** The daemon is about to stop: what fails from now on is no news. The table is still kept fresh until `stop`. */
  expectStop(): void {
    this.isStopExpected = true;
  }

  async stop(gateToo: boolean): Promise<void> {
    this.expectStop();
    this.stopped = true;
    this.cancelRefresh?.();
    for (const { stopTimer } of this.enrolments.values()) stopTimer();
    if (gateToo) await this.untilConnected();
    await this.link.stop({ gateToo });
  }

  /** A gate that was only just started is waited for, or it could not be sent home and would stay alone. */
  private async untilConnected(): Promise<void> {
    for (let waitedMs = 0; this.hello === null && waitedMs < GATE_WAIT_MS; waitedMs += GATE_LOOK_MS)
      await new Promise<void>((resolve) => void this.parts.clock.after(GATE_LOOK_MS, resolve));
  }

  private warn(error: unknown, message: string): void {
    if (this.isStopExpected) return;
    this.parts.logger.warn({ error: String(error) }, message);
  }

  // The rights table --------------------------------------------------------------------------------------------------

  private refreshSoon(ms = RIGHTS_DELAY_MS): void {
    this.isOld = true;
    if (this.cancelRefresh || this.isRefreshing || this.stopped) return;
    this.cancelRefresh = this.parts.clock.after(ms, () => void this.refreshNow());
  }

  /** One at a time; what fails is tried again, or a revoked badge would go on opening until something else changes. */
  private async refreshNow(): Promise<void> {
    this.cancelRefresh = null;
    this.isRefreshing = true;
    this.isOld = false;
    let waitMs = RIGHTS_DELAY_MS;
    try {
      await this.refresh();
    } catch (error) {
      this.warn(error, 'The rights table could not be renewed: the gate goes on by its last one meanwhile.');
      this.sentRights = '';
      this.isOld = true;
      waitMs = RIGHTS_RETRY_MS;
    }
    this.isRefreshing = false;
    if (this.isOld) this.refreshSoon(waitMs);
  }

  private async refresh(): Promise<void> {
    const { main, keys, store, clock } = this.parts;
    if (keys.badgeKey === null) return;
    const derived = await this.rights();
    const text = canonicalize(derived as unknown as Json);
    if (text === this.sentRights) return;
    const version = Math.max(Number(store.meta('rights-version') ?? '0'), this.hello?.table ?? 0) + 1;
    await store.setMeta('rights-version', String(version));
    const table: RightsTable = {
      version,
      town: main.town,
      issuedAt: clock.now(),
      badgeKey: hexOf(keys.badgeKey),
      ...derived,
    };
    this.sentRights = text;
    await this.link.sendRights(table);
  }

  /** Asks the door-access dapp, page by page. */
  private async rights(): Promise<Pick<RightsTable, 'doors' | 'badges'>> {
    let doors: RightsTable['doors'] = {};
    const badges: { [badge: string]: BadgeRight } = {};
    let after: string | null = null;
    for (let page = 0; page < RIGHTS_PAGES_MAX; page += 1) {
      const args: JsonObject = after === null ? {} : { after };
      const value = (await this.parts.view.ask('door-access', 'rights', args)) as unknown as RightsPage;
      doors = { ...doors, ...value.doors };
      for (const [badge, right] of Object.entries(value.badges)) badges[badge] = this.rightOf(right);
      after = value.next ?? null;
      if (after === null) break;
    }
    return { doors, badges };
  }

  /** With the reason in plain, for whoever stands at the door; without it where this node cannot open it. */
  private rightOf({ reason, ...right }: SealedRight): BadgeRight {
    const about = right.status === 'suspended' ? ABOUT.suspension : ABOUT.revocation;
    const plain = reason === undefined ? null : this.parts.records.open(about, reason);
    return typeof plain === 'string' ? { ...right, reason: plain } : right;
  }

  // Records -----------------------------------------------------------------------------------------------------------

  /** Makes a record of the gate a fact in this node's branch. Resolves when durable: then the strike moves. */
  private async take(record: GateRecord): Promise<void> {
    const { records, appender, clock, store } = this.parts;
    if (store.gateRecord(record.id)) return;
    const { id, door, kind, outcome, code, table, badge, person, reason, by, of, waitedMs } = record;
    // Of somebody whose records were erased, nothing more is written than of somebody unknown.
    const isErased = person !== undefined && records.isErased(person);
    const about = isErased ? {} : { badge, person, reason };
    const sealed = { id, at: record.at, ...about, by, of, waitedMs };
    const plain = Object.fromEntries(
      Object.entries(sealed).filter(([, value]) => value !== undefined),
    ) as JsonObject;
    // A key apart from that of the profile: its name stands in the ledger in plain and must not lead to the person.
    const subject = person === undefined || isErased ? `door-${door}` : `${person} doors`;
    const envelope = await records.seal(subject, ABOUT.record, plain, clock.now());
    const entry = await appender.fact(
      'door-access.event',
      { door, kind, outcome, code, table, record: envelope },
      { id, door },
    );
    const event = this.told(record, entry?.id ?? store.gateRecord(id)?.entry ?? null);
    if (kind !== 'late') this.last.set(door, event);
    this.parts.events.emit({ kind: 'door', event });
    if (code === 'unknown-badge' && badge) this.readForEnrolment(door, badge);
  }

  private told(record: GateRecord, entry: string | null): DoorEventView {
    return { ...record, personName: record.person ? this.parts.names.ofPerson(record.person) : null, entry };
  }

  /** A record back from the ledger, as far as this node may read it. */
  private fromEntry(row: EntryRow): DoorEventView {
    const { id } = row;
    const { body } = verifyEntry(Buffer.from(row.bytes).toString('utf8'));
    const sealed = (this.parts.records.open(ABOUT.record, body['record']) ?? {}) as Partial<GateRecord>;
    const { door, kind, outcome, code, table } = body as unknown as GateRecord;
    return this.told(
      { id: sealed.id ?? id, at: sealed.at ?? row.at, door, kind, outcome, code, table, ...sealed },
      id,
    );
  }

  /** Newest first, also those that only git has. @throws what reading the archive throws */
  async events(
    token: string,
    input: { door?: string | undefined; limit: number },
  ): Promise<readonly DoorEventView[]> {
    const { sessions, store } = this.parts;
    sessions.needPermission(token, 'door.open');
    const events: DoorEventView[] = [];
    for (const { entry } of store.gateRecords(input.door ?? null, Math.min(Math.max(input.limit, 1), 500))) {
      const row = await store.archive.entry(entry);
      if (row) events.push(this.fromEntry(row));
    }
    return events;
  }

  // Enrolling by a tap ------------------------------------------------------------------------------------------------

  startEnrolment(
    token: string,
    input: { person: string; door: string; doors?: readonly string[] | '*' | undefined },
  ): { enrolment: string; expiresAt: number } {
    const { sessions, clock, view } = this.parts;
    const session = sessions.needPermission(token, 'door-access.enrol');
    const { person, door, doors = '*' } = input;
    if (view.state.get('membership', 'people', person) === undefined)
      throw new TownError('not-found', `There is no person ${person}.`, 'Add the person first.');
    if (!this.parts.config.gate.doors.some(({ id }) => id === door))
      throw new TownError(
        'not-found',
        `The door "${door}" has no reader on this node.`,
        'Choose a door of this node.',
      );
    if (
      [...this.enrolments.values()].some((other) => other.door === door && other.event.status === 'waiting')
    )
      throw new TownError(
        'busy',
        `At "${door}" somebody else is being enrolled just now.`,
        'Wait a minute, or cancel that.',
      );
    while (this.enrolments.size >= ENROLMENTS_KEPT_MAX)
      this.enrolments.delete(this.enrolments.keys().next().value as string);
    const enrolment = hexOf(randomBytes(8));
    const stopTimer = clock.after(ENROL_WAIT_MS, () =>
      this.enrolled(enrolment, {
        status: 'expired',
        message: 'No unknown badge was held to the reader in time.',
      }),
    );
    const event: EnrolEvent = { kind: 'enrol', enrolment, status: 'waiting', person };
    this.enrolments.set(enrolment, { session, door, doors, stopTimer, event });
    this.parts.events.emit(event);
    return { enrolment, expiresAt: clock.now() + ENROL_WAIT_MS };
  }

  enrolment(token: string, id: string): EnrolEvent {
    this.parts.sessions.needPermission(token, 'door-access.enrol');
    const found = this.enrolments.get(id);
    if (!found) throw new TownError('not-found', 'There is no such enrolment.', 'Start a new one.');
    return found.event;
  }

  cancelEnrolment(token: string, id: string): void {
    this.parts.sessions.needPermission(token, 'door-access.enrol');
    if (this.enrolments.get(id)?.event.status === 'waiting')
      this.enrolled(id, { status: 'expired', message: 'It was cancelled.' });
  }

  private enrolled(id: string, change: Partial<EnrolEvent>): void {
    const found = this.enrolments.get(id);
    if (!found || (change.status === 'expired' && found.event.status !== 'waiting')) return;
    if (change.status !== 'read') found.stopTimer();
    found.event = { ...found.event, ...change };
    this.parts.events.emit(found.event);
  }

  private readForEnrolment(door: string, badge: string): void {
    for (const [id, found] of this.enrolments) {
      if (found.door !== door || found.event.status !== 'waiting') continue;
      this.enrolled(id, { status: 'read', badge });
      const { session, doors, event } = found;
      this.parts.people
        .enrol(session, { person: event.person, badge, doors })
        .then(() => this.enrolled(id, { status: 'done', badge }))
        .catch((error: unknown) =>
          this.enrolled(id, {
            status: 'failed',
            message: error instanceof TownError ? error.message : 'It did not work.',
          }),
        );
      return;
    }
  }

  // Use cases ---------------------------------------------------------------------------------------------------------

  list(token: string): readonly DoorView[] {
    const session = this.parts.sessions.need(token);
    const mayKnow = this.parts.sessions.may(session, 'door.open');
    const { view, config } = this.parts;
    return [...keysOf(view.state, 'door-access', 'doors', DOORS_MAX)].map((id) => {
      const { name, node, mode } = readJson<DoorRecord>(view.state, 'door-access', 'doors', id) as DoorRecord;
      const wired =
        node === this.parts.keys.id ? config.gate.doors.find((door) => door.id === id) : undefined;
      return {
        id,
        name,
        node,
        mode,
        here: wired !== undefined,
        reader: wired?.reader.kind ?? null,
        strikeOn: this.strikes.get(id) ?? false,
        last: mayKnow ? this.lastOf(id) : null,
      };
    });
  }

  /** Of a door that was not used for long only git has the last record: it is there when somebody looks again. */
  private readLast(door: string, entry: string): void {
    const read = async (): Promise<void> => {
      const row = await this.parts.store.archive.entry(entry);
      if (row && !this.last.has(door)) this.last.set(door, this.fromEntry(row));
    };
    read().catch(() => undefined);
  }

  private lastOf(door: string): DoorEventView | null {
    const known = this.last.get(door);
    if (known) return known;
    const [record] = this.parts.store.gateRecords(door, 1);
    const row = record ? this.parts.store.entry(record.entry) : null;
    if (row) return this.fromEntry(row);
    if (record) this.readLast(door, record.entry);
    return null;
  }

  async add(token: string, input: { id: string; name: string }): Promise<Recorded> {
    return this.addAs(this.parts.sessions.needPermission(token, 'door-access.add-door'), input);
  }

  async addAs(session: Session, { id, name }: { id: string; name: string }): Promise<Recorded> {
    const { appender, keys } = this.parts;
    if (keys.badgeKey === null)
      throw new TownError(
        'hub-has-no-doors',
        'This node is a hub: it cannot tell badges apart, so it has no doors.',
        'Add the door at a node that joined with an invitation for a door.',
      );
    return recorded(
      await appender.claim('door-access.add-door', { door: id, name: name.trim(), node: keys.id }, session),
    );
  }

  async lockDown(token: string, door: string, on: boolean): Promise<Recorded> {
    const verb = on ? 'door-access.lockdown' : 'door-access.unlock';
    const session = this.parts.sessions.needPermission(token, verb);
    const reason = `Locked down by a steward.`;
    return recorded(await this.parts.appender.claim(verb, on ? { door, reason } : { door }, session));
  }

  async tap(token: string, door: string, badgeNumber: string): Promise<DoorEventView> {
    this.parts.sessions.needPermission(token, 'door.simulate');
    return this.answered(await this.link.tap(door, badgeNumber));
  }

  async open(token: string, door: string): Promise<DoorEventView> {
    const { member } = this.parts.sessions.needPermission(token, 'door.open');
    return this.answered(await this.link.open(door, member));
  }

  private answered(record: GateRecord): DoorEventView {
    return this.told(record, this.parts.store.gateRecord(record.id)?.entry ?? null);
  }
}
