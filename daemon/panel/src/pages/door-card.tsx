/** @jsxImportSource preact */
import { path, post } from '../api.js';
import { useTown } from '../live-town.js';
import { useAction } from '../loading.js';
import type { Door, DoorEvent, Recorded } from '../shapes.js';
import { Chip } from '../widgets/chips.js';
import { Problem } from '../widgets/problem.js';
import { TapBox } from '../widgets/tap-box.js';

interface DoorCardProps {
  readonly door: Door;
  /** Of the board it is wired to. */
  readonly board: string;
  readonly strikeOn: boolean;
  readonly mayOpen: boolean;
  readonly mayLockDown: boolean;
  readonly mayTap: boolean;
  onChanged(): void;
}

/** One door: its strike as it moves, and what can be done with it. */
export function DoorCard(props: DoorCardProps) {
  const { door, board, strikeOn, mayOpen, mayLockDown, mayTap, onChanged } = props;
  const { follow } = useTown();
  const lockedDown = door.mode === 'lockdown';
  const open = useAction(async () => {
    await post<DoorEvent>(path`/doors/${door.id}/open`);
  });
  const lockDown = useAction(async (on: boolean) => {
    const recorded = await post<Recorded>(path`/doors/${door.id}/lockdown`, { on });
    follow(on ? `Lock down ${door.name}` : `End the lockdown of ${door.name}`, recorded);
    onChanged();
  });

  return (
    <article class="card door" aria-label={door.name}>
      <DoorPicture open={strikeOn} />
      <div class="door-body">
        <div class="card-head">
          <h3>{door.name}</h3>
          <span class="chips">
            {lockedDown && <Chip tone="bad">locked down</Chip>}
            {!door.here && <Chip tone="plain">at {board}</Chip>}
          </span>
        </div>
        <p class="strike" role="status">
          {door.here && <span class={`lamp ${strikeOn ? 'on' : ''}`} aria-hidden="true" />}
          {!door.here
            ? 'Its own board moves it, and tells here what happened.'
            : strikeOn
              ? 'Strike open: push the door'
              : 'Strike closed'}
        </p>
        <div class="row">
          {mayOpen && door.here && (
            <button type="button" disabled={open.busy} onClick={() => void open.run()}>
              Open now<span class="unseen">: {door.name}</span>
            </button>
          )}
          {mayLockDown && (
            <button
              type="button"
              class={lockedDown ? '' : 'quiet'}
              disabled={lockDown.busy}
              onClick={() => void lockDown.run(!lockedDown)}
            >
              {lockedDown ? 'End the lockdown' : 'Lock down'}
              <span class="unseen"> of {door.name}</span>
            </button>
          )}
        </div>
        <Problem error={open.error ?? lockDown.error} />
      </div>
      {door.here && door.reader === 'simulated' && mayTap && <TapBox door={door} label="Tap" />}
    </article>
  );
}

/** A small door that swings open with its strike. */
function DoorPicture({ open }: { open: boolean }) {
  return (
    <svg class={open ? 'door-picture open' : 'door-picture'} viewBox="0 0 72 104" aria-hidden="true">
      <path class="paint-wall2 pencil" d="M5.5 99 L4.8 6.2 Q36 3.6 67.2 5.6 L66.4 99.4 Z" />
      <path class="door-inside" d="M14 98.6 L13.6 15 L58.4 14.4 L58 98.8 Z" />
      <g class="door-leaf">
        <path class="paint-wood pencil" d="M14 98.6 L13.6 15 L58.4 14.4 L58 98.8 Z" />
        <path
          class="pencil thin"
          d="M20 24 L52 23.4 M20.4 24.4 L20 52 M52 24 L51.6 52 M20 52 L51.8 51.6 M20 62 L52 61.6 V90 L20.6 90.4 Z"
        />
        <circle class="paint-glass pencil thin" cx="50" cy="57" r="2.4" />
      </g>
      <path class="pencil" d="M1 99.6 Q36 97.8 71 99.4" />
    </svg>
  );
}
