/** @jsxImportSource preact */
/** Small marks of state. The words carry the meaning; colour and shape only repeat it. */
import type { ComponentChildren } from 'preact';
import type { Entry, EntryState } from '../shapes.js';

type Tone = 'good' | 'bad' | 'wait' | 'note' | 'plain';

const shapes: { readonly [tone in Tone]: string } = {
  good: 'M2.5 6.4 L5 8.9 L9.6 3.3',
  bad: 'M3 3.1 L9 9 M9 3 L3.1 9',
  wait: 'M6 1.2 A4.8 4.8 0 1 0 6.1 1.2 M6 3.6 V6.3 L7.9 7.3',
  note: 'M6 1.6 V7 M6 10 V10.1',
  plain: 'M4.6 6 H7.4',
};

export function Chip({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`chip ${tone}`}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" class="stroke-icon">
        <path d={shapes[tone]} />
      </svg>
      {children}
    </span>
  );
}

const stateTone: { readonly [state in EntryState]: Tone } = {
  pending: 'wait',
  merged: 'good',
  rejected: 'bad',
};

/** pending, merged, or rejected. */
export const StateChip = ({ state }: { state: EntryState }) => <Chip tone={stateTone[state]}>{state}</Chip>;

/** Shown only while what it stands beside is not in a merge yet. */
export const PendingChip = ({ state }: { state: 'pending' | 'merged' }) =>
  state === 'pending' ? <Chip tone="wait">pending</Chip> : null;

/** How an entry fared: pending, accepted, irregular or rejected. */
export function VerdictChip({ entry }: { entry: Pick<Entry, 'state' | 'verdict'> }) {
  if (entry.state === 'pending' || entry.verdict === null) return <StateChip state={entry.state} />;
  const tone = entry.verdict === 'accepted' ? 'good' : entry.verdict === 'rejected' ? 'bad' : 'note';
  return <Chip tone={tone}>{entry.verdict}</Chip>;
}
