/** @jsxImportSource preact */
import { hrefOf } from '../router.js';
import { useTown, type Sent } from '../live-town.js';
import { StateChip } from './chips.js';
import { Cross } from './cross.js';

const words: { readonly [state in Sent['state']]: string } = {
  pending: 'Recorded. It counts once a merge has accepted it.',
  merged: 'Accepted by a merge.',
  rejected: 'Rejected, because ',
};

/** What this person just did, followed until a merge has judged it. */
export function Outbox() {
  const { sent, dismiss } = useTown();
  return (
    <section class="outbox" aria-label="What you just did" aria-live="polite">
      {sent.map((each) => (
        <div key={each.entry} class={`slip ${each.state}`}>
          <div class="slip-head">
            <a href={hrefOf({ page: 'entry', id: each.entry })}>{each.label}</a>
            <StateChip state={each.state} />
            <button
              type="button"
              class="quiet square"
              aria-label={`Dismiss: ${each.label}`}
              onClick={() => dismiss(each.entry)}
            >
              <Cross size={14} />
            </button>
          </div>
          <p class="small">
            {words[each.state]}
            {each.state === 'rejected' && `${each.reason ?? 'see the entry'}.`}
          </p>
        </div>
      ))}
    </section>
  );
}
