/** Which objects of a ledger a bundle holds: all that its refs need and that the merge it builds on does not bring. */
import { parseCommit, parseTree, type GitObject } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import type { Oid } from '../ledger/ids.js';
import type { StoreReads } from '../store/reads.js';
import type { MergeRow, Ref } from '../store/rows.js';

export type ReadObject = (oid: Oid) => Promise<GitObject>;

/**
 * The objects behind refs, the oldest commits first.
 * @param since what this merge has is left out; null: nothing is
 * @throws TownError as `read` does
 */
export async function objectsBehind(
  refs: readonly Ref[],
  since: MergeRow | null,
  store: Pick<StoreReads, 'block' | 'mergeById'>,
  read: ReadObject,
  onProgress: (objects: number) => void,
): Promise<readonly Oid[]> {
  const seen = new Set<Oid>();
  const found: Oid[] = [];
  const walkTree = async (oid: Oid, isWanted: boolean): Promise<void> => {
    if (seen.has(oid)) return;
    seen.add(oid);
    if (isWanted) found.push(oid);
    for (const child of parseTree((await read(oid)).data)) {
      if (child.kind === 'folder') await walkTree(child.oid, isWanted);
      else if (!seen.has(child.oid)) {
        seen.add(child.oid);
        if (isWanted) found.push(child.oid);
      }
    }
    onProgress(found.length);
  };
  const isOld = (raw: Uint8Array): boolean => {
    if (since === null) return false;
    const id = sha256(raw);
    const height = store.block(id)?.height ?? store.mergeById(id)?.height ?? Infinity;
    return height <= since.height;
  };
  if (since !== null) await walkTree(parseCommit(since.raw).fields.tree, false);

  const commits: { readonly oid: Oid; readonly tree: Oid }[] = [];
  const todo = refs.map(({ oid }) => oid);
  for (let oid = todo.pop(); oid !== undefined; oid = todo.pop()) {
    if (seen.has(oid)) continue;
    seen.add(oid);
    const { data } = await read(oid);
    if (isOld(data)) continue;
    const { tree, parents } = parseCommit(data).fields;
    commits.push({ oid, tree });
    todo.push(...parents);
  }
  for (const { oid, tree } of commits.reverse()) {
    found.push(oid);
    await walkTree(tree, true);
  }
  return found;
}
