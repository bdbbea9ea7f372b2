/**
 * What a door saw, as it stands sealed in the ledger (`record` of `door-access.event`). The hash of a badge is written in
 * base64url: a house records thousands of taps a day, and what is sealed does not compress.
 */
import type { GateRecord } from '../gate/shapes.js';
import type { Json, JsonObject } from '../ledger/ids.js';

/** The fields that are sealed: all of the gate's record that does not stand in the entry in plain. */
const FIELDS = ['id', 'at', 'badge', 'person', 'reason', 'by', 'of', 'waitedMs'] as const;

/** What the sealed value tells; `badge` as the gate knows it, 64 hex digits. */
export type SealedDoorRecord = Partial<Pick<GateRecord, (typeof FIELDS)[number]>>;

/** The value to seal. */
export function sealedForm(record: SealedDoorRecord): JsonObject {
  const { badge, ...others } = record;
  const value: { [field: string]: unknown } = {
    ...others,
    badge: badge !== undefined && isHash(badge) ? Buffer.from(badge, 'hex').toString('base64url') : badge,
  };
  return Object.fromEntries(
    FIELDS.filter((field) => value[field] !== undefined).map((field) => [field, value[field]]),
  ) as JsonObject;
}

/** What was sealed; nothing of it where it cannot be read here. */
export function openedForm(value: Json): SealedDoorRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {};
  const record = value as SealedDoorRecord;
  const { badge } = record;
  if (typeof badge !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(badge)) return record;
  return { ...record, badge: Buffer.from(badge, 'base64url').toString('hex') };
}

const isHash = (badge: string): boolean => /^[0-9a-f]{64}$/.test(badge);
