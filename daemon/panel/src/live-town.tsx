/** @jsxImportSource preact */
/**
 * What every page shares: the town's status, who is signed in, the live connection,
 * and the panel's own recent actions on their way into a merge.
 */
import { createContext, type ComponentChildren } from 'preact';
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, get, path, remove } from './api.js';
import { followEvents, type Connection } from './event-stream.js';
import type { Entry, EntryState, EventKind, Recorded, Session, Status, TownEvent } from './shapes.js';

/** An action of this person, followed until a merge has judged it. */
export interface Sent {
  readonly entry: string;
  readonly label: string;
  readonly state: EntryState;
  readonly reason?: string | undefined;
}

type Handler = (event: TownEvent) => void;

export interface LiveTown {
  readonly status: Status | null;
  /** Undefined: not known yet. Null: nobody is signed in. */
  readonly session: Session | null | undefined;
  readonly connection: Connection;
  /** Grows whenever the live connection came back: what was loaded before may be out of date. */
  readonly generation: number;
  readonly sent: readonly Sent[];
  /** True: the daemon could not be reached at all when the panel opened. */
  readonly unreachable: boolean;
  signedIn(session: Session): void;
  signOut(): Promise<void>;
  reloadStatus(): void;
  /** Follows an entry this person just recorded; `label` says what it does. */
  follow(label: string, recorded: Recorded): void;
  dismiss(entry: string): void;
  on(handler: Handler): () => void;
}

const Town = createContext<LiveTown | null>(null);

/** The shared state of the panel. Only below `LiveTownProvider`. */
export function useTown(): LiveTown {
  const town = useContext(Town);
  if (town === null) throw new Error('useTown outside of LiveTownProvider');
  return town;
}

/** Calls back for live events of the given kinds. */
export function useEvents(kinds: readonly EventKind[], handler: Handler): void {
  const { on } = useTown();
  const latest = useRef(handler);
  latest.current = handler;
  const key = kinds.join();
  useEffect(() => on((event) => key.split(',').includes(event.kind) && latest.current(event)), [on, key]);
}

const sentMost = 6;
const mergedShownMs = 8_000;
const statusPauseMs = 400;

export function LiveTownProvider({ children }: { children: ComponentChildren }) {
  const [status, setStatus] = useState<Status | null>(null);
  const [session, setSession] = useState<Session | null | undefined>(undefined);
  const [connection, setConnection] = useState<Connection>('off');
  const [generation, setGeneration] = useState(0);
  const [unreachable, setUnreachable] = useState(false);
  const [sent, setSent] = useState<readonly Sent[]>([]);
  const sentNow = useRef(sent);
  sentNow.current = sent;
  const handlers = useRef(new Set<Handler>());
  const statusTimer = useRef<ReturnType<typeof setTimeout>>(undefined);

  const reloadStatus = useCallback(() => {
    clearTimeout(statusTimer.current);
    statusTimer.current = setTimeout(
      () => void get<Status>('/status').then(setStatus, () => undefined),
      statusPauseMs,
    );
  }, []);

  const dismiss = useCallback(
    (entry: string) => setSent((all) => all.filter((each) => each.entry !== entry)),
    [],
  );

  const judged = useCallback(
    (entry: Pick<Entry, 'id' | 'state' | 'reason' | 'code'>) => {
      if (entry.state === 'pending' || !sentNow.current.some((each) => each.entry === entry.id)) return;
      setSent((all) =>
        all.map((each) =>
          each.entry === entry.id
            ? { ...each, state: entry.state, reason: entry.reason ?? entry.code }
            : each,
        ),
      );
      if (entry.state === 'merged') setTimeout(() => dismiss(entry.id), mergedShownMs);
    },
    [dismiss],
  );

  /** A merge names its entries or not: those still followed are asked for one by one. */
  const askForPending = useCallback(() => {
    for (const each of sentNow.current.filter(({ state }) => state === 'pending')) {
      get<{ entry?: Entry }>(path`/ledger/show/${each.entry}`).then(
        ({ entry }) => entry && judged(entry),
        () => undefined,
      );
    }
  }, [judged]);

  const follow = useCallback(
    (label: string, { entry }: Recorded) => {
      setSent((all) =>
        [...all.filter((each) => each.entry !== entry), { entry, label, state: 'pending' as const }].slice(
          -sentMost,
        ),
      );
      reloadStatus();
    },
    [reloadStatus],
  );

  useEffect(() => {
    get<Status>('/status').then(setStatus, () => setUnreachable(true));
    get<Session>('/session').then(setSession, (error: unknown) => {
      setSession(null);
      if (error instanceof ApiError && error.code === 'unreachable') setUnreachable(true);
    });
  }, []);

  const member = session?.member;
  useEffect(() => {
    if (member === undefined) return undefined;
    let wasLost = false;
    return followEvents({
      event(event) {
        if (event.kind === 'status') setStatus(event.status);
        if (event.kind === 'entry') judged(event.entry);
        if (event.kind === 'merge') askForPending();
        if (event.kind === 'entry' || event.kind === 'merge') reloadStatus();
        for (const handler of handlers.current) handler(event);
      },
      connection(now) {
        setConnection(now);
        if (now === 'lost') wasLost = true;
        if (now !== 'open' || !wasLost) return;
        wasLost = false;
        setGeneration((count) => count + 1);
        reloadStatus();
        askForPending();
      },
      signedOut: () => setSession(null),
    });
  }, [member, judged, askForPending, reloadStatus]);

  const on = useCallback((handler: Handler) => {
    handlers.current.add(handler);
    return () => void handlers.current.delete(handler);
  }, []);

  const signOut = useCallback(async () => {
    await remove('/session').catch(() => undefined);
    setSent([]);
    setSession(null);
  }, []);

  const value = useMemo<LiveTown>(
    () => ({
      status,
      session,
      connection,
      generation,
      sent,
      unreachable,
      signedIn: setSession,
      signOut,
      reloadStatus,
      follow,
      dismiss,
      on,
    }),
    [status, session, connection, generation, sent, unreachable, signOut, reloadStatus, follow, dismiss, on],
  );
  return <Town.Provider value={value}>{children}</Town.Provider>;
}

/** Whether the person signed in may do what `permission` names. The daemon decides; this only spares dead buttons. */
export function mayDo(session: Session | null | undefined, permission: string): boolean {
  if (!session) return false;
  const [area = ''] = permission.split('.');
  const wide = ['*', `${area}.*`, permission];
  return session.roles.includes('steward') || session.permissions.some((each) => wide.includes(each));
}
