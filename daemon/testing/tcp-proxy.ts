/**
 * A TCP way to a server, on loopback in the test's own process, that can be cut and healed: what a pulled cable, a router that
 * is switched off, or a slow link does to a node. The product has no fault switch; this is the tests' and the demo's.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

const HOST = '127.0.0.1';
const CONNECTIONS_MAX = 256;
/** What one direction of one connection may hold while it is frozen or slow; then the sender is no longer read. */
const HELD_BYTES_MAX = 1024 * 1024;

/** `up`: from the client to the server; `down`: the way back. */
export type Direction = 'up' | 'down';

interface Held {
  readonly dueAt: number;
  readonly chunk: Buffer;
}

/** What a proxy does to the bytes of one direction just now. */
interface Weather {
  frozen: boolean;
  delayMs: number;
}

/** One direction of one connection: bytes in order, later or not at all; its end is seen only when they have passed. */
class Flow {
  readonly #held: Held[] = [];
  #bytes = 0;
  #ended = false;
  #blocked = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly from: Socket,
    private readonly to: Socket,
    private readonly weather: Weather,
  ) {
    from.on('data', (chunk: Buffer) => {
      this.#held.push({ dueAt: Date.now() + weather.delayMs, chunk });
      this.#bytes += chunk.length;
      if (this.#bytes >= HELD_BYTES_MAX) from.pause();
      this.pass();
    });
    to.on('drain', () => {
      this.#blocked = false;
      this.pass();
    });
    from.on('close', () => {
      this.#ended = true;
      this.pass();
    });
  }

  /** Passes on what is due. */
  pass(): void {
    if (this.weather.frozen || this.#blocked || this.to.destroyed) return;
    for (let next = this.#held[0]; next !== undefined && !this.#blocked; next = this.#held[0]) {
      const waitMs = next.dueAt - Date.now();
      if (waitMs > 0) return this.#later(waitMs);
      this.#held.shift();
      this.#bytes -= next.chunk.length;
      if (this.#bytes < HELD_BYTES_MAX && this.from.isPaused()) this.from.resume();
      this.#blocked = !this.to.write(next.chunk);
    }
    if (this.#ended && this.#held.length === 0) this.to.end(() => this.to.destroy());
  }

  #later(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.pass();
    }, ms);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#held.length = 0;
  }
}

interface Connection {
  readonly client: Socket;
  /** Null until the server is dialled: not while the way is frozen. */
  server: Socket | null;
  flows: readonly Flow[];
}

export class TcpProxy {
  readonly #connections = new Set<Connection>();
  readonly #weather: Readonly<Record<Direction, Weather>> = {
    up: { frozen: false, delayMs: 0 },
    down: { frozen: false, delayMs: 0 },
  };
  readonly #listener: Server;
  #refusing = false;
  #port = 0;

  private constructor(private targetPort: number) {
    this.#listener = createServer({ allowHalfOpen: false }, (client) => this.#take(client));
  }

  /** Opens a way to a port of loopback. */
  static async open(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    proxy.#listener.listen(0, HOST);
    await once(proxy.#listener, 'listening');
    proxy.#port = (proxy.#listener.address() as AddressInfo).port;
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** New connections go to another port: a broker that was started again elsewhere. */
  retarget(port: number): void {
    this.targetPort = port;
  }

  /** Resets every connection and refuses new ones, as a board does whose network is switched off. Seen at once. */
  cut(): void {
    this.#refusing = true;
    for (const connection of [...this.#connections]) this.#drop(connection);
  }

  /**
   * Lets no byte through in one direction or both, and swallows new connections, as a pulled cable does: neither side is told.
   * What was sent meanwhile passes when it heals, unless the sides have given the connection up.
   */
  freeze(direction: Direction | 'both' = 'both'): void {
    for (const each of ['up', 'down'] as const)
      if (direction === 'both' || direction === each) this.#weather[each].frozen = true;
  }

  /** Everything new takes this long in each direction, in milliseconds; 0: at once. */
  delay(ms: number): void {
    this.#weather.up.delayMs = ms;
    this.#weather.down.delayMs = ms;
  }

  /** Takes every cut and freeze back; a delay stays. */
  heal(): void {
    this.#refusing = false;
    this.#weather.up.frozen = false;
    this.#weather.down.frozen = false;
    for (const connection of [...this.#connections]) {
      if (connection.server === null) this.#dial(connection);
      for (const flow of connection.flows) flow.pass();
    }
  }

  async close(): Promise<void> {
    this.cut();
    if (!this.#listener.listening) return;
    this.#listener.close();
    await once(this.#listener, 'close');
  }

  #take(client: Socket): void {
    client.on('error', () => undefined);
    if (this.#refusing || this.#connections.size >= CONNECTIONS_MAX) return void client.resetAndDestroy();
    client.setNoDelay(true);
    const connection: Connection = { client, server: null, flows: [] };
    this.#connections.add(connection);
    // Nobody has heard of a connection that was never dialled: it may go as it came.
    client.once('close', () => {
      if (connection.server === null) this.#connections.delete(connection);
    });
    if (!this.#weather.up.frozen && !this.#weather.down.frozen) this.#dial(connection);
  }

  #dial(connection: Connection): void {
    const { client } = connection;
    const server = connect(this.targetPort, HOST);
    server.setNoDelay(true);
    server.on('error', () => undefined);
    connection.server = server;
    connection.flows = [
      new Flow(client, server, this.#weather.up),
      new Flow(server, client, this.#weather.down),
    ];
    for (const socket of [client, server])
      socket.once('close', () => {
        if (client.destroyed && server.destroyed) this.#drop(connection);
      });
  }

  #drop(connection: Connection): void {
    this.#connections.delete(connection);
    for (const flow of connection.flows) flow.stop();
    for (const socket of [connection.client, connection.server]) {
      if (socket === null || socket.destroyed) continue;
      // Where an end is on its way the system resets no more, and Node would then never close it: its process could not end.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }
}
