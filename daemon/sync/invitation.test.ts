/** The text of an invitation: what goes in comes out, one wrong character is found, a phone reads the picture. */
import fc from 'fast-check';
import { decodeQR } from 'qr/decode.js';
import t from 'tap';
import { sha256 } from '../ledger/hash.js';
import type { Millis, NodeId } from '../ledger/ids.js';
import { qrLines, qrSvg } from './invitation-qr.js';
import {
  INVITATION_CODE_MAX,
  invitationCode,
  invitationLink,
  readInvitationCode,
  type Invitation,
} from './invitation.js';

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;

const invitation: Invitation = {
  v: 1,
  town: sha256('town'),
  name: 'Wólka Makerspace 🛠',
  host: sha256('host').slice(0, 16) as NodeId,
  brokers: ['mqtt://192.168.1.10:1883'],
  checkpoint: { height: 1234, id: sha256('merge 1234') },
  id: '0123456789abcdef',
  secret: Buffer.alloc(32, 0xa5).toString('base64url'),
  expires: (NOW + 24 * HOUR) as Millis,
  role: 'door',
};

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((made) => Buffer.from(made).toString('hex'));
const invitations: fc.Arbitrary<Invitation> = fc.record({
  v: fc.constant(1 as const),
  town: hex(32) as fc.Arbitrary<Invitation['town']>,
  name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 15 }).filter((name) => name.length <= 60),
  host: hex(8) as fc.Arbitrary<NodeId>,
  brokers: fc.array(
    fc.constantFrom('mqtt://10.0.0.7:1883', 'wss://me:pass@town.example/mqtt', 'mqtts://[fe80::1]'),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
  checkpoint: fc.record({ height: fc.nat(), id: hex(32) as fc.Arbitrary<Invitation['town']> }),
  id: hex(8),
  secret: fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => Buffer.from(bytes).toString('base64url')),
  expires: fc.integer({ min: NOW + 1, max: 2 ** 48 - 1 }) as fc.Arbitrary<Millis>,
  role: fc.constantFrom('door' as const, 'hub' as const),
});

t.test('a code says exactly what the invitation says, also as a link and broken into lines', async (t) => {
  fc.assert(
    fc.property(invitations, (made) => {
      const code = invitationCode(made);
      const lines = (invitationLink(code).match(/.{1,60}/g) as string[]).join('\n  ');
      t.ok(code.length <= INVITATION_CODE_MAX);
      t.same(readInvitationCode(code, NOW), made);
      t.same(readInvitationCode(` ${lines}\r\n`, NOW), made);
    }),
    { numRuns: 50 },
  );
  t.ok(invitationCode(invitation).length < 320, 'short for a town with one broker');
});

t.test('a wrong, missing or added character is told at once', async (t) => {
  const code = invitationCode(invitation);
  const bad = { code: 'bad-invitation-code' };
  for (let i = 0; i < code.length; i += 7) {
    const other = code[i] === 'A' ? 'B' : 'A';
    t.throws(() => readInvitationCode(code.slice(0, i) + other + code.slice(i + 1), NOW), bad);
    t.throws(() => readInvitationCode(code.slice(0, i) + code.slice(i + 1), NOW), bad);
    t.throws(() => readInvitationCode(code.slice(0, i), NOW), bad);
  }
  for (const text of ['', 'hello', `${code}AAAA`, `${code}=`, 'A'.repeat(1100), ' '.repeat(5_000_000), '🛠'])
    t.throws(() => readInvitationCode(text, NOW), bad);
});

t.test(
  'random bytes with a right checksum are no invitation, and never anything but a TownError',
  async () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.boolean(), (bytes, startsRight) => {
        const head = Buffer.from(invitationCode(invitation), 'base64url').subarray(0, startsRight ? 160 : 0);
        const body = Buffer.concat([head, bytes]);
        const sum = Buffer.from(sha256(body).slice(0, 8), 'hex');
        try {
          readInvitationCode(Buffer.concat([body, sum]).toString('base64url'), NOW);
          return startsRight;
        } catch (error) {
          return (error as { code: string }).code === 'bad-invitation-code';
        }
      }),
      { numRuns: 200 },
    );
  },
);

t.test('an invitation that has run out says so, and when', async (t) => {
  const code = invitationCode(invitation);
  t.ok(readInvitationCode(code, invitation.expires - 1));
  t.throws(() => readInvitationCode(code, invitation.expires), {
    code: 'invitation-expired',
    message: /2027-01-16/,
  });
});

t.test('what cannot be an invitation is not written', async (t) => {
  const wrong: { readonly [what: string]: Partial<Record<keyof Invitation, unknown>> } = {
    'no broker': { brokers: [] },
    'five brokers': { brokers: Array(5).fill('mqtt://a') },
    'a web address': { brokers: ['http://town.example'] },
    'a broker without a host': { brokers: ['mqtt://'] },
    'a broker with a line break': { brokers: ['mqtt://a\nb'] },
    'the role of a validator': { role: 'validator' },
    'a short secret': { secret: 'AAAA' },
    'a secret with loose bits': { secret: `${'A'.repeat(42)}B` },
    'a name that paints on the terminal': { name: 'a\u001b[2J' },
    'an empty name': { name: '' },
    'a fraction of a millisecond': { expires: 1.5 },
    'a negative height': { checkpoint: { height: -1, id: sha256('x') } },
    'another version': { v: 2 },
  };
  for (const [what, part] of Object.entries(wrong))
    t.throws(
      () => invitationCode({ ...invitation, ...part } as Invitation),
      { code: 'bad-invitation' },
      what,
    );
  const long = `mqtt://${'a'.repeat(180)}.example`;
  t.throws(() => invitationCode({ ...invitation, brokers: [long, long, long, long] }), {
    code: 'invitation-too-long',
  });
});

t.test('a phone reads the QR code from the terminal', async (t) => {
  const code = invitationCode(invitation);
  const lines = qrLines(code);
  const width = Math.max(...lines.map((line) => line.length));
  t.ok(width <= 80, 'it fits 80 columns');
  t.equal(decodeQR(picture(lines)), invitationLink(code));
  t.ok(qrLines(code, true).every((line) => line.startsWith('\u001b[40;97m') && line.endsWith('\u001b[0m')));
});

t.test('the SVG stands on white, whatever the page', async (t) => {
  const svg = qrSvg(invitationCode(invitation));
  t.match(
    svg,
    /^<svg viewBox="0 0 \d+ \d+" xmlns="[^"]+"><rect width="100%" height="100%" fill="#fff"\/><path /,
  );
  t.match(svg, /<\/svg>$/);
});

/** What a camera sees of a dark terminal: half blocks as light squares, eight dots a module. */
function picture(lines: readonly string[]): { width: number; height: number; data: Uint8Array } {
  const scale = 8;
  const columns = lines[0]?.length ?? 0;
  const [width, height] = [columns * scale, lines.length * 2 * scale];
  const data = new Uint8Array(width * height * 4).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const row = Math.floor(y / scale);
      const mark = lines[row >> 1]?.[Math.floor(x / scale)] ?? ' ';
      const isLight = mark === '█' || mark === (row % 2 === 0 ? '▀' : '▄');
      data.fill(isLight ? 255 : 0, (y * width + x) * 4, (y * width + x) * 4 + 3);
    }
  }
  return { width, height, data };
}
