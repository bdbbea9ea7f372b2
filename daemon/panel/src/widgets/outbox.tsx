/** @jsxImportSource preact */
import { hrefOf } from '../router.js';
import { useTown, type Sent } from '../live-town.js';
import { StateChip } from './chips.js';

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
          </div>
          <p class="small">
            {words[each.state]}
            {each.state === 'rejected' && (each.reason ?? 'see the entry')}
          </p>
          <button type="button" class="quiet small" onClick={() => dismiss(each.entry)}>
            Dismiss<span class="unseen"> the note about {each.label}</span>
          </button>
        </div>
      ))}
    </section>
  );
}
