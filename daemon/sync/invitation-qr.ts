/** An invitation as a QR code, for a terminal and for a page. */
import { encodeQR } from 'qr';
import { invitationLink } from './invitation.js';

/** Light modules around the symbol. ISO 18004 asks for four; two are read everywhere and fit a terminal of 80 columns. */
const BORDER = 2;
/** Read from a screen at once: the lowest correction makes the fewest modules. */
const OPTIONS = { ecc: 'low', border: BORDER } as const;

/** White on black whatever the terminal's colours: a QR code with its colours exchanged is not read by every phone. */
const COLOURS = { start: '\x1b[40;97m', end: '\x1b[0m' } as const;

/**
 * The link of a code as lines of half blocks (two modules a character), about 71 columns and 36 lines for one broker.
 * @param colour whether the terminal takes ANSI colours
 */
export function qrLines(code: string, colour = false): readonly string[] {
  const lines = encodeQR(invitationLink(code), 'ascii', OPTIONS)
    .split('\n')
    .filter((line) => line !== '');
  return colour ? lines.map((line) => `${COLOURS.start}${line}${COLOURS.end}`) : lines;
}

/** The link of a code as an SVG document with a view box and no colours but black on white. */
export function qrSvg(code: string): string {
  const svg = encodeQR(invitationLink(code), 'svg', OPTIONS);
  // The library draws the dark modules alone; on a dark page they would not be seen.
  return svg.replace(/^(<svg [^>]*>)/, '$1<rect width="100%" height="100%" fill="#fff"/>');
}
