/** A real daemon in a process of its own on a data folder of the test's, and a caller of its API. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './eventually.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));
const OPEN_MS_MAX = 240_000;
const STOP_MS_MAX = 60_000;

export interface RunningTown {
  readonly url: string;
  readonly pid: number;
  /** The one-time setup link; null once the town has a steward. */
  readonly setupLink: string | null;
  /** Everything it has said so far. */
  said(): string;
  /** Ends it in order; resolves to its exit code. */
  stop(): Promise<number | null>;
  /** Ends it at once, as a power cut or the kernel would. */
  kill(): Promise<void>;
}

export interface StartOptions {
  readonly port?: number;
  readonly driver?: 'auto' | 'container' | 'process';
  readonly arguments?: readonly string[];
  /** Resolve when it serves (`open`), or when its dapps answer too (`ready`, the default). */
  readonly until?: 'open' | 'ready';
  /** A module that the daemon's process loads before its own. */
  readonly preload?: string;
  /** What the daemon's environment has beside this one's. */
  readonly environment?: { readonly [name: string]: string };
}

const argumentsOf = (
  folder: string,
  { port = 0, driver = 'process', arguments: more = [], preload }: StartOptions,
): string[] => [
  ...(preload === undefined ? [] : ['--import', preload]),
  main,
  '--data',
  folder,
  '--port',
  String(port),
  '--mqtt-port',
  '0',
  '--driver',
  driver,
  ...more,
];

/** Starts the daemon on a folder and resolves when it is as far as asked. Rejects with what it said if it ends before. */
export async function startTown(folder: string, options: StartOptions = {}): Promise<RunningTown> {
  const child = spawn(process.execPath, argumentsOf(folder, options), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.environment },
  });
  let said = '';
  const hear = (chunk: Buffer): void => void (said = (said + chunk.toString()).slice(-64 * 1024));
  child.stdout?.on('data', hear);
  child.stderr?.on('data', hear);
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const isThere = options.until === 'open' ? /Next step/ : /The dapps are ready/;
  await until(
    () => isThere.test(said),
    child,
    () => said,
  );
  const url = /is open: (\S+)/.exec(said)?.[1];
  if (url === undefined) throw new Error(`The daemon did not say where it is:\n${said}`);
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    child.kill(signal);
    const code = await exited;
    clearTimeout(timer);
    return code;
  };
  return {
    url,
    pid: child.pid as number,
    setupLink: /(http\S+\/setup#\S+)/.exec(said)?.[1] ?? null,
    said: () => said,
    stop: () => end('SIGTERM'),
    kill: async () => void (await end('SIGKILL')),
  };
}

/** Starts the daemon where it must refuse to run: resolves to its exit code and what it said. */
export async function startRefused(
  folder: string,
  options: StartOptions = {},
): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, argumentsOf(folder, options), { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), OPEN_MS_MAX);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  return { code, said };
}

async function until(holds: () => boolean, child: ChildProcess, said: () => string): Promise<void> {
  const start = Date.now();
  while (!holds()) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (ended || Date.now() - start > OPEN_MS_MAX) {
      child.kill('SIGKILL');
      throw new Error(`The daemon ${ended ? 'ended' : 'was not ready in time'}:\n${said()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The gate's process on a data folder, where one runs. */
export async function gatePid(folder: string): Promise<number | null> {
  const text = await readFile(join(folder, 'gate', 'gate.pid'), 'utf8').catch(() => '');
  return /^[0-9]+/.test(text) ? Number.parseInt(text, 10) : null;
}

/** Whether this process is the gate on a data folder: its number may be somebody else's by now. */
export async function isGate(pid: number, folder: string): Promise<boolean> {
  // It runs in its folder, and calls itself by a name of its own.
  const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
  return cwd === (await realpath(join(folder, 'gate')).catch(() => null));
}

export interface ApiAnswer {
  readonly status: number;
  // Tests look into answers of every shape.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly body: any;
}

export type Api = (method: string, path: string, body?: object) => Promise<ApiAnswer>;

/** Calls the API, signed in where a token is given. */
export const apiOf =
  (town: RunningTown, token?: string): Api =>
  async (method, path, body) => {
    const response = await fetch(town.url + path, {
      method,
      headers: {
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  };

export const PASSPHRASE = 'four plain words here';

/** Sets the town up with the steward Ada; resolves to her API. */
export async function setUp(town: RunningTown): Promise<{ api: Api; token: string }> {
  const setupToken = town.setupLink?.split('#')[1];
  const { status, body } = await apiOf(town)('POST', '/api/setup', {
    token: setupToken,
    name: 'Ada',
    passphrase: PASSPHRASE,
  });
  if (status !== 200) throw new Error(`Setup answered ${status}: ${JSON.stringify(body)}`);
  return { api: apiOf(town, body.token), token: body.token };
}

/** Signs in; resolves to the member's API. */
export async function signIn(town: RunningTown, name: string): Promise<Api> {
  const { status, body } = await apiOf(town)('POST', '/api/session', { name, passphrase: PASSPHRASE });
  if (status !== 200) throw new Error(`Sign-in answered ${status}: ${JSON.stringify(body)}`);
  return apiOf(town, body.token);
}

/** Waits until the gate is connected: it is a process of its own, and a daemon serves before it. */
export async function doorsServe(town: RunningTown): Promise<void> {
  await eventually(
    'the gate is connected',
    async () => (await apiOf(town)('GET', '/api/status')).body.gate.connected as boolean,
    { withinMs: OPEN_MS_MAX },
  );
}
