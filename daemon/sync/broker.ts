/** The embedded MQTT broker (aedes, MQTT 3.1.1), on loopback. Transport, never truth. */
// Before what it is about.
import './small-packets.js';
import { createServer, type Server, type Socket } from 'node:net';
import { Aedes } from 'aedes';
import { TownError } from '../ledger/ids.js';

/** A message is at most this long. */
const MESSAGE_BYTES_MAX = 256 * 1024;
const CLIENTS_MAX = 256;
/** What is kept for who comes later, of all topics: a charter has at most 1,000 nodes, and the heads of each are a few KiB. */
const KEPT_TOPICS_MAX = 2_000;
const KEPT_BYTES_MAX = 24 * 1024 * 1024;

export interface Broker {
  readonly port: number;
  close(): Promise<void>;
}

/** Counts what the broker keeps, so that nobody fills the memory with it. */
class Kept {
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  /** Whether a message has room among those that are kept; it takes the place of the one before it. */
  take(topic: string, size: number): boolean {
    const before = this.#sizes.get(topic);
    const bytes = this.#bytes - (before ?? 0) + size;
    if (size > 0 && (bytes > KEPT_BYTES_MAX || (before === undefined && this.#sizes.size >= KEPT_TOPICS_MAX)))
      return false;
    this.#bytes = bytes;
    if (size > 0) this.#sizes.set(topic, size);
    else this.#sizes.delete(topic);
    return true;
  }
}

/**
 * Starts the broker. It keeps a bounded number of messages: one too many is handed on and not kept. For who is away it keeps none.
 * @param port 0: any free one
 * @throws TownError `port-in-use`
 */
export async function startBroker(port: number, host = '127.0.0.1'): Promise<Broker> {
  const kept = new Kept();
  const aedes = await Aedes.createBroker({
    preConnect(_client, packet, done) {
      // Who asks that all be kept while it is away gets what is kept for everybody.
      packet.clean = true;
      done(null, true);
    },
    authorizePublish(_client, packet, done) {
      const size =
        typeof packet.payload === 'string' ? Buffer.byteLength(packet.payload) : packet.payload.length;
      if (size > MESSAGE_BYTES_MAX)
        return done(new Error(`A message has at most ${MESSAGE_BYTES_MAX} bytes.`));
      // One that was kept before stays until there is room or it is taken back.
      if (packet.retain && !kept.take(packet.topic, size)) packet.retain = false;
      done(null);
    },
  });
  const sockets = new Set<Socket>();
  // A message leaves in several pieces: gathered with the next, as TCP likes to, each would wait 40 ms.
  const server: Server = createServer({ noDelay: true }, (socket) => {
    if (sockets.size >= CLIENTS_MAX) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    aedes.handle(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new TownError(
              'port-in-use',
              `The MQTT port ${port} is in use by another program.`,
              'Choose another with --mqtt-port (0: any free one).',
            )
          : error,
      ),
    );
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : port,
    close: async () => {
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
