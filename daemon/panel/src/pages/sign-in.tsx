/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { useAction } from '../loading.js';
import { useTown } from '../live-town.js';
import { hrefOf } from '../router.js';
import type { Session } from '../shapes.js';
import { TextField } from '../widgets/field.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';

/** Signing in with name and passphrase; before the first set-up it says how to begin. */
export function SignInPage() {
  const { status, signedIn } = useTown();
  const [name, setName] = useState('');
  const [passphrase, setPassphrase] = useState('');
  const signIn = useAction(async () => {
    try {
      signedIn(await post<Session>('/session', { name: name.trim(), passphrase }));
    } finally {
      setPassphrase('');
    }
  });

  if (status?.needsSetup) return <NotSetUp />;
  return (
    <div class="narrow">
      <PageHead title="Sign in" lead={status ? `Welcome to ${status.town.name}.` : undefined} />
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void signIn.run();
        }}
      >
        <TextField label="Name" value={name} onInput={setName} autocomplete="username" required />
        <TextField
          label="Passphrase"
          type="password"
          value={passphrase}
          onInput={setPassphrase}
          autocomplete="current-password"
          required
        />
        <Problem error={signIn.error} />
        <button type="submit" class="primary" disabled={signIn.busy}>
          {signIn.busy ? 'Opening your key…' : 'Sign in'}
        </button>
      </form>
      <ul class="other-ways">
        <li>
          You are a member at another board of this town?{' '}
          <a href={hrefOf({ page: 'first-here' })}>Sign in from here for the first time</a>
        </li>
        <li class="muted">No account at all? A steward of the town can give you an invitation link.</li>
      </ul>
    </div>
  );
}

function NotSetUp() {
  return (
    <div class="narrow">
      <PageHead title="This town has no steward yet" lead="Nobody has set it up so far." />
      <div class="card">
        <p>
          When the board first started, it printed a <strong>setup link</strong> that works once. Open that
          link to become the first steward.
        </p>
        <p>The link is in the terminal where the town was started, or in its log.</p>
      </div>
    </div>
  );
}
