/** Turns the strikes off when the gate cannot any more: after a kill -9, or when the kernel ran out of memory. */
import { spawn } from 'node:child_process';

/** Waits for the end of its stdin, which the kernel closes with the gate, then writes 0 to each line. */
const shell = 'trap "" TERM INT HUP; cat >/dev/null; for line in "$@"; do echo 0 >"$line"; done';

/** `paths`: the `value` files of the outputs in sysfs. Returns what ends the guard without its doing anything. */
export function guardStrikes(paths: readonly string[], problem: (message: string) => void): () => void {
  const child = spawn('/bin/sh', ['-c', shell, 'strike-guard', ...paths], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  let dismissed = false;
  child.stdin.on('error', () => undefined);
  child.once('error', (error) => problem(`The guard of the strikes does not run: ${error.message}`));
  child.once('exit', () => {
    if (!dismissed) problem('The guard of the strikes has ended.');
  });
  child.unref();
  return () => {
    dismissed = true;
    child.kill('SIGKILL');
  };
}
