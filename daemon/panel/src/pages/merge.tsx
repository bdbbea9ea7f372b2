/** @jsxImportSource preact */
import { path } from '../api.js';
import { counted, dateTime, number } from '../format.js';
import { useLoaded } from '../loading.js';
import { useNodeNames } from '../node-names.js';
import { hrefOf } from '../router.js';
import type { Explained as Told, Merge } from '../shapes.js';
import { Counts } from '../widgets/counts.js';
import { EntryRow } from '../widgets/entry-row.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { StateChanges } from '../widgets/state-changes.js';
import { MergePicture } from './merge-picture.js';

/** One merge, explained: what it folded in, how each entry fared, and what proves it. */
export function MergePage({ id }: { id: string }) {
  const shown = useLoaded<{ merge?: Merge; explained?: Told }>(path`/ledger/show/${id}`);
  const merge = shown.value?.merge;
  return (
    <>
      <PageHead title={merge ? `Merge ${number(merge.height)}` : 'A merge'}>
        <a class="button" href={hrefOf({ page: 'ledger', tab: 'merges' })}>
          All merges
        </a>
      </PageHead>
      <Problem error={shown.error} />
      {shown.value && !merge && <p class="notice wait">This id belongs to an entry, not to a merge.</p>}
      {merge && <Explained merge={merge} />}
      {merge && merge.height > 0 && shown.value?.explained && (
        <StateChanges explained={shown.value.explained} of="merge" />
      )}
    </>
  );
}

function Explained({ merge }: { merge: Merge }) {
  const nameOf = useNodeNames();
  const entries = merge.entries ?? [];
  const total = merge.counts.accepted + merge.counts.irregular + merge.counts.rejected;
  return (
    <>
      <section class="card" aria-labelledby="what">
        <h2 id="what">What it did</h2>
        <p>{story(merge, total, nameOf)}</p>
        <Counts counts={merge.counts} genesis={merge.height === 0} />
        <MergePicture merge={merge} nameOf={nameOf} />
      </section>
      <section class="card" aria-labelledby="proof">
        <h2 id="proof">What proves it</h2>
        <dl class="proof">
          <dt>Attested by</dt>
          <dd>
            {merge.attestedBy.length === 0 ? (
              merge.height === 0 ? (
                'nobody: a genesis stands for itself'
              ) : (
                'nobody yet'
              )
            ) : (
              <ul class="attesters">
                {merge.attestedBy.map((id) => (
                  <li key={id}>
                    {nameOf(id) !== id && <strong>{nameOf(id)} </strong>}
                    <code class="small">{id}</code>
                  </li>
                ))}
              </ul>
            )}
            <p class="small muted">
              Each of these boards replayed the merge to exactly this content and signed that.
            </p>
          </dd>
          <dt>Tested by</dt>
          <dd>
            {merge.testedBy.length === 0 ? 'no dapp' : <Codes texts={merge.testedBy} />}
            <p class="small muted">Each dapp looked over its own state afterwards and had no objection.</p>
          </dd>
          <dt>Content hash</dt>
          <dd>
            <code class="hash">{merge.content}</code>
          </dd>
          <dt>Merge id</dt>
          <dd>
            <code class="hash">{merge.id}</code>
          </dd>
          <dt>In git</dt>
          <dd>
            <code class="hash">{merge.oid}</code>
            <p class="small muted">
              <code>git -C ledger.git show {merge.oid.slice(0, 12)}</code> shows the same in the board’s data
              folder.
            </p>
          </dd>
        </dl>
      </section>
      <section aria-labelledby="entries">
        <h2 id="entries">Its entries, in the order they were judged</h2>
        {entries.length === 0 && <p class="empty">This merge holds no entries.</p>}
        <ol class="entries">
          {entries.map((entry) => (
            <li key={entry.id}>
              <EntryRow entry={entry} />
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}

const Codes = ({ texts }: { texts: readonly string[] }) => (
  <ul class="codes">
    {texts.map((text) => (
      <li key={text}>
        <code>{text}</code>
      </li>
    ))}
  </ul>
);

function story(merge: Merge, total: number, nameOf: (id: string) => string): string {
  const when = dateTime(merge.time);
  if (merge.height === 0) return `The town was founded on ${when}.`;
  const from = counted(merge.heads.length, 'branch', 'branches');
  return `On ${when}, ${counted(total, 'entry', 'entries')} from ${from} ${total === 1 ? 'was' : 'were'} replayed on height ${number(merge.height - 1)}. Board ${nameOf(merge.by)} proposed it.`;
}
