/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { useAction } from '../loading.js';
import { useTown } from '../live-town.js';
import { hrefOf } from '../router.js';
import type { Session } from '../shapes.js';
import { TextField } from '../widgets/field.js';
import { NewPassphrase, useNewPassphrase } from '../widgets/new-passphrase.js';
import { Problem } from '../widgets/problem.js';

/** Founds a town: its first steward, and the door wired to this board. */
export function FoundTown({ token }: { token: string }) {
  const { signedIn, reloadStatus } = useTown();
  const [name, setName] = useState('');
  const passphrase = useNewPassphrase();
  const [doorName, setDoorName] = useState('Front door');
  const [tried, setTried] = useState(false);

  const setUp = useAction(async () => {
    const session = await post<Session>('/setup', {
      token,
      name: name.trim(),
      passphrase: passphrase.value,
      ...(doorName.trim() === '' ? {} : { doorName: doorName.trim() }),
    });
    signedIn(session);
    reloadStatus();
    // The link is used up: it has no business in the history.
    location.replace(hrefOf({ page: 'home' }));
  });

  const nameMissing = tried && name.trim() === '';
  return (
    <form
      class="card"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        setTried(true);
        if (name.trim() !== '' && passphrase.fits) void setUp.run();
      }}
    >
      <p>You become the first steward. Two minutes, and the first door works.</p>
      <TextField
        label="Your name"
        value={name}
        onInput={setName}
        autocomplete="username"
        maxLength={60}
        required
        autofocus
        error={nameMissing ? 'Say who you are: this is the name you sign in with.' : null}
        hint="The name you sign in with."
      />
      <NewPassphrase of={passphrase} name={name} tried={tried} />
      <TextField
        label="Name of the first door"
        value={doorName}
        onInput={setDoorName}
        maxLength={60}
        hint="The door wired to this board. Leave it empty to add doors later."
      />
      <Problem error={setUp.error} />
      {setUp.error !== null && setUp.error.status > 0 && <LinkHelp />}
      <button type="submit" class="primary" disabled={setUp.busy}>
        {setUp.busy ? 'Making your key…' : 'Set up the town'}
      </button>
    </form>
  );
}

/** What to do when a setup link is refused. */
export function LinkHelp() {
  return (
    <p class="small muted">
      A setup link works once and not for ever. If this one is refused, restart the town: while it has no
      steward, each start prints a fresh link.
    </p>
  );
}
