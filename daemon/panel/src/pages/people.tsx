/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { path, post } from '../api.js';
import { counted } from '../format.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import type { Badge, Door, Person, Recorded } from '../shapes.js';
import { Chip, PendingChip } from '../widgets/chips.js';
import { TextField } from '../widgets/field.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { ReasonDialog } from '../widgets/reason-dialog.js';
import { BadgeList } from './badge-list.js';
import { EnrolDialog } from './enrol-dialog.js';
import { EraseDialog } from './erase-dialog.js';

/** What is being asked about right now, in a dialog. */
type Asked =
  | { readonly what: 'enrol'; readonly person: Person }
  | { readonly what: 'suspend'; readonly person: Person }
  | { readonly what: 'erase'; readonly person: Person }
  | { readonly what: 'revoke'; readonly person: Person; readonly badge: Badge };

const nameOf = (person: Person): string => person.name ?? 'this person';

const NAMELESS: { readonly [record in Person['record']]: string } = {
  readable: 'No name',
  erased: 'Erased person',
  'not-here': 'Name not readable here',
};

/** The registry office: everyone the town knows, and their badges. */
export function PeoplePage() {
  const { session, follow } = useTown();
  const mayKnow = mayDo(session, 'membership.add');
  const people = useLoaded<readonly Person[]>(mayKnow ? '/people' : null, ['entry', 'merge', 'enrol']);
  const doors = useLoaded<readonly Door[]>('/doors').value ?? [];
  const [search, setSearch] = useState('');
  const [asked, setAsked] = useState<Asked | null>(null);
  const close = () => setAsked(null);

  const suspend = useAction(async (person: Person, reason: string) => {
    follow(`Suspend ${nameOf(person)}`, await post<Recorded>(path`/people/${person.id}/suspend`, { reason }));
    people.reload();
    close();
  });
  const revoke = useAction(async (person: Person, badge: Badge, reason: string) => {
    const recorded = await post<Recorded>(path`/badges/${badge.badge}/revoke`, { reason });
    follow(`Revoke a badge of ${nameOf(person)}`, recorded);
    people.reload();
    close();
  });
  const reinstate = useAction(async (person: Person) => {
    follow(`Reinstate ${nameOf(person)}`, await post<Recorded>(path`/people/${person.id}/reinstate`));
    people.reload();
  });

  const words = search.trim().toLowerCase();
  const shown = (people.value ?? []).filter((each) =>
    `${each.name ?? ''} ${each.contact ?? ''} ${each.id}`.toLowerCase().includes(words),
  );

  if (!mayKnow) return <KeptByStewards />;
  return (
    <>
      <PageHead title="Registry office" lead="People the town knows, and the badges they open doors with." />
      <Problem error={people.error ?? reinstate.error} />
      <div class="columns">
        <section aria-labelledby="everyone">
          <div class="section-head">
            <h2 id="everyone">
              {people.value ? counted(people.value.length, 'person', 'people') : 'People'}
            </h2>
          </div>
          {(people.value?.length ?? 0) > 5 && (
            <TextField
              label="Find a person"
              type="search"
              value={search}
              onInput={setSearch}
              autocomplete="off"
            />
          )}
          {people.value?.length === 0 && (
            <p class="empty">Nobody yet. Add the first person, then hold their badge to a reader.</p>
          )}
          <ul class="cards">
            {shown.map((person) => (
              <li key={person.id} class="card person" aria-label={nameOf(person)}>
                <div class="card-head">
                  <h3>{person.name ?? NAMELESS[person.record]}</h3>
                  <span class="chips">
                    {person.status === 'suspended' && <Chip tone="bad">suspended</Chip>}
                    {person.member !== null && <Chip tone="plain">credit member</Chip>}
                    {person.record === 'erased' && <Chip tone="plain">erased</Chip>}
                    <PendingChip state={person.state} />
                  </span>
                </div>
                {person.contact !== null && <p class="muted">{person.contact}</p>}
                {person.record === 'erased' && (
                  <p class="small muted">
                    The records were erased on request. Whoever comes back is added anew.
                  </p>
                )}
                {person.status === 'suspended' && person.reason !== undefined && (
                  <p class="small muted">Suspended: {person.reason}</p>
                )}
                <BadgeList
                  badges={person.badges}
                  doors={doors}
                  suspended={person.status === 'suspended'}
                  onRevoke={
                    mayDo(session, 'door-access.revoke')
                      ? (badge) => setAsked({ what: 'revoke', person, badge })
                      : null
                  }
                />
                <div class="row">
                  {person.record !== 'erased' && mayDo(session, 'door-access.enrol') && (
                    <button
                      type="button"
                      disabled={person.status === 'suspended'}
                      onClick={() => setAsked({ what: 'enrol', person })}
                    >
                      Enrol a badge<span class="unseen"> for {nameOf(person)}</span>
                    </button>
                  )}
                  {person.record !== 'erased' &&
                    mayDo(session, 'membership.suspend') &&
                    (person.status === 'active' ? (
                      <button
                        type="button"
                        class="quiet"
                        onClick={() => setAsked({ what: 'suspend', person })}
                      >
                        Suspend<span class="unseen"> {nameOf(person)}</span>
                      </button>
                    ) : (
                      <button
                        type="button"
                        disabled={reinstate.busy}
                        onClick={() => void reinstate.run(person)}
                      >
                        Reinstate<span class="unseen"> {nameOf(person)}</span>
                      </button>
                    ))}
                  {person.record !== 'erased' && mayDo(session, 'record.erase-others') && (
                    <button type="button" class="quiet" onClick={() => setAsked({ what: 'erase', person })}>
                      Erase…<span class="unseen"> the records of {nameOf(person)}</span>
                    </button>
                  )}
                </div>
              </li>
            ))}
          </ul>
          {words !== '' && shown.length === 0 && <p class="empty">Nobody matches “{search}”.</p>}
        </section>
        {mayDo(session, 'membership.add') && <AddPerson onAdded={people.reload} />}
      </div>

      {asked?.what === 'enrol' && (
        <EnrolDialog person={asked.person} doors={doors} onClose={close} onChanged={people.reload} />
      )}
      {asked?.what === 'suspend' && (
        <ReasonDialog
          title={`Suspend ${nameOf(asked.person)}?`}
          says="Every badge of this person is refused at once, at every door. You can take it back."
          does="Suspend"
          busy={suspend.busy}
          error={suspend.error}
          onClose={close}
          onReason={(reason) => void suspend.run(asked.person, reason)}
        />
      )}
      {asked?.what === 'erase' && (
        <EraseDialog
          person={{ id: asked.person.id, name: nameOf(asked.person) }}
          onClose={close}
          onErased={() => {
            people.reload();
            close();
          }}
        />
      )}
      {asked?.what === 'revoke' && (
        <ReasonDialog
          title={`Revoke this badge of ${nameOf(asked.person)}?`}
          says="It is refused at once, at every door. The door says the reason; the ledger shows it to stewards only."
          does="Revoke the badge"
          busy={revoke.busy}
          error={revoke.error}
          onClose={close}
          onReason={(reason) => void revoke.run(asked.person, asked.badge, reason)}
        />
      )}
    </>
  );
}

function KeptByStewards() {
  return (
    <>
      <PageHead title="Registry office" lead="People the town knows, and the badges they open doors with." />
      <p class="notice plain">
        The register holds names and contacts, so only stewards read it. Ask one of them to add a person, or
        about a badge of yours.
      </p>
    </>
  );
}

function AddPerson({ onAdded }: { onAdded(): void }) {
  const { follow } = useTown();
  const [name, setName] = useState('');
  const [contact, setContact] = useState('');
  const [said, setSaid] = useState('');
  const add = useAction(async () => {
    const reach = contact.trim();
    const sent = { name: name.trim(), ...(reach === '' ? {} : { contact: reach }) };
    follow(`Add ${sent.name}`, await post<Recorded>('/people', sent));
    setSaid(`${sent.name} is in the registry.`);
    setName('');
    setContact('');
    onAdded();
  });

  return (
    <section class="card side" aria-labelledby="add-person">
      <h2 id="add-person">Add a person</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void add.run();
        }}
      >
        <TextField label="Name" value={name} onInput={setName} maxLength={80} autocomplete="off" required />
        <TextField
          label="Contact (optional)"
          value={contact}
          onInput={setContact}
          maxLength={200}
          autocomplete="off"
          hint="Kept encrypted, like the name: only nodes the charter lets read it can."
        />
        <Problem error={add.error} />
        <button type="submit" class="primary" disabled={add.busy || name.trim() === ''}>
          Add the person
        </button>
        <p class="hint" role="status">
          {said}
        </p>
      </form>
    </section>
  );
}
