/** @jsxImportSource preact */
import { useState } from 'preact/hooks';
import type { Draft, DraftDetails, Judgement } from '../draft-shapes.js';
import { path } from '../api.js';
import { number, shortId } from '../format.js';
import { useLoaded } from '../loading.js';
import { Chip } from '../widgets/chips.js';
import { Problem } from '../widgets/problem.js';

/** What stands on a draft, and what main would be with it; loaded when it is opened. */
export function DraftContent({ draft }: { draft: Draft }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>What it holds</summary>
      {open && <Content draft={draft} />}
    </details>
  );
}

function Content({ draft }: { draft: Draft }) {
  const { value, error } = useLoaded<DraftDetails>(path`/forks/${draft.name}`, ['merge', 'entry']);
  const isOut = draft.status === 'open' || draft.status === 'adopting';
  if (value === null) return <Problem error={error} />;
  return (
    <>
      {value.entries.length === 0 && <p>Nothing was recorded on it.</p>}
      <ul class="plain">
        {value.entries.map(({ id, says, onDraft, onMain }) => (
          <li key={id}>
            {says}{' '}
            <span class="small">
              <Said what="on the draft" judgement={onDraft} />{' '}
              <Said what={isOut ? 'on main now' : 'on main'} judgement={onMain} />
            </span>
          </li>
        ))}
      </ul>
      {value.changes && <Changes changes={value.changes} />}
    </>
  );
}

const tones = { accepted: 'good', rejected: 'bad', irregular: 'wait' } as const;

function Said({ what, judgement }: { what: string; judgement: Judgement | null }) {
  if (judgement === null) return null;
  const { verdict, reason, code } = judgement;
  return (
    <>
      <Chip tone={tones[verdict]}>
        {what}: {verdict}
      </Chip>{' '}
      {verdict !== 'accepted' && (reason ?? code)}
    </>
  );
}

function Changes({ changes }: { changes: NonNullable<DraftDetails['changes']> }) {
  const { balances, members, charter, others } = changes;
  if (balances.length + members.length + charter.length + others.length === 0)
    return <p>It would change nothing on main.</p>;
  return (
    <>
      <h4>What it would change on main</h4>
      <ul class="small">
        {balances.map(({ account, name, before, after }) => (
          <li key={account}>
            {name ?? account}: {number(before)} → {number(after)} credits
          </li>
        ))}
        {members.map(({ member, name }) => (
          <li key={member}>member {name ?? shortId(member)}</li>
        ))}
        {charter.map(({ at, before, after }) => (
          <li key={at}>
            charter <code>{at}</code>: {JSON.stringify(before)} → {JSON.stringify(after)}
          </li>
        ))}
        {others.map(({ place, count }) => (
          <li key={place}>
            {place}: {number(count)} changed
          </li>
        ))}
      </ul>
    </>
  );
}
