/** @jsxImportSource preact */
import { path, post } from '../api.js';
import { credits, nameOr } from '../format.js';
import { useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import type { Due, Recorded } from '../shapes.js';
import { Problem } from '../widgets/problem.js';
import { TimeAgo } from '../widgets/time-ago.js';

/** What one owes and is owed; nothing where nothing is due. */
export function DuesCard({ member, onDone }: { member: string; onDone(): void }) {
  const dues = useLoaded<readonly Due[]>('/dues', ['entry', 'merge']);
  const own = (dues.value ?? []).filter((due) => due.member === member || due.to === member);
  const done = () => {
    dues.reload();
    onDone();
  };
  if (own.length === 0) return <Problem error={dues.error} />;
  return (
    <section class="card" aria-labelledby="dues">
      <h2 id="dues">Dues</h2>
      <p class="hint">What was used or paid and no allowance covered: a debt on record.</p>
      <Problem error={dues.error} />
      <ul class="holdings">
        {own.map((due) => (
          <DueRow key={due.id} due={due} owes={due.member === member} onDone={done} />
        ))}
      </ul>
    </section>
  );
}

function DueRow({ due, owes, onDone }: { due: Due; owes: boolean; onDone(): void }) {
  const { follow } = useTown();
  const creditor = due.to === 'vault' ? 'the town' : nameOr(due.toName, due.to);
  const debtor = nameOr(due.memberName, due.member);
  const settle = useAction(async () => {
    if (owes)
      follow(
        `Pay ${credits(due.amount)} due to ${creditor}`,
        await post<Recorded>(path`/dues/${due.id}/payments`),
      );
    else
      follow(
        `Waive ${credits(due.amount)} due from ${debtor}`,
        await post<Recorded>(path`/dues/${due.id}/waiver`),
      );
    onDone();
  });
  return (
    <li>
      {owes ? (
        <>
          You owe <strong>{creditor}</strong> {credits(due.amount)}
        </>
      ) : (
        <>
          <strong>{debtor}</strong> owes you {credits(due.amount)}
        </>
      )}{' '}
      <span class="small muted">
        since <TimeAgo at={due.since} />
      </span>{' '}
      <button
        type="button"
        class={owes ? '' : 'quiet'}
        disabled={settle.busy}
        onClick={() => void settle.run()}
      >
        {owes ? 'Pay it' : 'Waive it'}
      </button>
      <Problem error={settle.error} />
    </li>
  );
}
