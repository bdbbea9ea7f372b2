/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { path, post, remove } from '../api.js';
import { dateTime, shortId } from '../format.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import { useNotices } from '../notices.js';
import type { OwnKey, Recorded, Session } from '../shapes.js';
import { Chip, PendingChip } from '../widgets/chips.js';
import { ConfirmDialog } from '../widgets/confirm-dialog.js';
import { CopyBox } from '../widgets/copy-box.js';
import { TextField } from '../widgets/field.js';
import { NoticeList } from '../widgets/notice-list.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { EraseDialog } from './erase-dialog.js';

/** One's own page: what one was told, and the keys one signs with. */
export function YouPage() {
  const { session } = useTown();
  const keys = useLoaded<readonly OwnKey[]>('/keys', ['entry', 'merge']);
  if (!session) return null;
  return (
    <>
      <PageHead title={session.name} lead="What the town tells you, and the keys you sign with." />
      <div class="columns">
        <div>
          <Told />
          <section class="card" aria-labelledby="keys">
            <h2 id="keys">Your keys</h2>
            <p class="muted">
              One for each board you sign in at. A board keeps its key locked under your passphrase there.
            </p>
            <Problem error={keys.error} />
            {keys.value && <Keys keys={keys.value} onChanged={keys.reload} />}
          </section>
        </div>
        <div class="side">
          <Identity session={session} />
          <AddKey onAdded={keys.reload} />
          {mayDo(session, 'record.erase') && <EraseOwn />}
        </div>
      </div>
    </>
  );
}

function Told() {
  const { items, unread, read } = useNotices();
  return (
    <section class="card" aria-labelledby="told">
      <div class="section-head">
        <h2 id="told">Notices</h2>
        {unread > 0 && (
          <button type="button" class="quiet" disabled={read.busy} onClick={() => void read.run()}>
            Mark all as read
          </button>
        )}
      </div>
      <Problem error={read.error} />
      {items.length === 0 ? (
        <p class="empty">Nothing so far. When a merge rejects something of yours, it is told here.</p>
      ) : (
        <NoticeList notices={items} />
      )}
    </section>
  );
}

function Identity({ session }: { session: Session }) {
  return (
    <section class="card" aria-labelledby="identity">
      <h2 id="identity">Who you are</h2>
      <CopyBox label="Your member id" text={session.member} />
      <p class="small muted">
        Your roles: {session.roles.join(', ') || 'none'}. To sign in at another board of this town, open its
        panel, choose “Sign in from here for the first time”, and give it this id.
      </p>
    </section>
  );
}

function EraseOwn() {
  const [asked, setAsked] = useState(false);
  return (
    <section class="card" aria-labelledby="erase-own">
      <h2 id="erase-own">Your records</h2>
      <p class="small muted">
        Your name, contact, door records and notes are in the ledger only encrypted. You can have the keys
        destroyed.
      </p>
      <button type="button" class="quiet" onClick={() => setAsked(true)}>
        Erase your records…
      </button>
      {asked && (
        <EraseDialog person={null} onClose={() => setAsked(false)} onErased={() => setAsked(false)} />
      )}
    </section>
  );
}

function Keys({ keys, onChanged }: { keys: readonly OwnKey[]; onChanged(): void }) {
  const { follow } = useTown();
  const [asked, setAsked] = useState<OwnKey | null>(null);
  const revoke = useAction(async (key: OwnKey) => {
    follow(`Revoke the key ${shortId(key.key)}`, await remove<Recorded>(path`/keys/${key.key}`));
    setAsked(null);
    onChanged();
  });
  return (
    <>
      <ul class="invitations">
        {keys.map((each) => (
          <li key={each.key}>
            <div>
              <span class="chips">
                <code title={each.key}>{shortId(each.key)}</code>
                {each.status === 'active' ? <Chip tone="good">active</Chip> : <Chip tone="bad">revoked</Chip>}
                <PendingChip state={each.state} />
                {each.current && <Chip tone="plain">you sign with it now</Chip>}
              </span>
              <p class="small muted">
                {each.here
                  ? 'Kept by this board'
                  : each.node === null
                    ? 'Kept by another board'
                    : `Kept by ${each.node.name}`}
                , {each.status === 'active' ? 'registered' : 'revoked'} {dateTime(each.since)}.
              </p>
            </div>
            {each.status === 'active' && (
              <button
                type="button"
                class="quiet"
                onClick={() => {
                  revoke.clear();
                  setAsked(each);
                }}
              >
                Revoke<span class="unseen"> key {shortId(each.key)}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
      {asked !== null && (
        <ConfirmDialog
          title="Revoke this key?"
          does="Revoke the key"
          danger
          busy={revoke.busy}
          error={revoke.error}
          onClose={() => setAsked(null)}
          onConfirm={() => void revoke.run(asked)}
        >
          <p>
            Nothing it signs from now on counts, and what it signed and no merge has taken yet is rejected.
            This cannot be taken back; a new key can be made at any time.
          </p>
          {asked.current && (
            <p class="notice wait">
              It is the key you are signed in with: here you will not be able to sign.
            </p>
          )}
        </ConfirmDialog>
      )}
    </>
  );
}

function AddKey({ onAdded }: { onAdded(): void }) {
  const { follow } = useTown();
  const [code, setCode] = useState('');
  const add = useAction(async () => {
    follow('Add a key of yours', await post<Recorded>('/keys', { code: code.trim() }));
    setCode('');
    onAdded();
  });
  return (
    <section class="card" aria-labelledby="add-key">
      <h2 id="add-key">Add a key from another board</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void add.run();
        }}
      >
        <TextField
          label="Code"
          rows={3}
          value={code}
          onInput={setCode}
          autocomplete="off"
          required
          hint="The other board showed it to you. Add only a code that you made yourself: its key will sign as you."
        />
        <Problem error={add.error} />
        <button type="submit" disabled={add.busy || code.trim() === ''}>
          Add the key
        </button>
      </form>
    </section>
  );
}
