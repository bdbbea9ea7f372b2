/** @jsxImportSource preact */
import { counted, dateTime, number } from '../format.js';
import { hrefOf } from '../router.js';
import type { GraphBlock, GraphMerge } from '../shapes.js';
import { Dialog } from '../widgets/dialog.js';

interface BlocksDialogProps {
  /** Of one board, following on one another; the oldest first. */
  readonly blocks: readonly GraphBlock[];
  readonly board: string;
  readonly merges: readonly GraphMerge[];
  onClose(): void;
}

/** Blocks of one board: what they hold, what they stand on, and what became of them. */
export function BlocksDialog({ blocks, board, merges, onClose }: BlocksDialogProps) {
  const [first] = blocks;
  const last = blocks.at(-1);
  if (first === undefined || last === undefined) return null;
  const title =
    first === last
      ? `Block ${number(last.seq)} of ${board}`
      : `Blocks ${number(first.seq)} to ${number(last.seq)} of ${board}`;
  const into = merges.find(({ height }) => height === last.height);
  return (
    <Dialog title={title} onClose={onClose}>
      <p>
        {last.height === null ? (
          'No merge has folded this in yet.'
        ) : (
          <>
            Folded in by{' '}
            {into === undefined ? (
              `merge ${number(last.height)}`
            ) : (
              <a href={hrefOf({ page: 'merge', id: into.id })}>
                merge {number(into.height)}, with each entry and its verdict
              </a>
            )}
            .
          </>
        )}
      </p>
      <ol class="blocks">
        {blocks.map((block) => (
          <li key={block.id}>
            <strong>Block {number(block.seq)}</strong>: {counted(block.entries, 'entry', 'entries')}, written{' '}
            {dateTime(block.at)}
            {standsOn(block, merges)}
            <code class="hash small">{block.id}</code>
          </li>
        ))}
      </ol>
      <p class="small muted">
        In git it is on the branch <code>nodes/{last.node}/main</code>; its{' '}
        <a href={hrefOf({ page: 'ledger', tab: 'entries' })}>entries</a> are listed with all others.
      </p>
    </Dialog>
  );
}

function standsOn(block: GraphBlock, merges: readonly GraphMerge[]): string {
  const base = merges.find(({ id }) => id === block.base);
  return base === undefined ? '.' : `, when its board stood at height ${number(base.height)}.`;
}
