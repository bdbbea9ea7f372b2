/**
 * Makes the certificates of a broker: an authority of the town's own, and what it signs for the broker's names and addresses.
 * X.509 v3 (RFC 5280) in DER, ECDSA over P-256 with SHA-256 (RFC 5758), which every MQTT client knows.
 */
import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';

const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;
const OID = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKey: '2.5.29.14',
  keyUsage: '2.5.29.15',
  alternativeNames: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKey: '2.5.29.35',
  extendedUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(TAG.sequence, ...parts);
const bits = (bytes: Uint8Array, unused = 0): Buffer => der(TAG.bits, Uint8Array.of(unused), bytes);
const yes = der(TAG.boolean, Uint8Array.of(0xff));

/** A positive number. */
const integer = (bytes: Uint8Array): Buffer =>
  der(TAG.integer, (bytes[0] ?? 0) >= 0x80 ? Uint8Array.of(0, ...bytes) : bytes);

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(TAG.oid, Uint8Array.from(bytes));
}

/** RFC 5280, 4.1.2.5: two digits of the year up to 2049, four from then on. */
function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
  return text < '2050'
    ? der(TAG.utcTime, Buffer.from(text.slice(2)))
    : der(TAG.generalizedTime, Buffer.from(text));
}

const named = (name: string): Buffer =>
  sequence(der(TAG.set, sequence(oid(OID.commonName), der(TAG.utf8, Buffer.from(name)))));

const extension = (id: string, value: Uint8Array, critical = false): Buffer =>
  sequence(oid(id), ...(critical ? [yes] : []), der(TAG.octets, value));

const spkiOf = (key: KeyObject): Buffer => createPublicKey(key).export({ type: 'spki', format: 'der' });
/** RFC 5280, 4.2.1.2 (1): SHA-1 of the point, as a name and not for its strength. */
const keyIdOf = (key: KeyObject): Buffer => createHash('sha1').update(spkiOf(key).subarray(-65)).digest();

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  // The URL parser writes it in its one short form, with one gap of zeros at most.
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string | undefined): number[] =>
    text ? text.split(':').map((group) => parseInt(group, 16)) : [];
  const [before, after] = [groups(head), groups(tail)];
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

/** A name or an address, as it stands among the alternative names. */
const alternative = (host: string): Buffer =>
  isIPv4(host) || isIPv6(host) ? der(0x87, addressBytes(host)) : der(0x82, Buffer.from(host));

/** A key for ECDSA over P-256, and the certificate that names it. */
export interface Certified {
  /** PKCS#8, PEM. */
  readonly key: string;
  readonly certificate: Uint8Array;
}

interface Wanted {
  readonly subject: string;
  readonly issuer: string;
  readonly key: KeyObject;
  readonly signer: KeyObject;
  /** 16 random bytes. */
  readonly serial: Uint8Array;
  /** Milliseconds. */
  readonly from: number;
  readonly to: number;
  readonly extensions: readonly Uint8Array[];
}

function make({ subject, issuer, key, signer, serial, from, to, extensions }: Wanted): Buffer {
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const content = sequence(
    der(0xa0, integer(Uint8Array.of(2))),
    // Never zero at its start, so that it has one spelling.
    integer(Uint8Array.of(((serial[0] ?? 0) & 0x7f) | 0x40, ...serial.subarray(1))),
    algorithm,
    named(issuer),
    sequence(time(from), time(to)),
    named(subject),
    spkiOf(key),
    der(0xa3, sequence(...extensions)),
  );
  return sequence(content, algorithm, bits(sign('sha256', content, signer)));
}

const YEAR_MS = 365.25 * 86_400_000;
/** Long before any board, since the clock of one may stand there. */
const FROM = Date.UTC(2020, 0, 1);

/** The town's own authority. @param key PKCS#8, PEM; @param now milliseconds */
export function makeAuthority(name: string, key: string, serial: Uint8Array, now: number): Uint8Array {
  const own = createPrivateKey(key);
  return make({
    ...{ subject: name, issuer: name, key: own, signer: own, serial },
    ...{ from: FROM, to: now + 30 * YEAR_MS },
    extensions: [
      extension(OID.basicConstraints, sequence(yes, integer(Uint8Array.of(0))), true),
      // To sign certificates, and nothing else.
      extension(OID.keyUsage, bits(Uint8Array.of(0x04), 2), true),
      extension(OID.subjectKey, der(TAG.octets, keyIdOf(own))),
    ],
  });
}

/** What the authority signs for a broker. @param hosts 1 to 16 names and addresses by which it is dialled */
export function makeBrokerCertificate(
  { name, key, serial, now }: { name: string; key: string; serial: Uint8Array; now: number },
  hosts: readonly string[],
  authority: { readonly name: string; readonly key: string },
): Uint8Array {
  const own = createPrivateKey(key);
  const signer = createPrivateKey(authority.key);
  return make({
    ...{ subject: name, issuer: authority.name, key: own, signer, serial },
    ...{ from: FROM, to: now + 10 * YEAR_MS },
    extensions: [
      extension(OID.basicConstraints, sequence(), true),
      extension(OID.keyUsage, bits(Uint8Array.of(0x80), 7), true),
      extension(OID.extendedUsage, sequence(oid(OID.serverAuth))),
      extension(OID.alternativeNames, sequence(...hosts.slice(0, 16).map(alternative))),
      extension(OID.subjectKey, der(TAG.octets, keyIdOf(own))),
      extension(OID.authorityKey, sequence(der(0x80, keyIdOf(signer)))),
    ],
  });
}

export const pemOf = (certificate: Uint8Array): string => {
  const lines =
    Buffer.from(certificate)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
};
