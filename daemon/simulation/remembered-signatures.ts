/**
 * In a simulated town every node verifies the same signatures in one process. What was verified once is remembered, by key,
 * message and signature: a pure function gives the same again. The nodes' own code knows nothing of it.
 */
import crypto, { createHash, type KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

/** Verdicts kept for one key. */
const VERDICTS_MAX = 20_000;

type Verify = (algorithm: null, message: Uint8Array, key: KeyObject, signature: Uint8Array) => boolean;

/** From now on, in this thread. */
export function rememberSignatures(): void {
  const verify = crypto.verify as unknown as Verify;
  const known = new WeakMap<KeyObject, Map<string, boolean>>();
  const remembered: Verify = (algorithm, message, key, signature) => {
    let verdicts = known.get(key);
    if (verdicts === undefined) known.set(key, (verdicts = new Map<string, boolean>()));
    const name = createHash('sha256').update(signature).update(message).digest('base64');
    const found = verdicts.get(name);
    if (found !== undefined) return found;
    const verdict = verify(algorithm, message, key, signature);
    if (verdicts.size >= VERDICTS_MAX) verdicts.clear();
    verdicts.set(name, verdict);
    return verdict;
  };
  Object.assign(crypto, { verify: remembered });
  syncBuiltinESMExports();
}
