/** The embedded MQTT broker (aedes, MQTT 3.1.1), on loopback. Transport, never truth. */
// Before what it is about.
import './small-packets.js';
import { createServer, type Server, type Socket } from 'node:net';
import { Aedes } from 'aedes';
import { TownError } from '../ledger/ids.js';

/** A message is at most this long. */
const MESSAGE_BYTES_MAX = 256 * 1024;
const CLIENTS_MAX = 256;

export interface Broker {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Starts the broker.
 * @param port 0: any free one
 * @throws TownError `port-in-use`
 */
export async function startBroker(port: number, host = '127.0.0.1'): Promise<Broker> {
  const aedes = await Aedes.createBroker({
    authorizePublish(_client, packet, done) {
      const size =
        typeof packet.payload === 'string' ? Buffer.byteLength(packet.payload) : packet.payload.length;
      done(size > MESSAGE_BYTES_MAX ? new Error(`A message has at most ${MESSAGE_BYTES_MAX} bytes.`) : null);
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
