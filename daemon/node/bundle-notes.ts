/**
 * Certificates as one commit of notes, for those who take a bundle or look at a mirror. The ledger's own notes are a chain that each
 * node writes and signs for itself; these stand on their own, or on what a mirror has already.
 */
import { personOf } from '../ledger/block.js';
import {
  blobObject,
  parseTree,
  signedCommit,
  treeObject,
  type GitObject,
  type TreeEntry,
} from '../ledger/git-object.js';
import { TownError, type Oid } from '../ledger/ids.js';
import type { MergeRow } from '../store/rows.js';
import type { StoreReads } from '../store/reads.js';
import type { ReadObject } from './bundle-objects.js';
import type { NodeKeys } from './key-files.js';
import { noteText } from './proof-notes.js';

/** What git has to be given for the notes: objects that are small at once, notes that are made when they are needed. */
export interface MadeNotes {
  readonly commit: GitObject;
  readonly folders: readonly GitObject[];
  /** Heights whose notes are new, in order. */
  readonly heights: readonly number[];
}

/** Levels of folders that git makes of an object's name, and notes of one commit. */
const LEVELS_MAX = 19;
const NOTES_MAX = 5_000_000;

/**
 * The notes of a commit, the note's blob by the git id of its merge: as this ledger writes them, or as stock git does, which signs
 * nothing, has its own time zone and makes folders as it sees fit.
 * @param commit null: there are none @throws TownError `bad-notes`, and as `read` does
 */
export async function notesIn(read: ReadObject, commit: Oid | null): Promise<ReadonlyMap<Oid, Oid>> {
  const notes = new Map<Oid, Oid>();
  if (commit === null) return notes;
  const text = Buffer.from((await read(commit)).data).toString('latin1');
  const [, root] = /^tree ([0-9a-f]{40})\n/.exec(text) ?? [];
  if (root === undefined) throw badNotes('they are no commit');
  let looked = 0;
  const walk = async (oid: Oid, before: string, level: number): Promise<void> => {
    for (const { name, kind, oid: child } of parseTree((await read(oid)).data)) {
      const path = before + name;
      if ((looked += 1) > NOTES_MAX) throw badNotes(`there are more than ${NOTES_MAX}`);
      if (kind === 'file' && /^[0-9a-f]{40}$/.test(path)) notes.set(path as Oid, child);
      else if (kind === 'folder' && /^[0-9a-f]{2}$/.test(name) && level < LEVELS_MAX)
        await walk(child, path, level + 1);
    }
  };
  await walk(root as Oid, '', 0);
  return notes;
}

const badNotes = (what: string): TownError =>
  new TownError('bad-notes', `The notes with certificates cannot be read: ${what}.`);

/** The note of a merge. @returns null where it has no certificate, as genesis */
export function noteOf(store: Pick<StoreReads, 'certificate'>, height: number): GitObject | null {
  const certificate = store.certificate(height);
  return certificate ? blobObject(Buffer.from(noteText(certificate))) : null;
}

/**
 * Notes of the merges from one height on, with those that stand in another commit of notes.
 * @param upon the other commit: it becomes the parent; null: there is none
 * @returns null where nothing is new
 * @throws TownError where `upon` cannot be read
 */
export async function makeNotes(
  store: Pick<StoreReads, 'certificate' | 'merge'>,
  from: number,
  last: MergeRow,
  { id, secretKey }: Pick<NodeKeys, 'id' | 'secretKey'>,
  upon: { readonly oid: Oid; readonly read: ReadObject } | null = null,
): Promise<MadeNotes | null> {
  const notes = new Map(upon === null ? [] : await notesIn(upon.read, upon.oid));
  const heights: number[] = [];
  for (let height = Math.max(1, from); height <= last.height; height += 1) {
    const merge = store.merge(height);
    const note = noteOf(store, height);
    if (merge === null || note === null) continue;
    // One that is there is as good: certificates of one merge differ in whose votes they have.
    if (notes.has(merge.oid)) continue;
    notes.set(merge.oid, note.oid);
    heights.push(height);
  }
  if (heights.length === 0) return null;
  const folders = new Map<string, TreeEntry[]>();
  for (const [merge, oid] of notes) {
    const fan = merge.slice(0, 2);
    const folder = folders.get(fan) ?? [];
    folder.push({ name: merge.slice(2), oid, kind: 'file' });
    folders.set(fan, folder);
  }
  const trees = [...folders].map(([name, entries]) => ({ name, tree: treeObject(entries) }));
  const root = treeObject(trees.map(({ name, tree }) => ({ name, oid: tree.oid, kind: 'folder' })));
  const person = personOf(id, last.time);
  const commit = signedCommit(
    {
      tree: root.oid,
      parents: upon === null ? [] : [upon.oid],
      author: person,
      committer: person,
      message: `Proofs of merge up to ${last.height}`,
    },
    secretKey,
  );
  return { commit, folders: [...trees.map(({ tree }) => tree), root], heights };
}
