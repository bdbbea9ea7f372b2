/**
 * A short sum over the content of each row that no hash names: SQLite checks the structure of its pages, not what
 * stands in them. The writer keeps the sums, `town verify` reads them.
 */
import { createHash, hash, type Hash } from 'node:crypto';
import type { Database } from 'better-sqlite3';

const sumBytes = 8;

/** What SQLite gives and takes. */
export type Value = null | number | string | Uint8Array;

/**
 * The first 8 bytes of a SHA-256 over the values, each with its type and length.
 * A column that is a hash's preimage itself (the bytes of an entry, a block, a merge) is left out by whoever calls.
 */
export function rowSum(...values: readonly Value[]): Buffer {
  let withBytes: Hash | null = null;
  let text = '';
  for (const value of values) {
    if (value === null) text += 'n;';
    else if (typeof value === 'number') text += `i${value};`;
    else if (typeof value === 'string') text += `s${Buffer.byteLength(value)}:${value};`;
    else {
      withBytes ??= createHash('sha256');
      withBytes.update(`${text}b${value.byteLength}:`).update(value);
      text = ';';
    }
  }
  // At one go, where all is text: each entry that is recorded waits for this.
  const whole = withBytes === null ? hash('sha256', text, 'buffer') : withBytes.update(text).digest();
  return whole.subarray(0, sumBytes);
}

/** Makes `row_sum(…)` known to this connection: who migrates or writes needs it. */
export function registerRowSum(db: Database): void {
  db.function('row_sum', { deterministic: true, varargs: true }, (...values: unknown[]) =>
    rowSum(...(values as Value[])),
  );
}

/** The columns that each table's `sum` is made of, in their order. A table that is not named here has no sums. */
export const summedColumns = {
  meta: ['key', 'value'],
  entries: [
    ...['id', 'node', 'line', 'n', 'type', 'kind', 'by', 'member', 'at', 'state', 'block', 'idx', 'height'],
    ...['verdict', 'code', 'reason', 'other', 'writes'],
  ],
  branches: ['node', 'line', 'blocked', 'merged', 'archived'],
  blocks: ['id', 'oid', 'node', 'line', 'seq', 'prev', 'base', 'entries', 'height'],
  merges: ['height', 'id', 'oid', 'content', 'time', 'node', 'counts'],
  certificates: ['height', 'text'],
  consensus_log: ['height', 'round', 'step', 'kind', 'text', 'bytes'],
  refs: ['name', 'oid'],
  state: ['dapp', 'collection', 'key', 'value'],
  private_keys: ['handle', 'subject', 'month', 'key', 'own'],
  missing_keys: ['handle', 'node', 'at'],
  archived_blocks: ['number', 'block', 'arrivals', 'facts', 'ids'],
  gate_records: ['id', 'entry', 'door', 'at'],
  gate_seen: ['gate', 'first', 'last'],
  invitations: ['hash', 'text', 'expires', 'used'],
  node_invitations: ['id', 'text'],
  notices: ['member', 'entry', 'at', 'text', 'read'],
} as const satisfies { readonly [table: string]: readonly string[] };

export type SummedTable = keyof typeof summedColumns;
