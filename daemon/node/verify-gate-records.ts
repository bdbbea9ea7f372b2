/**
 * The rows that link records of the gate to the entries that carry them, held against those entries. A record that comes again is known
 * by its row; what doors show goes by it.
 */
import type { Database } from 'better-sqlite3';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { isGateRecordSeen } from '../store/archiving.js';
import { wasCut } from '../store/arrivals.js';
import type { RecordReads } from '../store/record-rows.js';
import type { GateRecordRow } from '../store/rows.js';
import { Tables } from '../store/tables.js';
import { ABOUT } from './names.js';
import type { OpenedDatabase } from './opened-database.js';
import { openRecord } from './private-records.js';
import type { Findings } from './verify-report.js';

const EVENT = 'door-access.event';

type Carrying = Pick<GateRecordRow, 'at'> & {
  readonly id: string;
  readonly type: string;
  readonly body: JsonObject;
};

/** What the row of the record in an entry should be; `id` null where the key that tells it is gone or was never here. */
const expectedOf = ({ id: entry, at, body }: Carrying, records: RecordReads) => {
  const sealed = openRecord(records, ABOUT.record, body['record'] ?? null) as { id?: unknown } | null;
  return { id: typeof sealed?.id === 'string' ? sealed.id : null, entry, at, door: String(body['door']) };
};

export class GateRecordCheck {
  private readonly rows: Map<string, GateRecordRow>;

  constructor(
    private readonly database: OpenedDatabase,
    private readonly findings: Findings,
  ) {
    const { db, read } = database;
    const sql = 'SELECT id, entry, door, at FROM gate_records';
    this.rows = new Map(read(() => db.prepare<[], GateRecordRow>(sql).all())?.map((row) => [row.entry, row]));
  }

  /** An entry of the history, or of what no merge has judged yet. */
  see(entry: Carrying): void {
    const row = this.rows.get(entry.id);
    if (row === undefined) return;
    this.rows.delete(entry.id);
    const { store, read } = this.database;
    const { id, at, door } = read(() => expectedOf(entry, store.records)) ?? row;
    if (row.at !== at || row.door !== door || (id !== null && row.id !== id))
      this.problem(row, 'It says something else than the entry that it names.');
  }

  /** Once all entries were seen. @param own this node; null where its key cannot be read */
  end(own: NodeId | null): void {
    const { db, read } = this.database;
    // A node's branch may have been cut: the record stays known, or the gate's journal would bring it again.
    if (read(() => wasCut(db)) === false)
      for (const row of this.rows.values()) this.problem(row, 'It names an entry that is not here.');
    if (own === null) return;
    for (const row of read(() => [...unknownRecords(db, this.database.store.records, own)]) ?? [])
      this.problem(row, 'An entry holds this record of the gate, and it has no row.');
  }

  private problem({ id }: GateRecordRow, what: string): void {
    this.findings.problem('database', `gate_records ${id}`, what);
  }
}

/** Records in entries of this node that have a row, for which there is none: those that were taken away as old are remembered. */
function* unknownRecords(db: Database, records: RecordReads, own: NodeId): IterableIterator<GateRecordRow> {
  const tables = new Tables(db);
  const known = db.prepare('SELECT 1 FROM gate_records WHERE id = ?');
  const sql = 'SELECT id, type, at, bytes FROM entries WHERE node = ? AND type = ?';
  for (const { bytes, ...entry } of db.prepare<[string, string], EventRow>(sql).all(own, EVENT)) {
    const { body } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { body: JsonObject };
    const { id, ...row } = expectedOf({ ...entry, body }, records);
    if (id !== null && known.get(id) === undefined && !isGateRecordSeen(id, tables))
      yield { id, ...row } as GateRecordRow;
  }
}

interface EventRow extends Pick<GateRecordRow, 'at'> {
  readonly id: string;
  readonly type: string;
  readonly bytes: Uint8Array;
}

/**
 * Sets the rows right by the entries, in a database that has a row for each entry of the history. Rows of entries that are lost go: the
 * gate may bring those records again.
 */
export function mendGateRecords(db: Database, records: RecordReads, own: NodeId): void {
  const tables = new Tables(db);
  db.transaction(() => {
    tables.run('DELETE FROM gate_records WHERE entry NOT IN (SELECT id FROM entries)');
    const sql =
      'SELECT g.id AS record, g.door, g.at AS since, e.id, e.type, e.at, e.bytes FROM gate_records AS g JOIN entries AS e ON e.id = g.entry';
    type Linked = EventRow & { readonly record: string; readonly door: string; readonly since: number };
    for (const { record, door, since, bytes, ...entry } of tables.all(sql) as Linked[]) {
      const { body } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { body: JsonObject };
      const expected = expectedOf({ ...entry, body }, records);
      const id = expected.id ?? record;
      if (id === record && door === expected.door && since === expected.at) continue;
      tables.run('DELETE FROM gate_records WHERE id = ?', record);
      tables.put('gate_records', { ...expected, id }, 'ON CONFLICT DO NOTHING');
    }
    for (const row of [...unknownRecords(db, records, own)])
      tables.put('gate_records', { ...row }, 'ON CONFLICT DO NOTHING');
  })();
}
