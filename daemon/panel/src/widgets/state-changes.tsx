/** @jsxImportSource preact */
import type { Explained } from '../shapes.js';

/** What an entry or a merge changed in the state: each place, before and after. */
export function StateChanges({ explained, of }: { explained: Explained; of: 'entry' | 'merge' }) {
  const { changes, more } = explained;
  return (
    <section class="card" aria-labelledby="changed">
      <h2 id="changed">What it changed</h2>
      {changes === null && <p class="empty">That cannot be told here for this {of}.</p>}
      {changes?.length === 0 && <p>Nothing in the state of the town.</p>}
      {changes !== null && changes.length > 0 && (
        <dl class="changes">
          {changes.map(({ path, before, after }) => (
            <div key={path}>
              <dt>
                <code>{path}</code>
              </dt>
              <dd>
                <Value text={before} /> <span aria-label="became">→</span> <Value text={after} />
              </dd>
            </div>
          ))}
        </dl>
      )}
      {more > 0 && <p class="small muted">… and {more} more.</p>}
    </section>
  );
}

const Value = ({ text }: { text: string | null }) =>
  text === null ? <span class="muted">nothing</span> : <code>{text}</code>;
