/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { credits, dateTime, nameOr } from '../format.js';
import { useTown } from '../live-town.js';
import { useAction } from '../loading.js';
import type { Member, Recorded } from '../shapes.js';
import { CheckField, SelectField, TextField } from '../widgets/field.js';
import { CopyBox } from '../widgets/copy-box.js';
import { Problem } from '../widgets/problem.js';

const choices = (members: readonly Member[]): readonly (readonly [string, string])[] => [
  ['', 'Choose a member'],
  ...members.map((each) => [each.id, nameOr(each.name, each.id)] as const),
];

const nameIn = (members: readonly Member[], id: string): string =>
  nameOr(members.find((each) => each.id === id)?.name, id);

interface TransferProps {
  readonly own: Member;
  readonly others: readonly Member[];
  onDone(): void;
}

/** Gives credits of one's own to another member. */
export function Transfer({ own, others, onDone }: TransferProps) {
  const { follow } = useTown();
  const [to, setTo] = useState('');
  const [amount, setAmount] = useState('');
  const [memo, setMemo] = useState('');
  const send = useAction(async () => {
    const sent = { to, amount: Number(amount), ...(memo.trim() === '' ? {} : { memo: memo.trim() }) };
    follow(
      `Give ${credits(sent.amount)} to ${nameIn(others, to)}`,
      await post<Recorded>('/credits/transfer', sent),
    );
    setAmount('');
    setMemo('');
    onDone();
  });
  return (
    <section class="card" aria-labelledby="transfer">
      <h2 id="transfer">Give credits</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send.run();
        }}
      >
        <SelectField label="To" value={to} onInput={setTo} options={choices(others)} required />
        <TextField
          label="Amount"
          type="number"
          inputMode="numeric"
          min={1}
          value={amount}
          onInput={setAmount}
          required
          hint={`You can spend ${credits(own.balance)}.`}
        />
        <TextField
          label="What for (optional)"
          value={memo}
          onInput={setMemo}
          maxLength={200}
          autocomplete="off"
        />
        <Problem error={send.error} />
        <button type="submit" class="primary" disabled={send.busy}>
          Give
        </button>
      </form>
    </section>
  );
}

/** Gives credits of the vault to a member; for stewards. */
export function Grant({ members, onDone }: { members: readonly Member[]; onDone(): void }) {
  const { follow } = useTown();
  const [to, setTo] = useState('');
  const [amount, setAmount] = useState('');
  const [reason, setReason] = useState('');
  const grant = useAction(async () => {
    const sent = { to, amount: Number(amount), reason: reason.trim() };
    follow(
      `Grant ${credits(sent.amount)} to ${nameIn(members, to)}`,
      await post<Recorded>('/credits/grant', sent),
    );
    setAmount('');
    setReason('');
    onDone();
  });
  return (
    <details class="card">
      <summary>Grant from the vault</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void grant.run();
        }}
      >
        <SelectField label="To" value={to} onInput={setTo} options={choices(members)} required />
        <TextField
          label="Amount"
          type="number"
          inputMode="numeric"
          min={1}
          value={amount}
          onInput={setAmount}
          required
        />
        <TextField
          label="Reason"
          value={reason}
          onInput={setReason}
          maxLength={200}
          required
          autocomplete="off"
        />
        <Problem error={grant.error} />
        <button type="submit" disabled={grant.busy || reason.trim() === ''}>
          Grant
        </button>
      </form>
    </details>
  );
}

interface Invitation {
  readonly name: string;
  readonly code: string;
  readonly link: string;
  readonly expiresAt: number;
}

/** Makes a link that lets one person join as a credit member. */
export function Invite() {
  const [name, setName] = useState('');
  const [steward, setSteward] = useState(false);
  const [made, setMade] = useState<Invitation | null>(null);
  const invite = useAction(async () => {
    const sent = { name: name.trim(), ...(steward ? { roles: ['steward'] } : {}) };
    setMade({ name: sent.name, ...(await post<Omit<Invitation, 'name'>>('/members/invitations', sent)) });
    setName('');
    setSteward(false);
  });
  return (
    <details class="card">
      <summary>Invite a member</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void invite.run();
        }}
      >
        <TextField
          label="Their name"
          value={name}
          onInput={setName}
          maxLength={80}
          required
          autocomplete="off"
        />
        <CheckField label="As a steward" checked={steward} onInput={setSteward} />
        <Problem error={invite.error} />
        <button type="submit" disabled={invite.busy || name.trim() === ''}>
          Make an invitation
        </button>
      </form>
      <div role="status">
        {made !== null && (
          <>
            <p>
              The invitation for <strong>{made.name}</strong> works once, until {dateTime(made.expiresAt)}.
              Give the link only to them.
            </p>
            <CopyBox label="Invitation link" text={made.link} />
          </>
        )}
      </div>
    </details>
  );
}
