/** Draws the history with characters: a lane for `main` on the left, one for each node, the newest on top. */
import type { GraphBlock, GraphMerge, LedgerGraph } from '../node/ledger-graph.js';
import { plain, short, time } from './output.js';

/** More nodes than this share the last lane. */
const LANES_MAX = 12;
/** More blocks of one node in a row than this are drawn as one. */
const RUN_MAX = 3;
const TEXT_MIN = 24;

type Row =
  | { readonly kind: 'merge'; readonly merge: GraphMerge; readonly folds: readonly number[] }
  | { readonly kind: 'block'; readonly lane: number; readonly blocks: readonly GraphBlock[] };

/** @param width of the terminal: no line is longer, as far as the lanes leave room */
export function graphText(graph: LedgerGraph, width: number): string {
  const lanes = lanesOf(graph);
  const rows = rowsOf(graph, lanes);
  const names = new Map(graph.nodes.map(({ id, name }) => [id, plain(name)]));
  const last = lastRows(rows, lanes.count);
  const open = new Set<number>();
  const lines = rows.map((row, at) => {
    const drawn =
      row.kind === 'merge' ? drawMerge(row.folds, open, lanes.count) : drawBlock(row.lane, open, lanes.count);
    last.forEach((end, lane) => {
      if (end === at) open.delete(lane);
    });
    const words = row.kind === 'merge' ? mergeWords(row.merge, names) : blockWords(row.blocks, names, graph);
    return `${drawn}  ${cut(words, Math.max(TEXT_MIN, width - drawn.length - 2))}`.trimEnd();
  });
  return [...legend(lanes, names), ...lines, ...ending(graph)].join('\n');
}

interface Lanes {
  readonly of: ReadonlyMap<string, number>;
  /** With that of `main`, which is lane 0. */
  readonly count: number;
}

function lanesOf({ nodes, blocks }: LedgerGraph): Lanes {
  const drawn = nodes.filter(({ id }) => blocks.some(({ node }) => node === id));
  const of = new Map(drawn.map(({ id }, index) => [id, Math.min(index, LANES_MAX - 1) + 1]));
  return { of, count: Math.min(drawn.length, LANES_MAX) + 1 };
}

/** What waits, then each merge and below it what it folded in. */
function rowsOf({ merges, blocks }: LedgerGraph, lanes: Lanes): readonly Row[] {
  const laneOf = (node: string): number => lanes.of.get(node) ?? lanes.count - 1;
  const byId = new Map(blocks.map((block) => [block.id, block]));
  const blockRows = (height: number | null): Row[] =>
    runsOf(newestFirst(blocks.filter((block) => block.height === height))).map((run) => ({
      kind: 'block',
      lane: laneOf((run[0] as GraphBlock).node),
      blocks: run,
    }));
  return [
    ...blockRows(null),
    ...merges.flatMap((merge): Row[] => [
      {
        kind: 'merge',
        merge,
        folds: merge.heads.flatMap((id) => {
          const head = byId.get(id);
          return head ? [laneOf(head.node)] : [];
        }),
      },
      ...blockRows(merge.height),
    ]),
  ];
}

/** By time, but never a block above one that follows it on its branch, whatever its node's clock did. */
function newestFirst(blocks: readonly GraphBlock[]): readonly GraphBlock[] {
  const left = new Map<string, GraphBlock[]>();
  for (const block of blocks) left.set(block.node, [...(left.get(block.node) ?? []), block]);
  for (const branch of left.values()) branch.sort((a, b) => a.seq - b.seq);
  const ordered: GraphBlock[] = [];
  while (ordered.length < blocks.length) {
    const tops = [...left.values()].flatMap((branch) => branch.at(-1) ?? []);
    const newest = tops.reduce((a, b) => (b.at > a.at ? b : a));
    left.get(newest.node)?.pop();
    ordered.push(newest);
  }
  return ordered;
}

/** Long runs of one node as one. */
function runsOf(blocks: readonly GraphBlock[]): readonly (readonly GraphBlock[])[] {
  const runs: GraphBlock[][] = [];
  for (const block of blocks) {
    const run = runs.at(-1);
    if (run?.[0]?.node === block.node) run.push(block);
    else runs.push([block]);
  }
  return runs.flatMap((run) => (run.length > RUN_MAX ? [run] : run.map((block) => [block])));
}

/** The row below which a lane is empty: its last block, unless that one has another before it out of sight. */
function lastRows(rows: readonly Row[], count: number): ReadonlyMap<number, number> {
  const last = new Map<number, number>();
  rows.forEach((row, at) => {
    if (row.kind === 'block' && row.blocks.at(-1)?.prev === null) last.set(row.lane, at);
  });
  // A lane that several nodes share is never known to be empty.
  if (count > LANES_MAX) last.delete(count - 1);
  return last;
}

function drawBlock(lane: number, open: Set<number>, count: number): string {
  open.add(lane);
  return Array.from({ length: count }, (_, at) => {
    if (at === lane) return '○';
    return at === 0 || open.has(at) ? '│' : ' ';
  }).join(' ');
}

/** From the merge a line goes right, and down where it folds a branch in. */
function drawMerge(folds: readonly number[], open: Set<number>, count: number): string {
  const furthest = Math.max(0, ...folds);
  let line = '';
  for (let at = 0; at < count; at += 1) {
    const down = open.has(at);
    const folded = folds.includes(at);
    if (at === 0) line += '●';
    else if (folded) line += at === furthest ? (down ? '┤' : '┐') : down ? '┼' : '┬';
    else if (at < furthest) line += down ? '│' : '─';
    else line += down ? '│' : ' ';
    if (at < count - 1) line += at < furthest ? '─' : ' ';
  }
  for (const lane of folds) open.add(lane);
  return line;
}

const mergeWords = ({ height, id, time: at, by }: GraphMerge, names: ReadonlyMap<string, string>): string =>
  height === 0
    ? `height 0  ${short(id)}  ${time(at)}  the town is founded`
    : `height ${height}  ${short(id)}  ${time(at)}  by ${names.get(by) ?? by}`;

function blockWords(
  blocks: readonly GraphBlock[],
  names: ReadonlyMap<string, string>,
  { merges }: LedgerGraph,
): string {
  const newest = blocks[0] as GraphBlock;
  const oldest = blocks.at(-1) as GraphBlock;
  const entries = blocks.reduce((sum, block) => sum + block.entries, 0);
  const numbers = newest === oldest ? `${newest.seq}` : `${oldest.seq}–${newest.seq}`;
  const base = merges.find(({ id }) => id === oldest.base);
  return [
    `${time(newest.at)}  ${names.get(newest.node) ?? newest.node} ${numbers}: `,
    `${entries} ${entries === 1 ? 'entry' : 'entries'}`,
    base ? `, on height ${base.height}` : '',
    newest.height === null ? ', waits' : '',
  ].join('');
}

function legend({ of, count }: Lanes, names: ReadonlyMap<string, string>): readonly string[] {
  const laneNames = Array.from({ length: count }, (_, lane) =>
    lane === 0
      ? 'main'
      : [...of]
          .filter(([, at]) => at === lane)
          .map(([id]) => names.get(id) ?? id)
          .join(', '),
  );
  return laneNames.map((name, lane) => `${'│ '.repeat(lane)}┌ ${name}`);
}

const ending = ({ merges, truncated }: LedgerGraph): readonly string[] => [
  ...((merges.at(-1)?.height ?? 0) > 0 ? ['… older merges: more with -n'] : []),
  ...(truncated ? ['… some blocks are left out: there are more than fit'] : []),
];

const cut = (text: string, width: number): string => {
  const characters = Array.from(text);
  return characters.length <= width ? text : `${characters.slice(0, width - 1).join('')}…`;
};
