/** The gate's Unix socket: one daemon at a time, the newest that says hello; bounded lines, buffers and waits. */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { TownError } from '../ledger/ids.js';
import type { Gate } from './gate.js';
import { LineReader } from './line-reader.js';
import type { Outbox } from './outbox.js';
import { parseToGate, refOf } from './parse.js';
import type { FromGate, GateRecord, ToGate } from './shapes.js';

const connectionsMax = 8;
const helloWaitMs = 5_000;
/** Records wait while more than this is unread by the daemon; news is dropped; beyond the second the connection ends. */
const unreadBytesSoft = 256 * 1024;
const unreadBytesHard = 4 * 1024 * 1024;

export interface ServerEvents {
  readonly hello: () => Extract<FromGate, { t: 'hello' }>;
  /** The daemon came or went. */
  readonly presence: (here: boolean) => void;
  /** The daemon sends the gate home. */
  readonly stop: () => Promise<void>;
}

export class GateServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #daemon: Socket | null = null;

  constructor(
    private readonly gate: Gate,
    private readonly outbox: Outbox,
    private readonly events: ServerEvents,
  ) {
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = connectionsMax;
  }

  /** Listens at `path` (mode 600). What a dead gate left there is replaced: the caller holds the folder's lock. */
  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  }

  /** Live news to the daemon, if it is there and reads. */
  tell(message: FromGate): void {
    const daemon = this.#daemon;
    if (daemon !== null && daemon.writableLength <= unreadBytesSoft) write(daemon, message);
  }

  /** A record to the daemon; false: not now. */
  send(record: GateRecord): boolean {
    const daemon = this.#daemon;
    if (daemon === null || daemon.writableLength > unreadBytesSoft) return false;
    write(daemon, { t: 'record', record });
    return true;
  }

  /** Ends all connections and stops listening. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroySoon();
    await closed;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const lines = new LineReader();
    const waitForHello = setTimeout(() => socket.destroy(), helloWaitMs);
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.destroySoon());
    socket.on('close', () => {
      clearTimeout(waitForHello);
      this.#sockets.delete(socket);
      if (this.#daemon === socket) this.#lost();
    });
    socket.on('drain', () => {
      if (this.#daemon === socket) this.outbox.pump();
    });
    socket.on('data', (chunk) => {
      try {
        for (const line of lines.push(chunk)) {
          if (socket.destroyed || !socket.writable) return;
          const message = understood(socket, line);
          if (message === null) continue;
          if (message.t === 'hello') {
            clearTimeout(waitForHello);
            this.#welcome(socket);
          } else this.#take(socket, message);
        }
      } catch (error) {
        // One line that cannot be understood says the rest cannot be trusted: the sender may connect again.
        socket.removeAllListeners('data');
        socket.resume();
        write(socket, failure(0, error));
        socket.destroySoon();
      }
    });
    write(socket, this.events.hello());
  }

  #welcome(socket: Socket): void {
    const before = this.#daemon;
    if (before === socket) return;
    if (before !== null) {
      this.#lost();
      write(before, {
        t: 'failed',
        ref: 0,
        code: 'replaced',
        message: 'A newer daemon has connected to this gate.',
      });
      before.destroySoon();
    }
    this.#daemon = socket;
    this.events.presence(true);
    this.outbox.connected();
  }

  #lost(): void {
    this.#daemon = null;
    this.events.presence(false);
    this.outbox.lost();
  }

  #take(socket: Socket, message: Exclude<ToGate, { t: 'hello' }>): void {
    if (socket !== this.#daemon)
      throw new TownError(
        'hello-first',
        'The first message of a daemon is hello, and an older one is not heard any more.',
      );
    if (message.t === 'ack') {
      this.outbox.acked(message.ids);
      return;
    }
    const { ref } = message;
    this.#answer(message).then(
      (record) => write(socket, record === undefined ? { t: 'done', ref } : { t: 'done', ref, record }),
      (error: unknown) => write(socket, failure(ref, error)),
    );
  }

  async #answer(message: Exclude<ToGate, { t: 'hello' | 'ack' }>): Promise<GateRecord | undefined> {
    switch (message.t) {
      case 'config':
        await this.gate.configure(message.config);
        return undefined;
      case 'rights':
        await this.gate.setRights(message.table);
        return undefined;
      case 'tap':
        return await this.gate.tap(message.door, message.badgeNumber);
      case 'open':
        return this.gate.open(message.door, message.by);
      case 'stop':
        await this.events.stop();
        return undefined;
    }
  }
}

/** A message that cannot be used but says where the answer goes is answered; any other ends the connection. */
function understood(socket: Socket, line: string): ToGate | null {
  try {
    return parseToGate(line);
  } catch (error) {
    const ref = refOf(line);
    if (ref === null) throw error;
    write(socket, failure(ref, error));
    return null;
  }
}

function write(socket: Socket, message: FromGate): void {
  if (!socket.writable) return;
  if (socket.writableLength > unreadBytesHard) {
    // A daemon that has stopped reading is as good as gone; it may connect again.
    socket.destroy();
    return;
  }
  socket.write(JSON.stringify(message) + '\n');
}

function failure(ref: number, error: unknown): FromGate {
  const code = error instanceof TownError ? error.code : 'gate-failed';
  const advice = error instanceof TownError && error.advice !== undefined ? ` ${error.advice}` : '';
  const message = error instanceof Error ? error.message : String(error);
  return { t: 'failed', ref, code, message: (message + advice).slice(0, 2000) };
}
