/** Finds a node of the town by what a person calls it. */
import type { NodesView, NodeView } from '../node/node-cases.js';
import type { Context } from './context.js';
import { find } from './find.js';

/** By id, a unique start of it, or name. @throws CliError `no-such-node`, `ambiguous` */
export async function findNode(context: Context, word: string): Promise<NodeView> {
  const { nodes } = await context.get<NodesView>('/api/nodes');
  return find(
    nodes,
    word,
    'node',
    ({ id }) => id,
    ({ name }) => name,
  );
}
