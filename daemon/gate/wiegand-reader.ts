/** A Wiegand reader on two lines, heard through a `gpiomon` process: its time stamps are the kernel's. */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Read } from './board.js';
import { frameGapMs, WiegandFrames } from './wiegand.js';

const restartMsMin = 500;
const restartMsMax = 30_000;
const lineCharactersMax = 256;
/** Ends `gpiomon` when its stdin does: also after a kill -9 of the gate nobody holds the lines. */
const shell = '"$@" & m=$!; exec >/dev/null; cat >/dev/null; kill "$m" 2>/dev/null';

export interface ReaderOptions {
  /** Arguments of gpiomon. */
  readonly args: readonly string[];
  readonly d0: number;
  readonly d1: number;
  readonly read: (read: Read) => void;
  readonly problem: (message: string) => void;
}

export class WiegandReader {
  readonly #frames = new WiegandFrames();
  #child: ChildProcess | null = null;
  #quiet: NodeJS.Timeout | null = null;
  #restart: NodeJS.Timeout | null = null;
  #restartMs = restartMsMin;
  #closed = false;

  constructor(private readonly options: ReaderOptions) {}

  /** Starts listening, and again whenever `gpiomon` ends. */
  start(): void {
    const child = spawn('/bin/sh', ['-c', shell, 'reader', 'gpiomon', ...this.options.args], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    let rest = '';
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!.slice(0, lineCharactersMax);
      for (const line of lines) this.#take(line);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-500)));
    child.stdin.on('error', () => undefined);
    let over = false;
    const end = () => {
      if (over) return;
      over = true;
      child.stdin.end();
      this.#ended(said.trim());
    };
    // Its output ends when gpiomon does; the shell around it waits for us.
    child.stdout.once('end', end);
    child.once('error', end);
  }

  close(): void {
    this.#closed = true;
    if (this.#quiet !== null) clearTimeout(this.#quiet);
    if (this.#restart !== null) clearTimeout(this.#restart);
    this.#child?.stdin?.end();
  }

  #take(line: string): void {
    const match = /^\s*(\d+)\s+(\d+)[ .]\s*(\d+)\s*$/.exec(line);
    if (match === null) return;
    const offset = Number(match[1]);
    const at = BigInt(match[2]!) * 1_000_000_000n + BigInt(match[3]!);
    if (offset === this.options.d0) this.#frames.push({ bit: 0, at });
    else if (offset === this.options.d1) this.#frames.push({ bit: 1, at });
    this.#restartMs = restartMsMin;
    if (this.#quiet === null) this.#quiet = setTimeout(() => this.#endFrame(), frameGapMs);
    else this.#quiet.refresh();
  }

  #endFrame(): void {
    this.#quiet = null;
    for (const read of this.#frames.end()) this.options.read(read);
  }

  #ended(said: string): void {
    if (this.#closed) return;
    this.options.problem(
      `gpiomon ended (${said || 'silently'}); it is started again in ${this.#restartMs} ms.`,
    );
    this.#restart = setTimeout(() => this.start(), this.#restartMs);
    this.#restartMs = Math.min(this.#restartMs * 2, restartMsMax);
  }
}
