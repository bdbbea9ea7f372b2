/** @jsxImportSource preact */
import { ago, dateTime } from '../format.js';
import { useNow } from '../loading.js';

/** "3 minutes ago", with the exact time to hand. Not a live region: it would never be silent. */
export function TimeAgo({ at }: { at: number }) {
  const now = useNow(5_000);
  return (
    <time dateTime={new Date(at).toISOString()} title={dateTime(at)}>
      {ago(at, Math.max(now, at))}
    </time>
  );
}
