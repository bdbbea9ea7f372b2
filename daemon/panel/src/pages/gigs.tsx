/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import type { Gig, Recorded } from '../shapes.js';
import { TextField } from '../widgets/field.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { gigIsOver } from '../words.js';
import { GigCard } from './gig-card.js';

/** The job board: work that members ask of each other, paid in credits. */
export function GigsPage() {
  const { session } = useTown();
  const gigs = useLoaded<readonly Gig[]>('/gigs', ['entry', 'merge']);
  const all = gigs.value ?? [];
  const mine = (gig: Gig) => gig.opener === session?.member || gig.taker === session?.member;
  const going = all.filter((gig) => !gigIsOver(gig));

  return (
    <>
      <PageHead
        title="Job board"
        lead="Ask for work, or take some. The price is put aside until the work is rated."
      />
      <Problem error={gigs.error} />
      <div class="columns">
        <div>
          <GigList title="You are part of" gigs={going.filter(mine)} onChanged={gigs.reload} />
          <GigList
            title="On the board"
            gigs={going.filter((gig) => !mine(gig))}
            empty={gigs.value === null ? undefined : 'Nothing on the board that is not yours.'}
            onChanged={gigs.reload}
          />
          <GigList title="Over" gigs={all.filter(gigIsOver)} onChanged={gigs.reload} />
        </div>
        {mayDo(session, 'gigs.open') && <OpenGig onOpened={gigs.reload} />}
      </div>
    </>
  );
}

interface GigListProps {
  readonly title: string;
  readonly gigs: readonly Gig[];
  readonly empty?: string | undefined;
  onChanged(): void;
}

function GigList({ title, gigs, empty, onChanged }: GigListProps) {
  if (gigs.length === 0 && empty === undefined) return null;
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      {gigs.length === 0 && <p class="empty">{empty}</p>}
      <ul class="cards">
        {gigs.map((gig) => (
          <li key={gig.id}>
            <GigCard gig={gig} onChanged={onChanged} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function OpenGig({ onOpened }: { onOpened(): void }) {
  const { follow } = useTown();
  const [title, setTitle] = useState('');
  const [description, setDescription] = useState('');
  const [price, setPrice] = useState('');
  const open = useAction(async () => {
    const sent = { title: title.trim(), description: description.trim(), price: Number(price) };
    follow(`Open the gig “${sent.title}”`, await post<Recorded>('/gigs', sent));
    setTitle('');
    setDescription('');
    setPrice('');
    onOpened();
  });
  return (
    <section class="card side" aria-labelledby="open-gig">
      <h2 id="open-gig">Ask for work</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void open.run();
        }}
      >
        <TextField
          label="Title"
          value={title}
          onInput={setTitle}
          maxLength={80}
          required
          autocomplete="off"
        />
        <TextField
          label="What is to be done"
          value={description}
          onInput={setDescription}
          maxLength={2000}
          rows={4}
          required
        />
        <TextField
          label="Price in credits"
          type="number"
          inputMode="numeric"
          min={1}
          value={price}
          onInput={setPrice}
          required
          hint="Put aside from your balance now; paid when you rate the work."
        />
        <Problem error={open.error} />
        <button type="submit" class="primary" disabled={open.busy}>
          Put it on the board
        </button>
      </form>
    </section>
  );
}
