/**
 * Signatures of what peers sent, checked ahead of need by the process's own helper threads. For a few thousand at a time this takes
 * less than threads with a program of their own (signature-pool.ts), which have to be started and to learn it first.
 */
import { verifyCommitAhead } from '../ledger/commit-signature.js';
import { verifyEntryAhead } from '../ledger/entry.js';
import type { SignedCommit } from './signature-batch.js';

/**
 * Checks on their way at once. Enough that no thread is without one while this thread is at something else for some milliseconds;
 * few enough that whatever else waits for those threads, such as reading a file, waits for some milliseconds, too.
 */
const AT_ONCE = 128;

/** Remembers what is good; what is not is left for `verifyEntry` and `readBlock` to refuse, in their order and with their words. */
export async function prepareSignatures(
  texts: readonly string[],
  commits: readonly SignedCommit[] = [],
): Promise<void> {
  const all = texts.length + commits.length;
  let next = 0;
  const some = async (): Promise<void> => {
    while (next < all) {
      const at = next;
      next += 1;
      const commit = commits[at];
      if (commit) await verifyCommitAhead(commit.raw, commit.key);
      else await verifyEntryAhead(texts[at - commits.length] as string);
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, all) }, some));
}
