/**
 * The image that contracts stand on, made on this machine out of what runs the daemon: the Node binary and the libraries
 * that `ldd` names. So no registry is needed, and contracts run on the very Node that the daemon runs on.
 */
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { pack, type Pack } from 'tar-stream';
import { sha256 } from '../ledger/hash.js';
import { TownError } from '../ledger/ids.js';
import { finished, hasImage, within, type Engine } from './engine.js';

/** Changes when the recipe below does. */
const RECIPE = 'mergetown-base-1';
const MAKE_MS = 180_000;
const FILES_MAX = 2000;
export const BASE_LABEL = 'org.mergetown.base';

interface FileOf {
  /** Where it stands in the image. */
  readonly path: string;
  readonly source: string;
  readonly bytes: number;
  readonly changedMs: number;
}

async function fileOf(path: string): Promise<FileOf> {
  const source = await realpath(path);
  const { size, mtimeMs } = await stat(source);
  return { path, source, bytes: size, changedMs: mtimeMs };
}

/** The libraries a program is linked with, by the paths at which the loader looks for them. None for a static binary. */
async function librariesOf(program: string): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)('ldd', [program], { timeout: 10_000, env: { LANG: 'C' } });
    return [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map(([, path]) => path as string);
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    if (/not a dynamic executable|statically linked/.test(`${stdout}${stderr}`)) return [];
    throw new TownError(
      'no-base-image',
      `The libraries of ${program} could not be listed with ldd.`,
      'Install ldd (package libc-bin), or start with --driver process.',
    );
  }
}

/** A Node that is built as a distribution's library reads parts of itself from /usr/share/nodejs. */
async function sharedParts(libraries: readonly string[]): Promise<string[]> {
  if (!libraries.some((path) => basename(path).startsWith('libnode.'))) return [];
  const found: string[] = [];
  for (const name of ['acorn', 'acorn-walk', 'cjs-module-lexer', 'minimatch', 'undici', 'amaro']) {
    const folder = join('/usr/share/nodejs', name);
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])) {
      if (entry.isFile() && found.length < FILES_MAX) found.push(join(entry.parentPath, entry.name));
    }
  }
  return found;
}

async function partsOf(node: string): Promise<FileOf[]> {
  const libraries = await librariesOf(node);
  const cache = await stat('/etc/ld.so.cache').then(
    () => ['/etc/ld.so.cache'],
    () => [],
  );
  const paths = new Set([node, ...libraries, ...cache, ...(await sharedParts(libraries))]);
  return Promise.all([...paths].sort().map(fileOf));
}

async function write(tar: Pack, node: string, parts: readonly FileOf[]): Promise<void> {
  const mtime = new Date(0);
  const folders = new Set<string>(['/tmp', '/etc', '/usr/local/bin']);
  for (const { path } of parts) folders.add(dirname(path));
  for (const folder of [...folders]) for (let up = folder; up !== '/'; up = dirname(up)) folders.add(up);
  for (const folder of [...folders].sort()) {
    tar.entry({
      name: `${folder.slice(1)}/`,
      type: 'directory',
      mode: folder === '/tmp' ? 0o1777 : 0o755,
      mtime,
    });
  }
  tar.entry({ name: 'etc/passwd', mode: 0o644, mtime }, 'nobody:x:65534:65534:nobody:/:/nonexistent\n');
  if (node !== '/usr/local/bin/node')
    tar.entry({ name: 'usr/local/bin/node', type: 'symlink', linkname: node, mode: 0o777, mtime });
  for (const { path, source, bytes } of parts) {
    await pipeline(
      createReadStream(source),
      tar.entry({ name: path.slice(1), size: bytes, mode: 0o755, mtime }),
    );
  }
  tar.finalize();
}

/**
 * Makes the base image unless the engine has it.
 * @param onMake told before it is made, as that takes seconds
 * @returns its tag, `mergetown/base:<hash of its parts>`
 */
export async function ensureBaseImage(engine: Engine, onMake: () => void): Promise<string> {
  const node = await realpath(process.execPath);
  const parts = await partsOf(node);
  // The identity of the files instead of their bytes: reading 100 MB at every start is too long on a small board.
  const identity = parts.map(({ path, bytes, changedMs }) => `${path} ${bytes} ${changedMs}`);
  const hash = sha256(JSON.stringify([RECIPE, process.version, process.arch, node, identity])).slice(0, 16);
  const tag = `mergetown/base:${hash}`;
  if (await hasImage(engine, tag)) return tag;
  onMake();
  const tar = pack();
  const writing = write(tar, node, parts);
  writing.catch((error: Error) => tar.destroy(error));
  const importing = async (): Promise<void> => {
    const progress = await engine.importImage(
      tar as unknown as NodeJS.ReadableStream,
      {
        repo: 'mergetown/base',
        tag: hash,
        changes: [
          `LABEL ${BASE_LABEL}=${hash}`,
          'ENV PATH=/usr/local/bin:/usr/bin:/bin',
          'ENV LANG=C LC_ALL=C TZ=UTC',
        ],
      } as object,
    );
    await finished(engine, progress, tag);
  };
  await within(MAKE_MS, 'take the base image', Promise.all([importing(), writing]));
  return tag;
}
