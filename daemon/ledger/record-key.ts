/**
 * The keys of sealed personal fields: one per subject and month, outside git. The ledger holds only the key's handle, which is
 * made from key, subject and month: whoever is given a key can tell that it is the one that the ledger names, and whose it is.
 * From the handle alone nothing can be told.
 */
import { canonicalize } from './canonical.js';
import { sha256 } from './hash.js';
import type { Millis } from './ids.js';

/** What a key opens: the fields of one subject that were sealed in one month. */
export interface RecordKey {
  /** Whose fields: an id of a person, a member or a door, and after a space what of theirs (`p0123… doors`). */
  readonly subject: string;
  /** `2026-11`, UTC. */
  readonly month: string;
  /** 32 random bytes. */
  readonly key: Uint8Array;
}

const SUBJECT = /^[a-z0-9][a-z0-9._-]{0,127}( [a-z]{1,16})?$/;
const MONTH = /^[0-9]{4}-(0[1-9]|1[0-2])$/;
const HANDLE = /^k[0-9a-f]{32}$/;

/** Whether a text is the name of a key as this protocol makes it. */
export const isRecordHandle = (text: unknown): text is string =>
  typeof text === 'string' && HANDLE.test(text);

/** Whether this could be a key: shapes and lengths. */
export const isRecordKey = ({ subject, month, key }: RecordKey): boolean =>
  typeof subject === 'string' &&
  SUBJECT.test(subject) &&
  typeof month === 'string' &&
  MONTH.test(month) &&
  key.length === 32;

/** The name of a key in the ledger: `k` and 32 hex digits. */
export const recordHandle = ({ subject, month, key }: RecordKey): string => {
  const text = canonicalize([Buffer.from(key).toString('base64url'), subject, month]);
  return `k${sha256(`mergetown/record-key/v1\0${text}`).slice(0, 32)}`;
};

/** The id that a subject begins with: of a person, a member or a door. */
export const ownerOf = (subject: string): string => subject.split(' ', 1)[0] as string;

/** The last moment that has a month with a year of four digits. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/** The month of a moment (ms), in UTC. */
export const monthOf = (at: number): string =>
  new Date(Math.max(0, Math.min(at, LAST_MOMENT))).toISOString().slice(0, 7);

const indexOf = (month: string): number => Number(month.slice(0, 4)) * 12 + Number(month.slice(5, 7)) - 1;

/**
 * The first month whose keys are kept at a moment: with 12 it is the same month of the year before.
 * Months before it are past their retention.
 */
export function firstKeptMonth(time: Millis, retentionMonths: number): string {
  const index = Math.max(0, indexOf(monthOf(time)) - retentionMonths);
  const year = String(Math.floor(index / 12)).padStart(4, '0');
  return `${year}-${String((index % 12) + 1).padStart(2, '0')}`;
}

/** As canonical JSON writes an envelope: `ct`, `enc`, `iv`, `key`. */
const ENVELOPE = /"enc":1,"iv":"[A-Za-z0-9_-]{16}","key":"(k[0-9a-f]{32})"/g;

/** The handles of the envelopes in a canonical JSON text, each once. */
export function handlesIn(text: string): readonly string[] {
  if (!text.includes('"enc":1,')) return [];
  return [...new Set([...text.matchAll(ENVELOPE)].map(([, handle]) => handle as string))];
}
