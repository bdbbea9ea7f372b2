/**
 * The notes with the certificates, of which git alone has the commits: they follow from the certificates and this node's key, byte
 * for byte, so that what is missing of them can be made again.
 */
import { join } from 'node:path';
import type { GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { repairPacks } from '../store/pack-repair.js';
import { GitObjects } from '../store/repository-reader.js';
import type { Ref } from '../store/rows.js';
import { Store } from '../store/store.js';
import { readNodeKeys } from './key-files.js';
import { NOTES_REF, notesProblem, proofNote } from './proof-notes.js';

const BATCH_OBJECTS = 4_000;

/** Makes the notes again where not all of them can be read. @returns what was done, in words */
export async function repairNotes(folder: string): Promise<readonly string[]> {
  const gitdir = join(folder, 'ledger.git');
  let store: Store;
  try {
    store = await Store.open(folder, { onFatal: () => undefined });
  } catch (error) {
    if (error instanceof TownError) return []; // told by the verification
    throw error;
  }
  const objects = new GitObjects(gitdir);
  try {
    const staged = async (oid: Oid): Promise<GitObject> =>
      store.stagedObject(oid) ?? (await objects.read(oid));
    const last = store.lastMerge()?.height ?? 0;
    const kept = (height: number) => ({
      merge: store.merge(height),
      certificate: store.certificate(height),
    });
    if ((await notesProblem(staged, store.ref(NOTES_REF), last, kept)) === null) return [];
    const keys = await readNodeKeys(folder);
    // By their names, as they are made: the next note stands on the one before.
    const made = new Map<Oid, GitObject>();
    const missing: GitObject[] = [];
    const read = async (oid: Oid): Promise<GitObject> => made.get(oid) ?? (await staged(oid));
    let ref: Ref | null = null;
    let count = 0;
    const write = async (): Promise<void> => {
      if (missing.length > 0) await repairPacks(gitdir, { packs: [], objects: missing });
      count += missing.splice(0).length;
    };
    for (let height = 1; height <= last; height += 1) {
      const { merge, certificate } = kept(height);
      if (merge === null || !certificate) continue;
      const note = await proofNote(read, ref?.oid ?? null, merge, certificate, keys);
      for (const object of note.objects) {
        made.set(object.oid, object);
        if (!(await staged(object.oid).catch(() => null))) missing.push(object);
      }
      ref = note.ref;
      if (missing.length >= BATCH_OBJECTS) await write();
      // Only what the next note reads is kept: the last commit, its tree and folders.
      if (made.size > 4 * BATCH_OBJECTS)
        for (const oid of [...made.keys()].slice(0, BATCH_OBJECTS)) made.delete(oid);
    }
    await write();
    if (ref !== null && ref.oid !== store.ref(NOTES_REF)) await store.putRefs({ objects: [], refs: [ref] });
    return [`${count} git objects of the notes with the certificates were made again.`];
  } catch (error) {
    if (error instanceof TownError)
      return [`The notes with the certificates could not be made again: ${error.message}`];
    throw error;
  } finally {
    await objects.close();
    await store.close();
  }
}
