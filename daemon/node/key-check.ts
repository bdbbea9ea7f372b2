/** The files of keys under verification and repair. */
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { memberIdOf } from '../ledger/signature.js';
import { writeFileDurably } from '../store/durable-file.js';
import { BROKER_KEYS, readBrokerKeys } from './broker-keys.js';
import { NODE_KEYS, NO_KEY, RING, townKeyPaths } from './key-files.js';
import { readKeptKey, readKeyText, withoutFlip } from './key-text.js';
import { readRing } from './town-keys.js';
import type { Findings } from './verify-report.js';

const MEMBERS_MAX = 100_000;
const FLIPPED = 'A bit of it has flipped: it does not hold what was written.';
const MEND =
  'Stop the daemon, and run `town verify --repair`: one flipped bit is set right by the sum. Else there is no other copy of a key on ' +
  'this node: put the file back from where you keep one, or join the town again.';

interface KeyFile {
  readonly where: string;
  readonly path: string;
  /** Whether a text is as it was written, by its sum. */
  readonly isWhole: (text: string) => boolean;
  /** What is wrong with it; null: nothing that can be known of it. */
  readonly problem: (text: string) => string | null;
}

/** The files of keys that should be in a data folder, and those of members that are there. */
async function keyFiles(folder: string): Promise<readonly KeyFile[]> {
  const nodes = Object.values(NODE_KEYS).map((name): KeyFile => {
    const read = (text: string) => readKeyText(name, text);
    const isNone = (text: string): boolean => name === NODE_KEYS.badge && text === NO_KEY;
    return {
      where: `keys/${name}`,
      path: join(folder, 'keys', name),
      isWhole: (text) => isNone(text) || isSummed(read(text)),
      problem: (text) => {
        const found = read(text);
        if (found?.t === 'key' || isNone(text)) return null;
        return found === null ? 'It does not hold a key (64 hex digits, and their sum).' : FLIPPED;
      },
    };
  });
  const ring: KeyFile = {
    where: `keys/${RING}`,
    path: townKeyPaths(folder).ring,
    isWhole: (text) => isSummed(readRing(text)),
    problem: (text) => {
      const found = readRing(text);
      if (found?.t === 'key') return null;
      return found === null ? 'It does not hold the keys of the town.' : FLIPPED;
    },
  };
  const broker: KeyFile = {
    where: `keys/${BROKER_KEYS}`,
    path: join(folder, 'keys', BROKER_KEYS),
    isWhole: (text) => isSummed(readBrokerKeys(text)),
    problem: (text) => {
      const found = readBrokerKeys(text);
      if (found?.t === 'key') return null;
      return found === null ? 'It does not hold the authority of a broker.' : FLIPPED;
    },
  };
  // Not every board has been in a town that changed its key, or keeps a broker.
  const isThere = await Promise.all([ring, broker].map(({ path }) => exists(path)));
  const some = [ring, broker].filter((_, i) => isThere[i]);
  const names = (await readdir(join(folder, 'keys', 'members')).catch(() => [])).sort();
  const members = names
    .filter((name) => name.endsWith('.json'))
    .slice(0, MEMBERS_MAX)
    .map((name): KeyFile => ({
      where: `keys/members/${name}`,
      path: join(folder, 'keys', 'members', name),
      isWhole: (text) => isSummed(readKeptKey(text)),
      problem: (text) => memberProblem(name, text),
    }));
  return [...nodes, ...some, ...members];
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

const isSummed = (found: { readonly t: string; readonly summed?: boolean } | null): boolean =>
  found?.t === 'key' && found.summed === true;

function memberProblem(file: string, text: string): string | null {
  const found = readKeptKey(text);
  if (found?.t === 'flipped') return FLIPPED;
  const bytes = (value: unknown): number =>
    typeof value === 'string' && /^[A-Za-z0-9_-]*$/.test(value) ? Buffer.from(value, 'base64url').length : -1;
  if (found !== null) {
    const { member, key, name, iv, ct, kdf } = found.value;
    const isSound =
      typeof name === 'string' &&
      bytes(iv) === 12 &&
      bytes(ct) === 48 &&
      kdf?.name === 'scrypt' &&
      bytes(kdf.salt) === 16 &&
      [kdf.n, kdf.r, kdf.p].join() === '32768,8,1' &&
      file === `${memberIdOf(key) === member ? member : key}.json`;
    if (isSound) return null;
  }
  return 'It is not a member’s key as this program writes it.';
}

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

/** @returns how many there are */
export async function verifyKeyFiles(folder: string, findings: Findings): Promise<number> {
  const files = await keyFiles(folder);
  for (const { where, path, problem } of files) {
    const what = problem(await textOf(path));
    if (what !== null) findings.problem('keys', where, what, MEND);
  }
  return files.length;
}

/** Sets the files right in which one bit has flipped. @returns what was done */
export async function mendKeyFiles(folder: string): Promise<readonly string[]> {
  const done: string[] = [];
  for (const { where, path, problem, isWhole } of await keyFiles(folder)) {
    const bytes = await readFile(path).catch(() => null);
    if (bytes === null || problem(bytes.toString('utf8')) === null) continue;
    const mended = withoutFlip(bytes, isWhole);
    if (mended === null) continue;
    await writeFileDurably(path, mended, 0o600);
    done.push(`${where}: one flipped bit was set right.`);
  }
  return done;
}
