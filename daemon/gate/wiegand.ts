/** The Wiegand protocol of badge readers, 26 and 34 bits: pulses on two lines become a badge number. Pure. */
import type { Read } from './board.js';

/** Shorter frames are key presses (4 or 8 bits) or glitches, not badges. */
const badgeBitsMin = 9;
/** Between two bits of one badge: 20 ms at most by the readers' data sheets; between two badges, a quarter of a second. */
export const frameGapMs = 40;
const pulsesMax = 512;

/** One falling edge: 0 from line D0, 1 from line D1; `at` in nanoseconds of the kernel's clock. */
export interface Pulse {
  readonly bit: 0 | 1;
  readonly at: bigint;
}

/**
 * Decodes one frame, e.g. `10111101100010001110101110`. First bit: even parity over the first half; last bit: odd parity over the second.
 * 26 bits (H10301) give `<facility>:<card>` in decimal, as printed on cards; 34 bits give the 32 data bits as 8 upper-case hex digits.
 * Null: too short to be a badge.
 */
export function decodeWiegand(bits: string): Read | null {
  if (bits.length < badgeBitsMin) return null;
  if (bits.length !== 26 && bits.length !== 34)
    return { badRead: `${bits.length} bits are no badge of 26 or 34.` };
  const half = bits.length / 2;
  if (ones(bits.slice(0, half)) % 2 !== 0 || ones(bits.slice(half)) % 2 !== 1)
    return { badRead: 'The parity of the badge is wrong.' };
  const data = bits.slice(1, -1);
  if (bits.length === 26)
    return { number: `${Number.parseInt(data.slice(0, 8), 2)}:${Number.parseInt(data.slice(8), 2)}` };
  return { number: Number.parseInt(data, 2).toString(16).toUpperCase().padStart(8, '0') };
}

const ones = (bits: string): number => bits.replaceAll('0', '').length;

/**
 * Collects pulses until the line is quiet, then cuts them into frames by the kernel's time stamps:
 * the two lines may be reported out of order, and a busy process may see two badges at once.
 */
export class WiegandFrames {
  #pulses: Pulse[] = [];

  /** Takes a pulse; beyond a bound that no badge reaches, none. */
  push(pulse: Pulse): void {
    if (this.#pulses.length < pulsesMax) this.#pulses.push(pulse);
  }

  /** Call when nothing has come for `frameGapMs`. Returns what was read, in order. */
  end(): Read[] {
    const pulses = this.#pulses.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
    this.#pulses = [];
    const reads: Read[] = [];
    let bits = '';
    const take = () => {
      const read = decodeWiegand(bits);
      if (read !== null) reads.push(read);
      bits = '';
    };
    pulses.forEach(({ bit, at }, index) => {
      const before = pulses[index - 1];
      if (before !== undefined && at - before.at > BigInt(frameGapMs) * 1_000_000n) take();
      bits += bit;
    });
    take();
    return reads;
  }
}
