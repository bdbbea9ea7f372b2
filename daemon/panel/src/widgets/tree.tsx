/** @jsxImportSource preact */
/** Any JSON as nested lists that people can read. */

const isPlain = (value: unknown): boolean => typeof value !== 'object' || value === null;

/** Shown on the line of its name: a list of plain values, or nothing at all. */
const isList = (value: unknown): boolean =>
  Array.isArray(value) ? value.every(isPlain) : Object.keys(value as object).length === 0;

const plainText = (value: unknown): string => {
  if (value === null) return 'none';
  if (value === true) return 'yes';
  if (value === false) return 'no';
  return String(value);
};

/** `rateWindowMs: 604800000` → "7 days": long times are not for reading in milliseconds. */
function timeInWords(name: string, value: unknown): string | null {
  if (!name.endsWith('Ms') || typeof value !== 'number') return null;
  const units = [
    [86_400_000, 'day'],
    [3_600_000, 'hour'],
    [60_000, 'minute'],
    [1_000, 'second'],
  ] as const;
  for (const [size, word] of units) {
    if (value >= size && value % size === 0) return `${value / size} ${word}${value === size ? '' : 's'}`;
  }
  return `${value} ms`;
}

export function Tree({ value, name = '' }: { value: unknown; name?: string }) {
  if (isPlain(value)) return <span class="leaf">{timeInWords(name, value) ?? plainText(value)}</span>;
  if (Array.isArray(value)) {
    if (value.length === 0) return <span class="leaf">none</span>;
    if (value.every(isPlain)) return <span class="leaf">{value.map(plainText).join(', ')}</span>;
    return (
      <ol class="tree">
        {value.map((each, at) => (
          <li key={at}>
            <Tree value={each} />
          </li>
        ))}
      </ol>
    );
  }
  // What a thing is called says most about it.
  const fields = Object.entries(value as object).sort(
    ([a], [b]) => Number(b === 'name') - Number(a === 'name'),
  );
  if (fields.length === 0) return <span class="leaf">none</span>;
  return (
    <dl class="tree">
      {fields.map(([field, each]) => (
        <div key={field} class={isPlain(each) || isList(each) ? 'flat' : ''}>
          <dt>{field}</dt>
          <dd>
            <Tree value={each} name={field} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
