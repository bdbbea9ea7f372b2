/**
 * RFC 8785 (JSON Canonicalization Scheme): one text for one value, so that a value can be hashed and signed.
 * Ledger values hold integers only; `assertIntegers` says so, canonicalisation itself knows all of JSON.
 */
import { TownError, type Json, type JsonObject } from './ids.js';

/** How deep arrays and objects may be nested: a bound on the stack and on what a peer can make us do. */
export const JSON_DEPTH_MAX = 64;

/** Printable ASCII without quotation marks and backslashes: stands as it is. Nearly every string of the ledger is one. */
const plain = /^[ !#-[\]-~]*$/;
// With the `u` flag a surrogate that is half of a pair is part of its code point: only lone ones match.
const loneSurrogate = /\p{Surrogate}/u;

function notJson(what: string): TownError {
  return new TownError('not-json', `Expected a JSON value (RFC 8785), found ${what}.`);
}

function canonicalString(text: string): string {
  if (plain.test(text)) return `"${text}"`;
  if (loneSurrogate.test(text)) throw notJson('a string with a lone surrogate');
  // RFC 8785, 3.2.2.2: ECMAScript's own escaping is the canonical one.
  return JSON.stringify(text);
}

function canonicalObject(value: object, depth: number): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw notJson('an object of a class');
  // RFC 8785, 3.2.3: names are sorted by UTF-16 code units, which is what `sort` does by default.
  const names = Object.keys(value).sort();
  const fields = value as Record<string, unknown>;
  let text = '';
  for (const name of names)
    text += `${text === '' ? '' : ','}${canonicalString(name)}:${canonicalValue(fields[name], depth)}`;
  return `{${text}}`;
}

function canonicalArray(value: readonly unknown[], depth: number): string {
  let text = '';
  // By index: `map` would jump over the holes of a sparse array.
  for (let i = 0; i < value.length; i++) text += (i === 0 ? '' : ',') + canonicalValue(value[i], depth);
  return `[${text}]`;
}

function canonicalValue(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
      return canonicalString(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      if (!Number.isFinite(value)) throw notJson(`the number ${value}`);
      // RFC 8785, 3.2.2.3: ECMAScript's shortest form; −0 becomes 0.
      return JSON.stringify(value);
    case 'object':
      if (value === null) return 'null';
      // A cycle ends here too: it is endlessly deep.
      if (depth === JSON_DEPTH_MAX) throw notJson(`more than ${JSON_DEPTH_MAX} levels of nesting`);
      return Array.isArray(value) ? canonicalArray(value, depth + 1) : canonicalObject(value, depth + 1);
    default:
      throw notJson(`a value of type ${typeof value}`);
  }
}

/**
 * The canonical text of a JSON value (RFC 8785).
 * @throws TownError `not-json` on undefined, NaN, infinities, bigints, functions, class instances, lone surrogates,
 *   cycles and nesting deeper than 64.
 */
export function canonicalize(value: unknown): string {
  return canonicalValue(value, 0);
}

/**
 * Whether it shows without writing it anew: ECMAScript's own text of a value is the canonical one but for the order of names, and for
 * half a surrogate pair, which it escapes. False says nothing.
 */
const isPlainlyCanonical = (text: string, value: Json): boolean =>
  JSON.stringify(value) === text && !text.includes('\\u') && areNamesSorted(value, 0);

function areNamesSorted(value: Json, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (depth === JSON_DEPTH_MAX) return false;
  if (Array.isArray(value)) return value.every((item) => areNamesSorted(item as Json, depth + 1));
  let last: string | undefined;
  for (const name of Object.keys(value)) {
    if (last !== undefined && name <= last) return false;
    last = name;
    if (!areNamesSorted((value as JsonObject)[name] as Json, depth + 1)) return false;
  }
  return true;
}

/**
 * The value of a text that is exactly the canonical one: no white space, no second spelling, no double names.
 * @throws TownError `not-canonical` on every other text.
 */
export function parseCanonical(text: string): Json {
  let value: Json;
  let canonical: string;
  try {
    value = JSON.parse(text) as Json;
    if (isPlainlyCanonical(text, value)) return value;
    canonical = canonicalize(value);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new TownError('not-canonical', `Expected canonical JSON (RFC 8785): ${why}`);
  }
  if (canonical !== text) {
    throw new TownError('not-canonical', 'Expected canonical JSON (RFC 8785), found another spelling of it.');
  }
  return value;
}

function assertIntegersWithin(value: Json, depth: number): void {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) {
      throw new TownError(
        'not-integer',
        `Expected integers between −(2^53 − 1) and 2^53 − 1, found ${value}.`,
      );
    }
  } else if (typeof value === 'object' && value !== null) {
    if (depth === JSON_DEPTH_MAX) throw notJson(`more than ${JSON_DEPTH_MAX} levels of nesting`);
    for (const child of Object.values(value)) assertIntegersWithin(child as Json, depth + 1);
  }
}

/**
 * Checks that every number in a value is a safe integer.
 * @throws TownError `not-integer`; `not-json` when nested deeper than 64.
 */
export function assertIntegers(value: Json): void {
  assertIntegersWithin(value, 0);
}
