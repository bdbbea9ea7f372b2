/** Bare repositories with packs in them, for tests of packs. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { blobObject, treeObject, type GitObject } from '../../ledger/git-object.js';
import { writePack } from '../pack.js';
import type { ObjectSource } from '../repository-reader.js';

/** What stock git answers in a repository. */
export const git = (folder: string, args: readonly string[], input?: string | Buffer): string =>
  execFileSync('git', ['-C', folder, ...args], {
    encoding: 'utf8',
    stdio: 'pipe',
    input,
    maxBuffer: 1 << 28,
  });

export function bareRepository(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'town-pack-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  git(folder, ['init', '-q', '--bare']);
  return folder;
}

/** Adds a pack as a flush does. @returns its name */
export async function addPack(gitdir: string, objects: readonly GitObject[]): Promise<string> {
  const { pack, idx, name } = await writePack(objects);
  writeFileSync(join(gitdir, 'objects', 'pack', `pack-${name}.pack`), pack);
  writeFileSync(join(gitdir, 'objects', 'pack', `pack-${name}.idx`), idx);
  return name;
}

/** Names of the packs of a repository, as paths of their indexes. */
export const packsOf = (gitdir: string): string[] =>
  readdirSync(join(gitdir, 'objects', 'pack'))
    .filter((name) => name.endsWith('.idx'))
    .map((name) => join(gitdir, 'objects', 'pack', name));

/** Versions of one text that change little, and the trees that lead to them: what deltas are for. */
export function versions(count: number): { blobs: GitObject[]; trees: GitObject[] } {
  const others = Array.from({ length: 60 }, (_, index) => blobObject(Buffer.from(`other ${index}`)));
  // Each version changes one line in turn, and keeps what those before changed.
  const changedAt = (line: number, version: number): number =>
    version - (version % 80) - (line <= version % 80 ? 0 : 80);
  const blobs = Array.from({ length: count }, (_, version) => {
    const lines = Array.from({ length: 80 }, (__, line) => `"line ${line}": ${changedAt(line, version)}\n`);
    return blobObject(Buffer.from(lines.join('')));
  });
  const trees = blobs.map(({ oid }) =>
    treeObject([
      { name: 'changes.json', oid, kind: 'file' },
      ...others.map((other, index) => ({ name: `k${index}.json`, oid: other.oid, kind: 'file' as const })),
    ]),
  );
  return { blobs: [...others, ...blobs], trees };
}

/** A commit of git's own over each tree, so that a repack keeps them. */
export function commitAll(gitdir: string, trees: readonly GitObject[]): void {
  const person = 'a <a@b> 1700000000 +0000';
  let text = 'reset refs/heads/main\n\n';
  trees.forEach(({ oid }, index) => {
    text += `commit refs/heads/main\nmark :${index + 1}\nauthor ${person}\ncommitter ${person}\ndata 1\nx\n`;
    text += `${index > 0 ? `from :${index}\n` : ''}M 040000 ${oid} \n\n`;
  });
  git(gitdir, ['fast-import', '--quiet', '--force'], text);
}

export const bytesEqual = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The objects that are not read as they should be. */
export async function unreadable(source: ObjectSource, objects: Iterable<GitObject>): Promise<string[]> {
  const bad: string[] = [];
  for (const { oid, type, data } of objects) {
    const found = await source.read(oid).catch((error: unknown) => (error as Error).message);
    if (typeof found === 'string') bad.push(`${oid}: ${found}`);
    else if (found.type !== type || !bytesEqual(found.data, data)) bad.push(`${oid}: is another`);
  }
  return bad;
}
