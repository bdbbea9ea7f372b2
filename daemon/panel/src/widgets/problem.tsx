/** @jsxImportSource preact */
import type { ApiError } from '../api.js';

/** A refusal in the daemon's words, with what to do next. Announced at once. */
export function Problem({ error }: { error: ApiError | null }) {
  return (
    <div role="alert">
      {error !== null && (
        <div class="notice bad">
          <p>
            <strong>{error.message}</strong> {error.advice}
          </p>
          {error.code !== 'unreachable' && <p class="small muted">code: {error.code}</p>}
        </div>
      )}
    </div>
  );
}
