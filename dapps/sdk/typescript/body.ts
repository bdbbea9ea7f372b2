/** Reading what people sent: each function gives the value or rejects the entry with a plain reason. */
import { Reject, type Json, type JsonObject } from './contract.js';

const bad = (what: string): Reject => new Reject('bad-body', what);

/** Refuses fields that a verb does not know: a typing error must not pass silently. */
export function onlyFields(body: JsonObject, ...known: readonly string[]): void {
  for (const name of Object.keys(body)) {
    if (!known.includes(name))
      throw bad(
        `The field "${Array.from(name).slice(0, 40).join('')}" is not known; known are: ${known.join(', ')}.`,
      );
  }
}

/** A text that matches; `says` tells a person what it looks like. */
export function matching(body: JsonObject, name: string, pattern: RegExp, says: string): string {
  const value = body[name];
  if (typeof value !== 'string' || !pattern.test(value)) throw bad(`"${name}" must be ${says}.`);
  return value;
}

const CONTROL = /[\p{Cc}\u2028\u2029]/u;
const CONTROL_BUT_LINES = /(?!\n)\p{Cc}/u;

/** A text for people of 1 to `max` characters (code points); on one line unless `lines`. */
export function text(body: JsonObject, name: string, max: number, { lines = false, min = 1 } = {}): string {
  const value = body[name];
  const says = `a text of ${min} to ${max} characters${lines ? '' : ' on one line'}`;
  if (typeof value !== 'string' || (lines ? CONTROL_BUT_LINES : CONTROL).test(value))
    throw bad(`"${name}" must be ${says}.`);
  const length = Array.from(value).length;
  if (length < min || length > max) throw bad(`"${name}" must be ${says}; it has ${length}.`);
  return value;
}

/** A whole number from `min` to `max`. */
export function integer(body: JsonObject, name: string, min: number, max: number): number {
  const value = body[name];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max)
    throw bad(`"${name}" must be a whole number from ${min} to ${max}.`);
  return value;
}

/** Whether a value is an envelope `{enc: 1, key, iv, ct}`: what personal fields must be in. */
export function isEnvelope(value: Json | undefined): value is JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const { enc, key, iv, ct, ...others } = value as JsonObject;
  return (
    enc === 1 &&
    typeof key === 'string' &&
    /^[A-Za-z0-9._:/-]{1,128}$/.test(key) &&
    typeof iv === 'string' &&
    /^[A-Za-z0-9_-]{16}$/.test(iv) &&
    typeof ct === 'string' &&
    /^[A-Za-z0-9_-]{22,8192}$/.test(ct) &&
    Object.keys(others).length === 0
  );
}

/** Personal fields, sealed; plain ones are refused with `plain-personal-data`. */
export function envelope(body: JsonObject, name: string): JsonObject {
  const value = body[name];
  if (!isEnvelope(value))
    throw new Reject('plain-personal-data', `"${name}" must be an encrypted envelope {enc: 1, key, iv, ct}.`);
  return value;
}

/** What a dapp stored itself comes back as it was stored. */
export const asObject = (value: Json): JsonObject | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;

/** The later of a time kept in a record (ms; none counts as 0) and another: a restriction holds from its last saying. */
export const latest = (kept: Json | undefined, time: number): number =>
  Math.max(typeof kept === 'number' ? kept : 0, time);

/**
 * Restrictions go first in a merge, so one may stand in the record that was said after the entry which lifts it.
 * That one holds: only what was said later than the restriction lifts it. In doubt, at the same moment, it stays.
 */
export function assertLater(tau: number, since: Json | undefined): void {
  if (typeof since === 'number' && tau <= since)
    throw new Reject(
      'restricted-later',
      'The restriction is newer than this: lift it again if that is meant.',
    );
}
