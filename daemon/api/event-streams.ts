/** The town's events, live, to a bounded number of listeners who are dropped rather than waited for. */
import type { ServerResponse } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { TownError } from '../ledger/ids.js';
import type { SessionView, TownEvent, TownNode } from '../node/use-cases.js';
import type { Problem } from './errors.js';
import { seenBy } from './event-sight.js';

export interface EventStreamLimits {
  /** Listeners at once, and of one session. */
  readonly clients: number;
  readonly clientsPerSession: number;
  /** What may wait for one listener before it is dropped. */
  readonly bufferBytes: number;
  readonly heartbeatMs: number;
  /** How long a listener that was told to go may take to read that. */
  readonly partingMs: number;
}

export const eventStreamLimits: EventStreamLimits = {
  clients: 64,
  clientsPerSession: 8,
  bufferBytes: 256 * 1024,
  heartbeatMs: 15_000,
  partingMs: 1_000,
};

interface Listener {
  readonly response: ServerResponse;
  readonly token: string;
  session: SessionView;
}

/** One event as server-sent events write it. JSON has no raw line breaks, so one `data:` line holds it. */
const frame = (event: string, data: unknown): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

export class EventStreams {
  readonly #listeners = new Set<Listener>();
  #unsubscribe: (() => void) | null = null;
  #heart: NodeJS.Timeout | null = null;

  constructor(
    readonly node: TownNode,
    readonly log: FastifyBaseLogger,
    readonly limits: EventStreamLimits,
  ) {}

  get count(): number {
    return this.#listeners.size;
  }

  /** Throws `TownError('too-many-streams')` when the session or the daemon has as many listeners as it may have. */
  assertRoomFor(token: string): void {
    let own = 0;
    for (const listener of this.#listeners) if (listener.token === token) own += 1;
    if (this.#listeners.size < this.limits.clients && own < this.limits.clientsPerSession) return;
    throw new TownError(
      'too-many-streams',
      own >= this.limits.clientsPerSession
        ? `This session already follows the events ${own} times.`
        : `${this.limits.clients} listeners follow the events already.`,
      'Close a tab that shows the panel and try again.',
    );
  }

  /** Takes over a response: writes its head and the present status, then events until either side ends it. */
  open(response: ServerResponse, headers: Record<string, string>, token: string, session: SessionView): void {
    const listener: Listener = { response, token, session };
    // One socket a stream, so that ending the stream also ends its connection.
    response.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      connection: 'close',
    });
    response.on('close', () => this.#forget(listener));
    response.on('error', () => this.#forget(listener));
    this.#listeners.add(listener);
    this.#start();
    response.write('retry: 2000\n\n');
    this.#send(listener, frame('status', { kind: 'status', status: this.node.status() }));
  }

  /** Ends the streams of a session that signed out. */
  endSession(token: string): void {
    for (const listener of [...this.#listeners])
      if (listener.token === token)
        this.#part(listener, { code: 'signed-out', message: 'The session has ended.' });
  }

  /** Ends every stream; each is told. */
  close(): void {
    for (const listener of [...this.#listeners])
      this.#part(listener, { code: 'stopping', message: 'The daemon is stopping.' });
  }

  #start(): void {
    this.#unsubscribe ??= this.node.subscribe((event) => this.#broadcast(event));
    this.#heart ??= setInterval(() => this.#beat(), this.limits.heartbeatMs).unref();
  }

  #forget(listener: Listener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    if (this.#heart) clearInterval(this.#heart);
    this.#heart = null;
  }

  #broadcast(event: TownEvent): void {
    // Most listeners see the same: each version is written out once.
    const written = new Map<string, string>();
    for (const listener of [...this.#listeners]) {
      if (event.kind === 'entry' || event.kind === 'merge') this.#lookAgain(listener);
      const seen = seenBy(listener.session, event);
      if (seen === null) continue;
      const version = `${listener.session.member} ${listener.session.permissions.join(' ')}`;
      const text = written.get(version) ?? frame(seen.kind, seen);
      written.set(version, text);
      this.#send(listener, text);
    }
  }

  /** What changes the ledger may have changed what this listener may know. */
  #lookAgain(listener: Listener): void {
    listener.session = this.node.session(listener.token, true) ?? listener.session;
  }

  #send(listener: Listener, text: string): void {
    listener.response.write(text);
    if (listener.response.writableLength <= this.limits.bufferBytes) return;
    this.log.warn({ waiting: listener.response.writableLength }, 'an event listener cannot keep up: dropped');
    this.#part(listener, {
      code: 'too-slow',
      message: 'Events came faster than they were read.',
      advice: 'Connect again and read the present state.',
    });
  }

  #beat(): void {
    for (const listener of [...this.#listeners]) {
      // Asking for a session keeps it alive, so it is asked for only when it may have ended.
      if (Date.now() > listener.session.expiresAt) {
        const session = this.node.session(listener.token);
        if (session === null) {
          this.#part(listener, { code: 'signed-out', message: 'The session has ended.' });
          continue;
        }
        listener.session = session;
      }
      this.#send(listener, ': heartbeat\n\n');
    }
  }

  #part(listener: Listener, problem: Problem): void {
    this.#forget(listener);
    const { response } = listener;
    response.end(frame('error', { error: problem }));
    const timer = setTimeout(() => response.destroy(), this.limits.partingMs).unref();
    response.once('close', () => clearTimeout(timer));
  }
}
