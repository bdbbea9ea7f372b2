/** What the system refuses to do with a file is told in words, not as a fault of the program. */
import { chmodSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { linesToFile } from '../node/export-jsonl.js';
import { hasTown } from '../node/init-town.js';
import { fileProblem } from './cli-error.js';

async function* parts(): AsyncGenerator<string> {
  yield 'one\ntwo\n';
  yield 'three\n';
}
const problemOf = async (task: Promise<unknown>) => fileProblem(await task.catch((error: unknown) => error));

t.test('lines go to a file as a whole, or it is said why not', async (t) => {
  const folder = t.testdir({ there: {} });
  t.equal(await linesToFile(join(folder, 'lines'), parts()), 3);
  t.equal(await readFile(join(folder, 'lines'), 'utf8'), 'one\ntwo\nthree\n');
  const nowhere = await problemOf(linesToFile(join(folder, 'nowhere', 'lines'), parts()));
  t.match(nowhere, {
    code: 'file',
    exitCode: 1,
    message: /nowhere: there is no such file or folder \(ENOENT\)/,
  });
  t.match(await problemOf(linesToFile(join(folder, 'there'), parts())), {
    message: /there: it is a folder \(EISDIR\)/,
  });
  t.same(
    readdirSync(folder).filter((name) => name.endsWith('.half')),
    [],
    'no half of one stays',
  );
});

t.test('a folder that may not be looked into is not taken for one without a town', async (t) => {
  t.notOk(await hasTown('/nonexistent/folder'));
  if (process.getuid?.() === 0) return; // root may look into every one
  const folder = join(t.testdir({}), 'closed');
  mkdirSync(folder);
  chmodSync(folder, 0);
  t.teardown(() => chmodSync(folder, 0o700));
  t.match(await problemOf(hasTown(folder)), { message: /this account may not \(EACCES\)/ });
});

t.test('other faults are told as they are', async (t) => {
  t.equal(fileProblem(new Error('x')), null);
  t.equal(fileProblem(new TypeError('x')), null);
  const made = await mkdir(join(t.testdir({ a: {} }), 'a')).catch((error: unknown) => error);
  t.match(fileProblem(made), { message: /it is there already/ });
  t.notOk(existsSync('/nonexistent'));
});
