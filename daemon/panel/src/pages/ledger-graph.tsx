/** @jsxImportSource preact */
import { useMemo, useState } from 'preact/hooks';
import { counted, number } from '../format.js';
import { pictureOf, type BlocksRow, type GraphPicture, type GraphRow } from '../graph-layout.js';
import { useLoaded } from '../loading.js';
import { hrefOf } from '../router.js';
import type { LedgerGraph } from '../shapes.js';
import { Problem } from '../widgets/problem.js';
import { TimeAgo } from '../widgets/time-ago.js';
import { BlocksDialog } from './blocks-dialog.js';
import { GraphDrawing } from './graph-drawing.js';

/** The branches of the boards as they run into main; the drawing stands beside the same in words. */
export function Graph() {
  const graph = useLoaded<LedgerGraph>('/ledger/graph?limit=20', ['entry', 'merge', 'nodes']);
  const [opened, setOpened] = useState<BlocksRow | null>(null);
  const picture = useMemo(() => graph.value && pictureOf(graph.value), [graph.value]);
  const nameOf = (id: string) => graph.value?.nodes.find((each) => each.id === id)?.name ?? id;
  return (
    <section aria-label="Graph">
      <p class="muted">
        Every board writes blocks on a branch of its own; a merge folds the branches into main. The newest is
        on top. A hollow mark waits to be merged.
      </p>
      <Problem error={graph.error} />
      {picture && (
        <div class="card graph">
          <Lanes picture={picture} />
          <div class="graph-body">
            <GraphDrawing picture={picture} />
            <ol class="graph-rows">
              {picture.rows.map((row) => (
                <li key={row.kind === 'merge' ? row.merge.id : row.blocks[0]?.id}>
                  <Row row={row} nameOf={nameOf} onOpen={setOpened} />
                </li>
              ))}
            </ol>
          </div>
          {graph.value?.truncated && (
            <p class="small muted">There are more blocks than this picture takes; the oldest are left out.</p>
          )}
        </div>
      )}
      {opened !== null && (
        <BlocksDialog
          blocks={opened.blocks}
          board={nameOf(opened.blocks[0]?.node ?? '')}
          merges={graph.value?.merges ?? []}
          onClose={() => setOpened(null)}
        />
      )}
    </section>
  );
}

function Lanes({ picture }: { picture: GraphPicture }) {
  return (
    <ul class="lanes" aria-label="Lanes, from left to right">
      <li>
        <span class="lane-mark lane-0" aria-hidden="true" />
        main
      </li>
      {picture.lanes.map((each, at) => (
        <li key={each.id}>
          <span class={`lane-mark lane-${1 + (at % 6)}`} aria-hidden="true" />
          {each.name}
        </li>
      ))}
    </ul>
  );
}

interface RowProps {
  readonly row: GraphRow;
  nameOf(id: string): string;
  onOpen(row: BlocksRow): void;
}

function Row({ row, nameOf, onOpen }: RowProps) {
  if (row.kind === 'merge') {
    const { merge } = row;
    return (
      <a href={hrefOf({ page: 'merge', id: merge.id })}>
        <strong>{merge.height === 0 ? 'Founding of the town' : `Merge ${number(merge.height)}`}</strong>
        <span class="small muted">
          {merge.height > 0 && `${counted(merge.heads.length, 'branch', 'branches')}, `}
          <TimeAgo at={merge.time} />, by {nameOf(merge.by)}
        </span>
      </a>
    );
  }
  const [first] = row.blocks;
  const last = row.blocks.at(-1);
  if (first === undefined || last === undefined) return null;
  const entries = row.blocks.reduce((sum, each) => sum + each.entries, 0);
  return (
    <button type="button" onClick={() => onOpen(row)}>
      <span class="graph-name">
        {nameOf(last.node)},{' '}
        {first === last ? `block ${number(last.seq)}` : `blocks ${number(first.seq)} to ${number(last.seq)}`}
      </span>
      <span class="small muted">
        {last.height === null && <em>Not merged yet: </em>}
        {counted(entries, 'entry', 'entries')}, <TimeAgo at={last.at} />
      </span>
    </button>
  );
}
