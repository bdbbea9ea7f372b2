/**
 * Contracts as child processes: for boards without a container engine. The same protocol and verdicts, but no isolation:
 * a contract can do what the daemon's user can. They end when their stdin closes, so with the daemon, however it ends.
 */
import { spawn } from 'node:child_process';
import { TownError } from '../ledger/ids.js';
import { heapMiB } from './manifest.js';
import type { DappPackage } from './package.js';
import type { LaunchContract, RunningContract } from './running-contract.js';
import { SessionDriver } from './session-driver.js';

const KILL_WAIT_MS = 5_000;

export class ProcessDriver extends SessionDriver {
  readonly kind = 'process';
  readonly isolated = false;

  protected prepare(): Promise<void> {
    return Promise.resolve();
  }

  protected cleanUp(): Promise<void> {
    return Promise.resolve();
  }

  protected launcher(dapp: DappPackage): LaunchContract {
    const { name, contract, limits } = dapp.manifest;
    const [program, ...args] = contract.command as [string, ...string[]];
    const command = program === 'node' ? process.execPath : program;
    return () =>
      new Promise<RunningContract>((resolve, reject) => {
        const child = spawn(command, args, {
          cwd: dapp.folder,
          env: {
            LANG: 'C',
            LC_ALL: 'C',
            TZ: 'UTC',
            PATH: '/usr/local/bin:/usr/bin:/bin',
            NODE_OPTIONS: `--max-old-space-size=${heapMiB(limits)}`,
          },
          stdio: ['pipe', 'pipe', 'pipe'],
          // A process group of its own: what it starts is ended with it, and a Ctrl-C is the daemon's to handle.
          detached: true,
        });
        const ended = new Promise<string>((end) => {
          child.once('close', (code, signal) => end(signal ? `signal ${signal}` : `exit code ${code}`));
        });
        // What it started may not stay behind it.
        child.once('exit', () => killGroup(child.pid as number));
        child.once('error', (error) =>
          reject(
            new TownError(
              'contract-not-started',
              `Dapp "${name}": ${command} does not start (${error.message}).`,
              'See contract.command in its dapp.json.',
            ),
          ),
        );
        child.once('spawn', () =>
          resolve({
            stdin: child.stdin,
            stdout: child.stdout,
            stderr: child.stderr,
            ended,
            kill: () => endGroup(child.pid as number, ended),
          }),
        );
      });
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The group is gone already.
  }
}

async function endGroup(pid: number, ended: Promise<string>): Promise<void> {
  killGroup(pid);
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, KILL_WAIT_MS);
  });
  await Promise.race([ended, waited]);
  clearTimeout(timer);
}
