/**
 * SSH signatures (OpenSSH's PROTOCOL.sshsig) by Ed25519 keys: what stock git and ssh-keygen verify.
 * Written in one form only (sha512, empty `reserved`, armour of 70 columns as ssh-keygen writes it), and read strictly:
 * what is not byte for byte in that form does not verify, so that no signed commit has a second spelling.
 */
import { createHash } from 'node:crypto';
import { bytesOf } from './hash.js';
import { TownError, type KeyId } from './ids.js';
import { publicKeyOf, sign, verifySignature, verifySignatureAside } from './signature.js';

const BEGIN = '-----BEGIN SSH SIGNATURE-----\n';
const END = '-----END SSH SIGNATURE-----\n';
const MAGIC = 'SSHSIG';
const KEY_TYPE = 'ssh-ed25519';
const HASH = 'sha512';

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** An SSH string: its length and its bytes (RFC 4251, section 5). */
function sshString(value: Uint8Array | string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

const sshKey = (key: KeyId): Buffer => Buffer.concat([sshString(KEY_TYPE), sshString(bytesOf(key))]);

function signedBytes(payload: Uint8Array, namespace: string): Buffer {
  const digest = createHash(HASH).update(payload).digest();
  return Buffer.concat([
    Buffer.from(MAGIC),
    sshString(namespace),
    sshString(''),
    sshString(HASH),
    sshString(digest),
  ]);
}

function armoured(key: KeyId, namespace: string, signature: Uint8Array): string {
  const blob = Buffer.concat([
    Buffer.from(MAGIC),
    uint32(1),
    sshString(sshKey(key)),
    sshString(namespace),
    sshString(''),
    sshString(HASH),
    sshString(Buffer.concat([sshString(KEY_TYPE), sshString(signature)])),
  ]);
  return BEGIN + blob.toString('base64').replace(/.{1,70}/g, '$&\n') + END;
}

/** An armoured SSH signature of the payload by a seed of 32 bytes; ends with a newline. */
export function sshSign(secretKey: Uint8Array, payload: Uint8Array, namespace = 'git'): string {
  return armoured(publicKeyOf(secretKey), namespace, sign(secretKey, signedBytes(payload, namespace)));
}

/** Whether `armored` is the one form of a signature of this payload by this key in this namespace. Never throws. */
export function sshVerify(armored: string, payload: Uint8Array, key: KeyId, namespace = 'git'): boolean {
  const signature = signatureIn(armored, key, namespace);
  return signature !== null && verifySignature(bytesOf(key), signedBytes(payload, namespace), signature);
}

/** As `sshVerify`, with the same verdicts, on a thread of its own. */
export async function sshVerifyAside(
  armored: string,
  payload: Uint8Array,
  key: KeyId,
  namespace = 'git',
): Promise<boolean> {
  const signature = signatureIn(armored, key, namespace);
  if (signature === null) return false;
  return verifySignatureAside(bytesOf(key), signedBytes(payload, namespace), signature);
}

/** The signature's 64 bytes; null where the armour is not the one form of one by this key. */
function signatureIn(armored: string, key: KeyId, namespace: string): Uint8Array | null {
  if (!armored.startsWith(BEGIN) || !armored.endsWith(END)) return null;
  const blob = Buffer.from(armored.slice(BEGIN.length, -END.length), 'base64');
  if (blob.length < 64) return null;
  // The signature's own bytes stand last. All else follows from key and namespace: write it again and compare.
  const signature = blob.subarray(-64);
  return armoured(key, namespace, signature) === armored ? signature : null;
}

/**
 * One line (without newline) of an allowed_signers file: ssh-keygen(1), ALLOWED SIGNERS.
 * @throws TownError `bad-principal` when the principal is not made of letters, digits and `@._-`, which need no quoting and
 *   are no pattern.
 */
export function allowedSignersLine(principal: string, key: KeyId, namespaces = 'git'): string {
  if (!/^[A-Za-z0-9@._-]{1,128}$/.test(principal)) {
    throw new TownError(
      'bad-principal',
      `A principal is letters, digits and @ . _ -, not ${JSON.stringify(principal)}.`,
    );
  }
  return `${principal} namespaces="${namespaces}" ${KEY_TYPE} ${sshKey(key).toString('base64')}`;
}
