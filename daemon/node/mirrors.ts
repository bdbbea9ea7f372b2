/** Plain git remotes that a node mirrors its ledger to: their names and addresses, in `mirrors.json` of the data folder. */
import { readFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { TownError } from '../ledger/ids.js';
import { writeFileDurably } from '../store/durable-file.js';

const FILE = 'mirrors.json';
const MIRRORS_MAX = 16;
const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;
const URL_CHARS_MAX = 1024;

export interface Mirror {
  readonly name: string;
  readonly url: string;
}

/** @throws TownError `bad-mirrors-file` */
export async function readMirrors(folder: string): Promise<readonly Mirror[]> {
  const path = join(folder, FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    const { v, mirrors } = JSON.parse(text) as { v: unknown; mirrors: readonly Mirror[] };
    const isRight = ({ name, url }: Mirror): boolean => NAME.test(name) && problemOf(url) === null;
    if (v === 1 && Array.isArray(mirrors) && mirrors.length <= MIRRORS_MAX && mirrors.every(isRight))
      return mirrors.map(({ name, url }) => ({ name, url }));
  } catch {
    // Told below.
  }
  throw new TownError(
    'bad-mirrors-file',
    `${path} is no list of mirrors.`,
    'Remove the file, and add them again: town mirror add NAME URL',
  );
}

const writeMirrors = (folder: string, mirrors: readonly Mirror[]): Promise<void> =>
  writeFileDurably(join(folder, FILE), `${JSON.stringify({ v: 1, mirrors }, null, 2)}\n`, 0o600);

/** What is wrong with the address of a mirror; null: nothing. Only ways that git takes without running what the address says. */
function problemOf(url: unknown): string | null {
  if (typeof url !== 'string' || url === '' || url.length > URL_CHARS_MAX) return 'it is empty or too long';
  // eslint-disable-next-line no-control-regex -- they could hide on a terminal what the address is
  if (/[\0-\x1f\x7f]/.test(url)) return 'it has a control character';
  if (/^https:\/\/[^/]*:[^/]*@/.test(url))
    return 'it has a password; leave that to a credential helper of git';
  const isKnown =
    isAbsolute(url) ||
    /^(ssh|https):\/\/[^/\s-]\S*$/.test(url) ||
    /^[A-Za-z0-9_][\w.-]*@[A-Za-z0-9][\w.-]*:[^:\s]\S*$/.test(url);
  return isKnown ? null : 'it is none of these';
}

/** @throws TownError `bad-mirror`, `mirror-exists`, `too-many-mirrors` */
export async function addMirror(folder: string, mirror: Mirror): Promise<void> {
  const { name, url } = mirror;
  if (!NAME.test(name))
    throw new TownError('bad-mirror', 'Expected a name of 1 to 32 lower-case letters, digits and -.');
  const problem = problemOf(url);
  if (problem !== null)
    throw new TownError(
      'bad-mirror',
      `Expected the path of a bare repository, ssh://…, user@host:path or https://…; ${problem}.`,
    );
  const mirrors = await readMirrors(folder);
  if (mirrors.some((other) => other.name === name))
    throw new TownError('mirror-exists', `There is a mirror ${name} already.`, `town mirror remove ${name}`);
  if (mirrors.length === MIRRORS_MAX)
    throw new TownError('too-many-mirrors', `At most ${MIRRORS_MAX} mirrors are possible.`);
  await writeMirrors(folder, [...mirrors, { name, url }]);
}

/** @throws TownError `no-such-mirror` */
export async function removeMirror(folder: string, name: string): Promise<void> {
  await mirrorCalled(folder, name);
  await writeMirrors(
    folder,
    (await readMirrors(folder)).filter((mirror) => mirror.name !== name),
  );
}

/** @throws TownError `no-such-mirror` */
export async function mirrorCalled(folder: string, name: string): Promise<Mirror> {
  const found = (await readMirrors(folder)).find((mirror) => mirror.name === name);
  if (found) return found;
  throw new TownError(
    'no-such-mirror',
    `There is no mirror "${name.slice(0, 64)}".`,
    'See town mirror list; add one with town mirror add NAME URL.',
  );
}
