/** Entries and blocks as the store takes them. */
import { NO_BLOCK, type Block } from '../ledger/block.js';
import type { VerifiedEntry } from '../ledger/entry.js';
import { kindOf, type Manifests } from '../ledger/judge.js';
import { readKey } from '../ledger/kernel.js';
import type { StateReader } from '../ledger/state.js';
import type { NewBlock, NewEntry } from '../store/rows.js';

/** @param state says whose key signed it */
export function entryRow(entry: VerifiedEntry, kind: 'claim' | 'fact', state: StateReader): NewEntry {
  const { id, node, line, n, type, by, at, text } = entry;
  const member = readKey(state, by)?.member ?? null;
  return { id, node, line, n, type, kind, by, member, at, bytes: Buffer.from(text) };
}

/** Of an entry that comes in a block: a type that nobody here knows is treated as a claim, the merge will say what it is. */
export const foreignEntryRow = (entry: VerifiedEntry, manifests: Manifests, state: StateReader): NewEntry =>
  entryRow(entry, kindOf(entry.type, manifests) ?? 'claim', state);

export function blockRow({ id, oid, node, line, seq, prev, base, raw, entries }: Block): NewBlock {
  const before = prev === NO_BLOCK ? null : prev;
  return { id, oid, node, line, seq, prev: before, base, raw, entries: entries.length };
}
