/** @jsxImportSource preact */
import { path, post } from '../api.js';
import { useTown } from '../live-town.js';
import { useAction } from '../loading.js';
import type { Recorded } from '../shapes.js';
import { ConfirmDialog } from '../widgets/confirm-dialog.js';

interface EraseDialogProps {
  /** Whose records: a person; null: one's own. */
  readonly person: { readonly id: string; readonly name: string } | null;
  onClose(): void;
  onErased(): void;
}

/** Asks once more before the records of somebody are erased, and says what that does and does not. */
export function EraseDialog({ person, onClose, onErased }: EraseDialogProps) {
  const { follow } = useTown();
  const erase = useAction(async () => {
    const to = person === null ? '/records/erase' : path`/people/${person.id}/erase`;
    follow(
      person === null ? 'Erase your records' : `Erase the records of ${person.name}`,
      await post<Recorded>(to),
    );
    onErased();
  });
  return (
    <ConfirmDialog
      title={person === null ? 'Erase your records?' : `Erase the records of ${person.name}?`}
      does="Erase for good"
      danger
      busy={erase.busy}
      error={erase.error}
      onClose={onClose}
      onConfirm={() => void erase.run()}
    >
      <p>
        Name, contact, door records and notes on payments become unreadable at every board, for good. Nobody
        can take that back: the keys of these records are destroyed.
      </p>
      <p>
        {person === null
          ? 'Your badges are revoked where you may do that; a steward can.'
          : 'Their badges are revoked.'}{' '}
        Credits, membership and the id stay, and the history stays as it is.
        {person === null && ' From then on you sign in with your member id, and not with your name.'}
      </p>
      <p class="small muted">
        A board that is off erases when it is back. Backups that were put elsewhere keep what they hold until
        they are deleted.
      </p>
    </ConfirmDialog>
  );
}
