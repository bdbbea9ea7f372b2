/** The secrets of a node, each in a file of its own (mode 600) in `<data>/keys`. None of them is ever in the ledger. */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf } from '../ledger/hash.js';
import type { KeyId, MemberId, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { memberIdOf, nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { makeFolderDurably, syncFolder, writeFileDurably } from '../store/durable-file.js';
import { keptKeyText, keyText, readKeptKey, readKeyText, type KeptKey } from './key-text.js';

export interface NodeKeys {
  /** Ed25519 seed that signs for the node. */
  readonly secretKey: Uint8Array;
  readonly key: KeyId;
  readonly id: NodeId;
  /** X25519 secret: opens what is sealed to this node alone. */
  readonly sealingSecret: Uint8Array;
  /** Turns badge numbers into keyed hashes; null at a hub, which is not to tell badges apart. */
  readonly badgeKey: Uint8Array | null;
  /** Seals what nodes of the town send each other. */
  readonly townKey: Uint8Array;
}

const keysFolder = (folder: string): string => join(folder, 'keys');
/** The files in `keys`, but for those of members. */
export const NODE_KEYS = {
  node: 'node.key',
  sealing: 'sealing.key',
  badge: 'badge.key',
  town: 'town.key',
} as const;
/** All keys of the town that a node knows, once there was more than one; see town-keys.ts. */
export const RING = 'town-keys.json';
/** In place of a key that this node is not given. */
export const NO_KEY = 'none\n';

/** The two keys that are the node itself: it makes them before it has a town, and keeps them through every try to join one. */
export type OwnKeys = Pick<NodeKeys, 'secretKey' | 'key' | 'id' | 'sealingSecret'>;

/** Where the keys of the town lie. */
export const townKeyPaths = (folder: string): { readonly ring: string; readonly copy: string } => ({
  ring: join(keysFolder(folder), RING),
  copy: join(keysFolder(folder), NODE_KEYS.town),
});

const isThere = (path: string): Promise<boolean> =>
  readFile(path).then(
    () => true,
    () => false,
  );

/** Makes those of the keys that are not there; durable when it resolves. */
async function makeMissing(folder: string, names: readonly string[]): Promise<void> {
  await makeFolderDurably(join(keysFolder(folder), 'members'));
  for (const name of names) {
    const path = join(keysFolder(folder), name);
    if (!(await isThere(path))) await writeFileDurably(path, keyText(name, randomBytes(32)), 0o600);
  }
}

/** Makes the keys of a node that founds a town; what is there is kept. @throws TownError `no-keys` */
export async function makeNodeKeys(folder: string): Promise<NodeKeys> {
  await makeMissing(folder, Object.values(NODE_KEYS));
  return readNodeKeys(folder);
}

/** Makes the keys of a node that is about to join a town; what is there is kept. @throws TownError `no-keys` */
export async function makeOwnKeys(folder: string): Promise<OwnKeys> {
  await makeMissing(folder, [NODE_KEYS.node, NODE_KEYS.sealing]);
  return readOwnKeys(folder);
}

/** Puts the keys that a town gives a node into its place; durable when it resolves. `badgeKey` null: a hub. */
export async function putTownKeys(
  folder: string,
  { townKey, badgeKey }: { readonly townKey: string; readonly badgeKey: string | null },
): Promise<void> {
  const put = (name: string, text: string): Promise<void> =>
    writeFileDurably(join(keysFolder(folder), name), Buffer.from(text), 0o600);
  await makeFolderDurably(join(keysFolder(folder), 'members'));
  // What it knew before was of another time, or of another town.
  await rm(townKeyPaths(folder).ring, { force: true });
  await put(NODE_KEYS.town, keyText(NODE_KEYS.town, bytesOf(townKey)));
  await put(NODE_KEYS.badge, badgeKey === null ? NO_KEY : keyText(NODE_KEYS.badge, bytesOf(badgeKey)));
}

const textOf = (folder: string, name: string): Promise<string> =>
  readFile(join(keysFolder(folder), name), 'utf8').catch(() => '');

async function readKey(folder: string, name: string): Promise<Uint8Array> {
  const found = readKeyText(name, await textOf(folder, name));
  if (found?.t === 'key') return found.value;
  throw new TownError(
    'no-keys',
    found === null
      ? `${join(keysFolder(folder), name)} does not hold a key (64 hex digits, and their sum).`
      : `A bit of ${join(keysFolder(folder), name)} has flipped: it does not hold the key that was written.`,
    'One flipped bit is set right by `town verify --repair`. Else put back the file from this board; a node without its key must join anew.',
  );
}

async function readOwnKeys(folder: string): Promise<OwnKeys> {
  const secretKey = await readKey(folder, NODE_KEYS.node);
  const key = publicKeyOf(secretKey);
  return { secretKey, key, id: nodeIdOf(key), sealingSecret: await readKey(folder, NODE_KEYS.sealing) };
}

/** @throws TownError `no-keys` that names the file and what to do */
export async function readNodeKeys(folder: string): Promise<NodeKeys> {
  return {
    ...(await readOwnKeys(folder)),
    badgeKey:
      (await textOf(folder, NODE_KEYS.badge)) === NO_KEY ? null : await readKey(folder, NODE_KEYS.badge),
    townKey: await readKey(folder, NODE_KEYS.town),
  };
}

/** RFC 7914; 32 MiB and about 0.1 s here. */
const SCRYPT = { n: 32_768, r: 8, p: 1 } as const;
const MEMBERS_MAX = 100_000;
/** Characters (code points), as people, the API and the panel count them. */
export const PASSPHRASE_MIN = 10;
export const PASSPHRASE_MAX = 512;

const derive = (
  passphrase: string,
  salt: Buffer,
  { n, r, p }: { n: number; r: number; p: number },
): Promise<Buffer> =>
  new Promise((resolve, reject) =>
    scrypt(passphrase.normalize('NFKC'), salt, 32, { N: n, r, p, maxmem: 256 * 1024 * 1024 }, (error, key) =>
      error ? reject(error) : resolve(key),
    ),
  );

/** @throws TownError `weak-passphrase` */
export function assertPassphrase(passphrase: string): void {
  const { length } = Array.from(passphrase);
  if (length < PASSPHRASE_MIN || length > PASSPHRASE_MAX)
    throw new TownError(
      'weak-passphrase',
      `A passphrase has ${PASSPHRASE_MIN} to ${PASSPHRASE_MAX} characters; this one has ${length}.`,
      'Take four or five words that do not belong together.',
    );
}

/** Names are compared without case and outer space. */
export const nameKey = (name: string): string => name.trim().normalize('NFKC').toLowerCase();

/** @throws TownError `bad-name` */
export function cleanName(name: string): string {
  const clean = name.trim().replace(/\s+/g, ' ');
  if (clean.length < 1 || clean.length > 60 || /\p{Cc}/u.test(clean))
    throw new TownError('bad-name', 'A name has 1 to 60 characters and no control characters.');
  return clean;
}

const isFirst = ({ member, key }: KeptKey): boolean => memberIdOf(key) === member;

/** A key that was asked for here and that the ledger does not have yet. */
export interface RequestedKey {
  readonly key: KeyId;
  readonly member: MemberId;
  readonly requested: number;
}

/** An unlocked key. */
export interface UnlockedKey {
  readonly member: MemberId;
  readonly name: string;
  readonly key: KeyId;
  readonly secretKey: Uint8Array;
}

/** The keys of members that lie on this node, each under the name that it signs in with. */
export class KeyStore {
  private readonly byName = new Map<string, KeptKey>();
  /** Members by a key of theirs, the first where it lies here: what was merely asked for gives nobody a name. */
  private readonly byMember = new Map<MemberId, KeptKey>();
  private readonly asked = new Map<KeyId, RequestedKey>();
  /** Names whose key is on its way to the disk. */
  private readonly arriving = new Set<string>();

  /** Files in which a bit has flipped: who they are of cannot be told. */
  readonly flipped: string[] = [];

  private constructor(private readonly folder: string) {}

  static async open(dataFolder: string): Promise<KeyStore> {
    const store = new KeyStore(join(keysFolder(dataFolder), 'members'));
    await mkdir(store.folder, { recursive: true, mode: 0o700 });
    const found = await readdir(store.folder);
    // Killed while a file was written: it may hold a name, and nothing would ever look at it.
    for (const name of found)
      if (/^\..*\.tmp$/.test(name)) await rm(join(store.folder, name), { force: true });
    const names = found.filter((name) => name.endsWith('.json')).slice(0, MEMBERS_MAX);
    for (const name of names) {
      const path = join(store.folder, name);
      const text = await readFile(path, 'utf8');
      const found = readKeptKey(text);
      if (found === null)
        throw new TownError(
          'bad-key-file',
          `${path} is not a member's key file.`,
          'One flipped bit is set right by `town verify --repair`. Else put back a good copy, or move it aside.',
        );
      // One member's trouble: the doors and everybody else go on.
      if (found.t === 'flipped') store.flipped.push(name);
      else store.remember(found.value);
    }
    return store;
  }

  /** A member's first key is filed by the member, a further one by itself. */
  private pathOf(kept: KeptKey): string {
    return join(this.folder, `${isFirst(kept) ? kept.member : kept.key}.json`);
  }

  private remember(kept: KeptKey): void {
    this.byName.set(nameKey(kept.name), kept);
    const { key, member, requested } = kept;
    if (requested !== undefined) this.asked.set(key, { key, member, requested });
    else if (isFirst(kept) || !this.byMember.has(member)) this.byMember.set(member, kept);
  }

  private forget(kept: KeptKey): void {
    this.byName.delete(nameKey(kept.name));
    this.asked.delete(kept.key);
    if (this.byMember.get(kept.member)?.key !== kept.key) return;
    this.byMember.delete(kept.member);
    for (const other of this.byName.values())
      if (other.member === kept.member && other.requested === undefined) this.remember(other);
  }

  /** Nobody can sign in here. */
  get isEmpty(): boolean {
    return this.byName.size === 0;
  }

  has(member: string): boolean {
    return this.byMember.has(member as MemberId);
  }

  nameOf(member: string): string | null {
    return this.byMember.get(member as MemberId)?.name ?? null;
  }

  /** The key behind a name, registered or asked for. */
  keyOf(name: string): KeyId | null {
    return this.byName.get(nameKey(name))?.key ?? null;
  }

  /** All keys that lie here. */
  get keys(): ReadonlySet<KeyId> {
    return new Set([...this.byName.values()].map(({ key }) => key));
  }

  /** Keys asked for and not registered yet, the oldest first. */
  get requests(): readonly RequestedKey[] {
    return [...this.asked.values()].sort((a, b) => a.requested - b.requested);
  }

  /** @throws TownError `name-taken`, `bad-name` */
  assertFree(name: string): void {
    const key = nameKey(cleanName(name));
    if (this.byName.has(key) || this.arriving.has(key))
      throw new TownError(
        'name-taken',
        `Somebody signs in here as "${name.trim()}" already.`,
        'Choose another name.',
      );
  }

  /** Keeps a key under its member's passphrase; durable when it resolves. `requested`: since when it waits to be registered. */
  async put(
    member: MemberId,
    name: string,
    secretKey: Uint8Array,
    passphrase: string,
    requested?: number,
  ): Promise<void> {
    assertPassphrase(passphrase);
    this.assertFree(name);
    const key = nameKey(cleanName(name));
    this.arriving.add(key);
    try {
      await this.keep(member, name, secretKey, passphrase, requested);
    } finally {
      this.arriving.delete(key);
    }
  }

  private async keep(
    member: MemberId,
    name: string,
    secretKey: Uint8Array,
    passphrase: string,
    requested: number | undefined,
  ): Promise<void> {
    const salt = randomBytes(16);
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', await derive(passphrase, salt, SCRYPT), iv);
    cipher.setAAD(Buffer.from(member));
    const ct = Buffer.concat([cipher.update(secretKey), cipher.final(), cipher.getAuthTag()]);
    const kept: KeptKey = {
      v: 1,
      member,
      name: cleanName(name),
      key: publicKeyOf(secretKey),
      ...(requested === undefined ? {} : { requested }),
      kdf: { name: 'scrypt', ...SCRYPT, salt: salt.toString('base64url') },
      iv: iv.toString('base64url'),
      ct: ct.toString('base64url'),
    };
    await this.write(kept);
    this.remember(kept);
  }

  private write(kept: KeptKey): Promise<void> {
    return writeFileDurably(this.pathOf(kept), keptKeyText(kept), 0o600);
  }

  /** The ledger has the key: it is its member's from now on. */
  async settle(key: KeyId): Promise<void> {
    const found = this.find(key);
    if (found?.requested === undefined) return;
    const { requested: _, ...kept } = found;
    this.asked.delete(key);
    this.remember(kept);
    await this.write(kept);
  }

  private find(key: KeyId): KeptKey | undefined {
    return [...this.byName.values()].find((kept) => kept.key === key);
  }

  /** Lays a key aside that nobody can sign with, such as one that no member came of: its name is free again. */
  async layAside(name: string): Promise<void> {
    const kept = this.byName.get(nameKey(name));
    if (!kept) return;
    this.forget(kept);
    await rename(this.pathOf(kept), `${this.pathOf(kept)}.unused`);
  }

  /**
   * Members whose records were erased sign in by their id from now on: the name they chose stands nowhere any more. All keys
   * that were laid aside go, for they keep names as well. Durable when it resolves.
   */
  async forgetNames(members: readonly string[]): Promise<void> {
    const wanted = new Set(members);
    for (const kept of [...this.byName.values()].filter(({ member }) => wanted.has(member))) {
      const taken = this.byName.has(kept.member) || kept.name === kept.member;
      const name = taken ? `${kept.member} ${kept.key.slice(0, 8)}` : kept.member;
      if (kept.name.startsWith(kept.member)) continue;
      this.forget(kept);
      const nameless = { ...kept, name };
      await this.write(nameless);
      this.remember(nameless);
    }
    // By the name of the file nobody can tell whose name is in it: that of a member who never was, or of a second key.
    if (wanted.size > 0)
      for (const file of await readdir(this.folder))
        if (file.endsWith('.unused')) await rm(join(this.folder, file), { force: true });
    await syncFolder(this.folder);
  }

  /** Takes a key back whose entry was refused, or that nobody registered: nobody can sign in with it. */
  async remove(key: KeyId): Promise<void> {
    const kept = this.find(key);
    if (!kept) return;
    this.forget(kept);
    await rm(this.pathOf(kept), { force: true });
  }

  /**
   * The key of who signs in. Unknown names take as long as known ones.
   * @throws TownError `wrong-passphrase`
   */
  async unlock(name: string, passphrase: string): Promise<UnlockedKey> {
    const kept = this.byName.get(nameKey(name));
    const salt = kept ? Buffer.from(kept.kdf.salt, 'base64url') : randomBytes(16);
    const wrapping = await derive(
      Array.from(passphrase).slice(0, PASSPHRASE_MAX).join(''),
      salt,
      kept?.kdf ?? SCRYPT,
    );
    const wrong = new TownError(
      'wrong-passphrase',
      'Name and passphrase do not fit together.',
      this.flipped.length === 0
        ? 'Check both; names are those of people whose key lies on this node.'
        : `Check both. A bit has flipped in ${this.flipped.length} key files of this node: whoever runs it sets that right with \`town verify --repair\`.`,
    );
    if (!kept) throw wrong;
    const bytes = Buffer.from(kept.ct, 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', wrapping, Buffer.from(kept.iv, 'base64url'));
    decipher.setAAD(Buffer.from(kept.member));
    decipher.setAuthTag(bytes.subarray(-16));
    try {
      const secretKey = Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]);
      const { member, name: known, key } = kept;
      return { member, name: known, key, secretKey: new Uint8Array(secretKey) };
    } catch {
      throw wrong;
    }
  }
}
