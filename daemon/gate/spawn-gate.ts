/** Starts a gate that outlives its daemon. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const logBytesMax = 1024 * 1024;

/** The gate's program, beside this module. */
export const gateScript = fileURLToPath(new URL('./main.js', import.meta.url));

/**
 * Spawns the gate of `folder` in a session of its own; its log goes to `<folder>/gate.log`, the one before to `gate.log.1`.
 * Returns its process id; `exited` is told when it ends while this process lives. Throws where no process can be made.
 */
export function spawnGate(
  folder: string,
  script: string,
  exited: (code: number | null) => void,
): number | undefined {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'gate.log');
  if (sizeOf(path) > logBytesMax) renameSync(path, `${path}.1`);
  const log = openSync(path, 'a', 0o600);
  try {
    const child = spawn(process.execPath, [script, '--folder', folder], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: folder,
    });
    child.once('error', () => exited(null));
    child.once('exit', (code) => exited(code));
    child.unref();
    return child.pid;
  } finally {
    closeSync(log);
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
