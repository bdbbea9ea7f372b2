/**
 * Takes out of a damaged database what only it had: every row, of the tables that no history gives back, that is as it was
 * written. Row by row from both ends of a table, so that a bad page costs what stands on it.
 */
import Database from 'better-sqlite3';
import { registerRowSum, rowSum, summedColumns, type SummedTable, type Value } from './row-sums.js';

/** Tables that the history gives back. */
const derived = new Set<string>([
  ...[
    'entries',
    'blocks',
    'merges',
    'certificates',
    'refs',
    'state',
    'branches',
    'archived_blocks',
    'objects',
  ],
]);
/** What the rebuilding wrote itself. */
const rowsMax = 10_000_000;

/**
 * @param file the damaged database; opened to read, and left as it is
 * @param fresh the new one; rows that it has already are replaced
 * @returns how many rows came over, and the tables (with the rows' keys, where they can be read) that lost some
 */
export function salvageRows(
  file: string,
  fresh: Database.Database,
): { readonly rows: number; readonly lost: readonly string[] } {
  registerRowSum(fresh);
  const tables = (Object.keys(summedColumns) as SummedTable[]).filter((table) => !derived.has(table));
  let old: Database.Database;
  try {
    old = new Database(file, { readonly: true, fileMustExist: true });
    old.prepare('SELECT count(*) FROM sqlite_schema').get();
  } catch (error) {
    return { rows: 0, lost: tables.map((table) => `${table}: all of it (${(error as Error).message})`) };
  }
  let rows = 0;
  const lost: string[] = [];
  try {
    for (const table of tables) {
      const found = salvageTable(old, fresh, table);
      rows += found.rows;
      lost.push(...found.lost.map((what) => `${table}: ${what}`));
    }
  } finally {
    old.close();
  }
  return { rows, lost };
}

function salvageTable(
  old: Database.Database,
  fresh: Database.Database,
  table: SummedTable,
): { readonly rows: number; readonly lost: readonly string[] } {
  const columns: readonly string[] = summedColumns[table];
  const lost: string[] = [];
  const names = [...columns, 'sum'];
  // Running numbers go along, where a table has them: others refer to them.
  const key = fresh
    .prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 AND upper(type) = 'INTEGER'")
    .pluck()
    .all(table) as string[];
  const all = [...new Set([...names, ...(key.length === 1 ? key : [])])];
  const put = fresh.prepare(
    `INSERT OR REPLACE INTO "${table}" (${all.join(', ')}) VALUES (${all.map(() => '?').join(', ')})`,
  );
  const seen = new Set<string>();
  const write = fresh.transaction((list: readonly Value[][]) => {
    for (const row of list) put.run(...row);
  });
  let rows = 0;
  for (const order of ['ASC', 'DESC'] as const) {
    const good: Value[][] = [];
    let whole = false;
    try {
      const order0 = key.length === 1 ? (key[0] as string) : columns[0];
      const sql = `SELECT ${all.join(', ')} FROM "${table}" ORDER BY ${order0} ${order} LIMIT ${rowsMax}`;
      for (const row of old.prepare(sql).raw().iterate() as IterableIterator<Value[]>) {
        const sum = rowSum(...row.slice(0, columns.length));
        const name = sum.toString('hex') + String(row[names.length] ?? '');
        if (seen.has(name)) continue;
        seen.add(name);
        if (sum.equals(Buffer.from(row[columns.length] as Uint8Array))) good.push(row);
        else lost.push(`the row ${String(row[0]).slice(0, 40)} is not as it was written`);
      }
      whole = true;
    } catch (error) {
      if (order === 'ASC') lost.push(`rows that cannot be read (${(error as Error).message})`);
    }
    write(good);
    rows += good.length;
    if (whole) break;
  }
  return { rows, lost };
}
