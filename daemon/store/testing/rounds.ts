/** Rounds of the crash tests: a child writes as fast as it can and is ended at a random moment; then the folder is looked at. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Repository } from '../repository.js';
import { Store } from '../store.js';
import type { Acknowledged } from './acknowledged.js';

/** Every so many rounds stock git looks at every object, not only at what hangs together. */
const fullEvery = 10;
/** A child that says nothing for so long hangs. */
const silenceMsMax = 600_000;

/** How many rounds: `ROUNDS=n`, else as many as `ofTheCase`. */
export const roundsWanted = (ofTheCase: number): number => Number(process.env['ROUNDS'] ?? ofTheCase);

export const git = (folder: string, ...args: string[]): string =>
  execFileSync('git', ['-C', join(folder, 'ledger.git'), ...args], { encoding: 'utf8', stdio: 'pipe' });

/** A writer with its libraries loaded, that waits for the word to begin. */
export class Writer {
  readonly #child: ChildProcess;
  #said = '';
  #errors = '';
  readonly #closed: Promise<void>;

  constructor(program: string, folder: string, environment: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(process.execPath, [program, folder], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.#child.stdin!.on('error', () => undefined); // It may be gone already.
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#errors += text));
    this.#closed = new Promise((resolve) => this.#child.on('close', () => resolve()));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  begin(): void {
    this.#child.stdin!.write('go\n');
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Whole lines so far: of the last one a part may be missing, then it was not said. */
  lines(): string[] {
    return this.#said.split('\n').slice(0, -1);
  }

  /** Resolves when it has said this word, or has ended. */
  async hears(word: string): Promise<void> {
    const end = Date.now() + silenceMsMax;
    while (!this.#hasEnded() && !this.lines().some((line) => line.startsWith(word))) {
      if (Date.now() > end) throw new Error(`The writer did not say "${word}": ${this.words()}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** Resolves when the process is gone; to the signal that ended it or its exit code. */
  async ended(): Promise<NodeJS.Signals | number | null> {
    const late = setTimeout(() => this.kill(), silenceMsMax);
    await this.#closed;
    clearTimeout(late);
    return this.#child.signalCode ?? this.#child.exitCode;
  }

  /** Its last words, for an error. */
  words(): string {
    return `${this.#said.slice(-600)}\n${this.#errors.slice(-2_000)}`;
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

/** What a writer says as it begins something, or has done it: a round ends some time after one of these. */
const words = ['open', 'open', 'flushed', 'combining', 'combining', 'removing', 'archived'] as const;

export interface Moment {
  /** Begins with the word to begin (null: while it opens), or when it says this. */
  readonly after: (typeof words)[number] | null;
  readonly ms: number;
}

/**
 * The moment to end a child at: now and then while it opens; most often a little after it said that it is open, or that something else
 * begins or is done. By words, so that the rounds of a slow machine pass through everything as well.
 * @param withinMs at the latest, after the word
 */
export function randomMoment(withinMs: number): Moment {
  if (Math.random() < 0.15) return { after: null, ms: Math.random() * 150 };
  const after = words[Math.floor(Math.random() * words.length)]!;
  return { after, ms: Math.random() * Math.random() * withinMs };
}

/** The repository as it lies, before anything completes it: whole for stock git, with what a flush gave its word for. */
export function gitProblems(folder: string, round: number, flushed: string | null): string[] {
  const head = join(folder, 'ledger.git', 'HEAD');
  if (!existsSync(head)) return flushed === null ? [] : ['ledger.git is gone'];
  const problems: string[] = [];
  try {
    git(folder, 'fsck', '--strict', round % fullEvery === 0 ? '--full' : '--no-full', '--no-dangling');
    if (flushed !== null && git(folder, 'for-each-ref', '--contains', flushed) === '')
      problems.push(`no ref leads to ${flushed}, which was flushed`);
  } catch (error) {
    problems.push(String((error as { stderr?: string }).stderr ?? error));
  }
  return problems;
}

/** Opens the folder as a start does, which completes the repository, and says what is missing of what was acknowledged. */
export async function problemsAfter(
  t: Test,
  folder: string,
  round: number,
  acknowledged: Acknowledged,
  last = false,
): Promise<string[]> {
  const problems = gitProblems(folder, round, acknowledged.flushed);
  const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
  try {
    const repository = await Repository.open(join(folder, 'ledger.git'), store);
    problems.push(...(await acknowledged.lost(store, last || round % 50 === 49)));
    const { stagedObjects } = store.counts();
    if (stagedObjects > 0) problems.push(`${stagedObjects} objects are not in git`);
    const here = git(folder, 'for-each-ref', '--format=%(refname) %(objectname)').trim().split('\n');
    const expected = store.refs().map(({ name, oid }) => `${name} ${oid}`);
    if (here.filter(Boolean).sort().join() !== expected.sort().join())
      problems.push(`refs in git: ${here.join()}; in the database: ${expected.join()}`);
    await repository.close();
  } finally {
    await store.close();
  }
  return [...problems, ...gitProblems(folder, round, acknowledged.flushed)];
}
