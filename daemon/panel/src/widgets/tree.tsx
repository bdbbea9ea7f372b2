/** @jsxImportSource preact */
/** Any JSON as nested lists that people can read. */

const isPlain = (value: unknown): boolean => typeof value !== 'object' || value === null;

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
  const fields = Object.entries(value as object);
  if (fields.length === 0) return <span class="leaf">none</span>;
  return (
    <dl class="tree">
      {fields.map(([field, each]) => (
        <div key={field} class={isPlain(each) || Array.isArray(each) ? 'flat' : ''}>
          <dt>{field}</dt>
          <dd>
            <Tree value={each} name={field} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
