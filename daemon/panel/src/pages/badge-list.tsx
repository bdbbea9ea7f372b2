/** @jsxImportSource preact */
import { dateTime, shortId } from '../format.js';
import type { Badge, Door } from '../shapes.js';
import { Chip, PendingChip } from '../widgets/chips.js';

interface BadgeListProps {
  readonly badges: readonly Badge[];
  readonly doors: readonly Door[];
  /** The person is suspended: no badge of theirs opens anything. */
  readonly suspended: boolean;
  /** Null: this person may not revoke. */
  readonly onRevoke: ((badge: Badge) => void) | null;
}

/** The badges of one person. Only the keyed hash is known here, never the number. */
export function BadgeList({ badges, doors, suspended, onRevoke }: BadgeListProps) {
  if (badges.length === 0) return <p class="muted small">No badge yet.</p>;
  return (
    <ul class="badges">
      {badges.map((badge) => (
        <li key={badge.badge}>
          <div>
            <span class="chips">
              <code title={badge.badge}>{shortId(badge.badge)}</code>
              {badge.status === 'active' ? <Chip tone="good">active</Chip> : <Chip tone="bad">revoked</Chip>}
              <PendingChip state={badge.state} />
            </span>
            <p class="small muted">
              {badge.status === 'revoked'
                ? `Revoked${badge.reason ? `: ${badge.reason}` : '.'}`
                : suspended
                  ? 'Refused everywhere while the person is suspended.'
                  : `Opens ${doorsInWords(badge.doors, doors)}${badge.until ? ` until ${dateTime(badge.until)}` : ''}.`}
            </p>
          </div>
          {badge.status === 'active' && onRevoke !== null && (
            <button type="button" class="quiet" onClick={() => onRevoke(badge)}>
              Revoke<span class="unseen"> badge {shortId(badge.badge)}</span>
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

function doorsInWords(opens: readonly string[] | '*', doors: readonly Door[]): string {
  if (opens === '*') return 'every door';
  if (opens.length === 0) return 'no door';
  return opens.map((id) => doors.find((door) => door.id === id)?.name ?? id).join(', ');
}
