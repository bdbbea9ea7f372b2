/** What people are told where a peer holds another branch than this node. */
import type { NodeId } from '../ledger/ids.js';
import type { Output } from '../sync/sync-output.js';

/** A code and the words; `own`: this node. */
export function contradictionTold(
  own: NodeId,
  { branch, peer, ours, theirs }: Output & { readonly t: 'contradiction' },
): { readonly code: string; readonly message: string } {
  if (branch === own && theirs.seq > (ours?.seq ?? 0))
    return {
      code: 'own-branch-longer',
      message:
        `Node ${peer} says that it has ${theirs.seq} blocks of this node, which has ${ours?.seq ?? 0}. If this board was put back ` +
        'from an old copy, stop it and let it join anew with a new key; if not, a steward should look at that other node.',
    };
  return {
    code: 'branches-differ',
    message:
      `Node ${peer} has another block ${theirs.seq} of node ${branch} than this node: one of them signed two. ` +
      'A steward decides about it.',
  };
}
