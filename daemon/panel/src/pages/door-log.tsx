/** @jsxImportSource preact */
import { useEffect, useState } from 'preact/hooks';
import { dateTime, timeOfDay } from '../format.js';
import { useEvents } from '../live-town.js';
import { useLoaded } from '../loading.js';
import { hrefOf } from '../router.js';
import type { Door, DoorEvent } from '../shapes.js';
import { Chip } from '../widgets/chips.js';
import { SelectField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';
import { doorReason, doorWho } from '../words.js';

const shownMost = 100;

/** What happened at the doors, newest first; new lines arrive by themselves. */
export function DoorLog({ doors }: { doors: readonly Door[] }) {
  const [door, setDoor] = useState('');
  const query = door === '' ? '' : `&door=${encodeURIComponent(door)}`;
  const loaded = useLoaded<readonly DoorEvent[]>(`/doors/events?limit=50${query}`, ['merge']);
  const [fresh, setFresh] = useState<readonly DoorEvent[]>([]);
  useEvents(['door'], (event) => {
    if (event.kind === 'door') setFresh((old) => [event.event, ...old].slice(0, shownMost));
  });
  useEffect(() => setFresh([]), [loaded.value]);

  const known = loaded.value ?? [];
  const byId = new Map<string, DoorEvent>();
  for (const event of [...known, ...fresh]) if (door === '' || event.door === door) byId.set(event.id, event);
  const events = [...byId.values()].sort((a, b) => b.at - a.at).slice(0, shownMost);
  const nameOf = (id: string) => doors.find((each) => each.id === id)?.name ?? id;

  return (
    <section class="card log-card" aria-labelledby="door-log">
      <div class="section-head">
        <h2 id="door-log">What happened</h2>
        {doors.length > 1 && (
          <SelectField
            label="At"
            value={door}
            onInput={setDoor}
            options={[['', 'all doors'], ...doors.map((each) => [each.id, each.name] as const)]}
          />
        )}
      </div>
      <Problem error={loaded.error} />
      <ol class="door-log" aria-live="polite" aria-relevant="additions">
        {events.map((event) => (
          <li key={event.id} class={event.outcome}>
            <Chip tone={event.outcome === 'granted' ? 'good' : 'bad'}>{event.outcome}</Chip>
            <div>
              <p>
                <strong>{doorWho(event)}</strong> at {nameOf(event.door)}
              </p>
              <p class="small muted">
                {doorReason(event)}
                {event.kind === 'late' &&
                  `; the strike moved ${event.waitedMs ?? 0} ms before the record was safe`}
              </p>
            </div>
            <span class="when small">
              {event.entry === null ? (
                <time title={dateTime(event.at)}>{timeOfDay(event.at)}</time>
              ) : (
                <a href={hrefOf({ page: 'entry', id: event.entry })} title={dateTime(event.at)}>
                  {timeOfDay(event.at)}
                  <span class="unseen">: the entry in the ledger</span>
                </a>
              )}
            </span>
          </li>
        ))}
      </ol>
      {loaded.value !== null && events.length === 0 && <p class="empty">Nothing has happened here yet.</p>}
    </section>
  );
}
