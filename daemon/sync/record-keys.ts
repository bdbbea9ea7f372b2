/** The messages in which nodes ask each other for keys of sealed records and give them: shapes, bounds and strict reading. */
import { canonicalize, parseCanonical } from '../ledger/canonical.js';
import type { Json, JsonObject, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { isRecordHandle, isRecordKey, type RecordKey } from '../ledger/record-key.js';
import { openSealed, sealTo } from '../ledger/sealing.js';

/** Keys in one message, asked for or given: 150 bytes each. */
export const KEYS_MAX = 500;
/** Characters of the sealed keys of one message. */
const SEALED_CHARS_MAX = 190_000;

/** Asks one node for the keys of these names. */
export interface KeysAskBody {
  readonly handles: readonly string[];
}

/** Keys, sealed to the node that they are for; null for none. Sent as an answer, and unasked when a key was made. */
export interface KeysGiveBody {
  readonly sealed: string | null;
  /** Whether it answers a question. */
  readonly answer: boolean;
}

function bad(what: string): TownError {
  return new TownError('malformed', `Not a message of this protocol: ${what}.`);
}

const hasFields = (value: JsonObject, fields: readonly string[]): boolean =>
  Object.keys(value).sort().join() === [...fields].sort().join();

/** @throws TownError `malformed` */
export function readKeysAsk(body: JsonObject): KeysAskBody {
  const { handles } = body;
  if (!hasFields(body, ['handles']) || !Array.isArray(handles)) throw bad('a list of handles is expected');
  if (handles.length === 0 || handles.length > KEYS_MAX) throw bad(`1 to ${KEYS_MAX} handles are expected`);
  if (!handles.every(isRecordHandle)) throw bad('a handle is none');
  return { handles };
}

/** @throws TownError `malformed` */
export function readKeysGive(body: JsonObject): KeysGiveBody {
  const { sealed, answer } = body;
  if (!hasFields(body, ['sealed', 'answer']) || typeof answer !== 'boolean') throw bad('keys are expected');
  if (sealed === null) return { sealed, answer };
  if (typeof sealed !== 'string' || sealed.length > SEALED_CHARS_MAX) throw bad('the keys are out of range');
  return { sealed, answer };
}

/** What the sealed keys are bound to: town, giver and reader. */
const aboutOf = (town: Sha256, from: NodeId, to: NodeId): string =>
  `mergetown/record-keys/v1 ${town} ${from} ${to}`;

export interface Way {
  readonly town: Sha256;
  readonly from: NodeId;
  readonly to: NodeId;
}

/**
 * Seals keys (at most 500) to the node that they are for.
 * @param readerKey its X25519 key, of the charter; @param ephemeral 32 random bytes, never used again
 * @throws TownError `bad-sealing-key`
 */
export function sealKeys(
  keys: readonly RecordKey[],
  { town, from, to }: Way,
  readerKey: string,
  ephemeral: Uint8Array,
): string {
  const list = keys.slice(0, KEYS_MAX).map(({ subject, month, key }) => ({
    subject,
    month,
    key: Buffer.from(key).toString('base64url'),
  }));
  return sealTo(readerKey, Buffer.from(canonicalize(list)), aboutOf(town, from, to), ephemeral);
}

/**
 * The keys that were sealed to this node.
 * @throws TownError `sealed`, `malformed`
 */
export function openKeys(sealed: string, { town, from, to }: Way, secret: Uint8Array): readonly RecordKey[] {
  const text = Buffer.from(openSealed(secret, sealed, aboutOf(town, from, to))).toString('utf8');
  let list: Json;
  try {
    list = parseCanonical(text);
  } catch {
    throw bad('the keys are no JSON');
  }
  if (!Array.isArray(list) || list.length > KEYS_MAX) throw bad(`at most ${KEYS_MAX} keys are expected`);
  return list.map((value: Json) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('a key is no object');
    const fields = value as JsonObject;
    if (!hasFields(fields, ['subject', 'month', 'key']) || typeof fields['key'] !== 'string')
      throw bad('a key has subject, month and key');
    const { subject, month } = fields;
    const key = { subject, month, key: Buffer.from(fields['key'], 'base64url') } as RecordKey;
    if (!isRecordKey(key)) throw bad('a key is out of range');
    return key;
  });
}
