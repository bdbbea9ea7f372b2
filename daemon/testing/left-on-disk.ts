/** What boards have on the disk beside their daemons: what stock git says of their repositories, and gates that were left behind. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './eventually.js';
import { gatePid, isGate } from './running-town.js';

const run = promisify(execFile);
const GIT_OUTPUT_MAX = 64 * 1024 * 1024;

/** A data folder, and the name that it goes by. */
export interface OnDisk {
  readonly key: string;
  readonly folder: string;
}

const git = (folder: string, words: readonly string[]) =>
  run('git', ['-C', join(folder, 'ledger.git'), ...words], { maxBuffer: GIT_OUTPUT_MAX });

/** What stock git says in the repository of a data folder. */
export async function gitSays(folder: string, ...words: readonly string[]): Promise<string> {
  const { stdout } = await git(folder, words);
  return stdout.trimEnd();
}

/** The head of `main` that stock git finds in each repository, once it is written there. */
export async function gitMains(boards: readonly OnDisk[]): Promise<{ readonly [key: string]: string }> {
  const heads = await Promise.all(
    boards.map(async ({ key, folder }) => [key, await gitSays(folder, 'rev-parse', 'refs/heads/main')]),
  );
  return Object.fromEntries(heads) as { [key: string]: string };
}

/**
 * What stock git has to say against the repositories: nothing, if `fsck --strict --full` finds each whole and all have one `main`.
 * What is merged already may take a moment to be written to git.
 */
export async function gitProblems(boards: readonly OnDisk[]): Promise<readonly string[]> {
  await eventually(
    'git has one main in every repository',
    async () => new Set(Object.values(await gitMains(boards))).size === 1,
  ).catch(() => undefined);
  const problems: string[] = [];
  const mains = await gitMains(boards);
  if (new Set(Object.values(mains)).size > 1) problems.push(`main differs: ${JSON.stringify(mains)}`);
  for (const { key, folder } of boards) {
    const said = await git(folder, ['fsck', '--strict', '--full']).then(
      ({ stdout, stderr }) => stdout + stderr,
      (error: Error) => error.message,
    );
    for (const line of said.split('\n'))
      if (/error|missing|corrupt|dangling commit|fatal/i.test(line)) problems.push(`${key}: ${line}`);
  }
  return problems;
}

/** Ends the gate that a killed daemon left behind in a data folder, if it is still there. */
export async function endGate(folder: string): Promise<void> {
  const pid = await gatePid(folder);
  if (pid === null || !(await isGate(pid, folder))) return;
  process.kill(pid, 'SIGTERM');
  await eventually(`the gate of ${folder} ends`, async () => !(await isGate(pid, folder)), {
    withinMs: 60_000,
  });
}
