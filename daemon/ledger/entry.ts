/**
 * An entry is one signed statement: the transaction of the ledger.
 * Its text is one line of RFC 8785 canonical JSON; its id is the SHA-256 of that line.
 */
import { assertIntegers, canonicalize, parseCanonical } from './canonical.js';
import { sha256 } from './hash.js';
import type { EntryId, Json, JsonObject, KeyId, Millis, NodeId, Sha256 } from './ids.js';
import { TownError, isKeyId, isNodeId, isSha256 } from './ids.js';
import { isSignatureText, signText, verifyText, verifyTextAside } from './signature.js';

/** At most this many bytes of canonical JSON. */
export const ENTRY_BYTES_MAX = 16 * 1024;
/** At most this many co-signatures. */
export const COSIGNERS_MAX = 16;

const DOMAIN = 'mergetown/entry/v1';

/** What is signed: where the entry belongs (town, line, node, n, base), what it says, who says it and when. */
export interface EntryContent {
  readonly v: 1;
  readonly town: Sha256;
  readonly line: string;
  /** SHA-256 of the merge commit that the signer's node had adopted. */
  readonly base: Sha256;
  /** The node it enters by, and that node's running number. */
  readonly node: NodeId;
  readonly n: number;
  /** `<dapp>.<verb>`. */
  readonly type: string;
  readonly by: KeyId;
  readonly at: Millis;
  readonly body: JsonObject;
}

export interface Entry extends EntryContent {
  readonly sig: string;
  /** Further signatures over the same content, sorted by key; for what needs more than one. */
  readonly cosigned?: readonly { readonly by: KeyId; readonly sig: string }[];
}

declare const verified: unique symbol;
/** An entry whose every signature was checked. Only these reach the replay. */
export type VerifiedEntry = Entry & {
  readonly id: EntryId;
  readonly text: string;
  readonly [verified]: true;
};

/**
 * Signs a statement. The first secret key (a 32-byte Ed25519 seed) must belong to `content.by`; the others co-sign.
 * @throws TownError `entry-too-large`, `not-integer`, `bad-entry`
 */
export function signEntry(
  content: EntryContent,
  secretKey: Uint8Array,
  cosigners: readonly { readonly by: KeyId; readonly secretKey: Uint8Array }[] = [],
): VerifiedEntry {
  const message = canonicalize(content);
  const cosigned = cosigners
    .map(({ by, secretKey: key }) => ({ by, sig: signText(key, DOMAIN, message) }))
    .sort((a, b) => (a.by < b.by ? -1 : 1));
  const entry: Entry = {
    ...content,
    sig: signText(secretKey, DOMAIN, message),
    ...(cosigned.length > 0 ? { cosigned } : {}),
  };
  assertEntry(entry as unknown as Json);
  const text = signedLine(message, entry);
  assertSize(text);
  return { ...entry, id: entryIdOf(text), text } as VerifiedEntry;
}

/**
 * The canonical line: the text that was signed with the signatures at their places, the counterpart of `signedText`. Quotation marks
 * inside of strings are escaped and the body comes before, so the last place is the field's.
 */
function signedLine(message: string, { sig, cosigned }: Entry): string {
  const others = cosigned === undefined ? '' : `"cosigned":${canonicalize(cosigned)},`;
  const line = message.lastIndexOf('"line":"');
  const town = message.lastIndexOf('"town":"');
  return `${message.slice(0, line)}${others}${message.slice(line, town)}"sig":"${sig}",${message.slice(town)}`;
}

/** The id of an entry: SHA-256 of its line, without the line feed. */
export const entryIdOf = (text: string): EntryId => sha256(text) as string as EntryId;

const FIELDS = new Set(['at', 'base', 'body', 'by', 'line', 'n', 'node', 'sig', 'town', 'type', 'v']);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * Reads a line of `entries.jsonl` strictly; signatures are not looked at here.
 * @throws TownError `bad-entry`, `not-canonical`, `not-integer`, `entry-too-large`
 */
export function parseEntry(text: string): Entry {
  assertSize(text);
  const value = parseCanonical(text);
  assertEntry(value);
  return value as unknown as Entry;
}

function assertSize(text: string): void {
  if (Buffer.byteLength(text) > ENTRY_BYTES_MAX)
    throw new TownError(
      'entry-too-large',
      `An entry holds at most ${ENTRY_BYTES_MAX} bytes; this one has ${Buffer.byteLength(text)}.`,
      'Say it in fewer words, or in several entries.',
    );
}

function assertEntry(value: Json): void {
  const bad = (what: string): never => {
    throw new TownError('bad-entry', `This is no entry: ${what}.`);
  };
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return bad('it must be a JSON object');
  assertIntegers(value);
  const e = value as { readonly [name: string]: Json };
  let fields = 0;
  for (const name of Object.keys(e)) {
    if (FIELDS.has(name)) fields += 1;
    else if (name !== 'cosigned') bad(`the field "${name}" is not known`);
  }
  if (fields < FIELDS.size)
    bad(`the field "${[...FIELDS].find((name) => !Object.hasOwn(e, name))}" is missing`);
  if (e['v'] !== 1) bad('"v" must be 1');
  if (!isSha256(e['town'])) bad('"town" must be 64 hex digits');
  if (typeof e['line'] !== 'string' || !/^[a-z0-9][a-z0-9-]{0,63}$/.test(e['line']))
    bad('"line" must name a line');
  if (!isSha256(e['base'])) bad('"base" must be 64 hex digits');
  if (!isNodeId(e['node'])) bad('"node" must be 16 hex digits');
  if (!isCount(e['n']) || e['n'] === 0) bad('"n" must be an integer from 1');
  if (typeof e['type'] !== 'string' || !/^[a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31}$/.test(e['type']))
    bad('"type" must be <dapp>.<verb>');
  if (!isKeyId(e['by'])) bad('"by" must be a public key of 64 hex digits');
  if (!isCount(e['at'])) bad('"at" must be milliseconds since 1970');
  if (typeof e['body'] !== 'object' || e['body'] === null || Array.isArray(e['body']))
    bad('"body" must be an object');
  if (!isSignatureText(e['sig'])) bad('"sig" must be 64 bytes in base64url');
  if ('cosigned' in e) {
    const list = e['cosigned'];
    if (!Array.isArray(list) || list.length === 0 || list.length > COSIGNERS_MAX)
      bad(`"cosigned" must be a list of 1 to ${COSIGNERS_MAX}`);
    let last = '';
    for (const item of list as readonly JsonObject[]) {
      if (typeof item !== 'object' || item === null) bad('"cosigned" must hold {by, sig}');
      if (!isKeyId(item['by']) || !isSignatureText(item['sig']) || Object.keys(item).length !== 2)
        bad('"cosigned" must hold {by, sig}');
      if ((item['by'] as string) <= last || item['by'] === e['by'])
        bad('"cosigned" must be sorted by key, each once');
      last = item['by'] as string;
    }
  }
}

/**
 * Entries whose form and signatures were found to hold lately, by id: an entry is read on arrival and again for every replay, and its id
 * is the hash of every byte, signatures included. 2 MiB at most; what fell out is checked again.
 */
const KNOWN_GOOD_MAX = 16_384;
const knownGood = new Set<EntryId>();

function rememberGood(id: EntryId): void {
  if (knownGood.size >= KNOWN_GOOD_MAX)
    for (const oldest of knownGood) {
      knownGood.delete(oldest);
      break;
    }
  knownGood.add(id);
}

/**
 * Reads a line and checks every signature on it.
 * @throws TownError as `parseEntry`, and `bad-signature`
 */
export function verifyEntry(text: string): VerifiedEntry {
  const id = entryIdOf(text);
  if (knownGood.has(id)) return { ...(JSON.parse(text) as Entry), id, text } as VerifiedEntry;
  const entry = parseEntry(text);
  assertSigned(entry, id, text);
  rememberGood(id);
  return { ...entry, id, text } as VerifiedEntry;
}

/**
 * As `verifyEntry`, in full, leaving no memory of it here: for the threads of a pool, which tell `rememberVerified` on the main one.
 * @returns its id
 * @throws TownError as `verifyEntry`
 */
export function checkEntry(text: string): EntryId {
  const id = entryIdOf(text);
  assertSigned(parseEntry(text), id, text);
  return id;
}

/**
 * Reads a line and has every signature on it checked on other threads; what is good is remembered, so that `verifyEntry` finds it
 * known. What is not is left for that to refuse, with its words. @returns whether it is good
 */
export async function verifyEntryAhead(text: string): Promise<boolean> {
  const id = entryIdOf(text);
  if (knownGood.has(id)) return true;
  let entry: Entry;
  try {
    entry = parseEntry(text);
  } catch (error) {
    if (error instanceof TownError) return false;
    throw error;
  }
  const message = signedText(entry, text);
  for (const { by, sig } of signaturesOf(entry))
    if (!(await verifyTextAside(by, DOMAIN, message, sig))) return false;
  rememberGood(id);
  return true;
}

/** Takes over what a thread of this program found with `checkEntry`. Never for what anybody else says of an entry. */
export function rememberVerified(ids: Iterable<EntryId>): void {
  for (const id of ids) rememberGood(id);
}

/**
 * The text that is signed: the canonical line without its signatures. Cut out rather than written anew: names are sorted, and
 * after `by` and `node` come only values that hold no quotation marks of their own, so the last place is the field's.
 */
function signedText({ sig, cosigned }: Entry, text: string): string {
  const own = `"sig":"${sig}",`;
  let at = text.lastIndexOf(own);
  const content = text.slice(0, at) + text.slice(at + own.length);
  if (cosigned === undefined) return content;
  const others = `"cosigned":${canonicalize(cosigned)},`;
  at = content.lastIndexOf(others);
  return content.slice(0, at) + content.slice(at + others.length);
}

const signaturesOf = ({
  by,
  sig,
  cosigned,
}: Entry): readonly { readonly by: KeyId; readonly sig: string }[] => [{ by, sig }, ...(cosigned ?? [])];

function assertSigned(entry: Entry, id: EntryId, text: string): void {
  const message = signedText(entry, text);
  for (const { by, sig } of signaturesOf(entry))
    if (!verifyText(by, DOMAIN, message, sig))
      throw new TownError(
        'bad-signature',
        `The signature of key ${by.slice(0, 12)}… on entry ${id.slice(0, 12)}… does not fit what it says.`,
        'It was changed after signing, or signed with another key: get it anew from whoever made it.',
      );
}

/** Everyone who signed: the author first. */
export const signersOf = (entry: Entry): readonly KeyId[] => [
  entry.by,
  ...(entry.cosigned ?? []).map((c) => c.by),
];

/** The part before the dot: whose contract judges it. */
export const dappOf = (type: string): string => type.slice(0, type.indexOf('.'));
/** The part after the dot. */
export const verbOf = (type: string): string => type.slice(type.indexOf('.') + 1);
