/** @jsxImportSource preact */
import { path } from '../api.js';
import { dateTime, number } from '../format.js';
import { useLoaded } from '../loading.js';
import { useNodeNames } from '../node-names.js';
import { hrefOf } from '../router.js';
import type { Entry, Explained as Told } from '../shapes.js';
import { VerdictChip } from '../widgets/chips.js';
import { Why } from '../widgets/entry-row.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { StateChanges } from '../widgets/state-changes.js';

/** One entry: who signed what, and what became of it. */
export function EntryPage({ id }: { id: string }) {
  const shown = useLoaded<{ entry?: Entry; explained?: Told }>(path`/ledger/show/${id}`, ['merge']);
  const entry = shown.value?.entry;
  return (
    <>
      <PageHead title="An entry" lead={entry?.says}>
        <a class="button" href={hrefOf({ page: 'ledger', tab: 'entries' })}>
          All entries
        </a>
      </PageHead>
      <Problem error={shown.error} />
      {shown.value && !entry && <p class="notice wait">This id belongs to a merge, not to an entry.</p>}
      {entry && <Explained entry={entry} told={shown.value?.explained} />}
    </>
  );
}

function Explained({ entry, told }: { entry: Entry; told: Told | undefined }) {
  const nameOf = useNodeNames();
  return (
    <>
      <section class="card" aria-labelledby="became">
        <h2 id="became">What became of it</h2>
        <p class="chips">
          <VerdictChip entry={entry} />
          {entry.merge === undefined ? (
            <span>Durable on its board; no merge has judged it yet.</span>
          ) : (
            <span>
              Judged by{' '}
              <a href={hrefOf({ page: 'merge', id: entry.merge })}>
                merge {entry.height === undefined ? '' : number(entry.height)}
              </a>
              .
            </span>
          )}
        </p>
        <Why entry={entry} />
        {told?.other && (
          <p class="why">
            It lost to <a href={hrefOf({ page: 'entry', id: told.other.id })}>this entry</a>:{' '}
            {told.other.says}.
          </p>
        )}
      </section>
      {told && entry.merge !== undefined && <StateChanges explained={told} of="entry" />}
      <section class="card" aria-labelledby="said">
        <h2 id="said">What it says</h2>
        <dl class="proof">
          <dt>Type</dt>
          <dd>
            <code>{entry.type}</code>
          </dd>
          <dt>Signed by</dt>
          <dd>{entry.by}</dd>
          <dt>When</dt>
          <dd>{dateTime(entry.at)}</dd>
          <dt>Entered at</dt>
          <dd>
            {nameOf(entry.node) === entry.node ? 'board' : nameOf(entry.node)} <code>{entry.node}</code>, its
            entry number {number(entry.n)}
          </dd>
          <dt>Id</dt>
          <dd>
            <code class="hash">{entry.id}</code>
          </dd>
        </dl>
        <h3>Content</h3>
        <pre tabIndex={0} role="region" aria-label="Content of the entry">
          {JSON.stringify(entry.body, null, 2)}
        </pre>
      </section>
    </>
  );
}
