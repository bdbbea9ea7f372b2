/**
 * Git objects as values: the bytes that stock git reads, made and parsed without any repository.
 * SHA-1 names objects here because git does; the ledger's integrity never rests on it.
 */
import { hash } from 'node:crypto';
import { hexOf } from './hash.js';
import { invariant, TownError, type Oid } from './ids.js';
import { sshSign } from './sshsig.js';

export type GitObjectType = 'blob' | 'tree' | 'commit';

export interface GitObject {
  readonly oid: Oid;
  readonly type: GitObjectType;
  /** The content, without git's header. */
  readonly data: Uint8Array;
}

export interface TreeEntry {
  readonly name: string;
  readonly oid: Oid;
  readonly kind: 'file' | 'folder';
}

/** Who and when; `seconds` since 1970, always at +0000. */
export interface CommitPerson {
  readonly name: string;
  readonly email: string;
  readonly seconds: number;
}

export interface CommitFields {
  readonly tree: Oid;
  readonly parents: readonly Oid[];
  readonly author: CommitPerson;
  readonly committer: CommitPerson;
  /** Without the newline that ends it in the object. */
  readonly message: string;
}

export interface ParsedCommit {
  readonly fields: CommitFields;
  /** The commit without its `gpgsig` header: what the signature is over. */
  readonly payload: Uint8Array;
  /** The armoured SSH signature, ending with a newline; null where the commit has none. */
  readonly signature: string | null;
}

const isOid = (text: string): text is Oid => /^[0-9a-f]{40}$/.test(text);

function gitObject(type: GitObjectType, data: Uint8Array): GitObject {
  const whole = Buffer.concat([Buffer.from(`${type} ${data.length}\0`), data]);
  return { oid: hash('sha1', whole) as Oid, type, data };
}

export function blobObject(data: Uint8Array): GitObject {
  return gitObject('blob', data);
}

// Trees -------------------------------------------------------------------------------------------------------------

const MODES = { file: '100644', folder: '40000' } as const;

function badTree(why: string): TownError {
  return new TownError('bad-tree', `Not a tree of this ledger: ${why}.`);
}

/** Printable ASCII that git's `fsck --strict` and every file system let pass; the ledger has no other names. */
function checkName(name: string): void {
  const bad = !/^[ -~]{1,255}$/.test(name) || /[/\\]|^\.{1,2}$|^(\.git|git~)/i.test(name);
  if (bad) throw badTree(`the name ${JSON.stringify(name)} is not allowed`);
}

/** Git compares names bytewise, those of folders as if they ended in `/`. Checked names are ASCII: their order as texts is that. */
const sortKey = ({ kind, name }: TreeEntry): string => (kind === 'folder' ? `${name}/` : name);

/** Of an entry: mode, space, name, zero, the 20 bytes of the object's name. */
const entryBytes = ({ kind, name }: TreeEntry): number => MODES[kind].length + 1 + name.length + 1 + 20;

/**
 * A tree of files (mode 100644) and folders, in git's order whatever the order given.
 * @throws TownError `bad-tree` on names that git or a file system would not take, or that come twice.
 */
export function treeObject(entries: readonly TreeEntry[]): GitObject {
  const names = new Set<string>();
  let size = 0;
  for (const entry of entries) {
    checkName(entry.name);
    if (names.has(entry.name)) throw badTree(`the name ${JSON.stringify(entry.name)} comes twice`);
    names.add(entry.name);
    size += entryBytes(entry);
  }
  const sorted = entries
    .map((entry) => ({ entry, key: sortKey(entry) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const data = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { entry } of sorted) {
    invariant(isOid(entry.oid), 'a tree entry has an object id');
    at += data.write(`${MODES[entry.kind]} ${entry.name}\0`, at, 'latin1');
    at += data.write(entry.oid, at, 'hex');
  }
  return gitObject('tree', data);
}

/**
 * The entries of a tree in git's order.
 * @throws TownError `bad-tree` on everything that `treeObject` would not write byte for byte (other modes, order, names).
 */
export function parseTree(data: Uint8Array): TreeEntry[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const entries: TreeEntry[] = [];
  for (let at = 0; at < bytes.length;) {
    const zero = bytes.indexOf(0, at);
    if (zero < 0 || zero + 21 > bytes.length) throw badTree('it is cut short');
    const [, mode, name] = /^(\d+) (.*)$/s.exec(bytes.toString('utf8', at, zero)) ?? [];
    const kind = mode === MODES.file ? 'file' : mode === MODES.folder ? 'folder' : null;
    if (kind === null || name === undefined)
      throw badTree(`the mode ${JSON.stringify(mode)} is not one of its own`);
    entries.push({ name, kind, oid: hexOf(bytes.subarray(zero + 1, zero + 21)) as Oid });
    at = zero + 21;
  }
  if (!bytes.equals(treeObject(entries).data)) throw badTree('names or order are not canonical');
  return entries;
}

// Commits -----------------------------------------------------------------------------------------------------------

function badCommit(why: string): TownError {
  return new TownError('bad-commit', `Not a commit of this ledger: ${why}.`);
}

function checkPerson({ name, email, seconds }: CommitPerson): void {
  // eslint-disable-next-line no-control-regex -- control characters are what must not be there
  const bad = /[\0-\x1f\x7f<>]|^\s|\s$|^$|\p{Surrogate}/u;
  if (bad.test(name) || bad.test(email))
    throw badCommit('the name or e-mail of a person has characters git refuses');
  if (!Number.isSafeInteger(seconds) || seconds < 0)
    throw badCommit('a date is not in whole seconds since 1970');
}

function checkFields({ tree, parents, author, committer, message }: CommitFields): void {
  if (!isOid(tree) || !parents.every(isOid)) throw badCommit('an object id is not 40 hex digits');
  if (new Set(parents).size !== parents.length) throw badCommit('a parent comes twice');
  checkPerson(author);
  checkPerson(committer);
  if (/^\s|^$|\n$|[\0\r]|\p{Surrogate}/u.test(message)) {
    throw badCommit(
      'the message is empty, starts with space, ends with a newline, or has a zero, a CR or a lone surrogate',
    );
  }
}

const person = ({ name, email, seconds }: CommitPerson): string => `${name} <${email}> ${seconds} +0000`;

/** The commit's bytes; with a signature, its `gpgsig` header comes last, as git writes it: each further line after a space. */
function commitBytes(fields: CommitFields, signature: string | null): Buffer {
  const headers = [
    `tree ${fields.tree}`,
    ...fields.parents.map((parent) => `parent ${parent}`),
    `author ${person(fields.author)}`,
    `committer ${person(fields.committer)}`,
  ];
  if (signature !== null) headers.push(`gpgsig ${signature.slice(0, -1).replaceAll('\n', '\n ')}`);
  return Buffer.from(`${headers.join('\n')}\n\n${fields.message}\n`, 'utf8');
}

/**
 * A commit signed as git does with `gpg.format=ssh` (namespace `git`). Newlines at the message's end are dropped; the object
 * ends with one.
 * @throws TownError `bad-commit` on fields that git would refuse or change.
 */
export function signedCommit(fields: CommitFields, secretKey: Uint8Array): GitObject {
  const written = { ...fields, message: fields.message.replace(/\n+$/, '') };
  checkFields(written);
  const signature = sshSign(secretKey, commitBytes(written, null));
  return gitObject('commit', commitBytes(written, signature));
}

const PERSON = /^([^<\n]+) <([^>\n]+)> (0|[1-9]\d*) \+0000$/;

function parsePerson(line: string): CommitPerson {
  const [, name, email, seconds] = PERSON.exec(line) ?? [];
  if (name === undefined || email === undefined) throw badCommit('an author or committer line is malformed');
  return { name, email, seconds: Number(seconds) };
}

const COMMIT = new RegExp(
  '^tree (?<tree>[^\n]{40})\n' +
    '(?<parents>(?:parent [^\n]{40}\n)*)' +
    'author (?<author>[^\n]*)\n' +
    'committer (?<committer>[^\n]*)\n' +
    '(?:gpgsig (?<signature>-----BEGIN SSH SIGNATURE-----\n(?: [A-Za-z0-9+/=]{1,70}\n)+ -----END SSH SIGNATURE-----\n))?' +
    '\n(?<message>[^]*)\n$',
);

/**
 * A commit's fields, what its signature is over, and the signature (not verified here: `sshVerify`).
 * @throws TownError `bad-commit` on everything that `signedCommit` would not write byte for byte (but for a commit without
 *   signature, which is told by `signature: null`).
 */
export function parseCommit(data: Uint8Array): ParsedCommit {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw badCommit('it is not UTF-8');
  }
  const found = COMMIT.exec(text)?.groups as Record<string, string | undefined> | undefined;
  if (found === undefined) throw badCommit('headers are missing, unknown or out of order');
  const fields: CommitFields = {
    tree: found['tree'] as Oid,
    parents: (found['parents'] as string)
      .split('\n')
      .slice(0, -1)
      .map((line) => line.slice('parent '.length) as Oid),
    author: parsePerson(found['author'] as string),
    committer: parsePerson(found['committer'] as string),
    message: found['message'] as string,
  };
  checkFields(fields);
  const signature = found['signature']?.replaceAll('\n ', '\n') ?? null;
  if (!commitBytes(fields, signature).equals(data))
    throw badCommit('it has another spelling than this ledger writes');
  return { fields, payload: commitBytes(fields, null), signature };
}

/**
 * The trailers of a commit message: the lines `Name: value` of its last paragraph, values in their order.
 * Empty when the message has one paragraph only, or when any line of the last one is something else.
 */
export function parseTrailers(message: string): Map<string, string[]> {
  const paragraphs = message.replace(/\n+$/, '').split('\n\n');
  const lines = paragraphs.length > 1 ? (paragraphs.at(-1) as string).split('\n') : [];
  const trailers = new Map<string, string[]>();
  for (const line of lines) {
    const [, name, value] = /^([A-Za-z0-9-]+): ([^\n]+)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return new Map();
    const values = trailers.get(name);
    if (values) values.push(value);
    else trailers.set(name, [value]);
  }
  return trailers;
}
