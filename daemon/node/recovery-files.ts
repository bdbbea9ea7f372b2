/** The offline keys of recovery and the statements that they sign, as files: no daemon and no data folder is needed. */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import type { KeyId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { joinRecoveries, parseRecovery, signRecovery, type Recovery } from '../ledger/recovery.js';
import { publicKeyOf } from '../ledger/signature.js';

export type Recovered = Recovery;

const FILE_BYTES_MAX = 65_536;

/** Makes a key, as PKCS #8 in PEM that only its owner reads. @returns its public half; throws where the file is there already */
export async function makeRecoveryKey(file: string): Promise<KeyId> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  await writeFile(file, pem, { mode: 0o600, flag: 'wx' });
  return publicKeyOf(seedOf(pem, file));
}

function seedOf(pem: string, file: string): Uint8Array {
  const bad = (): TownError =>
    new TownError(
      'bad-recovery-key',
      `${file} is no key of recovery.`,
      'Make one with: town recovery key FILE',
    );
  try {
    const key = createPrivateKey(pem);
    const { d } = key.export({ format: 'jwk' });
    if (key.asymmetricKeyType === 'ed25519' && d !== undefined) return Buffer.from(d, 'base64url');
  } catch {
    throw bad();
  }
  throw bad();
}

/** @throws TownError `bad-recovery` */
export async function readRecoveryFile(file: string): Promise<Recovery> {
  const bytes = await readFile(file);
  let value: unknown;
  try {
    value = bytes.length <= FILE_BYTES_MAX ? JSON.parse(bytes.toString('utf8')) : null;
  } catch {
    value = null;
  }
  if (value === null)
    throw new TownError('bad-recovery', `${file} holds no statement.`, 'Make one with: town recover FILE');
  return parseRecovery(value);
}

export const readRecoveryFiles = async (files: readonly string[]): Promise<Recovery> =>
  joinRecoveries(await Promise.all(files.map(readRecoveryFile)));

export const recoveryFileText = (recovery: Recovery): string => `${JSON.stringify(recovery, null, 2)}\n`;

/** Puts one more signature into the file. @returns it with whose that is; @throws TownError `bad-recovery-key`, `bad-recovery` */
export async function signRecoveryFile(
  file: string,
  keyFile: string,
): Promise<{ readonly recovery: Recovery; readonly key: KeyId }> {
  const secret = seedOf(await readFile(keyFile, 'utf8'), keyFile);
  const recovery = signRecovery(await readRecoveryFile(file), secret);
  await writeFile(file, recoveryFileText(recovery));
  return { recovery, key: publicKeyOf(secret) };
}
