/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import type { ApiError } from '../api.js';
import type { Draft } from '../draft-shapes.js';
import { Dialog } from '../widgets/dialog.js';
import { TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';

export interface Cosigner {
  readonly name: string;
  readonly passphrase: string;
}

interface AdoptDialogProps {
  readonly draft: Draft;
  readonly busy: boolean;
  readonly error: ApiError | null;
  onClose(): void;
  onAdopt(cosigners: readonly Cosigner[]): void;
}

const most = 15;

/** Asks whether a draft is to come home, and lets further stewards sign with it at this board. */
export function AdoptDialog({ draft, busy, error, onClose, onAdopt }: AdoptDialogProps) {
  const [signers, setSigners] = useState<readonly Cosigner[]>([]);
  const change = (at: number, part: Partial<Cosigner>): void =>
    setSigners(signers.map((each, index) => (index === at ? { ...each, ...part } : each)));
  return (
    <Dialog title={`Bring the draft ${draft.name} home?`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onAdopt(signers.filter(({ name }) => name.trim() !== ''));
        }}
      >
        <p>
          The town is asked to take its entries in. They are judged anew on main: what no longer holds is
          rejected, with the reason. The draft is closed from then on.
        </p>
        {signers.map((signer, at) => (
          <fieldset key={at}>
            <legend>Steward {at + 2}</legend>
            <TextField
              label="Name"
              value={signer.name}
              onInput={(name) => change(at, { name })}
              autocomplete="off"
              required
            />
            <TextField
              label="Passphrase"
              type="password"
              value={signer.passphrase}
              onInput={(passphrase) => change(at, { passphrase })}
              autocomplete="off"
              required
              hint="It unlocks the key on this board for this one signature."
            />
          </fieldset>
        ))}
        {signers.length < most && (
          <button
            type="button"
            class="quiet small"
            onClick={() => setSigners([...signers, { name: '', passphrase: '' }])}
          >
            Another steward signs too
          </button>
        )}
        <Problem error={error} />
        <div class="row end">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={busy}>
            {busy ? 'Signing…' : 'Bring it home'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
