/** @jsxImportSource preact */
import { path, put, remove } from '../api.js';
import { counted } from '../format.js';
import { useTown } from '../live-town.js';
import { useAction } from '../loading.js';
import { mayInsist } from '../node-words.js';
import type { Recorded, TownNode } from '../shapes.js';
import { ConfirmDialog } from '../widgets/confirm-dialog.js';

interface NodeDialogProps {
  readonly node: TownNode;
  onClose(): void;
  onDone(): void;
}

/** Makes a board a validator or takes that back; where the town warns, a steward may insist. */
export function ValidatorDialog({ node, count, onClose, onDone }: NodeDialogProps & { count: number }) {
  const { follow } = useTown();
  const makes = !node.validator;
  const change = useAction(async (anyway: boolean) => {
    const recorded = await put<Recorded>(path`/nodes/${node.id}/validator`, {
      validator: makes,
      ...(anyway ? { anyway: true } : {}),
    });
    follow(makes ? `Make ${node.name} a validator` : `Take the vote of ${node.name} back`, recorded);
    onDone();
    onClose();
  });
  const warned = change.error !== null && mayInsist(change.error.code);
  return (
    <ConfirmDialog
      title={makes ? `Make ${node.name} a validator?` : `Take the vote of ${node.name} back?`}
      does={makes ? 'Make it a validator' : 'Take the vote back'}
      danger={!makes}
      insist={warned ? 'Do it anyway' : null}
      busy={change.busy}
      error={change.error}
      onClose={onClose}
      onConfirm={(anyway) => void change.run(anyway)}
    >
      {makes ? (
        <p>
          It will replay every merge itself, run every dapp’s tests on it, and sign. The town then has{' '}
          {counted(count + 1, 'validator')}. It counts from the merge after the one that says so.
        </p>
      ) : (
        <p>
          It goes on as a board of the town, but no longer signs merges. The town then has{' '}
          {counted(Math.max(count - 1, 0), 'validator')}.
        </p>
      )}
      {makes && count + 1 === 2 && (
        <p class="notice wait">
          With two validators both must sign: while one is off, nothing merges, and if one is lost for good,
          it cannot even be taken out. Two are a step on the way to three.
        </p>
      )}
    </ConfirmDialog>
  );
}

/** What who has the board can do after all. */
const stillKnown = ({ roles }: TownNode): string =>
  roles.includes('door')
    ? 'The other boards then give themselves a new key, and it reads nothing new of what they tell each other. It still knows the key of the badges: whoever has it can tell badges apart.'
    : 'The other boards then give themselves a new key, and it reads nothing new of what they tell each other.';

/** Takes a board out of the town. */
export function RemoveDialog({ node, onClose, onDone }: NodeDialogProps) {
  const { follow } = useTown();
  const takeOut = useAction(async () => {
    follow(`Remove the board ${node.name}`, await remove<Recorded>(path`/nodes/${node.id}`));
    onDone();
    onClose();
  });
  return (
    <ConfirmDialog
      title={`Remove ${node.name}?`}
      does="Remove the board"
      danger
      busy={takeOut.busy}
      error={takeOut.error}
      onClose={onClose}
      onConfirm={() => void takeOut.run()}
    >
      <p>
        Nothing of this board is taken any more. What it recorded and was merged stays in the ledger; what was
        not merged yet does not come in.
      </p>
      <p>{stillKnown(node)}</p>
      {node.validator && (
        <p class="notice wait">It is a validator: take its vote back first, and wait for that merge.</p>
      )}
    </ConfirmDialog>
  );
}
