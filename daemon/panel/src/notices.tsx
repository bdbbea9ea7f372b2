/** @jsxImportSource preact */
/** What the member who is signed in is told: loaded once for the whole panel, anew with each that comes. */
import { createContext, type ComponentChildren } from 'preact';
import { useContext, useMemo } from 'preact/hooks';
import { post } from './api.js';
import { useTown } from './live-town.js';
import { useAction, useLoaded, type Action } from './loading.js';
import type { Notice, Notices } from './shapes.js';

export interface OwnNotices {
  /** Newest first. */
  readonly items: readonly Notice[];
  readonly unread: number;
  /** Marks everything that is shown as read. */
  readonly read: Action<[]>;
}

const Own = createContext<OwnNotices | null>(null);

/** The notices of who is signed in. Only below `NoticesProvider`. */
export function useNotices(): OwnNotices {
  const notices = useContext(Own);
  if (notices === null) throw new Error('useNotices outside of NoticesProvider');
  return notices;
}

const none: readonly Notice[] = [];

export function NoticesProvider({ children }: { children: ComponentChildren }) {
  const { session } = useTown();
  // Another member has other notices: their own state, from the start.
  return (
    <Loaded key={session?.member ?? ''} signedIn={Boolean(session)}>
      {children}
    </Loaded>
  );
}

function Loaded({ signedIn, children }: { signedIn: boolean; children: ComponentChildren }) {
  const loaded = useLoaded<Notices>(signedIn ? '/notices' : null, ['notice', 'merge']);
  const items = loaded.value?.items ?? none;
  const unread = loaded.value?.unread ?? 0;
  const newest = items[0]?.id;
  const { run, busy, error, clear } = useAction(async () => {
    if (newest === undefined) return;
    await post('/notices/read', { upTo: newest });
    loaded.reload();
  });
  const value = useMemo(
    () => ({ items, unread, read: { run, busy, error, clear } }),
    [items, unread, run, busy, error, clear],
  );
  return <Own.Provider value={value}>{children}</Own.Provider>;
}
