/** The branches of the ledger as they run into `main`, bounded: what a picture of the history is drawn from. */
import { parseCommit, parseTrailers } from '../ledger/git-object.js';
import type { Store } from '../store/store.js';
import type { BlockRow, MergeRow } from '../store/rows.js';
import { MAIN, type MainLine } from './main-line.js';

/** A merge of `main`. Its parent is the merge one height lower. */
export interface GraphMerge {
  /** 0: genesis. */
  readonly height: number;
  readonly id: string;
  /** Its name in git. */
  readonly oid: string;
  /** Milliseconds. */
  readonly time: number;
  /** The node that proposed it. */
  readonly by: string;
  /** Ids of the last block of each branch that it folded in. */
  readonly heads: readonly string[];
}

/** A block on a node's branch. */
export interface GraphBlock {
  readonly id: string;
  readonly node: string;
  /** Its number on its branch, from 1. */
  readonly seq: number;
  /** The block before it on the branch; null for the first. It may stand outside this picture. */
  readonly prev: string | null;
  /** The merge that its node had adopted when it made it. It may stand outside this picture. */
  readonly base: string;
  /** Milliseconds, to the second. */
  readonly at: number;
  /** How many entries it holds. */
  readonly entries: number;
  /** Height of the merge that folded it in; null: no merge has. */
  readonly height: number | null;
  /** Made by the node that is asked. */
  readonly own: boolean;
}

export interface LedgerGraph {
  /** Newest first. */
  readonly merges: readonly GraphMerge[];
  /** Those that these merges folded in, and those that none has; by node, then by number. */
  readonly blocks: readonly GraphBlock[];
  /** Every node of the charter, and who else has a block here; the one that is asked first, the others by name. */
  readonly nodes: readonly { readonly id: string; readonly name: string }[];
  /** Some blocks are left out: more than the picture takes. */
  readonly truncated: boolean;
}

export const GRAPH_MERGES_MAX = 50;
const MERGED_BLOCKS_MAX = 500;
const UNMERGED_BLOCKS_MAX = 500;
const BRANCHES_MAX = 1000;

/** The newest merges, the blocks they folded in, and what waits. `limit`: merges, 1 to 50. */
export function ledgerGraph(store: Store, main: MainLine, own: string, limit: number): LedgerGraph {
  const merges = store.merges(Math.min(Math.max(limit, 1), GRAPH_MERGES_MAX));
  const merged = mergedBlocks(store, merges);
  const waiting = waitingBlocks(store);
  const blocks = [...merged.blocks, ...waiting.blocks]
    .map((row) => blockOf(row, own))
    .sort((a, b) => (a.node === b.node ? a.seq - b.seq : a.node < b.node ? -1 : 1));
  return {
    merges: merges.map(mergeOf),
    blocks,
    nodes: nodesOf(main, blocks, own),
    truncated: merged.truncated || waiting.truncated,
  };
}

interface Taken {
  readonly blocks: readonly BlockRow[];
  readonly truncated: boolean;
}

/** Those of the newest merges first. */
function mergedBlocks(store: Store, merges: readonly MergeRow[]): Taken {
  const blocks: BlockRow[] = [];
  for (const { height } of merges) {
    const left = MERGED_BLOCKS_MAX - blocks.length;
    const folded = height === 0 ? [] : store.blocksOfMerge(height, left + 1);
    blocks.push(...folded.slice(0, left));
    if (folded.length > left) return { blocks, truncated: true };
  }
  return { blocks, truncated: false };
}

/** The same share for each branch, from where it left `main`. */
function waitingBlocks(store: Store): Taken {
  const branches = store
    .branches(BRANCHES_MAX)
    .filter(({ line, unmergedBlocks }) => line === MAIN && unmergedBlocks > 0);
  const share = Math.max(1, Math.floor(UNMERGED_BLOCKS_MAX / Math.max(branches.length, 1)));
  const shown = branches.slice(0, UNMERGED_BLOCKS_MAX);
  return {
    blocks: shown.flatMap(({ node, line }) => store.blocksUnmerged(node, line, share)),
    truncated: shown.length < branches.length || shown.some(({ unmergedBlocks }) => unmergedBlocks > share),
  };
}

function mergeOf({ height, id, oid, time, node, raw }: MergeRow): GraphMerge {
  const heads = parseTrailers(parseCommit(raw).fields.message).get('Head-SHA256') ?? [];
  return { height, id, oid, time, by: node, heads };
}

function blockOf({ id, node, seq, prev, base, raw, entries, height }: BlockRow, own: string): GraphBlock {
  const at = parseCommit(raw).fields.author.seconds * 1000;
  return { id, node, seq, prev, base, at, entries, height, own: node === own };
}

function nodesOf(main: MainLine, blocks: readonly GraphBlock[], own: string): LedgerGraph['nodes'] {
  const { nodes } = main.charter;
  const ids = new Set<string>([own, ...Object.keys(nodes), ...blocks.map(({ node }) => node)]);
  return [...ids]
    .map((id) => ({ id, name: nodes[id]?.name ?? id }))
    .sort((a, b) =>
      a.id === own
        ? -1
        : b.id === own
          ? 1
          : a.name < b.name
            ? -1
            : a.name > b.name
              ? 1
              : a.id < b.id
                ? -1
                : 1,
    );
}
