/**
 * What a town took along when it split from another, for a node that joins it: the state stands in no entry, so the welcome
 * carries it. Bounded by what a message holds: a town that split off with more begins again with one node at a time. Pure.
 */
import { deflateSync, inflateSync } from 'node:zlib';
import { canonicalize } from '../ledger/canonical.js';
import { isSha256, TownError, type Json } from '../ledger/ids.js';
import { stateForSplit, type Origin, type Split } from '../ledger/merge.js';
import type { StateWrite } from '../ledger/state.js';

/** Characters; with the rest of the welcome they fit into one sealed message. */
export const SPLIT_CHARS_MAX = 100_000;
const INFLATED_BYTES_MAX = 8 * 1024 * 1024;

/** As it stands in the welcome. */
export interface PackedSplit {
  readonly origin: Origin;
  /** Rows as JSON lists [dapp, collection, key, value], deflated, in base64. */
  readonly state: string;
}

/** @throws TownError `split-too-large` */
export function packSplit({ origin, state }: Split): PackedSplit {
  const rows = stateForSplit(state).map(({ dapp, collection, key, value }) => [dapp, collection, key, value]);
  const packed = deflateSync(Buffer.from(canonicalize(rows as Json)), { level: 9 }).toString('base64');
  if (packed.length <= SPLIT_CHARS_MAX) return { origin, state: packed };
  throw new TownError(
    'split-too-large',
    `The state that this town split off with has ${packed.length} characters; a welcome carries ${SPLIT_CHARS_MAX}.`,
    'No further node can join this town. Split from an earlier merge, or copy what the members need by hand.',
  );
}

/** @throws TownError `bad-genesis` */
export function unpackSplit({ origin, state }: PackedSplit): Split {
  const bad = (): TownError => new TownError('bad-genesis', 'What the town split off with cannot be read.');
  if (!isSha256(origin.town) || !isSha256(origin.merge) || !Number.isSafeInteger(origin.height)) throw bad();
  let rows: unknown;
  try {
    const bytes = inflateSync(Buffer.from(state, 'base64'), { maxOutputLength: INFLATED_BYTES_MAX });
    rows = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw bad();
  }
  const isRow = (row: unknown): row is [string, string, string, string] =>
    Array.isArray(row) && row.length === 4 && row.every((part) => typeof part === 'string');
  if (!Array.isArray(rows) || !rows.every(isRow)) throw bad();
  const writes = rows.map(([dapp, collection, key, value]): StateWrite => ({ dapp, collection, key, value }));
  return { origin, state: writes };
}
