/**
 * What a town took along when it split from another, for a node that joins it: the state stands in no entry, so the welcome
 * carries it; what does not fit into one message comes after it in parts, which the asker asks for one by one. Pure.
 */
import { promisify } from 'node:util';
import { deflate, inflateSync } from 'node:zlib';
import { canonicalize } from '../ledger/canonical.js';
import { isSha256, TownError, type Json } from '../ledger/ids.js';
import { stateForSplit, type Origin, type Split } from '../ledger/merge.js';
import type { StateWrite } from '../ledger/state.js';

/** Characters of one part; with the rest of the welcome they fit into one sealed message. */
export const PART_CHARS_MAX = 100_000;
export const PARTS_MAX = 400;
/** Characters of all parts. */
export const SPLIT_CHARS_MAX = PART_CHARS_MAX * PARTS_MAX;
const INFLATED_BYTES_MAX = 256 * 1024 * 1024;

/** As it stands in the welcome. */
export interface PackedSplit {
  readonly origin: Origin;
  /** Rows as JSON lists [dapp, collection, key, value], deflated, in base64; empty where it comes in parts. */
  readonly state: string;
}

/** How many messages a packed state takes. */
export const partsOf = (state: string): number => Math.max(1, Math.ceil(state.length / PART_CHARS_MAX));

/** One part of a packed state, from 1; undefined where there is none. */
export const partOf = (state: string, part: number): string | undefined =>
  part >= 1 && part <= partsOf(state)
    ? state.slice((part - 1) * PART_CHARS_MAX, part * PART_CHARS_MAX)
    : undefined;

/** Packs beside the event loop: a state of 50,000 members takes seconds. @throws TownError `split-too-large` */
export async function packSplit({ origin, state }: Split): Promise<PackedSplit> {
  const rows = stateForSplit(state).map(({ dapp, collection, key, value }) => [dapp, collection, key, value]);
  const bytes = await promisify(deflate)(Buffer.from(canonicalize(rows as Json)));
  const packed = bytes.toString('base64');
  if (packed.length <= SPLIT_CHARS_MAX) return { origin, state: packed };
  throw new TownError(
    'split-too-large',
    `The state that this town split off with has ${packed.length} characters packed; ${SPLIT_CHARS_MAX} can be handed on.`,
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
