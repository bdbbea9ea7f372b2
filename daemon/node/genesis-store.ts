/** The beginning of a node's history: genesis as height 0 of an empty store. */
import { parseCommit, parseTree } from '../ledger/git-object.js';
import { invariant } from '../ledger/ids.js';
import type { Genesis } from '../ledger/merge.js';
import type { Store } from '../store/store.js';

/** A second copy of the files of the genesis, which nothing else gives back: JSON, their texts by name. */
export const GENESIS_META = 'genesis';
type GenesisFiles = { readonly [name in 'charter.json' | 'genesis.json']?: string };

/** What the meta value says; null where it is none. */
export function keptGenesis(text: string | null): GenesisFiles | null {
  try {
    return text === null ? null : (JSON.parse(text) as GenesisFiles);
  } catch {
    return null; // damaged: told with the rows
  }
}

function filesOf({ merge, objects }: Genesis): GenesisFiles {
  const byName = new Map(objects.map(({ oid, data }) => [oid, data]));
  const root = byName.get(parseCommit(merge.raw).fields.tree);
  invariant(root !== undefined, 'a genesis brings its tree');
  const files = parseTree(root).filter(({ kind }) => kind === 'file');
  return Object.fromEntries(
    files.map(({ name, oid }) => [name, Buffer.from(byName.get(oid) ?? []).toString('utf8')]),
  );
}

/** Writes a genesis, durably. The store must be empty. */
export async function storeGenesis(store: Pick<Store, 'adopt' | 'setMeta'>, genesis: Genesis): Promise<void> {
  const { merge, writes, objects } = genesis;
  const { height, id, oid, content, time, node, raw } = merge;
  await store.setMeta(GENESIS_META, JSON.stringify(filesOf(genesis)));
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
