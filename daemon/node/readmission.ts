/** From where the branch of a suspended node goes on: what a steward asks for, as the ledger wants it told. */
import { NO_BLOCK } from '../ledger/block.js';
import { assertEquivocation } from '../ledger/equivocation.js';
import { verifyEntry } from '../ledger/entry.js';
import { keyOfNode } from '../ledger/charter.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readStanding } from '../ledger/kernel-evidence.js';
import { readBranch } from '../ledger/order.js';
import type { BlockRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import { MAIN, type MainLine } from './main-line.js';

/** Numbers left out above the highest that is known here: the other copy of the node may have signed more that nobody showed. */
const NUMBERS_LEFT_OUT = 1000;
const BLOCKS_MAX = 100_000;

/**
 * The body of `node.readmit`.
 * @param from undefined: from what is merged, after two blocks of one number (what waits is void), or from the last block that is
 *   here, after two votes (nothing is void); else a block of the branch that is here, by the first 8 digits of its id or more
 * @throws TownError `not-suspended`, `no-such-block`
 */
export async function readmissionBody(
  store: Store,
  main: MainLine,
  node: NodeId,
  from: string | undefined,
): Promise<JsonObject> {
  const standing = readStanding(main.state, node);
  if (standing?.status !== 'suspended')
    throw new TownError('not-suspended', `The node ${node} is not suspended.`, 'See them: town node list');
  const found = await store.archive.entry(standing.evidence);
  const evidence = found && verifyEntry(Buffer.from(found.bytes).toString('utf8'));
  const proof = evidence && assertEquivocation(evidence.body, main.town, (id) => keyOfNode(main.charter, id));
  const line = proof?.kind === 'blocks' ? proof.line : MAIN;
  const mark = readBranch(main.state, node, line);
  const last = store.lastBlock(node, line);
  const merged = { id: mark?.head ?? NO_BLOCK, seq: mark?.seq ?? 0 };
  const place =
    from === undefined
      ? proof?.kind === 'votes'
        ? (last ?? merged)
        : merged
      : blockOf(store, node, line, from);
  const highest = Math.max(place.seq, last?.seq ?? 0, proof?.kind === 'blocks' ? proof.at : 0);
  const next = proof?.kind === 'votes' && from === undefined ? place.seq + 1 : highest + NUMBERS_LEFT_OUT;
  return { node, line, head: place.id, seq: place.seq, next };
}

function blockOf(store: Store, node: NodeId, line: string, prefix: string): BlockRow {
  const unmerged = store.blocksUnmerged(node, line, BLOCKS_MAX).filter(({ id }) => id.startsWith(prefix));
  const [block, other] = unmerged;
  if (block && !other && prefix.length >= 8) return block;
  throw new TownError(
    'no-such-block',
    `This node holds no block of ${node} that waits for a merge and begins with ${prefix}.`,
    'Do it at a node that holds it; town node list shows who is there. Without --from, the branch goes on from what is merged.',
  );
}
