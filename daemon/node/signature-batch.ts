/** What the threads of the signature pool do with a batch: the same checks, by the same functions, as on the main thread. */
import { checkEntry } from '../ledger/entry.js';
import { parseCommit } from '../ledger/git-object.js';
import type { EntryId, KeyId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { sshVerify } from '../ledger/sshsig.js';

/** A signed commit and the key that should have signed it. */
export interface SignedCommit {
  readonly raw: Uint8Array;
  readonly key: KeyId;
}

export interface SignatureBatch {
  readonly texts: readonly string[];
  readonly commits: readonly SignedCommit[];
}

/** Why a text is no entry, or its signatures do not hold: as `verifyEntry` would throw it. */
export interface EntryRefusal {
  readonly code: string;
  readonly message: string;
  readonly advice?: string | undefined;
}

/** In the order of the batch: of each text its id or why not, of each commit whether it is signed by that key. */
export interface SignatureVerdicts {
  readonly entries: readonly (EntryId | EntryRefusal)[];
  readonly commits: readonly boolean[];
}

export const checkBatch = ({ texts, commits }: SignatureBatch): SignatureVerdicts => ({
  entries: texts.map(checkText),
  commits: commits.map(isSigned),
});

function checkText(text: string): EntryId | EntryRefusal {
  try {
    return checkEntry(text);
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    const { code, message, advice } = error;
    return { code, message, advice };
  }
}

function isSigned({ raw, key }: SignedCommit): boolean {
  try {
    const { payload, signature } = parseCommit(raw);
    return signature !== null && sshVerify(signature, payload, key);
  } catch (error) {
    if (error instanceof TownError) return false;
    throw error;
  }
}
