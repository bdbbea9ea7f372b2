/**
 * The engine's attach stream of a container without a terminal: frames of an 8-byte header (kind, three zeros, length as
 * uint32-BE) and bytes. Taken apart without recursion and without holding a frame, as what is in it may be hostile.
 */
const HEADER_BYTES = 8;
const STDERR = 2;

export class AttachedStream {
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headerHeld = 0;
  private left = 0;

  constructor(
    private readonly onStdout: (part: Buffer) => void,
    private readonly onStderr: (part: Buffer) => void,
  ) {}

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.left === 0) {
        const part = chunk.subarray(at, at + HEADER_BYTES - this.headerHeld);
        part.copy(this.header, this.headerHeld);
        this.headerHeld += part.length;
        at += part.length;
        if (this.headerHeld < HEADER_BYTES) return;
        this.headerHeld = 0;
        this.left = this.header.readUInt32BE(4);
        continue;
      }
      const part = chunk.subarray(at, at + this.left);
      at += part.length;
      this.left -= part.length;
      (this.header[0] === STDERR ? this.onStderr : this.onStdout)(part);
    }
  }
}
