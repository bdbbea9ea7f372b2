/**
 * The bytes that the database holds of the ledger, asked for by what they are in git. Nothing else of the schema is used, and
 * what cannot be read is not there: for verification and repair of a database that may be damaged.
 */
import type { Database } from 'better-sqlite3';
import type { GitObject } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import type { Oid, Sha256 } from '../ledger/ids.js';
import { nothingArchived, type ArchivedSum } from './archiving.js';
import { gitHash } from './database.js';

export class LedgerRows {
  constructor(private readonly db: Database) {}

  /** A staged object whose bytes have that name. */
  staged(oid: Oid): GitObject | null {
    const row = this.one<GitObject>('SELECT oid, type, data FROM objects WHERE oid = ?', oid);
    return row !== null && gitHash(row.data, row.type) === oid ? row : null;
  }

  /** Everything staged whose bytes have their name; a few MiB at most, as the repository takes it soon. */
  stagedAll(): readonly GitObject[] {
    return this.all<GitObject>('SELECT oid, type, data FROM objects ORDER BY seq').filter(
      ({ oid, type, data }) => gitHash(data, type) === oid,
    );
  }

  /** Whether pages of the file are damaged, so that rows may be missing without a trace. */
  isDamaged(): boolean {
    try {
      return this.db.pragma('quick_check(1)', { simple: true }) !== 'ok';
    } catch {
      return true;
    }
  }

  meta(key: string): string | null {
    return this.one<{ value: string }>('SELECT value FROM meta WHERE key = ?', key)?.value ?? null;
  }

  /** The raw commit of a block or merge, if its bytes have that name. */
  commit(oid: Oid): Uint8Array | null {
    for (const table of ['blocks', 'merges']) {
      const row = this.one<{ raw: Uint8Array }>(`SELECT raw FROM ${table} WHERE oid = ?`, oid);
      if (row !== null && gitHash(row.raw, 'commit') === oid) return row.raw;
    }
    return null;
  }

  /** The texts of a block's entries in their order; none where one does not have its id (or is not here any more). */
  entriesOfBlock(block: Sha256): readonly string[] {
    const rows = this.all<{ id: string; bytes: Uint8Array }>(
      'SELECT id, bytes FROM entries WHERE block = ? ORDER BY idx',
      block,
    );
    return rows.every(({ id, bytes }) => sha256(bytes) === id)
      ? rows.map(({ bytes }) => Buffer.from(bytes).toString('utf8'))
      : [];
  }

  certificate(height: number): string | null {
    return this.one<{ text: string }>('SELECT text FROM certificates WHERE height = ?', height)?.text ?? null;
  }

  ref(name: string): Oid | null {
    return this.one<{ oid: Oid }>('SELECT oid FROM refs WHERE name = ?', name)?.oid ?? null;
  }

  refs(): readonly { readonly name: string; readonly oid: Oid }[] {
    return this.all('SELECT name, oid FROM refs ORDER BY name');
  }

  /** Blocks that no merge has folded in. */
  unmergedBlocks(): readonly { readonly id: Sha256; readonly oid: Oid; readonly raw: Uint8Array }[] {
    return this.all('SELECT id, oid, raw FROM blocks WHERE height IS NULL ORDER BY node, line, seq');
  }

  blockOid(id: Sha256): Oid | null {
    return this.one<{ oid: Oid }>('SELECT oid FROM blocks WHERE id = ?', id)?.oid ?? null;
  }

  /** Entries that stand in no block. */
  unblockedEntries(): readonly { readonly id: string; readonly bytes: Uint8Array }[] {
    return this.all('SELECT id, bytes FROM entries WHERE block IS NULL ORDER BY row');
  }

  /** Entries that merges have judged, as the blocks' rows count them; 0 where that cannot be read. */
  mergedEntries(): number {
    const sql = 'SELECT coalesce(sum(entries), 0) AS n FROM blocks WHERE height IS NOT NULL';
    return this.one<{ n: number }>(sql)?.n ?? 0;
  }

  /** Entries of which only the archive knows. */
  archivedEntries(): ArchivedSum {
    // In halves: the sum of whole numbers would leave the 64 bits.
    const sql =
      'SELECT count(*) AS n, coalesce(sum(id >> 32), 0) AS high, coalesce(sum(id & 0xffffffff), 0) AS low FROM archived';
    try {
      const row = this.db.prepare(sql).safeIntegers().get() as { n: bigint; high: bigint; low: bigint };
      return { count: Number(row.n), ids: BigInt.asUintN(64, (row.high << 32n) + row.low) };
    } catch {
      return nothingArchived;
    }
  }

  private one<T>(sql: string, ...values: unknown[]): T | null {
    try {
      return (this.db.prepare(sql).get(...values) as T | undefined) ?? null;
    } catch {
      return null;
    }
  }

  private all<T>(sql: string, ...values: unknown[]): T[] {
    try {
      return this.db.prepare(sql).all(...values) as T[];
    } catch {
      return [];
    }
  }
}
