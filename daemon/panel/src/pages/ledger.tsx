/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import { get, post } from '../api.js';
import { counted, number, shortId } from '../format.js';
import { mayDo, useTown } from '../live-town.js';
import { useAction, useLoaded } from '../loading.js';
import { connectedWords, nextMergeWords, quorumRule } from '../node-words.js';
import { useNodeNames } from '../node-names.js';
import { hrefOf } from '../router.js';
import type { Branch, Entry, Merge, Page } from '../shapes.js';
import { EntryRow } from '../widgets/entry-row.js';
import { PageHead } from '../widgets/page-head.js';
import { Problem } from '../widgets/problem.js';
import { Counts } from '../widgets/counts.js';
import { TimeAgo } from '../widgets/time-ago.js';
import { Graph } from './ledger-graph.js';

type Tab = 'merges' | 'graph' | 'entries' | 'branches';
const tabs: readonly (readonly [Tab, string])[] = [
  ['merges', 'Merges'],
  ['graph', 'Graph'],
  ['entries', 'Entries'],
  ['branches', 'Branches'],
];

/** The post office: everything that was written down, and how it was agreed on. */
export function LedgerPage({ tab }: { tab: Tab }) {
  const { status } = useTown();
  return (
    <>
      <PageHead
        title="Post office"
        lead="Everything that happens is written down here. A merge judges what is pending and makes it the town’s record."
      >
        <MergeNow />
      </PageHead>
      <p>
        Height <strong>{number(status?.height ?? 0)}</strong>
        {status !== null && status.next.epoch > 0 ? `, epoch ${number(status.next.epoch)}` : ''}.{' '}
        {status === null ? '' : nextMergeWords(status)}
      </p>
      {status !== null && (
        <p class="small muted">
          {connectedWords(status)} {quorumRule(status.validators)}
        </p>
      )}
      <nav class="tabs" aria-label="Parts of the ledger">
        {tabs.map(([each, text]) => (
          <a
            key={each}
            href={hrefOf({ page: 'ledger', tab: each })}
            aria-current={each === tab ? 'page' : undefined}
          >
            {text}
          </a>
        ))}
      </nav>
      {tab === 'merges' && <Merges />}
      {tab === 'graph' && <Graph />}
      {tab === 'entries' && <Entries />}
      {tab === 'branches' && <Branches />}
    </>
  );
}

function MergeNow() {
  const { session, reloadStatus } = useTown();
  const [said, setSaid] = useState('');
  const merge = useAction(async () => {
    setSaid('');
    const answer = await post<{ merge: Merge | null }>('/ledger/merge');
    reloadStatus();
    setSaid(answer.merge === null ? 'There was nothing to merge.' : `Merged: height ${answer.merge.height}.`);
  });
  if (!mayDo(session, 'ledger.merge')) return null;
  return (
    <div class="merge-now">
      <button type="button" class="primary" disabled={merge.busy} onClick={() => void merge.run()}>
        {merge.busy ? 'Merging…' : 'Merge now'}
      </button>
      <p role="status" class="hint">
        {said}
      </p>
      <Problem error={merge.error} />
    </div>
  );
}

/** What a live page shows first, and the older pages that were asked for. */
function useOlder<T>(first: Page<T> | null, pathOf: (before: string) => string) {
  const [older, setOlder] = useState<readonly T[]>([]);
  const [next, setNext] = useState<string | null | undefined>(undefined);
  const more = next === undefined ? (first?.next ?? null) : next;
  const load = useAction(async () => {
    if (more === null) return;
    const page = await get<Page<T>>(pathOf(more));
    setOlder((all) => [...all, ...page.items]);
    setNext(page.next);
  });
  return { items: [...(first?.items ?? []), ...older], more: more !== null, load };
}

const unique = <T,>(items: readonly T[], keyOf: (item: T) => string): readonly T[] => [
  ...new Map(items.map((each) => [keyOf(each), each])).values(),
];

function More({ shown, load }: { shown: boolean; load: ReturnType<typeof useAction<[]>> }) {
  return (
    <>
      <Problem error={load.error} />
      {shown && (
        <button type="button" disabled={load.busy} onClick={() => void load.run()}>
          Show older ones
        </button>
      )}
    </>
  );
}

function Merges() {
  const merges = useLoaded<Page<Merge>>('/ledger/merges?limit=25', ['merge']);
  const { items, more, load } = useOlder(
    merges.value,
    (before) => `/ledger/merges?limit=25&before=${encodeURIComponent(before)}`,
  );
  return (
    <section aria-label="Merges">
      <Problem error={merges.error} />
      <ol class="merges">
        {unique(items, (each) => each.id).map((merge) => (
          <li key={merge.id}>
            <a class="card merge-line" href={hrefOf({ page: 'merge', id: merge.id })}>
              <strong>Height {number(merge.height)}</strong>
              <Counts counts={merge.counts} genesis={merge.height === 0} />
              <span class="small muted">
                <TimeAgo at={merge.time} /> ·{' '}
                {merge.height > 0 && `attested by ${counted(merge.attestedBy.length, 'board')} · `}
                <code>{shortId(merge.id)}</code>
              </span>
            </a>
          </li>
        ))}
      </ol>
      <More shown={more} load={load} />
    </section>
  );
}

function Entries() {
  const entries = useLoaded<Page<Entry>>('/ledger/log?limit=50', ['entry', 'merge']);
  const { items, more, load } = useOlder(
    entries.value,
    (before) => `/ledger/log?limit=50&before=${encodeURIComponent(before)}`,
  );
  return (
    <section aria-label="Entries">
      <Problem error={entries.error} />
      <ol class="entries">
        {unique(items, (each) => each.id).map((entry) => (
          <li key={entry.id}>
            <EntryRow entry={entry} />
          </li>
        ))}
      </ol>
      {entries.value?.items.length === 0 && <p class="empty">Nothing was written down yet.</p>}
      <More shown={more} load={load} />
    </section>
  );
}

function Branches() {
  const nameOf = useNodeNames();
  const branches = useLoaded<readonly Branch[]>('/ledger/branches', ['entry', 'merge']);
  return (
    <section aria-label="Branches">
      <p class="muted">Every board writes only its own branch; a merge folds the branches into main.</p>
      <Problem error={branches.error} />
      <div class="table-wrap card" tabIndex={0} role="region" aria-label="Table of branches">
        <table>
          <thead>
            <tr>
              <th scope="col">Board</th>
              <th scope="col">Branch</th>
              <th scope="col" class="amount">
                Blocks
              </th>
              <th scope="col">Newest block</th>
              <th scope="col" class="amount">
                Not merged yet
              </th>
            </tr>
          </thead>
          <tbody>
            {(branches.value ?? []).map((branch) => (
              <tr key={branch.name}>
                <th scope="row">{nameOf(branch.node)}</th>
                <td>
                  <code>{branch.name}</code>
                </td>
                <td class="amount">{number(branch.seq)}</td>
                <td>
                  {branch.head === null ? (
                    'none yet'
                  ) : (
                    <code title={branch.head}>{shortId(branch.head)}</code>
                  )}
                </td>
                <td class="amount">{number(branch.unmerged)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
