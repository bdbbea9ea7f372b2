/** For tests: runs the `town` command and the daemon as a person would, as processes of their own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const built = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const commandWithin = 240_000;
const startWithin = 240_000;

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `town` with these words; nothing of this process's own settings reaches it. */
export async function runTown(
  words: readonly string[],
  settings: { readonly env?: NodeJS.ProcessEnv; readonly input?: string } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [built('town.js'), ...words], {
    env: { PATH: process.env['PATH'], TZ: 'UTC', ...settings.env },
    timeout: commandWithin,
    killSignal: 'SIGKILL',
  });
  const ended = collect(child);
  child.stdin.end(settings.input ?? '');
  return ended;
}

export async function collect(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}

export const parse = (ended: Ended): unknown => JSON.parse(ended.stdout);

export interface Daemon {
  readonly url: string;
  /** Null where the town has been set up. */
  readonly setupLink: string | null;
  /** Ends it as Ctrl-C does; resolves to its exit code. */
  stop(): Promise<number | null>;
}

/** Starts the real daemon on free ports, contracts as child processes; resolves when its dapps are ready. */
export async function startDaemon(folder: string): Promise<Daemon> {
  const child = runDaemon(folder, ['--port', '0']);
  let said = '';
  let errors = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text));
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`The daemon is not ready:\n${said}${errors}`)),
      startWithin,
    );
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (!said.includes('dapps are ready')) return;
      clearTimeout(timer);
      resolve();
    });
    child.once('close', () => reject(new Error(`The daemon ended:\n${said}${errors}`)));
  });
  let isWanted = false;
  // A test that fails because the daemon has died should say why it died.
  child.once('close', (code, signal) => {
    if (!isWanted)
      process.stderr.write(`The daemon ended by itself (${code ?? signal}):\n${errors.slice(-4000)}\n`);
  });
  const url = /open: (http:\S+)/.exec(said)?.[1];
  if (url === undefined) throw new Error(`The daemon did not say where it is:\n${said}`);
  return {
    url,
    setupLink: /http:\S+\/setup#\S+/.exec(said)?.[0] ?? null,
    async stop() {
      if (child.exitCode !== null) return child.exitCode;
      isWanted = true;
      child.kill('SIGTERM');
      await once(child, 'close');
      return child.exitCode;
    },
  };
}

/** Starts the real daemon with these words, whatever comes of it. */
export function runDaemon(folder: string, words: readonly string[]): ChildProcess {
  return spawn(
    process.execPath,
    [built('../main.js'), '--data', folder, '--mqtt-port', '0', '--driver', 'process', ...words],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
}
