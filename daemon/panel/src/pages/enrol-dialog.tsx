/** @jsxImportSource preact */
import { useEffect, useState } from 'preact/hooks';
import { get, path, post, remove } from '../api.js';
import { secondsLeft } from '../format.js';
import { useEvents, useTown } from '../live-town.js';
import { useAction, useNow } from '../loading.js';
import type { Door, EnrolmentEvent, Person, Recorded } from '../shapes.js';
import { Dialog } from '../widgets/dialog.js';
import { CheckField, SelectField, TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';
import { TapBox } from '../widgets/tap-box.js';

interface EnrolDialogProps {
  readonly person: Person;
  readonly doors: readonly Door[];
  onClose(): void;
  onChanged(): void;
}

interface Waiting {
  readonly enrolment: string;
  readonly expiresAt: number;
  readonly door: Door;
}

/** Enrols a badge: by holding it to a reader, or by typing its number. */
export function EnrolDialog({ person, doors, onClose, onChanged }: EnrolDialogProps) {
  const here = doors.filter((door) => door.here);
  const name = person.name ?? 'this person';
  const [doorId, setDoorId] = useState(here[0]?.id ?? '');
  const [every, setEvery] = useState(true);
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [waiting, setWaiting] = useState<Waiting | null>(null);
  const [byNumber, setByNumber] = useState(here.length === 0);

  const opens = every ? '*' : chosen;
  const start = useAction(async () => {
    const door = here.find((each) => each.id === doorId);
    if (door === undefined) return;
    const started = await post<{ enrolment: string; expiresAt: number }>('/enrolments', {
      person: person.id,
      door: door.id,
      doors: opens,
    });
    setWaiting({ ...started, door });
  });

  if (waiting !== null) {
    return (
      <Dialog title={`Badge for ${name}`} onClose={onClose}>
        <WaitForBadge
          key={waiting.enrolment}
          waiting={waiting}
          name={name}
          onChanged={onChanged}
          onClose={onClose}
          onAgain={() => setWaiting(null)}
        />
      </Dialog>
    );
  }

  return (
    <Dialog title={`Badge for ${name}`} onClose={onClose}>
      <fieldset>
        <legend>Which doors it opens</legend>
        <CheckField label="Every door" checked={every} onInput={setEvery} />
        {!every &&
          doors.map((door) => (
            <CheckField
              key={door.id}
              label={door.name}
              checked={chosen.includes(door.id)}
              onInput={(on) =>
                setChosen(on ? [...chosen, door.id] : chosen.filter((each) => each !== door.id))
              }
            />
          ))}
      </fieldset>
      {byNumber ? (
        <EnrolByNumber person={person} opens={opens} onDone={onClose} onChanged={onChanged} />
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void start.run();
          }}
        >
          <SelectField
            label="Reader to hold the badge to"
            value={doorId}
            onInput={setDoorId}
            options={here.map((door) => [door.id, door.name])}
            hint="You have a minute from when you start."
          />
          <Problem error={start.error} />
          <button type="submit" class="primary" disabled={start.busy}>
            Start listening
          </button>
        </form>
      )}
      {here.length > 0 ? (
        <button type="button" class="quiet" onClick={() => setByNumber(!byNumber)}>
          {byNumber ? 'Hold it to a reader instead' : 'Type the number instead'}
        </button>
      ) : (
        <p class="small muted">No reader is wired to this board, so type the number printed on the badge.</p>
      )}
    </Dialog>
  );
}

interface WaitForBadgeProps {
  readonly waiting: Waiting;
  readonly name: string;
  onChanged(): void;
  onClose(): void;
  onAgain(): void;
}

/** Asked in between too, in case the live connection is down. */
const askEveryMs = 2_500;

function WaitForBadge({ waiting, name, onChanged, onClose, onAgain }: WaitForBadgeProps) {
  const { enrolment, door, expiresAt } = waiting;
  const now = useNow(250);
  const left = secondsLeft(expiresAt, now);
  const [progress, setProgress] = useState<Pick<EnrolmentEvent, 'status' | 'message'>>({ status: 'waiting' });
  const open = progress.status === 'waiting' || progress.status === 'read';

  useEvents(['enrol'], (event) => {
    if (event.kind === 'enrol' && event.enrolment === enrolment) setProgress(event);
  });
  useEffect(() => {
    if (!open) {
      onChanged();
      return undefined;
    }
    const ask = () =>
      void get<EnrolmentEvent>(path`/enrolments/${enrolment}`).then(setProgress, () => undefined);
    const timer = setInterval(ask, askEveryMs);
    return () => clearInterval(timer);
  }, [enrolment, open]);
  useEffect(
    () => () => {
      // Nobody waits any more: the next badge at that door must not be enrolled by accident.
      void remove(path`/enrolments/${enrolment}`).catch(() => undefined);
    },
    [enrolment],
  );

  const expired = progress.status === 'expired' || (progress.status === 'waiting' && left === 0);
  return (
    <div class="enrol">
      <div role="status" class="enrol-says">
        {progress.status === 'waiting' && !expired && (
          <p>
            <strong>Hold the badge to the reader</strong> at {door.name}.
          </p>
        )}
        {progress.status === 'read' && <p>A badge was read. Writing it down…</p>}
        {progress.status === 'done' && (
          <p class="notice good">
            <strong>Done.</strong> This badge is now {name}’s.
          </p>
        )}
        {expired && <p class="notice wait">No new badge was held to the reader in time.</p>}
        {progress.status === 'failed' && (
          <p class="notice bad">
            <strong>That did not work.</strong> {progress.message}
          </p>
        )}
      </div>
      {open && !expired && (
        <>
          <p class="countdown">
            <progress max={60} value={left} aria-label="Time left" />
            <span>{left} s left</span>
          </p>
          {door.reader === 'simulated' && <TapBox door={door} label="Tap a badge" random />}
        </>
      )}
      <div class="row end">
        {(expired || progress.status === 'failed') && (
          <button type="button" class="primary" onClick={onAgain}>
            Try again
          </button>
        )}
        <button type="button" class={progress.status === 'done' ? 'primary' : ''} onClick={onClose}>
          {progress.status === 'done' ? 'Close' : 'Cancel'}
        </button>
      </div>
    </div>
  );
}

interface EnrolByNumberProps {
  readonly person: Person;
  readonly opens: readonly string[] | '*';
  onDone(): void;
  onChanged(): void;
}

function EnrolByNumber({ person, opens, onDone, onChanged }: EnrolByNumberProps) {
  const { follow } = useTown();
  const [badgeNumber, setBadgeNumber] = useState('');
  const enrol = useAction(async () => {
    const sent = { person: person.id, badgeNumber: badgeNumber.trim(), doors: opens };
    follow(`Enrol a badge for ${person.name ?? 'a person'}`, await post<Recorded>('/badges', sent));
    onChanged();
    onDone();
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void enrol.run();
      }}
    >
      <TextField
        label="Badge number"
        value={badgeNumber}
        onInput={setBadgeNumber}
        maxLength={64}
        autocomplete="off"
        required
        hint="As the reader gives it: letters, digits and : . _ -"
      />
      <Problem error={enrol.error} />
      <button type="submit" class="primary" disabled={enrol.busy || badgeNumber.trim() === ''}>
        Enrol this badge
      </button>
    </form>
  );
}
