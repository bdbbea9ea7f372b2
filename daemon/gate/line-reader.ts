/** Cuts a byte stream into lines, none longer than the protocol allows. */
import { TownError } from '../ledger/ids.js';
import { lineBytesMax, rightsBytesMax } from './parse.js';

/** How a line that may be long begins: senders put `t` first. */
const rightsStart = Buffer.from('{"t":"rights"');
const newline = 0x0a;

export class LineReader {
  #parts: Buffer[] = [];
  #size = 0;

  /**
   * Takes the next bytes; returns the lines they complete, without their newlines.
   * Throws `line-too-long` at once when a line passes its bound, before it has ended.
   */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    while (from < chunk.length) {
      const end = chunk.indexOf(newline, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      this.#parts.push(part);
      this.#size += part.length;
      if (this.#size > lineBytesMax) this.#allowLong();
      if (end === -1) break;
      const line = this.#parts.length === 1 ? part : Buffer.concat(this.#parts, this.#size);
      if (line.length > 0) lines.push(line.toString('utf8'));
      this.#parts = [];
      this.#size = 0;
      from = end + 1;
    }
    // Many tiny chunks must not cost a Buffer each for the length of an 8 MiB line.
    if (this.#parts.length > 1024) this.#parts = [Buffer.concat(this.#parts, this.#size)];
    return lines;
  }

  #allowLong(): void {
    const head = this.#parts[0]!;
    if (head.length < rightsStart.length && this.#parts.length > 1)
      this.#parts = [Buffer.concat(this.#parts, this.#size)];
    const isRights = this.#parts[0]!.subarray(0, rightsStart.length).equals(rightsStart);
    const max = isRights ? rightsBytesMax : lineBytesMax;
    if (this.#size > max)
      throw new TownError(
        'line-too-long',
        `A line of more than ${max} bytes came.`,
        'Send less in one message.',
      );
  }
}
