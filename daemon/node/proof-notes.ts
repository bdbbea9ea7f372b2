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
import type { Oid } from '../ledger/ids.js';
import type { Ref } from '../store/rows.js';
import type { NodeKeys } from './key-files.js';

export const NOTES_REF = 'refs/notes/proof-of-merge';

interface Certified {
  readonly round: number;
  readonly value: string;
  readonly votes: readonly { readonly node: string; readonly sig: string }[];
}

/** The certificate in lines that a person can read and a program can check. */
function noteText(certificate: string): string {
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
