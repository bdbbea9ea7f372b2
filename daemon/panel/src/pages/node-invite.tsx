/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { dateTime } from '../format.js';
import { useAction } from '../loading.js';
import { roleWords } from '../node-words.js';
import type { NodeInvited } from '../shapes.js';
import { CopyBox } from '../widgets/copy-box.js';
import { SelectField, TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';

const roles = [
  ['door', 'A node with a door'],
  ['hub', 'A hub, without doors'],
] as const;
type Role = (typeof roles)[number][0];

/** Makes an invitation with which one board can ask to be let in. */
export function InviteNode({ onInvited }: { onInvited(): void }) {
  const [role, setRole] = useState<Role>('door');
  const [hours, setHours] = useState('24');
  const [brokers, setBrokers] = useState('');
  const [made, setMade] = useState<NodeInvited | null>(null);
  const invite = useAction(async () => {
    const addresses = brokers.split(/\s+/).filter((each) => each !== '');
    setMade(
      await post<NodeInvited>('/nodes/invitations', {
        role,
        hours: Number(hours),
        ...(addresses.length === 0 ? {} : { brokers: addresses }),
      }),
    );
    onInvited();
  });
  return (
    <details class="card" open={made !== null || undefined}>
      <summary>Invite a board</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void invite.run();
        }}
      >
        <SelectField
          label="What it will be"
          value={role}
          onInput={(value) => setRole(value === 'hub' ? 'hub' : 'door')}
          options={roles}
          hint={roleWords[role]}
        />
        <TextField
          label="Good for how many hours"
          type="number"
          inputMode="numeric"
          min={1}
          max={168}
          value={hours}
          onInput={setHours}
          required
        />
        <TextField
          label="Addresses of the broker (optional)"
          rows={2}
          value={brokers}
          onInput={setBrokers}
          autocomplete="off"
          hint="Where the new board can reach it, one a line, the best first: mqtt://192.168.1.20:1883. Without one: the address this board is at."
        />
        <Problem error={invite.error} />
        <button type="submit" class="primary" disabled={invite.busy}>
          {invite.busy ? 'Making it…' : 'Make an invitation'}
        </button>
      </form>
      <div role="status">{made !== null && <Made key={made.id} invited={made} />}</div>
    </details>
  );
}

function Made({ invited }: { invited: NodeInvited }) {
  return (
    <div class="invited">
      <p>
        It works once, until {dateTime(invited.expiresAt)}. Paste the code into the setup page of the new
        board, or run <code>town join</code> with it there. The board then shows up here and waits for you.
      </p>
      <CopyBox label="Code" text={invited.code} />
      <CopyBox label="Link" text={invited.link} />
      <img
        class="qr"
        src={`data:image/svg+xml,${encodeURIComponent(invited.qr.svg)}`}
        alt="The link as a QR code"
      />
      <p class="notice wait small">
        Whoever has the code can ask to be let in: hand it over directly, and compare the board’s id before
        you approve.
      </p>
    </div>
  );
}
