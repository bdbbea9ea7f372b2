/**
 * Certificates as git notes, for people: `git log --notes=proof-of-merge` shows who attested a merge.
 * An export; nothing is ever decided by it.
 */
import { personOf } from '../ledger/block.js';
import {
  blobObject,
  parseCommit,
  parseTree,
  signedCommit,
  treeObject,
  type GitObject,
  type TreeEntry,
} from '../ledger/git-object.js';
import { parseCanonical } from '../ledger/canonical.js';
import type { MergeCommit } from '../ledger/merge.js';
import { TownError, type Oid } from '../ledger/ids.js';
import type { Ref } from '../store/rows.js';
import type { NodeKeys } from './key-files.js';

export const NOTES_REF = 'refs/notes/proof-of-merge';

interface Certified {
  readonly round: number;
  readonly value: string;
  readonly votes: readonly { readonly node: string; readonly sig: string }[];
}

/** The certificate in lines that a person can read and a program can check. */
export function noteText(certificate: string): string {
  const { round, value, votes } = parseCanonical(certificate) as unknown as Certified;
  return [
    ...votes.map(({ node }) => `Attested-by: ${node}`),
    `Round: ${round}`,
    `Value-SHA256: ${value}`,
    `Certificate: ${certificate}`,
    '',
  ].join('\n');
}

/**
 * The notes with one more certificate, fanned out by the first two hex digits as git does.
 * @param before the notes commit so far, or null
 */
export async function proofNote(
  read: (oid: Oid) => Promise<GitObject>,
  before: Oid | null,
  merge: Pick<MergeCommit, 'oid' | 'time' | 'height'>,
  certificate: string,
  { id, secretKey }: NodeKeys,
): Promise<{ readonly objects: readonly GitObject[]; readonly ref: Ref }> {
  const root = before ? parseTree((await read(parseCommit((await read(before)).data).fields.tree)).data) : [];
  const fan = merge.oid.slice(0, 2);
  const name = merge.oid.slice(2);
  const old = root.find((entry) => entry.name === fan);
  const inside = old ? parseTree((await read(old.oid)).data) : [];
  const blob = blobObject(Buffer.from(noteText(certificate)));
  const folder = treeObject([
    ...inside.filter((e) => e.name !== name),
    { name, oid: blob.oid, kind: 'file' },
  ]);
  const rest: readonly TreeEntry[] = root.filter((entry) => entry.name !== fan);
  const tree = treeObject([...rest, { name: fan, oid: folder.oid, kind: 'folder' }]);
  const person = personOf(id, merge.time);
  const commit = signedCommit(
    {
      tree: tree.oid,
      parents: before ? [before] : [],
      author: person,
      committer: person,
      message: `Proof of merge ${merge.height}`,
    },
    secretKey,
  );
  return { objects: [blob, folder, tree, commit], ref: { name: NOTES_REF, oid: commit.oid } };
}

/** A merge and its certificate, as they are kept. */
export interface KeptProof {
  readonly merge: { readonly oid: Oid } | null;
  readonly certificate: string | null;
}

/**
 * What is wrong with the notes: a commit, tree or note of them, now or before, that cannot be read, or a note that says something
 * else than the certificate of its merge. Null where all is right.
 * @param last height of the last merge; @param kept what is kept of a height
 */
export async function notesProblem(
  read: (oid: Oid) => Promise<GitObject>,
  tip: Oid | null,
  last: number,
  kept: (height: number) => KeptProof,
): Promise<string | null> {
  const seen = new Set<Oid>();
  const readAll = async (oid: Oid, isFolder: boolean): Promise<void> => {
    if (seen.has(oid)) return;
    seen.add(oid);
    const { data } = await read(oid);
    if (isFolder) for (const child of parseTree(data)) await readAll(child.oid, child.kind === 'folder');
  };
  try {
    for (let oid: Oid | undefined = tip ?? undefined; oid !== undefined;) {
      const { fields }: ReturnType<typeof parseCommit> = parseCommit((await read(oid)).data);
      await readAll(fields.tree, true);
      oid = fields.parents[0];
    }
    const noteOf = await notesAt(read, tip);
    for (let height = 1; height <= last; height += 1) {
      const { merge, certificate } = kept(height);
      if (merge === null || !certificate) continue; // told where these are looked at
      if (noteOf.get(merge.oid) !== blobObject(Buffer.from(noteText(certificate))).oid)
        return `The note of merge ${height} does not say what its certificate says.`;
    }
    return null;
  } catch (error) {
    if (error instanceof TownError) return `Not all of the notes can be read: ${error.message}`;
    throw error;
  }
}

/** The certificate that a note holds; null where it holds none. */
export const certificateIn = (note: Uint8Array): string | null =>
  /^Certificate: (.*)$/m.exec(Buffer.from(note).toString('utf8'))?.[1] ?? null;

/** The notes of a commit: the note's blob by the git id of its merge. */
async function notesAt(
  read: (oid: Oid) => Promise<GitObject>,
  tip: Oid | null,
): Promise<ReadonlyMap<string, Oid>> {
  const notes = new Map<string, Oid>();
  if (tip === null) return notes;
  for (const fan of parseTree((await read(parseCommit((await read(tip)).data).fields.tree)).data))
    for (const { name, oid } of parseTree((await read(fan.oid)).data)) notes.set(fan.name + name, oid);
  return notes;
}
