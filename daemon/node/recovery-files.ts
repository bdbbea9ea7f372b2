/**
 * The offline keys of recovery and the statements that they sign, as files: no daemon and no data folder is needed. Each is in its
 * place whole or not at all: whoever makes it may lose power over it, and a key that was told is on its stick.
 */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { KeyId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { joinRecoveries, parseRecovery, signRecovery, type Recovery } from '../ledger/recovery.js';
import { publicKeyOf } from '../ledger/signature.js';
import { writeFileDurably } from '../store/durable-file.js';

export type Recovered = Recovery;

const FILE_BYTES_MAX = 65_536;

/** Not over another one: a key that is written over is lost. @throws TownError `file-there` */
async function putNew(file: string, text: string, mode: number): Promise<void> {
  const isThere = await stat(file).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return false;
    },
  );
  if (isThere)
    throw new TownError('file-there', `${file} is there already: nothing was written.`, 'Name another file.');
  await writeFileDurably(file, text, mode);
}

/** Makes a key, as PKCS #8 in PEM that only its owner reads. @returns its public half; @throws TownError `file-there` */
export async function makeRecoveryKey(file: string): Promise<KeyId> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  await putNew(file, pem, 0o600);
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

const textOf = (recovery: Recovery): string => `${JSON.stringify(recovery, null, 2)}\n`;

/** Puts a statement into a new file, for those who hold the keys. @throws TownError `file-there` */
export const makeRecoveryFile = (file: string, recovery: Recovery): Promise<void> =>
  putNew(file, textOf(recovery), 0o644);

/** Puts one more signature into the file. @returns it with whose that is; @throws TownError `bad-recovery-key`, `bad-recovery` */
export async function signRecoveryFile(
  file: string,
  keyFile: string,
): Promise<{ readonly recovery: Recovery; readonly key: KeyId }> {
  const secret = seedOf(await readFile(keyFile, 'utf8'), keyFile);
  const recovery = signRecovery(await readRecoveryFile(file), secret);
  const { mode } = await stat(file);
  await writeFileDurably(file, textOf(recovery), mode & 0o777);
  return { recovery, key: publicKeyOf(secret) };
}
