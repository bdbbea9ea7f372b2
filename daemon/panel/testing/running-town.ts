/** A real daemon with a data folder of its own, for tests that look at it through a browser. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../main.js', import.meta.url));
const openWithinMs = 60_000;
const stopWithinMs = 20_000;

export interface RunningTown {
  readonly url: string;
  /** The one-time setup link; null once the town has a steward. */
  readonly setupLink: string | null;
  stop(): Promise<void>;
}

/** Starts the daemon on `folder` (`port` 0: any free one) and resolves when its dapps are ready. */
export async function startTown(folder: string, port = 0): Promise<RunningTown> {
  const child = spawn(
    process.execPath,
    [
      main,
      '--data',
      folder,
      '--port',
      String(port),
      '--mqtt-port',
      '0',
      '--driver',
      'process',
      '--town-name',
      'Harbour Makers',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const said = await saidUntil(child, /The dapps are ready/);
  const url = /is open: (\S+)/.exec(said)?.[1];
  if (url === undefined) throw new Error(`The daemon did not say where it is:\n${said}`);
  return { url, setupLink: /(http\S+\/setup#\S+)/.exec(said)?.[1] ?? null, stop: () => stop(child) };
}

function saidUntil(child: ChildProcess, ready: RegExp): Promise<string> {
  let said = '';
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      child.kill('SIGKILL');
      reject(new Error(`The daemon ${why}:\n${said}`));
    };
    const timer = setTimeout(() => fail('was not ready in time'), openWithinMs);
    const hear = (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-64 * 1024);
      if (!ready.test(said)) return;
      clearTimeout(timer);
      resolve(said);
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('exit', (code) => {
      clearTimeout(timer);
      fail(`ended with ${code}`);
    });
  });
}

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), stopWithinMs);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}
