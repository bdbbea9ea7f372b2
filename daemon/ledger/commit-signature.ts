/** Whether a commit is signed by a key; what was found good lately is known for a while, as with entries. */
import { parseCommit, type ParsedCommit } from './git-object.js';
import { sha256 } from './hash.js';
import { TownError, type KeyId } from './ids.js';
import { sshVerify, sshVerifyAside } from './sshsig.js';

/** Commits found good, as SHA-256 of the raw bytes and the key: 1 MiB at most; what fell out is checked again. */
const KNOWN_GOOD_MAX = 4096;
const knownGood = new Set<string>();

const nameOf = (raw: Uint8Array, key: KeyId): string => `${sha256(raw)} ${key}`;

/**
 * Whether the raw commit, parsed before by `parseCommit`, carries a signature of this key over all the rest of it.
 * Its id covers every byte, signature included: so what was found good once is good.
 */
export function isSignedBy(
  raw: Uint8Array,
  { payload, signature }: Pick<ParsedCommit, 'payload' | 'signature'>,
  key: KeyId,
): boolean {
  if (signature === null) return false;
  if (knownGood.size > 0 && knownGood.has(nameOf(raw, key))) return true;
  return sshVerify(signature, payload, key);
}

/** Has the signature of a raw commit checked on another thread; what is good is remembered. @returns whether it is good */
export async function verifyCommitAhead(raw: Uint8Array, key: KeyId): Promise<boolean> {
  let commit: ParsedCommit;
  try {
    commit = parseCommit(raw);
  } catch (error) {
    if (error instanceof TownError) return false;
    throw error;
  }
  if (knownGood.has(nameOf(raw, key))) return true;
  if (commit.signature === null || !(await sshVerifyAside(commit.signature, commit.payload, key)))
    return false;
  rememberSigned(raw, key);
  return true;
}

/** Takes over that this commit was found to be signed by this key: only from a `parseCommit` and `sshVerify` of this program's own. */
export function rememberSigned(raw: Uint8Array, key: KeyId): void {
  if (knownGood.size >= KNOWN_GOOD_MAX)
    for (const oldest of knownGood) {
      knownGood.delete(oldest);
      break;
    }
  knownGood.add(nameOf(raw, key));
}
