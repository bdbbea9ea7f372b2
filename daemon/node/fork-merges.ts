/** The merges of a draft fork: signed by its node alone, without a certificate, kept in git and nowhere else. */
import { parseCommit, parseTree, type GitObject } from '../ledger/git-object.js';
import type { EntryId, KeyId, NodeId, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readMerge, type ClaimedMerge } from '../ledger/merge.js';
import type { Receipt, ReceiptEntry } from '../ledger/replay.js';
import type { Head } from './main-line.js';

export type ReadObject = (oid: Oid) => Promise<GitObject>;

/** Merges that one draft may have. */
export const FORK_MERGES_MAX = 10_000;

/** A merge of a draft with what it says of its entries. */
export interface ForkMerge {
  readonly merge: ClaimedMerge;
  readonly entries: readonly ReceiptEntry[];
}

/** What a draft says of an entry. */
export interface ForkVerdict extends ReceiptEntry {
  readonly merge: ClaimedMerge;
}

const badFork = (line: string, what: string): TownError =>
  new TownError(
    'bad-fork',
    `The draft ${line} in ledger.git is damaged: ${what}.`,
    'Run `town verify`. What was recorded on it stands in its blocks all the same.',
  );

/**
 * Every merge of a draft, oldest first: signatures and chain checked, down to where it went off `main`.
 * @param tip the git id of its last merge, or of `base` where there is none
 * @throws TownError `bad-fork`, and what reading throws
 */
export async function readForkMerges(
  read: ReadObject,
  line: string,
  base: Head,
  tip: Oid,
  keyOf: (node: NodeId) => KeyId | undefined,
): Promise<readonly ForkMerge[]> {
  const merges: ForkMerge[] = [];
  for (let oid = tip; oid !== base.oid;) {
    if (merges.length >= FORK_MERGES_MAX) throw badFork(line, 'it does not lead back to where it began');
    const { data } = await read(oid);
    const merge = readMerge(data, keyOf);
    const after = merges[merges.length - 1]?.merge;
    if (merge.line !== line || (after && (after.parent !== merge.id || after.height !== merge.height + 1)))
      throw badFork(line, `merge ${merge.height} does not follow the one before`);
    const receipt = JSON.parse(await readRootFile(read, oid, 'receipt.json')) as Receipt;
    merges.push({ merge, entries: receipt.entries });
    const [parent] = parseCommit(data).fields.parents;
    if (parent === undefined) throw badFork(line, `merge ${merge.height} has no parent`);
    oid = parent;
  }
  const first = merges[merges.length - 1]?.merge;
  if (first && (first.parent !== base.id || first.height !== base.height + 1))
    throw badFork(line, 'its first merge does not follow where it began');
  return merges.reverse();
}

/** What the merges say of each entry. */
export const verdictsOf = (merges: readonly ForkMerge[]): Map<EntryId, ForkVerdict> =>
  new Map(
    merges.flatMap(({ merge, entries }) => entries.map((entry) => [entry.id, { ...entry, merge }] as const)),
  );

/** The text of a file at the root of a merge. @throws TownError `no-such-object` */
async function readRootFile(read: ReadObject, merge: Oid, name: string): Promise<string> {
  const { fields } = parseCommit((await read(merge)).data);
  const found = parseTree((await read(fields.tree)).data).find((entry) => entry.name === name);
  if (!found) throw new TownError('no-such-object', `The merge ${merge} has no ${name}.`);
  return Buffer.from((await read(found.oid)).data).toString('utf8');
}
