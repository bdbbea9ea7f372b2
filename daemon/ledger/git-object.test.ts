/** Git objects as values, with stock git as the judge. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { blobObject, parseCommit, parseTrailers, parseTree, signedCommit, treeObject } from './git-object.js';
import type { CommitFields, GitObject, TreeEntry } from './git-object.js';
import { hexOf } from './hash.js';
import type { KeyId, Oid } from './ids.js';
import { nodeIdOf, publicKeyOf } from './signature.js';
import { allowedSignersLine, sshVerify } from './sshsig.js';

const inCi = process.env['CI'] === 'true';
const has = (tool: string, argument: string): boolean => spawnSync(tool, [argument]).error === undefined;
const withoutGit =
  (has('git', '--version') && has('ssh-keygen', '-?')) || inCi
    ? false
    : 'git or ssh-keygen is not on this machine';

const seed = Buffer.alloc(32, 7);
const key = publicKeyOf(seed);
const node = nodeIdOf(key);
const person = { name: node, email: `${node}@node.mergetown`, seconds: 1_767_225_600 };
const zeros = '0'.repeat(40) as Oid;
const fields = (change: Partial<CommitFields> = {}): CommitFields => ({
  tree: treeObject([]).oid,
  parents: [],
  author: person,
  committer: person,
  message: 'Block 1: 2 entries\n\nTown: aa\nSeq: 1',
  ...change,
});

/** Stock git in a bare repository of its own, untouched by this machine's configuration. */
function stockGit(folder: string): (args: string[], input?: Uint8Array) => string {
  const environment = { PATH: process.env['PATH'], HOME: folder, GIT_CONFIG_NOSYSTEM: '1', LANG: 'C' };
  const git = (args: string[], input?: Uint8Array): string =>
    execFileSync('git', ['-C', folder, ...args], {
      env: environment,
      input,
      encoding: 'utf8',
      stdio: 'pipe',
    });
  git(['init', '-q', '--bare', '-b', 'main']);
  git(['config', 'gpg.format', 'ssh']);
  git(['config', 'gpg.ssh.allowedSignersFile', join(folder, 'allowed_signers')]);
  return git;
}

t.test('stock git reads what we write', { skip: withoutGit }, async (t) => {
  const folder = t.testdir({});
  const git = stockGit(folder);
  writeFileSync(join(folder, 'allowed_signers'), `${allowedSignersLine(node, key)}\n`);
  const put = (object: GitObject): Oid => {
    const oid = git(['hash-object', '-w', '-t', object.type, '--stdin'], object.data).trim();
    t.equal(oid, object.oid, `git gives the ${object.type} the same id`);
    return object.oid;
  };
  const file = put(blobObject(Buffer.from('{"a":1}')));
  const inner = put(treeObject([{ name: 'x', kind: 'file', oid: file }]));
  // Git's order: the folder `a` compares as `a/`, after `a.b` and `a-b`.
  const names = ['a.b', 'a-b', 'a0', 'A', 'zz'];
  const entries: TreeEntry[] = names.map((name) => ({ name, kind: 'file', oid: file }));
  entries.push({ name: 'a', kind: 'folder', oid: inner });
  const tree = treeObject(entries);
  put(tree);
  const made = git(
    ['mktree'],
    Buffer.from(
      entries
        .map((e) => `${e.kind === 'file' ? '100644 blob' : '040000 tree'} ${e.oid}\t${e.name}\n`)
        .join(''),
    ),
  );
  t.equal(made.trim(), tree.oid, 'git sorts the same');
  t.same(
    parseTree(tree.data).map((entry) => entry.name),
    ['A', 'a-b', 'a.b', 'a', 'a0', 'zz'],
  );

  const first = signedCommit(fields({ tree: tree.oid }), seed);
  put(first);
  const second = signedCommit(fields({ tree: inner, message: 'Ünïcode ✓\n\nbody' }), seed);
  put(second);
  const merge = signedCommit(fields({ tree: tree.oid, parents: [second.oid, first.oid] }), seed);
  put(merge);
  git(['update-ref', 'refs/heads/main', merge.oid]);
  const fsck = spawnSync('git', ['-C', folder, 'fsck', '--strict', '--full'], { encoding: 'utf8' });
  t.equal(fsck.status, 0);
  t.equal(fsck.stderr + fsck.stdout, '', 'fsck has nothing to say');
  for (const { oid } of [first, second, merge]) git(['verify-commit', oid]);
  t.equal(
    git(['log', '-1', '--format=%G? %GS %ae %ad %s', '--date=raw', 'main']).trim(),
    `G ${node} ${person.email} 1767225600 +0000 Block 1: 2 entries`,
  );
  t.equal(git(['log', '-1', '--format=%(trailers:key=Seq,valueonly)', 'main']).trim(), '1');

  const forged = Buffer.from(Buffer.from(merge.data).toString('utf8').replace('Seq: 1', 'Seq: 2'));
  const oid = git(['hash-object', '-w', '-t', 'commit', '--stdin'], forged).trim();
  t.throws(() => git(['verify-commit', oid]), 'git refuses a changed commit');
  const parsed = parseCommit(forged);
  t.notOk(sshVerify(parsed.signature as string, parsed.payload, key), 'and so do we');
});

t.test('we read what stock git signs', { skip: withoutGit }, async (t) => {
  const folder = t.testdir({});
  const git = stockGit(folder);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', join(folder, 'id')]);
  git(['config', 'user.signingKey', join(folder, 'id')]);
  git(['config', 'user.name', 'node']);
  git(['config', 'user.email', 'node@example.org']);
  const tree = git(['mktree'], Buffer.of()).trim();
  const commit = execFileSync(
    'git',
    ['-C', folder, 'commit-tree', '-S', '-m', 'By git', '-m', 'Seq: 9', tree],
    {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: folder, TZ: 'UTC', GIT_CONFIG_NOSYSTEM: '1' },
    },
  ).trim();
  const data = execFileSync('git', ['-C', folder, 'cat-file', 'commit', commit]);
  const blob = Buffer.from(readFileSync(join(folder, 'id.pub'), 'utf8').split(' ')[1] as string, 'base64');
  const parsed = parseCommit(data);
  t.ok(sshVerify(parsed.signature as string, parsed.payload, hexOf(blob.subarray(-32)) as KeyId));
  t.same(parseTrailers(parsed.fields.message), new Map([['Seq', ['9']]]));
});

t.test('a commit comes back as it was, signed by whom it was', async (t) => {
  const text = fc.stringMatching(/^[A-Za-zéß✓]([A-Za-zéß✓\u2028.@-]{0,20}[a-z✓])?$/);
  const who = fc.record({ name: text, email: text, seconds: fc.nat() });
  const oid = fc.stringMatching(/^[0-9a-f]{40}$/) as fc.Arbitrary<Oid>;
  const message = fc.stringMatching(/^[!-~é]([ -~é\n\u2028]{0,60}[!-~é])?$/);
  const commits = fc.record({
    tree: oid,
    parents: fc.uniqueArray(oid, { maxLength: 4 }),
    author: who,
    committer: who,
    message,
  });
  fc.assert(
    fc.property(commits, (made) => {
      const object = signedCommit(made, seed);
      const parsed = parseCommit(object.data);
      t.same(parsed.fields, made);
      t.ok(sshVerify(parsed.signature as string, parsed.payload, key));
      const unsigned = parseCommit(parsed.payload);
      t.equal(unsigned.signature, null);
      t.same(unsigned.fields, made);
    }),
    { numRuns: 100 },
  );
  t.equal(
    signedCommit(fields({ message: 'x\n\n' }), seed).oid,
    signedCommit(fields({ message: 'x' }), seed).oid,
    'newlines at the end of a message do not count',
  );
});

t.test('a commit that we would not write is refused', async (t) => {
  const good = Buffer.from(signedCommit(fields({ parents: [zeros] }), seed).data).toString('utf8');
  const changes: [string, (text: string) => string][] = [
    ['another time zone', (c) => c.replace('+0000', '+0100')],
    ['a negative zone', (c) => c.replace('+0000', '-0000')],
    ['a date with a leading zero', (c) => c.replace('1767225600', '01767225600')],
    ['a date beyond all dates', (c) => c.replace('1767225600', '9'.repeat(30))],
    ['a short id', (c) => c.replace(zeros, zeros.slice(1))],
    ['an id in upper case', (c) => c.replace(zeros, 'A'.repeat(40))],
    ['a parent twice', (c) => c.replace(`parent ${zeros}\n`, `parent ${zeros}\nparent ${zeros}\n`)],
    ['an encoding header', (c) => c.replace('\ngpgsig', '\nencoding latin1\ngpgsig')],
    [
      'an unknown header after the signature',
      (c) => c.replace('SIGNATURE-----\n\n', 'SIGNATURE-----\nx y\n\n'),
    ],
    ['a second signature', (c) => c.replace(/(gpgsig [^]*END SSH SIGNATURE-----\n)/, '$1$1')],
    ['a PGP signature', (c) => c.replaceAll('SSH SIGNATURE', 'PGP SIGNATURE')],
    ['an empty line in the signature', (c) => c.replace('\n -----END', '\n \n -----END')],
    ['no final newline', (c) => c.slice(0, -1)],
    ['two final newlines', (c) => `${c}\n`],
    ['no message', (c) => `${c.slice(0, c.indexOf('\n\n'))}\n\n\n`],
    ['no author', (c) => c.replace(/author .*\n/, '')],
    ['the committer first', (c) => c.replace(/(author .*\n)(committer .*\n)/, '$2$1')],
    ['a zero in the message', (c) => c.replace('Seq', 'S\0eq')],
    ['a CR', (c) => c.replace('Town: aa\n', 'Town: aa\r\n')],
    ['a byte-order mark', (c) => `\ufeff${c}`],
    ['a nameless author', (c) => c.replace(`author ${node} `, 'author  ')],
    ['nothing', () => ''],
  ];
  t.ok(parseCommit(Buffer.from(good)).signature);
  for (const [name, change] of changes) {
    t.not(change(good), good, `${name}: the change is one`);
    t.throws(() => parseCommit(Buffer.from(change(good))), { code: 'bad-commit' }, name);
  }
  const latin1 = Buffer.from(good.replace('Town: aa', 'Town: é'), 'latin1');
  t.throws(() => parseCommit(latin1), { code: 'bad-commit' }, 'not UTF-8');

  const refused: Partial<CommitFields>[] = [
    { message: '' },
    { message: '\n\n' },
    { message: ' x' },
    { message: '\ud800' },
    { author: { ...person, name: 'a <b>' } },
    { author: { ...person, name: '' } },
    { committer: { ...person, email: 'a\nb' } },
    { committer: { ...person, seconds: 1.5 } },
    { author: { ...person, seconds: -1 } },
    { tree: 'x' as Oid },
    { parents: [zeros, zeros] },
  ];
  for (const change of refused) {
    t.throws(() => signedCommit(fields(change), seed), { code: 'bad-commit' }, JSON.stringify(change));
  }
});

t.test('trees: any order in, one out, and nothing foreign', async (t) => {
  const oid = blobObject(Buffer.of()).oid;
  const name = fc.stringMatching(/^[a-c._-]{1,4}$/).filter((text) => !/^\.{1,2}$/.test(text));
  const kind = fc.constantFrom('file' as const, 'folder' as const);
  const entries = fc.uniqueArray(fc.record({ name, kind, oid: fc.constant(oid) }), {
    selector: (entry) => entry.name,
  });
  fc.assert(
    fc.property(entries, (list) => {
      const tree = treeObject(list);
      t.equal(treeObject([...list].reverse()).oid, tree.oid);
      const parsed = parseTree(tree.data);
      t.equal(parsed.length, list.length);
      t.equal(treeObject(parsed).oid, tree.oid);
    }),
    { numRuns: 200 },
  );
  for (const bad of [
    '',
    '.',
    '..',
    '.git',
    '.GIT',
    '.gitmodules',
    'git~1',
    'a/b',
    'a\\b',
    'a\0',
    'ü',
    'x'.repeat(256),
  ]) {
    t.throws(() => treeObject([{ name: bad, kind: 'file', oid }]), { code: 'bad-tree' }, bad.slice(0, 12));
  }
  const a: TreeEntry = { name: 'a', kind: 'file', oid };
  t.throws(
    () => treeObject([a, { ...a, kind: 'folder' }]),
    { code: 'bad-tree' },
    'a file and a folder of one name',
  );
  const one = Buffer.from(treeObject([a]).data);
  const two = Buffer.concat([treeObject([{ ...a, name: 'b' }]).data, one]);
  for (const bad of [
    two,
    one.subarray(1),
    one.subarray(0, -1),
    Buffer.concat([one, one]),
    Buffer.from('100755 a\0'),
  ]) {
    t.throws(() => parseTree(bad), { code: 'bad-tree' });
  }
  const executable = Buffer.from(one.toString('latin1').replace('100644', '100755'), 'latin1');
  const link = Buffer.from(one.toString('latin1').replace('100644', '120000'), 'latin1');
  for (const bad of [executable, link]) t.throws(() => parseTree(bad), { code: 'bad-tree' });
});

t.test('trailers are the last paragraph, or none', async (t) => {
  t.same(
    parseTrailers('Merge 3\n\nbody: no\n\nHeight: 3\nHead-SHA256: a\nHead-SHA256: b\n'),
    new Map([
      ['Height', ['3']],
      ['Head-SHA256', ['a', 'b']],
    ]),
  );
  t.same(parseTrailers('Seq: 1'), new Map(), 'a subject is no trailer');
  t.same(parseTrailers('s\n\nSeq: 1\nand prose'), new Map(), 'a paragraph with prose has none');
  t.same(parseTrailers('s\n\nSeq: 1\u2028x'), new Map([['Seq', ['1\u2028x']]]), 'only a newline ends a line');
});
