/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { counted } from '../format.js';
import { mayDo, useEvents, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import { useNodeNames } from '../node-names.js';
import type { Door, Recorded } from '../shapes.js';
import { TextField } from '../widgets/field.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { DoorCard } from './door-card.js';
import { DoorLog } from './door-log.js';

/** The gatehouse: the doors, and what happens at them as it happens. */
export function DoorsPage() {
  const { session, status } = useTown();
  const doors = useLoaded<readonly Door[]>('/doors', ['entry', 'merge']);
  const nameOf = useNodeNames();
  const [strikes, setStrikes] = useState<{ readonly [door: string]: boolean }>({});
  useEvents(['strike'], (event) => {
    if (event.kind === 'strike') setStrikes((old) => ({ ...old, [event.door]: event.on }));
  });

  return (
    <>
      <PageHead title="Gatehouse" lead="The doors of the town, live." />
      <Problem error={doors.error} />
      {status !== null && !status.gate.connected && (
        <p class="notice wait" role="status">
          <strong>The gate does not answer the daemon.</strong> It decides by itself with the rights it has;
          what it records arrives here later.
        </p>
      )}
      <div class="columns">
        <div>
          <section aria-labelledby="doors">
            <h2 id="doors">{doors.value ? counted(doors.value.length, 'door') : 'Doors'}</h2>
            {doors.value?.length === 0 && <p class="empty">No door yet. Add the first one.</p>}
            <ul class="cards">
              {(doors.value ?? []).map((door) => (
                <li key={door.id}>
                  <DoorCard
                    door={door}
                    board={nameOf(door.node)}
                    strikeOn={strikes[door.id] ?? door.strikeOn}
                    mayOpen={mayDo(session, 'door.open')}
                    mayLockDown={mayDo(session, 'door-access.lockdown')}
                    mayTap={mayDo(session, 'door.simulate')}
                    onChanged={doors.reload}
                  />
                </li>
              ))}
            </ul>
          </section>
          {mayDo(session, 'door-access.add-door') && <AddDoor onAdded={doors.reload} />}
        </div>
        {mayDo(session, 'door.open') && <DoorLog doors={doors.value ?? []} />}
      </div>
    </>
  );
}

/** "Laser room" → `laser-room`: what a door's id may be. */
const idFrom = (name: string): string =>
  name
    .toLowerCase()
    .normalize('NFKD')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 32);

function AddDoor({ onAdded }: { onAdded(): void }) {
  const { follow } = useTown();
  const [name, setName] = useState('');
  const [ownId, setOwnId] = useState<string | null>(null);
  const id = ownId ?? idFrom(name);
  const add = useAction(async () => {
    follow(`Add the door ${name.trim()}`, await post<Recorded>('/doors', { id, name: name.trim() }));
    setName('');
    setOwnId(null);
    onAdded();
  });
  return (
    <details class="card">
      <summary>Add a door</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void add.run();
        }}
      >
        <TextField
          label="Name of the door"
          value={name}
          onInput={setName}
          maxLength={60}
          required
          autocomplete="off"
        />
        <TextField
          label="Short id"
          value={id}
          onInput={setOwnId}
          maxLength={32}
          pattern="[a-z0-9\-]{1,32}"
          required
          autocomplete="off"
          hint="Lower-case letters, digits and -; the same as in the board’s wiring. It stays for ever."
        />
        <Problem error={add.error} />
        <button type="submit" disabled={add.busy || name.trim() === '' || id === ''}>
          Add the door
        </button>
      </form>
    </details>
  );
}
