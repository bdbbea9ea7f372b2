/** Dues: debts on record. They are no credits and move none until somebody pays. */
import type { EntryId, MemberId } from './ids.js';
import { readJson, writeJson, type Overlay, type StateReader } from './state.js';

const KERNEL = 'kernel';

/** Kept as `kernel/dues/<id>` until it is paid or waived. */
export interface Due {
  /** Who owes. */
  readonly member: MemberId;
  /** Whom: an account, `vault` or `member.<id>`. */
  readonly to: string;
  /** Whole credits, above 0. */
  readonly amount: number;
  /** The fact that it comes from, and that fact's time (ms). */
  readonly entry: EntryId;
  readonly since: number;
}

/** The id of a due: its entry's, followed by `.<i>` for the further ones of one entry, i from 1. */
export const dueId = (entry: string, index: number): string => (index === 0 ? entry : `${entry}.${index}`);
export const isDueId = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{64}(\.[1-9][0-9]?)?$/.test(value);

export const readDue = (state: StateReader, id: string): Due | undefined =>
  readJson<Due>(state, KERNEL, 'dues', id);

/** Writes a due down, or with null crosses it off. */
export const writeDue = (state: Overlay, id: string, due: Due | null): void =>
  writeJson(state, KERNEL, 'dues', id, due);
