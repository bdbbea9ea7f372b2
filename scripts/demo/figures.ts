/** What the boards themselves say in the end: counted from their ledgers, compared with what stock git finds in their folders. */
import type { EntryView, Page } from '../../daemon/node/use-cases.js';
import type { Board, TownOfNodes } from '../../daemon/testing/town-of-nodes.js';

const PAGE = 200;
/** A demo has a few hundred entries; more than this is a fault. */
const PAGES_MAX = 100;

/** The line that `--json` ends with. */
export interface Figures {
  /** How many nodes took part. */
  readonly nodes: number;
  /** Entries in the ledger, whatever became of them. */
  readonly entries: number;
  /** Of these: folded into main and accepted (facts that broke a rule included). */
  readonly merged: number;
  /** Of these: folded in and rejected, by the code of the rule. */
  readonly rejected: { readonly [code: string]: number };
  /** Every node has the same main, the same verdicts, nothing unmerged, and a repository that git finds whole. */
  readonly converged: boolean;
  /** The git id of each node's main. */
  readonly main: { readonly [node: string]: string };
  readonly data: { readonly [node: string]: string };
}

export interface BoardFigures {
  readonly board: Board;
  readonly id: string;
  readonly height: number;
  /** Entries that came in by this board. */
  readonly own: number;
  readonly main: string;
}

/** Reads the figures of the town. `problems`: why it did not converge, in words. */
export async function readFigures(town: TownOfNodes): Promise<{
  readonly figures: Figures;
  readonly boards: readonly BoardFigures[];
  readonly problems: readonly string[];
}> {
  const problems = [...(await town.gitProblems())];
  const main = await town.gitMains();
  const logs = new Map<Board, readonly EntryView[]>();
  for (const board of town.boards) logs.set(board, await wholeLog(board));
  const first = logs.get(town.founder) as readonly EntryView[];
  for (const [board, log] of logs)
    if (verdictsOf(log) !== verdictsOf(first)) problems.push(`${board.key} has other entries or verdicts.`);
  const waiting = first.filter(({ state }) => state === 'pending').length;
  if (waiting > 0) problems.push(`${waiting} entries are not merged.`);
  const boards = await Promise.all(
    town.boards.map(async (board): Promise<BoardFigures> => {
      const { node, height, alarm } = await board.status();
      if (alarm) problems.push(`${board.key}: ${alarm.message}`);
      const own = first.filter((entry) => entry.node === node.id).length;
      return { board, id: node.id, height, own, main: main[board.key] ?? '' };
    }),
  );
  return {
    figures: {
      nodes: town.boards.length,
      entries: first.length,
      merged: first.filter(({ state }) => state === 'merged').length,
      rejected: countByCode(first.filter(({ state }) => state === 'rejected')),
      converged: problems.length === 0,
      main,
      data: Object.fromEntries(town.boards.map(({ key, folder }) => [key, folder])),
    },
    boards,
    problems,
  };
}

async function wholeLog(board: Board): Promise<readonly EntryView[]> {
  const all: EntryView[] = [];
  let before = '';
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const { items, next } = await board.get<Page<EntryView>>(`/api/ledger/log?limit=${PAGE}${before}`);
    all.push(...items);
    if (next === null) return all;
    before = `&before=${encodeURIComponent(next)}`;
  }
  throw new Error(`${board.key} has more than ${PAGE * PAGES_MAX} entries.`);
}

const verdictsOf = (log: readonly EntryView[]): string =>
  log
    .map(({ id, state, verdict, code, merge }) => [id, state, verdict, code, merge].join(' '))
    .sort()
    .join('\n');

function countByCode(rejected: readonly EntryView[]): { [code: string]: number } {
  const counts: { [code: string]: number } = {};
  for (const { code = 'unknown' } of rejected) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
}
