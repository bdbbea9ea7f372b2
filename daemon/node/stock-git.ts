/** Runs stock git for what it does better than anybody: speaking to remotes. Bounded in time, output and size; it never asks. */
import { spawn } from 'node:child_process';
import { TownError } from '../ledger/ids.js';

const OUTPUT_CHARS_MAX = 8 * 1024 * 1024;
const ERROR_CHARS_MAX = 16 * 1024;
const RUN_MS_MAX = 3_600_000;
/** Of each file that it writes; the shell counts in blocks of 512. */
const FILE_BYTES_MAX = 2 ** 31;
/** What it may know of this process's surroundings: where things are, and who asks for passwords. */
const PASSED = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SSH_AUTH_SOCK',
  'XDG_CONFIG_HOME',
  'GIT_SSH_COMMAND',
  'SSL_CERT_FILE',
];

export interface GitSaid {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs git with these words in a repository of its own; whether it went well the caller sees.
 * @throws TownError `no-git` where it is not installed, `git-too-much` where it says too much
 */
export async function runGit(gitdir: string, words: readonly string[]): Promise<GitSaid> {
  const limited = ['-c', `ulimit -f ${FILE_BYTES_MAX / 512} && exec git "$@"`, 'git'];
  const fixed = ['-c', 'gc.auto=0', '-c', 'maintenance.auto=false', '-c', 'fetch.unpackLimit=1'];
  const child = spawn('/bin/sh', [...limited, ...fixed, `--git-dir=${gitdir}`, ...words], {
    env: {
      ...Object.fromEntries(PASSED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))),
      LC_ALL: 'C',
      GIT_TERMINAL_PROMPT: '0',
      // An address never names a program to be run.
      GIT_ALLOW_PROTOCOL: 'file:ssh:https',
      ...(process.env['GIT_SSH_COMMAND']
        ? {}
        : { GIT_SSH_COMMAND: 'ssh -oBatchMode=yes -oConnectTimeout=30' }),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: RUN_MS_MAX,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (stdout.length > OUTPUT_CHARS_MAX) child.kill('SIGKILL');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-ERROR_CHARS_MAX);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 127 && /not found/.test(stderr))
    throw new TownError(
      'no-git',
      'A mirror is reached with stock git, and it is not installed here.',
      'Install it (apt install git), or carry the ledger in a file: town bundle create FILE',
    );
  if (stdout.length > OUTPUT_CHARS_MAX)
    throw new TownError(
      'git-too-much',
      'The mirror has more refs than any town.',
      'Is that the right address?',
    );
  return { code, stdout, stderr };
}

/** What git said, as an error of ours. */
export const gitFailed = (name: string, { code, stderr }: GitSaid): TownError =>
  new TownError(
    'mirror-not-reached',
    `Git did not reach the mirror ${name} (${code ?? 'stopped'}): ${lastLines(stderr)}`,
    'Try the address with stock git: git ls-remote URL',
  );

/** What a remote says must not move the cursor. */
const lastLines = (text: string): string =>
  text
    .replace(/[^\n -~]/g, '')
    .trim()
    .split('\n')
    .slice(-3)
    .join(' ')
    .slice(-500);
