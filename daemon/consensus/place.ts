/** Where in which town's history a consensus message belongs, and the checks of its fields. */
import { canonicalize, parseCanonical } from '../ledger/canonical.js';
import { isNodeId, isSha256, TownError, type Json, type JsonObject, type Sha256 } from '../ledger/ids.js';
import { isSignatureText } from '../ledger/signature.js';

/** What every consensus message names, so that none can be replayed elsewhere. `parent`: SHA-256 of the raw parent merge. */
export interface Place {
  readonly town: Sha256;
  readonly line: string;
  readonly epoch: number;
  readonly height: number;
  readonly round: number;
  readonly parent: Sha256;
}

type Check = (value: Json | undefined) => boolean;

export const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
export const isSignature: Check = (value) => isSignatureText(value);
export const isNode: Check = isNodeId;
export const isHash: Check = isSha256;

/** The checks of `Place`. A height is at least 1: genesis is not voted on. */
export const PLACE_CHECKS: Readonly<Record<keyof Place, Check>> = {
  town: isHash,
  line: (value) => typeof value === 'string' && /^[a-z0-9][a-z0-9-]{0,63}$/.test(value),
  epoch: isCount,
  height: (value) => isCount(value) && value !== 0,
  round: isCount,
  parent: isHash,
};

/**
 * Reads a message of exactly the checked fields from its canonical text.
 * @throws TownError `code` naming the field that is missing, unknown or out of its range.
 */
export function parseMessage<T>(text: string, checks: Readonly<Record<keyof T, Check>>, code: string): T {
  const value = parseCanonical(text);
  const problem = problemOf<T>(value, checks);
  if (problem !== null) throw new TownError(code, `Not a message of this protocol: ${problem}.`);
  return value as T;
}

/** What is wrong with the fields of a value; null where nothing is. */
export function problemOf<T>(value: Json, checks: Readonly<Record<keyof T, Check>>): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'it is no object';
  const fields = value as JsonObject;
  for (const [name, check] of Object.entries<Check>(checks)) {
    if (!Object.hasOwn(fields, name)) return `"${name}" is missing`;
    if (!check(fields[name])) return `"${name}" is out of its range`;
  }
  const unknown = Object.keys(fields).find((name) => !Object.hasOwn(checks, name));
  return unknown === undefined ? null : `"${unknown}" is not one of its fields`;
}

/** Whether two messages belong to the same height of the same history. */
export function isSameHeight(a: Omit<Place, 'round'>, b: Omit<Place, 'round'>): boolean {
  return (
    a.town === b.town &&
    a.line === b.line &&
    a.epoch === b.epoch &&
    a.height === b.height &&
    a.parent === b.parent
  );
}

/** The canonical text of a message, as it is sent and kept. */
export const messageText = (message: object): string => canonicalize(message);
