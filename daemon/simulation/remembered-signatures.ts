/**
 * In a simulated town every node verifies the same signatures in one process. What was verified once, or signed here, is remembered by
 * key, message and signature: a pure function gives the same again, and what a key signed is signed by it. The nodes' own code knows
 * nothing of it.
 */
import crypto, { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

/** Verdicts kept for one key. */
const VERDICTS_MAX = 20_000;
const KEY_BYTES = 32;

type Verify = (algorithm: null, message: Uint8Array, key: KeyObject, signature: Uint8Array) => boolean;
type Sign = (algorithm: null, message: Uint8Array, key: KeyObject) => Buffer;
type Verdicts = Map<string, boolean>;

const nameOf = (message: Uint8Array, signature: Uint8Array): string =>
  hash('sha256', Buffer.concat([signature, message]), 'base64');

/** From now on, in this thread. */
export function rememberSignatures(): void {
  const { verify, sign } = crypto as unknown as { verify: Verify; sign: Sign };
  const byObject = new WeakMap<KeyObject, Verdicts>();
  const byKey = new Map<string, Verdicts>();
  const verdictsOf = (key: KeyObject, publicKey: () => KeyObject): Verdicts => {
    let verdicts = byObject.get(key);
    if (verdicts !== undefined) return verdicts;
    const bytes = publicKey().export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES).toString('hex');
    verdicts = byKey.get(bytes) ?? new Map<string, boolean>();
    byKey.set(bytes, verdicts);
    byObject.set(key, verdicts);
    return verdicts;
  };
  const remember = (verdicts: Verdicts, name: string, verdict: boolean): void => {
    if (verdicts.size >= VERDICTS_MAX) verdicts.clear();
    verdicts.set(name, verdict);
  };
  const remembered = {
    verify: (algorithm: null, message: Uint8Array, key: KeyObject, signature: Uint8Array): boolean => {
      const verdicts = verdictsOf(key, () => key);
      const name = nameOf(message, signature);
      const found = verdicts.get(name);
      if (found !== undefined) return found;
      const verdict = verify(algorithm, message, key, signature);
      remember(verdicts, name, verdict);
      return verdict;
    },
    sign: (algorithm: null, message: Uint8Array, key: KeyObject): Buffer => {
      const signature = sign(algorithm, message, key);
      remember(
        verdictsOf(key, () => createPublicKey(key)),
        nameOf(message, signature),
        true,
      );
      return signature;
    },
  };
  Object.assign(crypto, remembered);
  syncBuiltinESMExports();
}
