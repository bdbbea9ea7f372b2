/**
 * Tells systemd how the daemon is (`Type=notify`, `WatchdogSec`): sd_notify(3), through the `systemd-notify` command,
 * because Node cannot send Unix datagrams. Without `NOTIFY_SOCKET` every function does nothing.
 */
import { spawn } from 'node:child_process';

/** Should the notice hang, the daemon must not. */
const noticeWaitMs = 5_000;
const statusCharactersMax = 200;

type Environment = Readonly<Record<string, string | undefined>>;

/** The daemon serves. `status`: one line for `systemctl status`. Resolves to whether systemd was told; never throws. */
export function notifyReady(status?: string, env: Environment = process.env): Promise<boolean> {
  return send(['READY=1', `MAINPID=${process.pid}`, ...statusLine(status)], env);
}

/** The daemon is going down in order. */
export function notifyStopping(env: Environment = process.env): Promise<boolean> {
  return send(['STOPPING=1'], env);
}

/**
 * Sends a sign of life every half of the watchdog's time, while `alive` says so; returns what ends it.
 * `alive` should ask what would be worth a restart, e.g. that the last write was answered in time.
 */
export function startWatchdog(alive: () => boolean, env: Environment = process.env): () => void {
  const everyMs = watchdogMs(env);
  if (everyMs === null) return () => undefined;
  let sending = false;
  const timer = setInterval(() => {
    if (sending || !alive()) return;
    sending = true;
    void send(['WATCHDOG=1'], env).finally(() => {
      sending = false;
    });
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Half of `WATCHDOG_USEC`, in ms, where it is meant for this process; null: no watchdog. */
export function watchdogMs(env: Environment): number | null {
  const microseconds = Number(env['WATCHDOG_USEC']);
  const pid = env['WATCHDOG_PID'];
  if (!Number.isFinite(microseconds) || microseconds <= 0) return null;
  if (pid !== undefined && Number(pid) !== process.pid) return null;
  return Math.max(1, Math.floor(microseconds / 2000));
}

function statusLine(status: string | undefined): string[] {
  return status === undefined ? [] : [`STATUS=${status.replace(/\s+/g, ' ').slice(0, statusCharactersMax)}`];
}

function send(words: readonly string[], env: Environment): Promise<boolean> {
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return Promise.resolve(false);
  return new Promise((resolve) => {
    const child = spawn('systemd-notify', words, {
      env: { PATH: env['PATH'] ?? '/usr/bin:/bin', NOTIFY_SOCKET: socket },
      stdio: 'ignore',
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), noticeWaitMs);
    const end = (told: boolean) => {
      clearTimeout(timer);
      resolve(told);
    };
    child.once('error', () => end(false));
    child.once('exit', (code) => end(code === 0));
  });
}
