/**
 * The repository under verification, file by file: packs and indexes, loose objects, refs, HEAD and configuration. What the
 * history says of the objects is verify-history's part.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { openForReading } from '../store/database.js';
import { isConfigSound } from '../store/git-config.js';
import { LedgerRows } from '../store/ledger-rows.js';
import { readGitObject } from '../store/repository-reader.js';
import type { Findings } from './verify-report.js';

/** Loose objects are made by stock git alone; larger ones are none of ours. */
const LOOSE_BYTES_MAX = 256 * 1024 * 1024;
const DEPTH_MAX = 8;
/** A daemon at work moves refs and packs: what is wrong is looked at again before it is told. */
const LOOKS = 3;
const LOOK_GAP_MS = 700;
/** What git keeps beside the objects, each ending with a SHA-1 over the rest. */
const SUMMED =
  /\/(pack-[0-9a-f]{40}\.(pack|idx|rev|bitmap|mtimes)|multi-pack-index(-[0-9a-f]{40}\.(bitmap|rev))?|commit-graph|graph-[0-9a-f]{40}\.graph)$/;

type Problem = readonly [kind: 'git' | 'refs', where: string, what: string];

/** Where git's `main` is; null where it has none that can be read. */
export async function mainInGit(folder: string): Promise<Oid | null> {
  const refs = await refsOf(join(folder, 'ledger.git')).catch(() => null);
  return (refs?.get('refs/heads/main') as Oid | undefined) ?? null;
}

/** Every ref that git has, by name. */
export const gitRefs = async (folder: string): Promise<Map<string, Oid>> =>
  (await refsOf(join(folder, 'ledger.git'))) as Map<string, Oid>;

/** Every file of the repository by itself, and the refs against the database's. */
export async function verifyRepository(
  folder: string,
  rows: LedgerRows | null,
  findings: Findings,
  onProgress: (done: number, total: number, what: string) => void = () => undefined,
): Promise<void> {
  const gitdir = join(folder, 'ledger.git');
  // Without a daemon nothing moves.
  const looks = existsSync(join(folder, 'lock')) ? LOOKS : 1;
  let found: readonly Problem[] = [];
  for (let look = 0; look < looks; look += 1) {
    if (look > 0) await new Promise((resolve) => setTimeout(resolve, LOOK_GAP_MS));
    const now = [
      ...(await verifyObjects(gitdir, findings, look === 0 ? onProgress : () => undefined)),
      ...(await verifyRefs(folder, gitdir, rows !== null)),
    ];
    const name = (problem: Problem): string => problem.join('\n');
    const before = new Set(found.map(name));
    found = look === 0 ? now : now.filter((problem) => before.has(name(problem)));
    if (found.length === 0) return;
  }
  for (const [kind, where, what] of found) findings.problem(kind, where, what);
}

async function filesBelow(folder: string, name = '', depth = 0): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(join(folder, name), { withFileTypes: true }).catch(() => [])) {
    const child = name === '' ? entry.name : `${name}/${entry.name}`;
    if (entry.isDirectory() && depth < DEPTH_MAX) names.push(...(await filesBelow(folder, child, depth + 1)));
    else if (entry.isFile()) names.push(child);
  }
  return names;
}

async function verifyObjects(
  gitdir: string,
  findings: Findings,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const names = (await filesBelow(join(gitdir, 'objects'))).filter(
    (name) => !/(^|\/)\.?(tmp_|tmp-)/.test(name),
  );
  const here = new Set(names);
  findings.checked.files = Math.max(findings.checked.files, names.length);
  for (const [at, name] of names.entries()) {
    onProgress(at, names.length, 'files of the repository');
    const path = join(gitdir, 'objects', name);
    const where = `ledger.git/objects/${name}`;
    try {
      if (SUMMED.test(`/${name}`)) {
        const what = await trailerProblem(path, name);
        if (what !== null) problems.push(['git', where, what]);
        const [base, ending] = [name.replace(/\.[a-z]+$/, ''), name.replace(/^.*\./, '')];
        if (ending === 'pack' && !here.has(`${base}.idx`))
          problems.push(['git', where, 'The pack has no index, so git does not see it.']);
        if (ending === 'idx' && !here.has(`${base}.pack`))
          problems.push(['git', where, 'The index has no pack.']);
      } else if (/^[0-9a-f]{2}\/[0-9a-f]{38}$/.test(name)) {
        if (!(await isLooseWhole(path, name.replace('/', ''))))
          problems.push(['git', where, 'The loose object does not have the name of its bytes.']);
      }
    } catch (error) {
      // Combined or collected meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        problems.push(['git', where, `It cannot be read: ${(error as Error).message}.`]);
    }
  }
  return problems;
}

/** All but the last 20 bytes hash to those; a pack's index names the pack's hash besides. */
async function trailerProblem(path: string, name: string): Promise<string | null> {
  const { size } = await stat(path);
  if (size < 32) return 'The file is too short.';
  const hash = createHash('sha1');
  if (size > 20)
    for await (const part of createReadStream(path, { end: size - 21 })) hash.update(part as Buffer);
  const trailer: Buffer[] = [];
  for await (const part of createReadStream(path, { start: Math.max(0, size - 40) }))
    trailer.push(part as Buffer);
  const last = Buffer.concat(trailer);
  if (!hash.digest().equals(last.subarray(-20)))
    return 'A byte of the file was changed: its checksum does not fit.';
  if (!name.endsWith('.idx')) return null;
  const pack: Buffer[] = [];
  const packSize = (await stat(path.replace(/idx$/, 'pack')).catch(() => null))?.size;
  if (packSize === undefined) return null;
  for await (const part of createReadStream(path.replace(/idx$/, 'pack'), {
    start: Math.max(0, packSize - 20),
  }))
    pack.push(part as Buffer);
  return Buffer.concat(pack).equals(last.subarray(0, 20)) ? null : 'The index is of another pack.';
}

async function isLooseWhole(path: string, oid: string): Promise<boolean> {
  const { size } = await stat(path);
  if (size > LOOSE_BYTES_MAX) return false;
  try {
    const bytes = inflateSync(await readFile(path), { maxOutputLength: LOOSE_BYTES_MAX });
    return createHash('sha1').update(bytes).digest('hex') === oid;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error;
    return false;
  }
}

/** Every ref, loose or packed (a loose one counts). @throws Error where a file cannot be read */
async function refsOf(gitdir: string): Promise<Map<string, string>> {
  const refs = new Map<string, string>();
  const packed = await readFile(join(gitdir, 'packed-refs'), 'utf8').catch(() => '');
  for (const [, oid, name] of packed.matchAll(/^([0-9a-f]{40}) (refs\/\S+)$/gm)) refs.set(name!, oid!);
  for (const name of await filesBelow(join(gitdir, 'refs'))) {
    const text = await readFile(join(gitdir, 'refs', name), 'utf8').catch(() => '');
    if (/^[0-9a-f]{40}\n$/.test(text)) refs.set(`refs/${name}`, text.trim());
  }
  return refs;
}

async function verifyRefs(folder: string, gitdir: string, withRows: boolean): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const bad = (where: string, what: string): void =>
    void problems.push(['refs', `ledger.git/${where}`, what]);
  const text = (name: string): Promise<string> => readFile(join(gitdir, name), 'utf8').catch(() => '');
  for (const [name, isRight] of expectedFiles)
    if (!isRight(await text(name))) bad(name, 'It is not as it was written.');
  for (const name of await filesBelow(join(gitdir, 'refs'))) {
    const found = await readFile(join(gitdir, 'refs', name), 'utf8').catch(() => null);
    if (found === null || name.endsWith('.lock')) continue;
    if (!/^[0-9a-f]{40}\n$/.test(found) && !found.startsWith('ref: refs/'))
      bad(`refs/${name}`, 'It does not hold the name of an object.');
  }
  const packed = await text('packed-refs');
  for (const line of packed.split('\n'))
    if (line !== '' && !/^(# pack-refs with:[ a-z-]*|[0-9a-f]{40} refs\/\S+|\^[0-9a-f]{40})$/.test(line))
      bad('packed-refs', `It has a line that is none of git's: ${JSON.stringify(line.slice(0, 80))}.`);
  const cache = {};
  const refs = await refsOf(gitdir);
  for (const [name, oid] of [...refs, ...packedPairs(packed)])
    await readGitObject(gitdir, oid as Oid, cache).catch((error: unknown) => {
      if (!(error instanceof TownError)) throw error;
      bad(name, `It points to what cannot be read: ${error.message}`);
    });
  if (withRows) for (const [name, what] of againstRows(folder, refs)) bad(name, what);
  return problems;
}

const packedPairs = (text: string): [string, string][] =>
  [...text.matchAll(/^([0-9a-f]{40}) (refs\/\S+)$/gm)].map(([, oid, name]) => [name!, oid!]);

/** The refs as the database has them now; git may be behind only by what is still staged. */
function againstRows(
  folder: string,
  refs: ReadonlyMap<string, string>,
): readonly (readonly [string, string])[] {
  let db: ReturnType<typeof openForReading>;
  try {
    db = openForReading(folder);
  } catch {
    return []; // told where the database is checked
  }
  try {
    const rows = new LedgerRows(db);
    const known = new Map(rows.refs().map(({ name, oid }) => [name, oid]));
    const problems: (readonly [string, string])[] = [];
    for (const [name, oid] of known) {
      const inGit = refs.get(name);
      if (inGit === oid || rows.staged(oid) !== null) continue;
      problems.push([name, `Git has it at ${inGit ?? 'nothing'}, the database at ${oid}.`]);
    }
    for (const [name, oid] of refs)
      if (!known.has(name) && /^refs\/(heads|notes|evidence)\//.test(name))
        problems.push([name, `The database does not know this ref (${oid}).`]);
    return problems;
  } finally {
    db.close();
  }
}

/** Files that are the same in every repository of a town; what a person added to the configuration is theirs. */
const expectedFiles: readonly (readonly [name: string, isRight: (text: string) => boolean])[] = [
  ['HEAD', (text) => text === 'ref: refs/heads/main\n'],
  ['description', (text) => text === 'The ledger of a town: every block and merge, signed.\n'],
  ['config', isConfigSound],
];
