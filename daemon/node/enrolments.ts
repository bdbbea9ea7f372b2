/** Enrolling by a tap: a badge that nobody knows is held to a reader, and becomes that of the person who was named before. */
import { randomBytes } from 'node:crypto';
import { hexOf } from '../ledger/hash.js';
import { TownError } from '../ledger/ids.js';
import type { Clock } from './clock.js';
import type { NodeConfig } from './config.js';
import type { Events } from './events.js';
import type { People } from './people.js';
import type { Session, Sessions } from './sessions.js';
import type { TownEvent } from './use-cases.js';
import type { View } from './view.js';

const ENROL_WAIT_MS = 60_000;
const ENROLMENTS_KEPT_MAX = 200;

type EnrolEvent = TownEvent & { kind: 'enrol' };

interface Enrolment {
  readonly session: Session;
  readonly door: string;
  readonly doors: readonly string[] | '*';
  readonly stopTimer: () => void;
  event: EnrolEvent;
}

export interface EnrolmentsParts {
  readonly view: View;
  readonly people: Pick<People, 'enrol'>;
  readonly sessions: Sessions;
  readonly events: Events;
  readonly clock: Clock;
  readonly config: NodeConfig;
}

export class Enrolments {
  private readonly kept = new Map<string, Enrolment>();

  constructor(private readonly parts: EnrolmentsParts) {}

  stop(): void {
    for (const { stopTimer } of this.kept.values()) stopTimer();
  }

  /** The next unknown badge at this door is enrolled for the person. @throws TownError `not-found`, `busy` */
  start(
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
    if ([...this.kept.values()].some((other) => other.door === door && other.event.status === 'waiting'))
      throw new TownError(
        'busy',
        `At "${door}" somebody else is being enrolled just now.`,
        'Wait a minute, or cancel that.',
      );
    while (this.kept.size >= ENROLMENTS_KEPT_MAX) this.kept.delete(this.kept.keys().next().value as string);
    const enrolment = hexOf(randomBytes(8));
    const stopTimer = clock.after(ENROL_WAIT_MS, () =>
      this.enrolled(enrolment, {
        status: 'expired',
        message: 'No unknown badge was held to the reader in time.',
      }),
    );
    const event: EnrolEvent = { kind: 'enrol', enrolment, status: 'waiting', person };
    this.kept.set(enrolment, { session, door, doors, stopTimer, event });
    this.parts.events.emit(event);
    return { enrolment, expiresAt: clock.now() + ENROL_WAIT_MS };
  }

  look(token: string, id: string): EnrolEvent {
    this.parts.sessions.needPermission(token, 'door-access.enrol');
    const found = this.kept.get(id);
    if (!found) throw new TownError('not-found', 'There is no such enrolment.', 'Start a new one.');
    return found.event;
  }

  cancel(token: string, id: string): void {
    this.parts.sessions.needPermission(token, 'door-access.enrol');
    if (this.kept.get(id)?.event.status === 'waiting')
      this.enrolled(id, { status: 'expired', message: 'It was cancelled.' });
  }

  private enrolled(id: string, change: Partial<EnrolEvent>): void {
    const found = this.kept.get(id);
    if (!found || (change.status === 'expired' && found.event.status !== 'waiting')) return;
    if (change.status !== 'read') found.stopTimer();
    found.event = { ...found.event, ...change };
    this.parts.events.emit(found.event);
  }

  /** An unknown badge was held to the reader of a door. */
  read(door: string, badge: string): void {
    for (const [id, found] of this.kept) {
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
}
