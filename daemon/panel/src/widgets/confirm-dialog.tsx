/** @jsxImportSource preact */
import type { ComponentChildren } from 'preact';
import type { ApiError } from '../api.js';
import { Dialog } from './dialog.js';
import { Problem } from './problem.js';

interface ConfirmDialogProps {
  readonly title: string;
  readonly does: string;
  readonly danger?: boolean;
  readonly busy: boolean;
  readonly error: ApiError | null;
  readonly children: ComponentChildren;
  /** What insisting does, where the town only warned; null: there is no insisting. */
  readonly insist?: string | null;
  onClose(): void;
  onConfirm(anyway: boolean): void;
}

/** Asks once more before something that many will notice; where the town warns, it can be insisted on. */
export function ConfirmDialog(props: ConfirmDialogProps) {
  const { title, does, danger = false, busy, error, children, insist = null, onClose, onConfirm } = props;
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onConfirm(insist !== null);
        }}
      >
        {children}
        <Problem error={error} />
        <div class="row end">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={danger || insist !== null ? 'danger' : 'primary'} disabled={busy}>
            {insist ?? does}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
