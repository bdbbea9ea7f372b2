/** A broker of a test's own, as a process that can be killed: Mosquitto where it is installed, else the embedded one. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { startBroker } from '../sync/broker.js';
import { eventually } from './eventually.js';

const LOOPBACK = '127.0.0.1';

/** In CI it has to be there. */
export const hasMosquitto =
  spawnSync('mosquitto', ['-h']).error === undefined || process.env['CI'] === 'true';

export interface TestBroker {
  readonly kind: 'Mosquitto' | 'the embedded broker';
  readonly port: number;
  /** Ends it at once, with everything that it kept. */
  kill(): Promise<void>;
}

/** Somewhere else than on this machine's loopback: inside a network namespace. */
export interface BrokerPlace {
  readonly host: string;
  /** What runs a program there, such as `nsenter`, with its arguments. */
  readonly inside: readonly string[];
  /** Where it is reached from here. */
  readonly reachedAt: string;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, LOOPBACK);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function listens(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  });
  socket.destroy();
  return isOpen;
}

/**
 * Starts a broker that keeps nothing from before.
 * @param folder for its files
 * @param port 0: any free one of loopback
 */
export function startTestBroker(folder: string, port = 0): Promise<TestBroker> {
  return hasMosquitto ? startMosquitto(folder, port) : startEmbedded(port);
}

async function startEmbedded(wanted: number): Promise<TestBroker> {
  const { port, close } = await startBroker(wanted);
  return { kind: 'the embedded broker', port, kill: close };
}

/** Starts a Mosquitto; ready when it resolves. */
export async function startMosquitto(
  folder: string,
  wanted: number,
  place?: BrokerPlace,
): Promise<TestBroker> {
  const { host, inside, reachedAt } = place ?? { host: LOOPBACK, inside: [], reachedAt: LOOPBACK };
  const port = wanted === 0 ? await freePort() : wanted;
  const config = join(mkdtempSync(join(folder, 'broker-')), 'mosquitto.conf');
  writeFileSync(config, `listener ${port} ${host}\nallow_anonymous true\npersistence false\n`);
  const [command, ...words] = [...inside, 'mosquitto', '-c', config];
  const child = spawn(command as string, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4_000)));
  const ended = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  try {
    await eventually('mosquitto listens', () => {
      if (child.exitCode !== null) throw new Error(`Mosquitto ended: ${said}`);
      return listens(reachedAt, port);
    });
  } catch (error) {
    await kill();
    throw error;
  }
  return { kind: 'Mosquitto', port, kill };
}
