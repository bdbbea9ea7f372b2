/**
 * The message in which two nodes find out what time the other has and which protocol it speaks: `hello`, to one node. It may ask
 * (`nonce`) and answer (`answers`), and is taken whatever the clocks say. Every version of the program reads it: fields that are not
 * known are let be, and none of these will ever mean something else.
 */
import type { JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';

/** Versions of the town's protocol that this program speaks: `charter.protocol`. */
export const SPOKEN = { from: 1, to: 1 } as const;

export interface HelloBody {
  /** Which versions the sender speaks. */
  readonly speaks: { readonly from: number; readonly to: number };
  /** The version of the town, by the sender's `main`. */
  readonly town: number;
  /** 32 hex digits to be answered with; null: no answer is asked for. */
  readonly nonce: string | null;
  /** The nonce of the hello that this one answers. */
  readonly answers: string | null;
}

const isVersion = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= 1_000_000;
const isNonce = (value: unknown): value is string | null =>
  value === null || (typeof value === 'string' && /^[0-9a-f]{32}$/.test(value));

/** @throws TownError `malformed` */
export function readHello({ speaks, town, nonce, answers }: JsonObject): HelloBody {
  const { from, to } = (speaks ?? {}) as JsonObject;
  if (isVersion(from) && isVersion(to) && from <= to && isVersion(town) && isNonce(nonce) && isNonce(answers))
    return { speaks: { from, to }, town, nonce, answers };
  throw new TownError('malformed', 'Not a message of this protocol: a hello has versions and nonces.');
}
