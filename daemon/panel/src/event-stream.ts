/**
 * The live connection: follows GET /api/events for as long as somebody is signed in,
 * and comes back by itself, with longer and longer pauses, when it is lost.
 */
import type { EventKind, TownEvent } from './shapes.js';
import { sseParser } from './sse-parser.js';

export type Connection = 'off' | 'connecting' | 'open' | 'lost';

const pauseFirstMs = 1_000;
const pauseMostMs = 30_000;
/** Nothing heard for this long, heartbeats included: the connection is dead even if nobody said so. */
const silenceMaxMs = 70_000;

const kinds: ReadonlySet<string> = new Set<EventKind>([
  'door',
  'strike',
  'enrol',
  'entry',
  'merge',
  'nodes',
  'notice',
  'status',
]);

export interface StreamListener {
  event(event: TownEvent): void;
  connection(connection: Connection): void;
  /** The daemon no longer knows this session. */
  signedOut(): void;
}

/** The pause before the n-th try (from 0): 1, 2, 4 … 30 seconds. */
export const pauseBefore = (tries: number): number => Math.min(pauseFirstMs * 2 ** tries, pauseMostMs);

/** Starts following; returns how to stop. */
export function followEvents(listener: StreamListener): () => void {
  let stopped = false;
  let tries = 0;
  let attempt = new AbortController();
  let wake: () => void = () => undefined;

  const onceWoken = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const retryNow = () => {
    if (document.visibilityState === 'visible') wake();
  };

  async function run() {
    listener.connection('connecting');
    while (!stopped) {
      attempt = new AbortController();
      try {
        await readStream(attempt, listener, () => (tries = 0));
      } catch {
        // Whatever ended it: what counts is that it ended.
      }
      if (stopped) return;
      listener.connection('lost');
      await onceWoken(pauseBefore(tries));
      tries += 1;
    }
  }

  addEventListener('online', retryNow);
  document.addEventListener('visibilitychange', retryNow);
  void run();
  return () => {
    stopped = true;
    attempt.abort();
    wake();
    removeEventListener('online', retryNow);
    document.removeEventListener('visibilitychange', retryNow);
    listener.connection('off');
  };
}

async function readStream(
  attempt: AbortController,
  listener: StreamListener,
  opened: () => void,
): Promise<void> {
  let silence = setTimeout(() => attempt.abort(), silenceMaxMs);
  try {
    const response = await fetch('/api/events', {
      headers: { accept: 'text/event-stream' },
      credentials: 'same-origin',
      cache: 'no-store',
      signal: attempt.signal,
    });
    if (response.status === 401) return listener.signedOut();
    if (!response.ok || response.body === null) return;
    opened();
    listener.connection('open');
    const parse = sseParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => attempt.abort(), silenceMaxMs);
      for (const message of parse(value)) {
        if (kinds.has(message.event)) listener.event(JSON.parse(message.data) as TownEvent);
      }
    }
  } finally {
    clearTimeout(silence);
  }
}
