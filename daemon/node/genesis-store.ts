/** The beginning of a node's history: genesis as height 0 of an empty store. */
import type { Genesis } from '../ledger/merge.js';
import type { Store } from '../store/store.js';

/** Writes a genesis, durably. The store must be empty. */
export async function storeGenesis(
  store: Pick<Store, 'adopt'>,
  { merge, writes, objects }: Genesis,
): Promise<void> {
  const { height, id, oid, content, time, node, raw } = merge;
  await store.adopt({
    merge: { height, id, oid, content, time, node, raw, counts: { accepted: 0, rejected: 0, irregular: 0 } },
    certificate: '',
    verdicts: [],
    blocks: [],
    state: writes,
    objects,
    refs: [{ name: 'refs/heads/main', oid }],
  });
}
