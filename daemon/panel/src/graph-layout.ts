/**
 * Where the merges and blocks of a ledger stand in a picture: one row each, the newest on top, `main` as the first lane
 * and one lane for each board that has a block in it. Pure. Whatever a row stands on is below it.
 */
import type { GraphBlock, GraphMerge, LedgerGraph } from './shapes.js';

/** More blocks of one board in one merge than this share a row. */
const separateMost = 3;

export interface MergeRow {
  readonly kind: 'merge';
  readonly merge: GraphMerge;
}

export interface BlocksRow {
  readonly kind: 'blocks';
  readonly lane: number;
  /** One, or a run that follows on one another; the oldest first. */
  readonly blocks: readonly GraphBlock[];
}

export type GraphRow = MergeRow | BlocksRow;

export interface GraphLine {
  /** `fold`: a branch into a merge; `grow`: a block on the one before it; `stand`: a block on the merge it knew; `main`. */
  readonly kind: 'main' | 'grow' | 'stand' | 'fold';
  readonly from: { readonly lane: number; readonly row: number };
  readonly to: { readonly lane: number; readonly row: number };
  /** The lane whose colour it has. */
  readonly lane: number;
  /** It leads to something that is not merged yet. */
  readonly open: boolean;
  /** Only `stand`: an older block of the same board lies between, so that the line cannot run in the board's lane. */
  readonly aside?: boolean;
}

export interface GraphPicture {
  readonly rows: readonly GraphRow[];
  readonly lines: readonly GraphLine[];
  /** Boards by lane, from lane 1. */
  readonly lanes: readonly { readonly id: string; readonly name: string }[];
}

/** Lays out the graph. `from` of a line is below `to`; a row `rows.length` is what lies beyond the picture. */
export function pictureOf(graph: LedgerGraph): GraphPicture {
  const withBlocks = new Set(graph.blocks.map(({ node }) => node));
  const lanes = graph.nodes.filter(({ id }) => withBlocks.has(id));
  const laneOf = new Map(lanes.map(({ id }, at) => [id, at + 1]));

  const rows: GraphRow[] = [...blockRows(graph, null, laneOf)];
  for (const merge of graph.merges) {
    rows.push({ kind: 'merge', merge }, ...blockRows(graph, merge.height, laneOf));
  }
  return { rows, lines: linesOf(rows), lanes };
}

/** The rows of one merge's blocks (null: of those that wait), the newest first; each board's stay in their order. */
function blockRows(
  graph: LedgerGraph,
  height: number | null,
  laneOf: ReadonlyMap<string, number>,
): readonly BlocksRow[] {
  const queues = [...laneOf].map(([node, lane]) => {
    const blocks = graph.blocks
      .filter((each) => each.node === node && each.height === height)
      .sort((a, b) => a.seq - b.seq);
    if (blocks.length > separateMost) return [{ kind: 'blocks', lane, blocks } as const];
    return blocks.map((each) => ({ kind: 'blocks', lane, blocks: [each] }) as const);
  });
  const rows: BlocksRow[] = [];
  for (;;) {
    const newest = queues
      .filter((queue) => queue.length > 0)
      .reduce<BlocksRow[] | null>(
        (best, queue) => (best && timeOf(best) >= timeOf(queue) ? best : queue),
        null,
      );
    const row = newest?.pop();
    if (row === undefined) return rows;
    rows.push(row);
  }
}

const timeOf = (queue: readonly BlocksRow[]): number => queue.at(-1)?.blocks.at(-1)?.at ?? 0;

function linesOf(rows: readonly GraphRow[]): readonly GraphLine[] {
  const rowOf = new Map<string, number>();
  for (const [at, row] of rows.entries()) {
    if (row.kind === 'merge') rowOf.set(row.merge.id, at);
    else for (const { id } of row.blocks) rowOf.set(id, at);
  }
  const beyond = rows.length;
  const lines: GraphLine[] = [];
  const merges = rows.flatMap((row, at) => (row.kind === 'merge' ? [{ merge: row.merge, at }] : []));
  for (const [index, { merge, at }] of merges.entries()) {
    const below = merges[index + 1]?.at ?? (merge.height === 0 ? null : beyond);
    if (below !== null)
      lines.push({
        kind: 'main',
        from: { lane: 0, row: below },
        to: { lane: 0, row: at },
        lane: 0,
        open: false,
      });
    for (const head of merge.heads) {
      const from = rowOf.get(head);
      const row = from === undefined ? undefined : rows[from];
      if (from === undefined || row?.kind !== 'blocks') continue;
      lines.push({
        kind: 'fold',
        from: { lane: row.lane, row: from },
        to: { lane: 0, row: at },
        lane: row.lane,
        open: false,
      });
    }
  }
  for (const [at, row] of rows.entries())
    if (row.kind === 'blocks') lines.push(...footing(row, at, rows, rowOf));
  return lines;
}

/** What the blocks of a row stand on: the block before them, and the merge their board had adopted since that one. */
function footing(
  { lane, blocks }: BlocksRow,
  at: number,
  rows: readonly GraphRow[],
  rowOf: ReadonlyMap<string, number>,
): readonly GraphLine[] {
  const [first] = blocks;
  const last = blocks.at(-1);
  if (first === undefined || last === undefined) return [];
  const open = last.height === null;
  const to = { lane, row: at };
  const lines: GraphLine[] = [];
  const below = first.prev === null ? undefined : (rowOf.get(first.prev) ?? rows.length);
  if (below !== undefined) lines.push({ kind: 'grow', from: { lane, row: below }, to, lane, open });
  const before = below === undefined ? undefined : rows[below];
  const baseBefore =
    before?.kind === 'blocks' ? before.blocks.find(({ id }) => id === first.prev)?.base : undefined;
  const base = rowOf.get(last.base);
  if (last.base !== baseBefore && base !== undefined)
    lines.push({
      kind: 'stand',
      from: { lane: 0, row: base },
      to,
      lane,
      open,
      aside: below !== undefined && below < base,
    });
  return lines;
}
