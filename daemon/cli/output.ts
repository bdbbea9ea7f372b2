/** What commands print: words and tables for people, one JSON document a line for programs. */

/** Text of others (names, titles, reasons) must not steer the terminal. */
export const plain = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, ' ');

export interface Column<Row> {
  readonly head: string;
  readonly cell: (row: Row) => string | number | null | undefined;
  readonly right?: boolean;
}

/** Columns aligned by spaces; one sentence when there are no rows. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[], whenEmpty: string): string {
  if (rows.length === 0) return whenEmpty;
  const cells = rows.map((row) => columns.map((column) => plain(String(column.cell(row) ?? ''))));
  const widths = columns.map((column, index) =>
    Math.max(column.head.length, ...cells.map((line) => line[index]!.length)),
  );
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, index) =>
        columns[index]!.right ? text.padStart(widths[index]!) : text.padEnd(widths[index]!),
      )
      .join('  ')
      .trimEnd();
  return [line(columns.map((column) => column.head)), ...cells.map(line)].join('\n');
}

/** `name  value` lines, aligned. */
export function facts(pairs: readonly (readonly [string, string | number | null | undefined])[]): string {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${plain(String(value))}`).join('\n');
}

/** Enough of an id to name it among its like, as git does. */
export const short = (id: string): string => id.slice(0, 12);

export const credits = (amount: number): string => amount.toLocaleString('en');

/** Local time, to the second. */
export function time(at: number): string {
  const date = new Date(at);
  const two = (value: number): string => String(value).padStart(2, '0');
  return (
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  );
}
