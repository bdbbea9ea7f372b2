/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { useAction } from '../loading.js';
import { useTown } from '../live-town.js';
import { hrefOf } from '../router.js';
import type { Session } from '../shapes.js';
import { TextField } from '../widgets/field.js';
import { NewPassphrase, useNewPassphrase } from '../widgets/new-passphrase.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';

/** An invitation turns its holder into a credit member with a key of their own. */
export function JoinPage({ code: fromLink }: { code: string }) {
  const { status, session, signedIn, follow } = useTown();
  const [code, setCode] = useState(fromLink);
  const [name, setName] = useState('');
  const passphrase = useNewPassphrase();
  const [tried, setTried] = useState(false);

  const join = useAction(async () => {
    const session = await post<Session & { entry: string }>('/members/join', {
      code: code.trim(),
      passphrase: passphrase.value,
      ...(name.trim() === '' ? {} : { name: name.trim() }),
    });
    signedIn(session);
    follow('Join the town', { entry: session.entry, state: 'pending' });
    location.replace(hrefOf({ page: 'bank' }));
  });

  return (
    <div class="narrow">
      <PageHead
        title={status ? `Join ${status.town.name}` : 'Join the town'}
        lead="You get a key of your own, an account at the bank, and a session on this board."
      />
      {session && (
        <p class="notice wait">
          You are signed in as <strong>{session.name}</strong>. Joining makes another account and signs you in
          with it.
        </p>
      )}
      <form
        class="card"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setTried(true);
          if (code.trim() !== '' && passphrase.fits) void join.run();
        }}
      >
        {fromLink === '' && (
          <TextField
            label="Invitation code"
            value={code}
            onInput={setCode}
            autocomplete="off"
            required
            error={
              tried && code.trim() === ''
                ? 'The code stands at the end of the link a steward gave you.'
                : null
            }
          />
        )}
        <TextField
          label="Your name"
          value={name}
          onInput={setName}
          autocomplete="username"
          maxLength={60}
          hint="The name you sign in with. Leave it empty to keep the one in the invitation."
        />
        <NewPassphrase of={passphrase} name={name} tried={tried} />
        <Problem error={join.error} />
        {join.error !== null && join.error.status > 0 && (
          <p class="small muted">
            An invitation works once and not for ever. A steward can give you a new one.
          </p>
        )}
        <button type="submit" class="primary" disabled={join.busy}>
          {join.busy ? 'Making your key…' : 'Join'}
        </button>
      </form>
    </div>
  );
}
