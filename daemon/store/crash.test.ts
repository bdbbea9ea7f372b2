/** Nothing acknowledged is lost, whenever the process ends; the repository is clean before and after completion. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Repository } from './repository.js';
import { Store } from './store.js';
import { node } from './testing/samples.js';

const child = fileURLToPath(new URL('./testing/write-until-killed.js', import.meta.url));
/** Two dozen, or as many as a busy machine does in the time; the runner ends a file after 30 s unless told otherwise. */
const rounds = 24;
const roundsMin = 5;
const budgetMs = 20_000;

t.setTimeout(240_000);

const git = (folder: string, ...args: string[]): string =>
  execFileSync('git', ['-C', join(folder, 'ledger.git'), ...args], { encoding: 'utf8', stdio: 'pipe' });

async function killAfter(started: ChildProcess, ms: number): Promise<string[]> {
  let said = '';
  started.stdout!.setEncoding('utf8').on('data', (text: string) => {
    if (said === '') setTimeout(() => started.kill('SIGKILL'), ms);
    said += text;
  });
  let errors = '';
  started.stderr!.setEncoding('utf8').on('data', (text: string) => (errors += text));
  await new Promise((resolve) => started.on('close', resolve));
  if (started.signalCode !== 'SIGKILL')
    throw new Error(`the child ended by itself: ${said.slice(-300)} ${errors}`);
  // The last line may be cut; then it was not said.
  return said.split('\n').slice(0, -1);
}

function looseRefs(folder: string): string[] {
  return git(folder, 'for-each-ref', '--format=%(refname) %(objectname)')
    .trim()
    .split('\n')
    .filter(Boolean)
    .sort();
}

t.test(
  'killed at any moment, nothing acknowledged is lost and git stays clean',
  { timeout: 240_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'town-crash-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const acknowledged = { entry: new Set<string>(), block: new Set<string>(), merge: new Set<string>() };
    let flushed = '';
    const started = performance.now();
    for (let round = 0; round < rounds; round += 1) {
      if (round >= roundsMin && performance.now() - started > budgetMs) break;
      const lines = await killAfter(
        spawn(process.execPath, [child, folder], { stdio: ['ignore', 'pipe', 'pipe'] }),
        Math.floor(Math.random() * Math.random() * 400),
      );
      for (const line of lines) {
        const [what, id] = line.split(' ');
        if (what === 'flushed') flushed = id!;
        else if (what !== 'open') acknowledged[what as 'entry'].add(id!);
      }
      // As the killed process left it, before anything completes it: readable, and holding what was flushed.
      if (existsSync(join(folder, 'ledger.git', 'HEAD'))) {
        git(folder, 'fsck', '--strict', '--full');
        if (flushed !== '') git(folder, 'merge-base', '--is-ancestor', flushed, `nodes/${node}/main`);
      }
      const store = await Store.open(folder, { onFatal: (error) => t.fail(error.message) });
      const repository = await Repository.open(join(folder, 'ledger.git'), store);
      const lost = [
        ...[...acknowledged.entry].filter((id) => store.entry(id) === null),
        ...[...acknowledged.block].filter((id) => store.block(id) === null),
        ...[...acknowledged.merge].filter((id) => store.mergeById(id) === null),
      ];
      t.same(lost, [], `round ${round}: nothing is lost of what was acknowledged`);
      t.same(store.counts().stagedObjects, 0, 'the repository has everything');
      t.same(
        looseRefs(folder),
        store.refs().map(({ name, oid }) => `${name} ${oid}`),
        'git’s refs are the database’s',
      );
      git(folder, 'fsck', '--strict', '--full');
      await repository.close();
      await store.close();
    }
    t.ok(acknowledged.entry.size > 0, `${acknowledged.entry.size} entries were acknowledged on the way`);
    t.comment(`${acknowledged.merge.size} merges too`);
  },
);
