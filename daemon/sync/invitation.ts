/**
 * An invitation for a node: all that it needs to find the town and to recognise it, as one short text.
 * Its secret lets in whoever shows it first, once, and never as a validator.
 */
import { bytesOf, hexOf, sha256Bytes } from '../ledger/hash.js';
import { isNodeId, isSha256, TownError, type Millis, type NodeId, type Sha256 } from '../ledger/ids.js';

/** 'door': it gets the badge key, so that it can tell badges. 'hub': it gets it not. Becoming a validator is a `charter.change`. */
export type InvitedRole = 'door' | 'hub';

export interface Checkpoint {
  readonly height: number;
  /** SHA-256 of the raw merge commit of that height. */
  readonly id: Sha256;
}

export interface Invitation {
  readonly v: 1;
  readonly town: Sha256;
  /** Of the town, for people. */
  readonly name: string;
  /** The node that invites: it alone may answer, with its own signature. */
  readonly host: NodeId;
  /** MQTT addresses, the best first: 1 to 4, `mqtt:`, `mqtts:`, `ws:` or `wss:`. */
  readonly brokers: readonly string[];
  /** A merge of the town when it was written: a history without it is another one. */
  readonly checkpoint: Checkpoint;
  /** 16 lower-case hex digits. */
  readonly id: string;
  /** 32 random bytes, base64url. */
  readonly secret: string;
  /** Milliseconds since 1970. */
  readonly expires: Millis;
  readonly role: InvitedRole;
}

export const INVITATION_CODE_MAX = 1024;
export const BROKERS_MAX = 4;
const BROKER_BYTES_MAX = 200;
const NAME_CHARS_MAX = 60;
const LINK_START = 'mergetown:join#';
const ROLES: readonly InvitedRole[] = ['door', 'hub'];
const CHECKSUM_BYTES = 4;
/** What six bytes hold; years beyond 10,000. */
const UINT48_MAX = 2 ** 48 - 1;

export const isInvitationId = (text: unknown): text is string =>
  typeof text === 'string' && /^[0-9a-f]{16}$/.test(text);

const isSecret = (text: unknown): text is string =>
  typeof text === 'string' && /^[A-Za-z0-9_-]{43}$/.test(text) && base64url(text)?.length === 32;

const isUint48 = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= UINT48_MAX;

function isBroker(text: unknown): text is string {
  if (typeof text !== 'string' || !/^(mqtts?|wss?):\/\/[\x21-\x7e]+$/.test(text)) return false;
  return text.length <= BROKER_BYTES_MAX && URL.canParse(text) && new URL(text).hostname !== '';
}

/** What a town or a node may be called: 1 to 60 characters, none of which does something on a terminal. */
export const isPlainName = (text: unknown): text is string =>
  typeof text === 'string' &&
  text.length >= 1 &&
  text.length <= NAME_CHARS_MAX &&
  !/[\p{Cc}\p{Surrogate}]/u.test(text);

/** The bytes of base64url in its one spelling, else null. */
function base64url(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

/** What does not hold, or null. */
function faultOf(invitation: Invitation): string | null {
  const { v, town, name, host, brokers, checkpoint, id, secret, expires, role } = invitation;
  if (v !== 1) return `its version is ${String(v)}`;
  if (!isSha256(town) || !isNodeId(host) || !isInvitationId(id)) return 'town, host or id is not hex';
  if (!isPlainName(name)) return `the name of the town has 1 to ${NAME_CHARS_MAX} plain characters`;
  if (!Array.isArray(brokers) || brokers.length < 1 || brokers.length > BROKERS_MAX)
    return `it names 1 to ${BROKERS_MAX} brokers`;
  const broker = brokers.find((url) => !isBroker(url));
  if (broker !== undefined) return `"${String(broker).slice(0, 80)}" is no address of an MQTT broker`;
  if (!isUint48(checkpoint.height) || !isSha256(checkpoint.id)) return 'the checkpoint is none';
  if (!isSecret(secret)) return 'the secret is not 32 bytes in base64url';
  if (!isUint48(expires)) return 'the expiry is no time in milliseconds';
  return ROLES.includes(role) ? null : `"${String(role)}" is no role that a node is invited to`;
}

/**
 * Checks an invitation that was made here or kept in a file.
 * @throws TownError `bad-invitation`
 */
export function checkInvitation(invitation: Invitation): Invitation {
  const fault = faultOf(invitation);
  if (fault === null) return invitation;
  throw new TownError(
    'bad-invitation',
    `This is no invitation: ${fault}.`,
    'A broker is named like mqtt://192.168.1.10:1883.',
  );
}

const uint48 = (value: number): Buffer => {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
};

const shortText = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([Uint8Array.of(bytes.length), bytes]);
};

const checksum = (body: Uint8Array): Uint8Array => sha256Bytes(body).subarray(0, CHECKSUM_BYTES);

/**
 * The code of an invitation: base64url, at most 1 KiB, about 320 characters for a town with one broker.
 * @throws TownError `bad-invitation`, `invitation-too-long`
 */
export function invitationCode(invitation: Invitation): string {
  const { town, name, host, brokers, checkpoint, id, secret, expires, role } = checkInvitation(invitation);
  const body = Buffer.concat([
    Uint8Array.of(1, ROLES.indexOf(role)),
    ...[town, host, id, checkpoint.id].map(bytesOf),
    Buffer.from(secret, 'base64url'),
    uint48(checkpoint.height),
    uint48(expires),
    shortText(name),
    Uint8Array.of(brokers.length),
    ...brokers.map(shortText),
  ]);
  const code = Buffer.concat([body, checksum(body)]).toString('base64url');
  if (code.length > INVITATION_CODE_MAX)
    throw new TownError(
      'invitation-too-long',
      `The code of this invitation would have ${code.length} characters; it has at most ${INVITATION_CODE_MAX}.`,
      'Name fewer brokers, or shorter addresses.',
    );
  return code;
}

/** The code as a link that a phone or a shell can carry. */
export const invitationLink = (code: string): string => `${LINK_START}${code}`;

/** Takes fields off the front; whatever is too short is told at the end, by `end`. */
class Fields {
  #at = 0;
  constructor(readonly bytes: Buffer) {}

  take(length: number): Buffer {
    if (this.#at + length > this.bytes.length) throw badCode('it is cut short');
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  byte = (): number => this.take(1).readUInt8();
  hex = (length: number): string => hexOf(this.take(length));
  uint48 = (): number => this.take(6).readUIntBE(0, 6);
  text = (): string => this.take(this.byte()).toString('utf8');

  end(): void {
    if (this.#at !== this.bytes.length) throw badCode('something stands behind its end');
  }
}

function badCode(why: string): TownError {
  return new TownError(
    'bad-invitation-code',
    `This is no invitation to a town: ${why}.`,
    'Copy the whole code again, or ask for a new one: town node invite',
  );
}

/**
 * Reads the code of an invitation, or its link; line breaks and spaces in it (from a terminal or a mail) do not matter.
 * @param now milliseconds; on a board without a clock that it can trust, 0: the host knows the time
 * @throws TownError `bad-invitation-code`, `invitation-expired`
 */
export function readInvitationCode(text: string, now: number): Invitation {
  if (text.length > 2 * INVITATION_CODE_MAX) throw badCode('it is too long');
  const bare = text.replace(/\s+/g, '');
  const code = bare.startsWith(LINK_START) ? bare.slice(LINK_START.length) : bare;
  if (code.length > INVITATION_CODE_MAX) throw badCode('it is too long');
  const bytes = base64url(code);
  if (bytes === null || bytes.length <= CHECKSUM_BYTES)
    throw badCode('it is cut short or has other characters');
  const body = bytes.subarray(0, -CHECKSUM_BYTES);
  if (!bytes.subarray(-CHECKSUM_BYTES).equals(checksum(body)))
    throw badCode('a character is wrong or missing');
  const invitation = invitationIn(new Fields(body));
  if (now >= invitation.expires)
    throw new TownError(
      'invitation-expired',
      `This invitation to ${invitation.name} ended at ${new Date(invitation.expires).toISOString()}.`,
      'Ask for a new one: town node invite',
    );
  return invitation;
}

function invitationIn(fields: Fields): Invitation {
  const version = fields.byte();
  if (version !== 1) throw badCode(`its version is ${version}, this program knows version 1`);
  const role = ROLES[fields.byte()];
  if (role === undefined) throw badCode('its role is unknown');
  const [town, host, id, checkpointId] = [fields.hex(32), fields.hex(8), fields.hex(8), fields.hex(32)];
  const secret = fields.take(32).toString('base64url');
  const [height, expires] = [fields.uint48(), fields.uint48()];
  const name = fields.text();
  const brokers = Array.from({ length: fields.byte() }, () => fields.text());
  fields.end();
  const invitation: Invitation = {
    v: 1,
    town: town as Sha256,
    name,
    host: host as NodeId,
    brokers,
    checkpoint: { height, id: checkpointId as Sha256 },
    id,
    secret,
    expires: expires as Millis,
    role,
  };
  const fault = faultOf(invitation);
  if (fault !== null) throw badCode(fault);
  return invitation;
}
