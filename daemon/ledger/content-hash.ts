/**
 * The Merkle hash of a tree of files, in SHA-256: what `Content-SHA256` and a dapp's digest are.
 * File: H(00 ‖ bytes). Folder: H(01 ‖ for each child, sorted bytewise by name: length of the name as uint32-BE ‖ name ‖
 * the child's 32-byte hash). The first byte keeps files and folders apart; modes and times do not count.
 */
import { sha256 } from './hash.js';
import { invariant, TownError, type Sha256 } from './ids.js';

const FILE = Uint8Array.of(0);
const FOLDER = 1;

function badTree(why: string): TownError {
  return new TownError('bad-tree', `This is not a tree of files: ${why}.`);
}

const ASCII = /^[ -~]*$/;

/** The UTF-8 bytes of the name, one character each: texts like these are in the order of their bytes. */
function nameBytes(name: string): string {
  if (name === '' || name === '.' || name === '..' || /[/\0]|\p{Surrogate}/u.test(name)) {
    throw badTree(`the name ${JSON.stringify(name)} is not allowed`);
  }
  return ASCII.test(name) ? name : Buffer.from(name, 'utf8').toString('latin1');
}

export function hashFile(bytes: Uint8Array): Sha256 {
  return sha256(Buffer.concat([FILE, bytes]));
}

/**
 * The hash of a folder from its children's names and hashes, in any order.
 * @throws TownError `bad-tree` on names that are no file names, or that come twice.
 */
export function hashFolder(children: Iterable<readonly [name: string, hash: Sha256]>): Sha256 {
  const sorted = Array.from(children, ([name, hash]) => ({ name: nameBytes(name), hash })).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  const bytes = Buffer.allocUnsafe(sorted.reduce((sum, { name }) => sum + 4 + name.length + 32, 1));
  let at = bytes.writeUInt8(FOLDER);
  let previous: string | null = null;
  for (const { name, hash } of sorted) {
    if (previous === name) throw badTree(`the name ${JSON.stringify(name)} comes twice`);
    previous = name;
    at = bytes.writeUInt32BE(name.length, at);
    at += bytes.write(name, at, 'latin1');
    const written = bytes.write(hash, at, 'hex');
    invariant(written === 32 && hash.length === 64, 'a child has a SHA-256');
    at += written;
  }
  return sha256(bytes);
}

type Folder = Map<string, Sha256 | Folder>;

function place(root: Folder, path: string, hash: Sha256): void {
  const names = path.split('/');
  const last = names.pop() as string;
  let folder = root;
  for (const name of names) {
    const child = folder.get(name) ?? new Map<string, Sha256 | Folder>();
    if (typeof child === 'string') throw badTree(`${JSON.stringify(path)} lies in a file`);
    folder.set(name, child);
    folder = child;
  }
  if (folder.has(last)) throw badTree(`${JSON.stringify(path)} is both a file and a folder`);
  folder.set(last, hash);
}

const hashTree = (folder: Folder): Sha256 =>
  hashFolder(
    Array.from(
      folder,
      ([name, child]) => [name, typeof child === 'string' ? child : hashTree(child)] as const,
    ),
  );

/**
 * The hash of a whole tree, given as its files by path (`a/b/c.json`; no empty folders).
 * @throws TownError `bad-tree` on paths that cannot stand beside each other or are no paths.
 */
export function contentHash(files: ReadonlyMap<string, Uint8Array>): Sha256 {
  const root: Folder = new Map();
  for (const [path, bytes] of files) place(root, path, hashFile(bytes));
  return hashTree(root);
}
