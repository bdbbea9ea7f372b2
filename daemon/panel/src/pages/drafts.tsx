/** @jsxImportSource preact */
/** Drafts of the town: trying something on a line of its own, then bringing it home or giving it up. */
import { useState } from 'preact/hooks';
import { path, post } from '../api.js';
import type { Draft } from '../draft-shapes.js';
import { counted, dateTime, number } from '../format.js';
import { currentLine, switchLine } from '../line.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import type { Recorded } from '../shapes.js';
import { Chip } from '../widgets/chips.js';
import { ConfirmDialog } from '../widgets/confirm-dialog.js';
import { TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';
import { DraftContent } from './draft-content.js';
import { AdoptDialog, type Cosigner } from './draft-adopt.js';

const words = {
  open: ['open', 'good'],
  adopting: ['waits for its merge', 'wait'],
  adopted: ['came home', 'plain'],
  dropped: ['given up', 'plain'],
} as const;

/** The drafts of this board, and making one. */
export function Drafts() {
  const { session } = useTown();
  const { value, error, reload } = useLoaded<readonly Draft[]>('/forks', ['merge', 'entry']);
  return (
    <section class="card" aria-labelledby="drafts">
      <h2 id="drafts">Drafts</h2>
      <p class="muted">
        Try something with the whole town on a line of its own. It lives on this board alone until the
        stewards bring it home; then its entries are judged anew on main. Doors always go by main.
      </p>
      <Problem error={error} />
      {value?.length === 0 && <p>There are no drafts.</p>}
      {value?.map((draft) => (
        <OneDraft key={draft.name} draft={draft} onChanged={reload} />
      ))}
      {session && mayDo(session, 'fork.create') && <NewDraft onMade={reload} />}
    </section>
  );
}

function OneDraft({ draft, onChanged }: { draft: Draft; onChanged(): void }) {
  const { session, follow } = useTown();
  const [asking, setAsking] = useState<'adopt' | 'drop' | null>(null);
  const [text, tone] = words[draft.status];
  const isOpen = draft.status === 'open';
  const isHere = currentLine() === draft.name;
  const done = (): void => {
    setAsking(null);
    onChanged();
  };
  const drop = useAction(async () => {
    await post(path`/forks/${draft.name}/drop`);
    done();
  });
  const adopt = useAction(async (cosigners: readonly Cosigner[]) => {
    follow(
      `Bring the draft ${draft.name} home`,
      await post<Recorded>(path`/forks/${draft.name}/adopt`, { cosigners }),
    );
    done();
  });
  return (
    <div class="draft">
      <h3>
        {draft.name} <Chip tone={tone}>{text}</Chip>
      </h3>
      <p class="small">
        Off main at height {number(draft.base.height)}, now at height {number(draft.head.height)};{' '}
        {counted(draft.entries, 'entry', 'entries')}; made {dateTime(draft.created)}.
      </p>
      <div class="row">
        {isOpen && !isHere && (
          <button type="button" onClick={() => switchLine(draft.name)}>
            Work on {draft.name}
          </button>
        )}
        {isOpen && session && mayDo(session, 'fork.adopt') && (
          <button type="button" onClick={() => setAsking('adopt')}>
            Bring {draft.name} home…
          </button>
        )}
        {isOpen && session && mayDo(session, 'fork.drop') && (
          <button type="button" class="quiet" onClick={() => setAsking('drop')}>
            Give {draft.name} up…
          </button>
        )}
      </div>
      <DraftContent draft={draft} />
      {asking === 'adopt' && (
        <AdoptDialog
          draft={draft}
          busy={adopt.busy}
          error={adopt.error}
          onClose={() => setAsking(null)}
          onAdopt={(cosigners) => void adopt.run(cosigners)}
        />
      )}
      {asking === 'drop' && (
        <ConfirmDialog
          title={`Give the draft ${draft.name} up?`}
          does="Give it up"
          danger
          busy={drop.busy}
          error={drop.error}
          onClose={() => setAsking(null)}
          onConfirm={() => void drop.run()}
        >
          <p>
            Its {counted(draft.entries, 'entry', 'entries')} never come to main then. They stay in the
            ledger’s git repository; the draft is closed for good.
          </p>
        </ConfirmDialog>
      )}
    </div>
  );
}

function NewDraft({ onMade }: { onMade(): void }) {
  const [name, setName] = useState('');
  const make = useAction(async () => {
    await post<Draft>('/forks', { name: name.trim() });
    setName('');
    onMade();
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void make.run();
      }}
    >
      <TextField
        label="Name of a new draft"
        value={name}
        onInput={setName}
        maxLength={32}
        pattern="[a-z][a-z0-9\-]*"
        autocomplete="off"
        required
        hint="Small letters, digits and -, a letter first. It begins with the town as it is now."
      />
      <Problem error={make.error} />
      <button type="submit" disabled={make.busy || name.trim() === ''}>
        {make.busy ? 'Making it…' : 'Make a draft'}
      </button>
    </form>
  );
}
