/**
 * Lets the packets of an MQTT 3.1.1 stream through up to a size and swallows larger ones, before anything of them is kept or
 * parsed: a broker that is not trusted must not fill the memory. A swallowed message is acknowledged, so that the broker does not
 * hold back the others because of it.
 */
import { Duplex } from 'node:stream';

const PUBLISH = 3;
/** The bytes of the longest topic that is looked at to acknowledge; a longer one is left unacknowledged. */
const TOPIC_BYTES_MAX = 1024;

type Phase =
  /** The fixed header: one byte, then up to four of length. */
  | { readonly t: 'header' }
  | { readonly t: 'pass'; left: number }
  | { readonly t: 'swallow'; left: number; readonly wantsAck: boolean };

export interface Sieved {
  /** What goes on to the parser. */
  readonly passed: readonly Buffer[];
  /** The packet ids of swallowed messages that want an acknowledgement; null for one that wants none. */
  readonly swallowed: readonly (number | null)[];
  /** The length field of a packet is none, or it is of a quality that was not asked for: the stream is not followed any more. */
  readonly broken: boolean;
}

/**
 * A message of quality 2 (or 3, which is none) is kept by who gets it until the sender lets go of it: a broker that never does fills
 * the memory. Nodes subscribe with quality 1, and an honest broker sends them nothing above that.
 */
const isKeptUntilReleased = (first: number): boolean => first >> 4 === PUBLISH && ((first >> 1) & 3) > 1;

/** The pure part: takes the stream in chunks, whatever their borders. Keeps at most a header and the start of one packet. */
export class PacketSieve {
  #phase: Phase = { t: 'header' };
  #header: number[] = [];
  #start: number[] = [];

  constructor(private readonly bytesMax: number) {}

  take(chunk: Buffer): Sieved {
    const passed: Buffer[] = [];
    const swallowed: (number | null)[] = [];
    let broken = false;
    for (let at = 0; at < chunk.length && !broken;) {
      const phase = this.#phase;
      if (phase.t === 'header') {
        this.#header.push(chunk[at] as number);
        at += 1;
        broken = this.#readHeader(passed);
      } else {
        const part = chunk.subarray(at, at + phase.left);
        at += part.length;
        phase.left -= part.length;
        if (phase.t === 'pass') passed.push(part);
        else this.#keepStart(part);
        if (phase.left > 0) continue;
        if (phase.t === 'swallow') swallowed.push(phase.wantsAck ? this.#packetId() : null);
        this.#start = [];
        this.#phase = { t: 'header' };
      }
    }
    return { passed, swallowed, broken };
  }

  /** Goes on to the packet when its header is whole. @returns whether the header is none */
  #readHeader(passed: Buffer[]): boolean {
    const header = this.#header;
    if (isKeptUntilReleased(header[0] as number)) return true;
    if (header.length === 1 || ((header[header.length - 1] as number) & 0x80) !== 0)
      return header.length >= 5;
    const left = header.slice(1).reduce((sum, byte, i) => sum + (byte & 0x7f) * 128 ** i, 0);
    const first = header[0] as number;
    if (left <= this.bytesMax) {
      passed.push(Buffer.from(header));
      this.#phase = left === 0 ? { t: 'header' } : { t: 'pass', left };
    } else {
      const qos = (first >> 1) & 3;
      this.#phase = { t: 'swallow', left, wantsAck: first >> 4 === PUBLISH && qos === 1 };
    }
    this.#header = [];
    return false;
  }

  #keepStart(part: Buffer): void {
    const room = TOPIC_BYTES_MAX + 4 - this.#start.length;
    if (room > 0) this.#start.push(...part.subarray(0, room));
  }

  /** The id stands behind the topic. */
  #packetId(): number | null {
    const start = Buffer.from(this.#start);
    const topicBytes = start.readUInt16BE(0);
    return topicBytes > TOPIC_BYTES_MAX ? null : start.readUInt16BE(2 + topicBytes);
  }
}

/**
 * A stream to a broker that only lets packets through up to a size.
 * @param swallowed told for each that was larger
 * @param verified until then nothing is written: the first packet has the password in it; a rejection ends the stream
 */
export class SievedStream extends Duplex {
  readonly #sieve: PacketSieve;
  #verified: Promise<void> | null;

  constructor(
    private readonly inner: Duplex,
    bytesMax: number,
    swallowed: () => void,
    verified: Promise<void> | null = null,
  ) {
    super();
    this.#verified = verified;
    verified?.then(
      () => (this.#verified = null),
      (error: Error) => this.destroy(error),
    );
    this.#sieve = new PacketSieve(bytesMax);
    inner.on('data', (chunk: Buffer) => {
      const sieved = this.#sieve.take(chunk);
      for (const id of sieved.swallowed) {
        swallowed();
        if (id !== null) inner.write(Buffer.from([0x40, 2, id >> 8, id & 0xff]));
      }
      for (const part of sieved.passed) if (!this.push(part)) inner.pause();
      if (sieved.broken) this.destroy(new Error('The broker sends what is not MQTT, or was not asked for.'));
    });
    inner.on('end', () => this.push(null));
    inner.on('error', (error) => this.destroy(error));
    inner.on('close', () => this.destroy());
  }

  override _read(): void {
    this.inner.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const write = (): void => void this.inner.write(chunk, encoding, done);
    if (this.#verified === null) write();
    else this.#verified.then(write, done);
  }

  override _final(done: () => void): void {
    this.inner.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.inner.destroy();
    done(error);
  }
}
