/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { shortId } from '../format.js';
import { useAction } from '../loading.js';
import { hrefOf } from '../router.js';
import type { KeyRequested } from '../shapes.js';
import { CopyBox } from '../widgets/copy-box.js';
import { TextField } from '../widgets/field.js';
import { NewPassphrase, useNewPassphrase } from '../widgets/new-passphrase.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';

const memberId = /^m[0-9a-f]{16}$/;

/** A member of the town who never signed in at this board: it makes them a key, which they register where they are known. */
export function FirstHerePage() {
  const [member, setMember] = useState('');
  const [name, setName] = useState('');
  const passphrase = useNewPassphrase();
  const [tried, setTried] = useState(false);
  const [made, setMade] = useState<KeyRequested | null>(null);
  const id = member.trim();
  const ask = useAction(async () => {
    setMade(
      await post<KeyRequested>('/keys/requests', {
        member: id,
        name: name.trim(),
        passphrase: passphrase.value,
      }),
    );
    passphrase.clear();
  });

  if (made !== null) return <Carry requested={made} />;
  return (
    <div class="narrow">
      <PageHead
        title="Sign in from here for the first time"
        lead="You are a member at another board of this town. This board makes you a key of its own; you register it over there."
      />
      <form
        class="card"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setTried(true);
          if (memberId.test(id) && name.trim() !== '' && passphrase.fits) void ask.run();
        }}
      >
        <TextField
          label="Your member id"
          value={member}
          onInput={setMember}
          autocomplete="off"
          maxLength={40}
          required
          autofocus
          error={tried && !memberId.test(id) ? 'An m and 16 digits or letters from a to f.' : null}
          hint="It stands on your own page at the board where you are a member: choose your name at the top."
        />
        <TextField
          label="Your name"
          value={name}
          onInput={setName}
          autocomplete="username"
          maxLength={60}
          required
          error={
            tried && name.trim() === '' ? 'Say who you are: this is the name you sign in with here.' : null
          }
          hint="The name you will sign in with at this board."
        />
        <NewPassphrase of={passphrase} name={name} tried={tried} />
        <Problem error={ask.error} />
        <button type="submit" class="primary" disabled={ask.busy}>
          {ask.busy ? 'Making your key…' : 'Make my key'}
        </button>
      </form>
      <p>
        <a href={hrefOf({ page: 'home' })}>Back to signing in</a>
      </p>
    </div>
  );
}

function Carry({ requested }: { requested: KeyRequested }) {
  return (
    <div class="narrow">
      <PageHead
        title="Carry this code to your board"
        lead="Your key is made. One step is left, over there."
      />
      <div class="card">
        <CopyBox label="Code" text={requested.code} />
        <ol class="steps">
          <li>Sign in at the board where you are a member already.</li>
          <li>Choose your name at the top, then “Add a key from another board”, and paste the code.</li>
          <li>Come back once the next merge has reached this board, and sign in with your new passphrase.</li>
        </ol>
        <p class="small muted">
          The code holds no secret. It is for the member <code>{shortId(requested.member)}</code> and the key{' '}
          <code title={requested.key}>{shortId(requested.key)}</code>. If you lose it, ask again with the same
          words: it stays the same.
        </p>
        <a class="button primary" href={hrefOf({ page: 'home' })}>
          To the sign-in
        </a>
      </div>
    </div>
  );
}
