/** Who may pass: a pure function of the rights table, the badge and the time. */
import type { DecisionCode, GateConfig, RightsTable } from './shapes.js';

export interface Decision {
  readonly outcome: 'granted' | 'refused';
  readonly code: DecisionCode;
  /** One sentence for people, where refused. */
  readonly reason?: string;
  readonly person?: string;
}

export interface Question {
  readonly table: RightsTable | null;
  readonly door: string;
  /** Keyed hash of the badge; `'bad-read'` where the reader gave rubbish; null where there is no key to hash with. */
  readonly badge: string | 'bad-read' | null;
  /** Wall clock, ms. */
  readonly now: number;
  /** Since when (ms) the daemon has been away; null: it is there. */
  readonly daemonAwaySince: number | null;
  readonly config: Pick<GateConfig, 'doors' | 'lastTableMs'>;
}

/** A clock before this says 1970 or the day the image was built: the board has no idea what time it is. */
const clockKnownFrom = Date.UTC(2024, 0, 1);

export const clockIsKnown = (now: number): boolean => now >= clockKnownFrom;

const refuse = (code: DecisionCode, reason: string, person?: string): Decision => ({
  outcome: 'refused',
  code,
  reason,
  ...(person === undefined ? {} : { person }),
});

/**
 * Judges one badge at one door. Refuses whenever in doubt.
 * What is wrong with the badge is told before what is wrong with the door, so that its holder learns it.
 */
export function decide({ table, door, badge, now, daemonAwaySince, config }: Question): Decision {
  if (!config.doors.some((wiring) => wiring.id === door))
    return refuse('unknown-door', `This gate has no door "${door}".`);
  if (badge === 'bad-read')
    return refuse('bad-read', 'The reader could not read the badge. Hold it still and try again.');
  if (table === null || badge === null)
    return refuse('no-table', 'This gate has not yet been told who may pass.');
  const entrance = Object.hasOwn(table.doors, door) ? table.doors[door] : undefined;
  if (entrance === undefined) return refuse('unknown-door', `The town knows no door "${door}".`);
  if (daemonAwaySince !== null && (config.lastTableMs === 0 || now - daemonAwaySince >= config.lastTableMs))
    return refuse('stale-table', 'The daemon is away and the last rights table may no longer be used.');
  const right = Object.hasOwn(table.badges, badge) ? table.badges[badge] : undefined;
  if (right === undefined) return refuse('unknown-badge', 'The town does not know this badge.');
  const { person } = right;
  if (right.status === 'revoked')
    return refuse('badge-revoked', right.reason ?? 'This badge has been revoked.', person);
  if (right.status === 'suspended')
    return refuse('person-suspended', right.reason ?? 'The holder of this badge is suspended.', person);
  if (right.until !== undefined && !clockIsKnown(now))
    return refuse(
      'badge-expired',
      'This badge is valid for a time only, and this board does not know the time.',
      person,
    );
  if (right.until !== undefined && now >= right.until)
    return refuse('badge-expired', 'The time of this badge is over.', person);
  if (right.doors !== '*' && !right.doors.includes(door))
    return refuse('no-right-here', 'This badge has no right to this door.', person);
  if (entrance.mode === 'lockdown') return refuse('lockdown', 'This door is locked down.', person);
  return { outcome: 'granted', code: 'granted', person };
}
