/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import type { ApiError } from '../api.js';
import { Dialog } from './dialog.js';
import { TextField } from './field.js';
import { Problem } from './problem.js';

interface ReasonDialogProps {
  readonly title: string;
  readonly says: string;
  readonly does: string;
  /** Who will see the reason; without it: the ledger keeps it in the open. */
  readonly hint?: string;
  readonly busy: boolean;
  readonly error: ApiError | null;
  onClose(): void;
  onReason(reason: string): void;
}

/** Asks for the reason of something that takes a right away, and says what follows. */
export function ReasonDialog(props: ReasonDialogProps) {
  const { title, says, does, hint, busy, error, onClose, onReason } = props;
  const [reason, setReason] = useState('');
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (reason.trim() !== '') onReason(reason.trim());
        }}
      >
        <p>{says}</p>
        <TextField
          label="Reason"
          value={reason}
          onInput={setReason}
          maxLength={200}
          required
          autofocus
          autocomplete="off"
          hint={hint ?? 'The ledger keeps it in the open: name no illness and no accusation.'}
        />
        <Problem error={error} />
        <div class="row end">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={busy || reason.trim() === ''}>
            {does}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
