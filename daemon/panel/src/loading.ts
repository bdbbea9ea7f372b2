/** Loading what a page shows, keeping it fresh, and running what a person asks for. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, get } from './api.js';
import { useEvents, useTown } from './live-town.js';
import type { EventKind } from './shapes.js';

export interface Loaded<T> {
  readonly value: T | null;
  readonly error: ApiError | null;
  reload(): void;
}

/** Live events come in bursts: one reload answers them all. */
const gatherMs = 150;

const asApiError = (error: unknown): ApiError =>
  error instanceof ApiError
    ? error
    : new ApiError(0, 'panel', 'The panel made a mistake.', 'Reload the page.');

/** Loads `at` (below `/api`; null: nothing), and again after live events of `kinds` and when the connection comes back. */
export function useLoaded<T>(at: string | null, kinds: readonly EventKind[] = []): Loaded<T> {
  const { generation } = useTown();
  const [state, setState] = useState<{ at: string | null; value: T | null; error: ApiError | null }>({
    at,
    value: null,
    error: null,
  });
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const asked = useRef(0);

  const reload = useCallback(() => {
    if (at === null) return;
    asked.current += 1;
    const mine = asked.current;
    get<T>(at).then(
      (value) => mine === asked.current && setState({ at, value, error: null }),
      (error: unknown) =>
        mine === asked.current &&
        setState((old) => ({ at, value: old.at === at ? old.value : null, error: asApiError(error) })),
    );
  }, [at]);

  useEffect(() => {
    reload();
    return () => {
      // Answers that come after the page has gone are nobody's.
      asked.current += 1;
      clearTimeout(timer.current);
    };
  }, [reload, generation]);

  useEvents(kinds, () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(reload, gatherMs);
  });

  return { value: state.at === at ? state.value : null, error: state.error, reload };
}

export interface Action<Args extends readonly unknown[]> {
  run(...args: Args): Promise<boolean>;
  readonly busy: boolean;
  readonly error: ApiError | null;
  clear(): void;
}

/** One thing a person can ask for: busy while it runs, and its refusal kept to be shown. `run` tells whether it worked. */
export function useAction<Args extends readonly unknown[]>(
  work: (...args: Args) => Promise<void>,
): Action<Args> {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const running = useRef(false);
  const latest = useRef(work);
  latest.current = work;

  const run = useCallback(async (...args: Args) => {
    if (running.current) return false;
    running.current = true;
    setBusy(true);
    setError(null);
    try {
      await latest.current(...args);
      return true;
    } catch (failure) {
      setError(asApiError(failure));
      return false;
    } finally {
      running.current = false;
      setBusy(false);
    }
  }, []);

  return { run, busy, error, clear: useCallback(() => setError(null), []) };
}

/** The time, at most `everyMs` old, for "3 minutes ago" and countdowns. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
