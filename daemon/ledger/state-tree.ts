/**
 * The tree of a merge commit as a persistent value: a change copies only the folders on its way,
 * so git ids and content hash cost what changed, not what is there.
 * `charter.json`, `genesis.json` or `receipt.json`, `state/<dapp>/<collection>/[<2 hex>/]<key>.json`.
 */
import { hashFile, hashFolder } from './content-hash.js';
import { blobObject, treeObject, type GitObject } from './git-object.js';
import { sha256 } from './hash.js';
import type { Oid, Sha256 } from './ids.js';
import { invariant } from './ids.js';
import type { StateWrite } from './state.js';

/** A collection with more keys than this is spread over folders named by two hex digits. */
export const SHARD_ABOVE = 512;

interface FileNode {
  readonly kind: 'file';
  readonly oid: Oid;
  readonly hash: Sha256;
}

interface FolderNode {
  readonly kind: 'folder';
  readonly oid: Oid;
  readonly hash: Sha256;
  readonly children: ReadonlyMap<string, Node>;
}

type Node = FileNode | FolderNode;

/** The whole tree of one merge. */
export interface StateTree {
  readonly root: FolderNode;
  readonly oid: Oid;
  /** `Content-SHA256`. */
  readonly content: Sha256;
}

/** Collects the git objects that a new tree needs and the old one did not have. */
class Builder {
  readonly objects = new Map<Oid, GitObject>();

  file(text: string): FileNode {
    const bytes = Buffer.from(text);
    const blob = blobObject(bytes);
    this.objects.set(blob.oid, blob);
    return { kind: 'file', oid: blob.oid, hash: hashFile(bytes) };
  }

  folder(children: ReadonlyMap<string, Node>): FolderNode {
    const tree = treeObject([...children].map(([name, { oid, kind }]) => ({ name, oid, kind })));
    this.objects.set(tree.oid, tree);
    return {
      kind: 'folder',
      oid: tree.oid,
      hash: hashFolder([...children].map(([name, { hash }]) => [name, hash] as const)),
      children,
    };
  }
}

const shardOf = (key: string): string => sha256(key).slice(0, 2);
const EMPTY: ReadonlyMap<string, Node> = new Map();

/** File nodes of a collection by key, whether it is sharded or not. */
function filesOf(collection: FolderNode | undefined): Map<string, FileNode> {
  const files = new Map<string, FileNode>();
  for (const [name, node] of collection?.children ?? EMPTY) {
    if (node.kind === 'file') files.set(name, node);
    else for (const [inner, file] of node.children) files.set(inner, file as FileNode);
  }
  return files;
}

function isSharded(collection: FolderNode | undefined): boolean {
  const [first] = collection?.children.values() ?? [];
  return first?.kind === 'folder';
}

function sizeOf(collection: FolderNode | undefined): number {
  if (!collection) return 0;
  if (!isSharded(collection)) return collection.children.size;
  let size = 0;
  for (const shard of collection.children.values()) size += (shard as FolderNode).children.size;
  return size;
}

/** The children of a folder after some were set or (null) removed. */
function changed<N extends Node>(
  children: ReadonlyMap<string, Node>,
  changes: ReadonlyMap<string, N | null>,
): Map<string, Node> {
  const next = new Map(children);
  for (const [name, node] of changes) {
    if (node) next.set(name, node);
    else next.delete(name);
  }
  return next;
}

function changeCollection(
  builder: Builder,
  before: FolderNode | undefined,
  writes: readonly StateWrite[],
): FolderNode | null {
  const wasSharded = isSharded(before);
  const changes = new Map<string, FileNode | null>();
  let size = sizeOf(before);
  for (const { key, value } of writes) {
    const name = `${key}.json`;
    const shard = before?.children.get(shardOf(key));
    const had = wasSharded
      ? shard?.kind === 'folder' && shard.children.has(name)
      : before?.children.has(name) === true;
    size += (value === null ? 0 : 1) - (had ? 1 : 0);
    changes.set(name, value === null ? null : builder.file(value));
  }
  if (size === 0) return null;
  const sharded = size > SHARD_ABOVE;
  if (sharded && wasSharded) return changeShards(builder, before as FolderNode, changes);
  const files = changed(filesOf(before), changes);
  if (!sharded) return builder.folder(files);
  return changeShards(builder, undefined, files as Map<string, FileNode>);
}

function changeShards(
  builder: Builder,
  before: FolderNode | undefined,
  changes: ReadonlyMap<string, FileNode | null>,
): FolderNode {
  const byShard = new Map<string, Map<string, FileNode | null>>();
  for (const [name, file] of changes) {
    const shard = shardOf(name.slice(0, -'.json'.length));
    let group = byShard.get(shard);
    if (!group) byShard.set(shard, (group = new Map()));
    group.set(name, file);
  }
  const shards = new Map<string, FolderNode | null>();
  for (const [shard, group] of byShard) {
    const old = before?.children.get(shard) as FolderNode | undefined;
    const next = changed(old?.children ?? EMPTY, group);
    shards.set(shard, next.size > 0 ? builder.folder(next) : null);
  }
  return builder.folder(changed(before?.children ?? EMPTY, shards));
}

/** A file at the root beside the state: name → text, or null to remove it. */
export type RootFiles = { readonly [name: string]: string | null };

/**
 * The tree after some writes. `kernel/charter` is not written here: it stands at the root as `charter.json`.
 * @returns the tree and the git objects it has that `before` may not have
 */
export function changeTree(
  before: StateTree | null,
  writes: readonly StateWrite[],
  rootFiles: RootFiles,
): { readonly tree: StateTree; readonly objects: readonly GitObject[] } {
  const builder = new Builder();
  const groups = new Map<string, Map<string, StateWrite[]>>();
  let charter: string | undefined;
  for (const write of writes) {
    if (write.dapp === 'kernel' && write.collection === 'charter') {
      invariant(write.value !== null, 'the charter is never deleted');
      charter = write.value;
      continue;
    }
    let dapp = groups.get(write.dapp);
    if (!dapp) groups.set(write.dapp, (dapp = new Map()));
    let list = dapp.get(write.collection);
    if (!list) dapp.set(write.collection, (list = []));
    list.push(write);
  }
  const root = before?.root.children ?? EMPTY;
  const state = root.get('state') as FolderNode | undefined;
  const dapps = new Map<string, FolderNode | null>();
  for (const [name, collections] of groups) {
    const dapp = state?.children.get(name) as FolderNode | undefined;
    const changes = new Map<string, FolderNode | null>();
    for (const [collection, list] of collections)
      changes.set(
        collection,
        changeCollection(builder, dapp?.children.get(collection) as FolderNode | undefined, list),
      );
    const next = changed(dapp?.children ?? EMPTY, changes);
    dapps.set(name, next.size > 0 ? builder.folder(next) : null);
  }
  const rootChanges = new Map<string, Node | null>();
  if (dapps.size > 0) rootChanges.set('state', builder.folder(changed(state?.children ?? EMPTY, dapps)));
  if (charter !== undefined) rootChanges.set('charter.json', builder.file(charter));
  for (const [name, text] of Object.entries(rootFiles))
    rootChanges.set(name, text === null ? null : builder.file(text));
  const folder = builder.folder(changed(root, rootChanges));
  return {
    tree: { root: folder, oid: folder.oid, content: folder.hash },
    objects: [...builder.objects.values()],
  };
}
