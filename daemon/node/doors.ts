/** Doors: the gate's records on their way into the ledger, and the use cases of the gatehouse. */
import { GateLink, type GateHello, type GateLogger } from '../gate/link.js';
import type { GateRecord } from '../gate/shapes.js';
import { verifyEntry } from '../ledger/entry.js';
import { TownError } from '../ledger/ids.js';
import { readJson } from '../ledger/state.js';
import type { EntryRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { Appender } from './appender.js';
import type { Clock } from './clock.js';
import type { NodeConfig } from './config.js';
import { openedForm, sealedForm, type SealedDoorRecord } from './door-record.js';
import { Enrolments } from './enrolments.js';
import type { Events } from './events.js';
import { GateRights } from './gate-rights.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { ABOUT, type Names } from './names.js';
import { keysOf, recorded, type People } from './people.js';
import type { PrivateRecords } from './private-records.js';
import type { Session, Sessions } from './sessions.js';
import type { DoorEventView, DoorView, Recorded } from './use-cases.js';
import type { View } from './view.js';

const DOORS_MAX = 1000;
const GATE_WAIT_MS = 3_000;
const GATE_LOOK_MS = 50;

/** As the door-access dapp keeps a door. */
interface DoorRecord {
  readonly name: string;
  readonly node: string;
  readonly mode: 'normal' | 'lockdown';
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
  /** Badges that are enrolled by a tap. */
  readonly enrolments: Enrolments;
  private hello: GateHello | null = null;
  private readonly rights: GateRights;
  private isStopExpected = false;

  constructor(private readonly parts: DoorsParts) {
    const { store, main, view, records, keys, clock, config, logger, gateFolder, events } = parts;
    this.enrolments = new Enrolments(parts);
    this.rights = new GateRights({
      ...{ store, main, view, records, keys, clock },
      tableOfGate: () => this.hello?.table ?? 0,
      send: (table) => this.link.sendRights(table),
      warn: (error, message) => this.warn(error, message),
    });
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
    this.rights.recordsChanged();
  }

  /** From now on the gate's table follows the view. */
  follow(): void {
    this.rights.follow();
  }

  /** The daemon is about to stop: what fails from now on is no news. The table is still kept fresh until `stop`. */
  expectStop(): void {
    this.isStopExpected = true;
  }

  async stop(gateToo: boolean): Promise<void> {
    this.expectStop();
    this.rights.stop();
    this.enrolments.stop();
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

  // Records -----------------------------------------------------------------------------------------------------------

  /** Makes a record of the gate a fact in this node's branch. Resolves when durable: then the strike moves. */
  private async take(record: GateRecord): Promise<void> {
    const { records, appender, clock, store } = this.parts;
    if (store.gateRecord(record.id)) return;
    const { id, door, kind, outcome, code, table, badge, person, reason, by, of, waitedMs } = record;
    // Of somebody whose records were erased, nothing more is written than of somebody unknown.
    const isErased = person !== undefined && records.isErased(person);
    const about = isErased ? {} : { badge, person, reason };
    const plain = sealedForm({ id, at: record.at, ...about, by, of, waitedMs } as SealedDoorRecord);
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
    if (code === 'unknown-badge' && badge) this.enrolments.read(door, badge);
  }

  private told(record: GateRecord, entry: string | null): DoorEventView {
    return { ...record, personName: record.person ? this.parts.names.ofPerson(record.person) : null, entry };
  }

  /** A record back from the ledger, as far as this node may read it. */
  private fromEntry(row: EntryRow): DoorEventView {
    const { id } = row;
    const { body } = verifyEntry(Buffer.from(row.bytes).toString('utf8'));
    const sealed = openedForm(this.parts.records.open(ABOUT.record, body['record']));
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
