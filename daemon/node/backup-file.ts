/**
 * The one file of a backup: a tar archive, compressed (gzip) and encrypted in the age format (age-encryption.org/v1), which stock
 * `age` opens too. Encrypted parts are authenticated one by one and the last is marked: what was changed or cut off is noticed.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { createGunzip, createGzip } from 'node:zlib';
import { Decrypter, Encrypter } from 'age-encryption';
import { extract, pack } from 'tar-stream';
import { TownError } from '../ledger/ids.js';
import { syncFolder } from '../store/durable-file.js';

/** 2^16: 64 MiB and about a second on a small board; the passphrase has at least ten characters. */
const SCRYPT_LOG_N = 16;
const HEAD = 'backup.json';
const HEAD_BYTES_MAX = 64 * 1024;

/** Who can open it: whoever knows the passphrase, or holds the identity of one of these recipients (`age1…`). */
export type BackupLock = { readonly passphrase: string } | { readonly recipients: readonly string[] };
/** `identities`: `AGE-SECRET-KEY-…`. */
export type BackupKey = { readonly passphrase: string } | { readonly identities: readonly string[] };

/** The first file of the archive: of what town, by whom and when. */
export interface BackupHead {
  readonly v: 1;
  readonly town: string;
  readonly name: string;
  /** The node that made it. */
  readonly node: string;
  /** The last merge in it. */
  readonly height: number;
  /** Milliseconds. */
  readonly at: number;
  /** Bytes of all files after this one. */
  readonly bytes: number;
}

export interface PackedFile {
  readonly name: string;
  readonly size: number;
  readonly open: () => Readable;
}

/**
 * Writes a backup; durable when it resolves. A file that was there is replaced when the new one is whole.
 * @param onProgress bytes of the files so far
 * @returns the bytes of the backup
 * @throws TownError `bad-recipient`
 */
export async function writeBackup(
  target: string,
  lock: BackupLock,
  head: BackupHead,
  files: readonly PackedFile[],
  onProgress: (done: number) => void,
): Promise<number> {
  const encrypter = encrypterOf(lock);
  const temp = join(
    dirname(resolve(target)),
    `.${basename(target)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`,
  );
  const archive = pack();
  const zipped = archive.pipe(createGzip());
  archive.on('error', (error) => zipped.destroy(error));
  const filling = fill(archive, head, files, onProgress).catch((error: Error) => archive.destroy(error));
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  try {
    const sealed = await encrypter.encrypt(Readable.toWeb(zipped) as globalThis.ReadableStream<Uint8Array>);
    await pipeline(
      Readable.fromWeb(sealed as unknown as ReadableStream),
      count,
      createWriteStream(temp, { flags: 'wx', mode: 0o600 }),
    );
    await filling;
    const handle = await open(temp, 'r');
    await handle.sync().finally(() => handle.close());
    await rename(temp, target);
    await syncFolder(dirname(resolve(target)));
  } catch (error) {
    await rm(temp, { force: true });
    throw error;
  }
  return bytes;
}

function encrypterOf(lock: BackupLock): Encrypter {
  const encrypter = new Encrypter();
  if ('passphrase' in lock) {
    encrypter.setPassphrase(lock.passphrase.normalize('NFKC'));
    encrypter.setScryptWorkFactor(SCRYPT_LOG_N);
    return encrypter;
  }
  for (const recipient of lock.recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch {
      throw new TownError(
        'bad-recipient',
        `"${recipient.slice(0, 80)}" is no recipient of the age format: it begins with age1.`,
        'Make one with `age-keygen`, or with --new-identity.',
      );
    }
  }
  return encrypter;
}

async function fill(
  archive: ReturnType<typeof pack>,
  head: BackupHead,
  files: readonly PackedFile[],
  onProgress: (done: number) => void,
): Promise<void> {
  archive.entry({ name: HEAD, mode: 0o600 }, `${JSON.stringify(head)}\n`);
  let done = 0;
  for (const { name, size, open: openFile } of files) {
    const entry = archive.entry({ name, size, mode: 0o600 });
    const count = new Transform({
      transform(chunk: Buffer, _encoding, next) {
        done += chunk.length;
        onProgress(done);
        next(null, chunk);
      },
    });
    await pipeline(openFile(), count, entry);
  }
  archive.finalize();
}

export interface OpenedBackup {
  readonly head: BackupHead;
  /** The files in their order; each must be read to its end before the next. */
  readonly files: AsyncIterable<{ readonly name: string; readonly size: number; readonly content: Readable }>;
}

/**
 * Opens a backup and hands its head and files to `use`.
 * @throws TownError `no-such-file`, `wrong-passphrase` (or the identity of somebody else), `backup-damaged`, `no-backup` (something else
 *   was encrypted)
 */
export async function readBackup<T>(
  file: string,
  key: BackupKey,
  use: (backup: OpenedBackup) => Promise<T>,
): Promise<T> {
  await (await open(file, 'r').catch(noSuchFile(file))).close();
  const source = createReadStream(file);
  const plain = await decrypted(source, key).catch((error: unknown) => {
    source.destroy();
    throw error;
  });
  const zipped = Readable.fromWeb(plain as unknown as ReadableStream);
  const archive = extract();
  // Its own failure reaches the reader through the archive.
  const reading = pipeline(zipped, createGunzip(), archive).catch(() => undefined);
  try {
    return await use(await opened(archive));
  } catch (error) {
    if (error instanceof TownError) throw error;
    if (isOfTheDisk(error)) throw error;
    throw damaged((error as Error).message);
  } finally {
    archive.destroy();
    zipped.destroy();
    source.destroy();
    await reading;
  }
}

const noSuchFile =
  (file: string) =>
  (error: NodeJS.ErrnoException): never => {
    throw new TownError(
      'no-such-file',
      `The backup ${file} cannot be read (${error.code}).`,
      'Name the file that `town backup` made.',
    );
  };

const isOfTheDisk = (error: unknown): boolean =>
  ['ENOSPC', 'EIO', 'EROFS', 'EACCES', 'EDQUOT'].includes(String((error as NodeJS.ErrnoException).code));

const damaged = (what: string): TownError =>
  new TownError(
    'backup-damaged',
    `The backup cannot be read to its end: ${what}.`,
    'It was changed, or cut off while it was copied: take another copy of it.',
  );

async function decrypted(source: Readable, key: BackupKey): Promise<globalThis.ReadableStream<Uint8Array>> {
  const decrypter = new Decrypter();
  try {
    if ('passphrase' in key) decrypter.addPassphrase(key.passphrase.normalize('NFKC'));
    else for (const identity of key.identities) decrypter.addIdentity(identity);
  } catch {
    throw new TownError(
      'bad-identity',
      'The identity file holds no identity of the age format.',
      'It has a line that begins with AGE-SECRET-KEY-.',
    );
  }
  try {
    return await decrypter.decrypt(Readable.toWeb(source) as globalThis.ReadableStream<Uint8Array>);
  } catch (error) {
    const message = (error as Error).message;
    if (/no identity matched/i.test(message))
      throw new TownError(
        'wrong-passphrase',
        'The backup does not open with that.',
        'Check the passphrase, or the identity: it was made for one of them.',
      );
    if (/header|version|stanza|age/i.test(message))
      throw new TownError(
        'no-backup',
        'The file is no backup: it does not begin as a file of the age format does.',
        'Name the file that `town backup` made.',
      );
    throw damaged(message);
  }
}

async function opened(archive: ReturnType<typeof extract>): Promise<OpenedBackup> {
  const entries = archive[Symbol.asyncIterator]();
  const first = await entries.next();
  const noBackup = (what: string): TownError =>
    new TownError(
      'no-backup',
      `The file is no backup of a town: ${what}.`,
      'Name the file that `town backup` made.',
    );
  if (first.done || first.value.header.name !== HEAD) throw noBackup(`it does not begin with ${HEAD}`);
  if ((first.value.header.size ?? 0) > HEAD_BYTES_MAX) throw noBackup('its head is too long');
  const head = headOf(await text(first.value));
  if (head === null) throw noBackup('this program does not know its head');
  const files = (async function* () {
    for (let left = head.bytes; ;) {
      const next = await entries.next();
      if (next.done) return;
      const { name, size = 0 } = next.value.header;
      left -= size;
      if (left < 0) throw noBackup('it holds more than it says');
      yield { name, size, content: next.value as unknown as Readable };
    }
  })();
  return { head, files };
}

async function text(entry: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of entry) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function headOf(line: string): BackupHead | null {
  try {
    const head = JSON.parse(line) as Partial<BackupHead>;
    const isHead =
      head.v === 1 &&
      typeof head.town === 'string' &&
      typeof head.name === 'string' &&
      typeof head.node === 'string' &&
      Number.isSafeInteger(head.height) &&
      Number.isSafeInteger(head.at) &&
      Number.isSafeInteger(head.bytes);
    return isHead ? (head as BackupHead) : null;
  } catch {
    return null;
  }
}
