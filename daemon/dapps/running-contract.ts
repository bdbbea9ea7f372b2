/** A started contract as a pair of line streams, whatever it runs in. */
import type { Readable, Writable } from 'node:stream';

export interface RunningContract {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended, with a few words why (exit code, signal, out of memory). Never rejects. */
  readonly ended: Promise<string>;
  /** Ends it at once, and what it started. Resolves when that is done; safe to call twice. */
  kill(): Promise<void>;
}

/** Starts one. @throws TownError where it cannot be started */
export type LaunchContract = () => Promise<RunningContract>;

/** Cuts a stream into lines without their line feed; a longer line than `bytesMax` is told once and nothing after it. */
export class LineCutter {
  private parts: Buffer[] = [];
  private held = 0;
  private over = false;

  constructor(
    private readonly bytesMax: number,
    private readonly onLine: (line: Buffer) => void,
    private readonly onTooLong: () => void,
  ) {}

  push(chunk: Buffer): void {
    let from = 0;
    while (!this.over) {
      const end = chunk.indexOf(10, from);
      const part = chunk.subarray(from, end === -1 ? undefined : end);
      if (this.held + part.length > this.bytesMax) {
        this.over = true;
        this.parts = [];
        this.onTooLong();
        return;
      }
      if (end === -1) {
        if (part.length > 0) this.parts.push(part);
        this.held += part.length;
        return;
      }
      const line = this.parts.length === 0 ? part : Buffer.concat([...this.parts, part]);
      this.parts = [];
      this.held = 0;
      from = end + 1;
      this.onLine(line);
    }
  }
}
