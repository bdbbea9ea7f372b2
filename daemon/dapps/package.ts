/** A dapp as it is installed: a built, self-contained folder, known by the SHA-256 of all its files. */
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentHash } from '../ledger/content-hash.js';
import { TownError, type Sha256 } from '../ledger/ids.js';
import { parseManifest } from './manifest.js';
import type { DappManifest } from './protocol.js';

export const PACKAGE_BYTES_MAX = 16 * 1024 * 1024;
export const PACKAGE_FILES_MAX = 512;

export interface DappPackage {
  readonly manifest: DappManifest;
  /** `contentHash` of all files: what the charter pins. */
  readonly digest: Sha256;
  readonly folder: string;
}

/**
 * All files of a package by their path, folders and plain files only.
 * @throws TownError `bad-package` on links and devices, or when it is too large
 */
export async function readPackageFiles(folder: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  let bytes = 0;
  const open = [''];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const names = await readdir(join(folder, path));
    if (names.length + files.size > PACKAGE_FILES_MAX) throw tooLarge(folder);
    for (const name of names) {
      const child = path === '' ? name : `${path}/${name}`;
      const stat = await lstat(join(folder, child));
      if (stat.isDirectory()) open.push(child);
      else if (!stat.isFile())
        throw new TownError('bad-package', `${child} in the dapp's folder ${folder} is no plain file.`);
      else {
        bytes += stat.size;
        if (bytes > PACKAGE_BYTES_MAX || open.length > PACKAGE_FILES_MAX) throw tooLarge(folder);
        files.set(child, await readFile(join(folder, child)));
      }
    }
  }
  return files;
}

const tooLarge = (folder: string): TownError =>
  new TownError(
    'bad-package',
    `The dapp's folder ${folder} holds more than ${PACKAGE_FILES_MAX} files or ${PACKAGE_BYTES_MAX} bytes.`,
    'Ship only what the contract needs to run.',
  );

/**
 * Reads a built dapp.
 * @throws TownError `no-package` where there is no such folder or no dapp.json; `bad-package`; what `parseManifest` throws
 */
export async function readPackage(folder: string): Promise<DappPackage> {
  let files: Map<string, Uint8Array>;
  try {
    files = await readPackageFiles(folder);
  } catch (error) {
    if (error instanceof TownError) throw error;
    throw new TownError(
      'no-package',
      `There is no readable dapp in ${folder}.`,
      'Build the dapps: npm run build.',
    );
  }
  const text = files.get('dapp.json');
  if (!text)
    throw new TownError(
      'no-package',
      `There is no dapp.json in ${folder}.`,
      'Build the dapps: npm run build.',
    );
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch {
    throw new TownError('bad-manifest', `dapp.json in ${folder} is not JSON in UTF-8.`);
  }
  return { manifest: parseManifest(json), digest: contentHash(files), folder };
}
