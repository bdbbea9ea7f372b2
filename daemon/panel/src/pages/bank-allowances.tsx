/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { post } from '../api.js';
import { credits, dateTime, nameOr } from '../format.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import type { Allowance, Allowances, Member, Nodes, Recorded } from '../shapes.js';
import { SelectField, TextField } from '../widgets/field.js';
import { Problem } from '../widgets/problem.js';

interface AllowancesProps {
  readonly own: Member;
  readonly others: readonly Member[];
  onDone(): void;
}

/** One's own credits at boards: what is there, paying at this one, putting some at another. */
export function AllowancesCard({ own, others, onDone }: AllowancesProps) {
  const { session } = useTown();
  const allowances = useLoaded<Allowances>('/allowances', ['entry', 'merge']);
  const items = (allowances.value?.items ?? []).filter(({ member }) => member === own.id);
  const here = items.find((each) => each.here);
  const done = () => {
    allowances.reload();
    onDone();
  };
  return (
    <section class="card" aria-labelledby="allowances">
      <h2 id="allowances">Your credits at boards</h2>
      <p class="hint">
        Credits that you put at a board can be paid there even while it is cut off from the others. What it
        pays out stands.
      </p>
      <Problem error={allowances.error} />
      {items.length > 0 && (
        <ul class="holdings">
          {items.map((each) => (
            <AllowanceRow key={each.node} allowance={each} onDone={done} />
          ))}
        </ul>
      )}
      {here && here.amount > 0 && here.fence === null && (
        <PayHere allowance={here} others={others} onDone={done} />
      )}
      {allowances.value !== null && mayDo(session, 'allowance.open') && (
        <PutAtBoard own={own} most={allowances.value.most} onDone={done} />
      )}
    </section>
  );
}

function AllowanceRow({ allowance, onDone }: { allowance: Allowance; onDone(): void }) {
  const { follow } = useTown();
  const { nodeName, here, amount, coming, fence } = allowance;
  const takeBack = useAction(async () => {
    follow(`Take back what is at ${nodeName}`, await post<Recorded>('/allowances/returns'));
    onDone();
  });
  return (
    <li>
      <strong>{nodeName}</strong>
      {here && <span class="muted"> (this board)</span>}: {credits(amount)}
      {coming > 0 && <span class="small muted"> and {credits(coming)} pending: to be paid once merged</span>}
      {fence && <span class="small muted"> The town closes this one on {dateTime(fence.until)}.</span>}
      {here && amount > 0 && (
        <>
          {' '}
          <button type="button" class="quiet" disabled={takeBack.busy} onClick={() => void takeBack.run()}>
            Take back
          </button>
        </>
      )}
      <Problem error={takeBack.error} />
    </li>
  );
}

interface PayHereProps {
  readonly allowance: Allowance;
  readonly others: readonly Member[];
  onDone(): void;
}

/** Pays out of the allowance at the board that serves this page. */
function PayHere({ allowance, others, onDone }: PayHereProps) {
  const { follow } = useTown();
  const [to, setTo] = useState('');
  const [amount, setAmount] = useState('');
  const [memo, setMemo] = useState('');
  const payees = others.filter(({ status }) => status !== 'left');
  const pay = useAction(async () => {
    const sent = { to, amount: Number(amount), ...(memo.trim() === '' ? {} : { memo: memo.trim() }) };
    const name = to === 'vault' ? 'the town' : nameOr(payees.find(({ id }) => id === to)?.name, to);
    follow(`Pay ${credits(sent.amount)} to ${name}`, await post<Recorded>('/allowances/payments', sent));
    setAmount('');
    setMemo('');
    onDone();
  });
  return (
    <details class="fold">
      <summary>Pay at this board</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void pay.run();
        }}
      >
        <SelectField
          label="Pay to"
          value={to}
          onInput={setTo}
          options={[
            ['', 'Choose who is paid'],
            ['vault', 'The town'],
            ...payees.map((each) => [each.id, nameOr(each.name, each.id)] as const),
          ]}
          required
        />
        <TextField
          label="Amount to pay"
          type="number"
          inputMode="numeric"
          min={1}
          max={allowance.amount}
          value={amount}
          onInput={setAmount}
          required
          hint={`There are ${credits(allowance.amount)} of yours here. A payment is not undone.`}
        />
        <TextField
          label="Note (optional)"
          value={memo}
          onInput={setMemo}
          maxLength={200}
          autocomplete="off"
        />
        <Problem error={pay.error} />
        <button type="submit" class="primary" disabled={pay.busy}>
          Pay
        </button>
      </form>
    </details>
  );
}

interface PutAtBoardProps {
  readonly own: Member;
  readonly most: number;
  onDone(): void;
}

/** Puts credits of one's own at a board. */
function PutAtBoard({ own, most, onDone }: PutAtBoardProps) {
  const { follow } = useTown();
  const nodes = useLoaded<Nodes>('/nodes', ['nodes']);
  const [chosen, setChosen] = useState('');
  const [amount, setAmount] = useState('');
  const boards = nodes.value?.nodes ?? [];
  const node = chosen === '' ? (boards.find(({ self }) => self)?.id ?? '') : chosen;
  const put = useAction(async () => {
    const sent = { node, amount: Number(amount) };
    const name = nameOr(boards.find(({ id }) => id === node)?.name, node);
    follow(`Put ${credits(sent.amount)} at ${name}`, await post<Recorded>('/allowances', sent));
    setAmount('');
    onDone();
  });
  return (
    <details class="fold">
      <summary>Put credits at a board</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void put.run();
        }}
      >
        <SelectField
          label="Board"
          value={node}
          onInput={setChosen}
          options={boards.map(({ id, name, self }) => [id, self ? `${name} (this board)` : name] as const)}
          required
        />
        <TextField
          label="Amount to put there"
          type="number"
          inputMode="numeric"
          min={1}
          max={most}
          value={amount}
          onInput={setAmount}
          required
          hint={`At most ${credits(most)} at one board. You can spend ${credits(own.balance)}.`}
        />
        <Problem error={put.error} />
        <button type="submit" disabled={put.busy || node === ''}>
          Put there
        </button>
      </form>
    </details>
  );
}
