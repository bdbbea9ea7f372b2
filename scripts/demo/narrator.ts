/**
 * Tells a story on a terminal as it happens: when, at which board, what, and why it matters. On a terminal in colour, and with
 * the time that it takes to read; elsewhere plain, and at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';

const WIDTH_MAX = 110;
const WIDTH_MIN = 60;
const BOARD_WIDTH = 10;
const TIME_WIDTH = 7;
const READING_MS_PER_CHARACTER = 10;
const READING_MS_MAX = 2_000;

type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan';
const CODES: Readonly<Record<Style, string>> = {
  bold: '1',
  dim: '2',
  green: '32',
  red: '31',
  yellow: '33',
  cyan: '36',
};

/** How it went: `good` and `bad` for what people were told, `cut` for the outage itself. */
export type Mood = 'plain' | 'good' | 'bad' | 'cut';
const STYLES: Readonly<Record<Mood, Style | null>> = {
  plain: null,
  good: 'green',
  bad: 'red',
  cut: 'yellow',
};

export class Narrator {
  readonly #began = Date.now();
  readonly #colour: boolean;
  readonly #unhurried: boolean;
  readonly #width: number;
  #chapters = 0;

  constructor(private readonly out: NodeJS.WriteStream) {
    this.#colour = out.isTTY === true && !process.env['NO_COLOR'];
    this.#unhurried = out.isTTY === true;
    this.#width = Math.max(WIDTH_MIN, Math.min(out.columns ?? WIDTH_MAX, WIDTH_MAX));
  }

  chapter(title: string): void {
    this.#chapters += 1;
    const head = `${this.#chapters}. ${title} `;
    this.#line('');
    this.#line(
      this.#paint('bold', head) + this.#paint('dim', '─'.repeat(Math.max(0, this.#width - head.length))),
    );
  }

  /** What happens at one board. */
  at(board: string, text: string, mood: Mood = 'plain'): Promise<void> {
    return this.#tell(this.#paint('cyan', board.padEnd(BOARD_WIDTH)), text, STYLES[mood]);
  }

  /** What happens to all of them, or between them. */
  all(text: string, mood: Mood = 'plain'): Promise<void> {
    return this.#tell(' '.repeat(BOARD_WIDTH), text, STYLES[mood]);
  }

  /** Why it matters, or what to watch for. */
  async why(text: string): Promise<void> {
    const indent = ' '.repeat(TIME_WIDTH + BOARD_WIDTH);
    for (const line of wrapped(text, this.#width - indent.length))
      this.#line(this.#paint('dim', `${indent}${line}`));
    await this.#letRead(text);
  }

  /** Lines as they are, long ones cut. */
  lines(text: string): void {
    for (const line of text.split('\n'))
      this.#line(line.length > this.#width ? `${line.slice(0, this.#width - 1)}…` : line);
  }

  /** Columns that line up; the first row is the head. */
  table(rows: readonly (readonly string[])[]): void {
    const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
    rows.forEach((row, index) => {
      const line = row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ');
      this.#line(index === 0 ? this.#paint('bold', `  ${line}`) : `  ${line}`.trimEnd());
    });
  }

  async #tell(board: string, text: string, style: Style | null): Promise<void> {
    const seconds = (Date.now() - this.#began) / 1000;
    const time = this.#paint('dim', `${seconds.toFixed(1).padStart(TIME_WIDTH - 2)}  `);
    wrapped(text, this.#width - TIME_WIDTH - BOARD_WIDTH).forEach((line, index) => {
      const start = index === 0 ? time + board : ' '.repeat(TIME_WIDTH + BOARD_WIDTH);
      this.#line(start + (style === null ? line : this.#paint(style, line)));
    });
    await this.#letRead(text);
  }

  async #letRead({ length }: string): Promise<void> {
    if (this.#unhurried) await sleep(Math.min(length * READING_MS_PER_CHARACTER, READING_MS_MAX));
  }

  #paint(style: Style, text: string): string {
    return this.#colour ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text;
  }

  #line(text: string): void {
    this.out.write(`${text}\n`);
  }
}

/** Breaks at spaces. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
