/** @jsxImportSource preact */
import { shortId } from '../format.js';
import { hrefOf } from '../router.js';
import type { Entry } from '../shapes.js';
import { VerdictChip } from './chips.js';
import { TimeAgo } from './time-ago.js';

/** One entry told to people: what it says, how it fared and why. */
export function EntryRow({ entry }: { entry: Entry }) {
  return (
    <article class={`card entry ${entry.verdict ?? entry.state}`}>
      <div class="card-head">
        <p class="says">
          <a href={hrefOf({ page: 'entry', id: entry.id })}>{entry.says}</a>
        </p>
        <VerdictChip entry={entry} />
      </div>
      <Why entry={entry} />
      <p class="small muted">
        <code>{entry.type}</code> by {entry.by} · <TimeAgo at={entry.at} /> · <code>{shortId(entry.id)}</code>
      </p>
    </article>
  );
}

/** The reason of a verdict that is not plain acceptance, with the rule's code and the other entry. */
export function Why({ entry }: { entry: Entry }) {
  if (entry.code === undefined && entry.reason === undefined) return null;
  const rejected = entry.verdict === 'rejected' || entry.state === 'rejected';
  return (
    <p class="why">
      {rejected ? 'Rejected, because ' : 'Noted: '}
      <strong>{entry.reason ?? entry.code?.replaceAll('-', ' ')}</strong>
      {entry.code !== undefined && (
        <span class="small muted">
          {' '}
          (rule <code>{entry.code}</code>)
        </span>
      )}
      {entry.other !== undefined && <Other other={entry.other} />}
    </p>
  );
}

/** The entry that won, or the name of the rule that decided. */
function Other({ other }: { other: string }) {
  if (!/^[0-9a-f]{64}$/.test(other)) return <span>; decided by {other}</span>;
  return (
    <span>
      ; see <a href={hrefOf({ page: 'entry', id: other })}>the other entry {shortId(other)}</a>
    </span>
  );
}
