/** @jsxImportSource preact */
import { number } from '../format.js';
import type { Merge } from '../shapes.js';
import { Chip } from './chips.js';

/** How many entries a merge accepted, noted as irregular, and rejected. */
export function Counts({ counts, genesis }: { counts: Merge['counts']; genesis: boolean }) {
  if (genesis) return <Chip tone="plain">the founding of the town</Chip>;
  return (
    <span class="chips">
      {counts.accepted > 0 && <Chip tone="good">{number(counts.accepted)} accepted</Chip>}
      {counts.irregular > 0 && <Chip tone="note">{number(counts.irregular)} irregular</Chip>}
      {counts.rejected > 0 && <Chip tone="bad">{number(counts.rejected)} rejected</Chip>}
    </span>
  );
}
