/** Further stewards who sign a claim: their keys are unlocked for this one signature. */
import { COSIGNERS_MAX } from '../ledger/entry.js';
import { TownError } from '../ledger/ids.js';
import { forgetSecretKey } from '../ledger/signature.js';
import type { Signer } from './appender.js';
import type { Cosigner } from './fork-cases.js';
import type { KeyStore } from './key-files.js';

/** Runs a task with the signers' keys, and forgets them. @throws TownError `wrong-passphrase`, `too-many-signers` */
export async function withCosigners<T>(
  keyStore: KeyStore,
  cosigners: readonly Cosigner[],
  task: (signers: readonly Signer[]) => Promise<T>,
): Promise<T> {
  if (cosigners.length > COSIGNERS_MAX)
    throw new TownError('too-many-signers', `At most ${COSIGNERS_MAX} more can sign.`);
  const signers: Signer[] = [];
  try {
    // One after the other: each takes scrypt's memory.
    for (const { name, passphrase } of cosigners) signers.push(await keyStore.unlock(name, passphrase));
    return await task(signers);
  } finally {
    for (const { secretKey } of signers) {
      forgetSecretKey(secretKey);
      secretKey.fill(0);
    }
  }
}
