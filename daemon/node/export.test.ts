/** What leaves the town for other programs: a repository for stock git, and lines of JSON from which ids and balances follow. */
import { execFile, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { canonicalize } from '../ledger/canonical.js';
import { sha256 } from '../ledger/hash.js';
import { memberIdOf } from '../ledger/signature.js';
import type { KeyId } from '../ledger/ids.js';
import { apiOf, PASSPHRASE, setUp, startTown, type Api } from '../testing/running-town.js';
import { exportGit } from './export-git.js';
import { exportLines } from './export-jsonl.js';

t.setTimeout(600_000);
const run = promisify(execFile);
const withoutGit = spawnSync('git', ['--version']).error !== undefined && process.env['CI'] !== 'true';
const town = fileURLToPath(new URL('../cli/town.js', import.meta.url));

interface Line {
  readonly [field: string]: unknown;
  readonly type: string;
  readonly by: KeyId;
  readonly body: { readonly [field: string]: unknown };
  readonly verdict: string | null;
}

const beside = ['id', 'verdict', 'code', 'reason', 'other', 'height', 'merge'];

/** Balances from the lines alone, by the rules of joining, granting and transferring. */
function balancesOf([genesis, ...lines]: readonly Line[]): { [account: string]: number } {
  const charter = genesis!['charter'] as { supply: number; members: { grant: number } };
  const balances: { [account: string]: number } = { vault: charter.supply };
  const members = new Map<string, string>();
  const move = (from: string, to: string, amount: number): void => {
    balances[from] = (balances[from] ?? 0) - amount;
    balances[to] = (balances[to] ?? 0) + amount;
  };
  for (const { type, by, body, verdict } of lines) {
    if (verdict !== 'accepted') continue;
    if (type === 'member.found' || type === 'member.join') {
      members.set(by, memberIdOf(by));
      move('vault', memberIdOf(by), charter.members.grant);
    }
    if (type === 'credit.transfer')
      move(members.get(by) as string, body['to'] as string, body['amount'] as number);
    if (type === 'credit.grant') move('vault', body['to'] as string, body['amount'] as number);
  }
  return balances;
}

t.test('a town at work is exported whole, twice', { skip: withoutGit }, async (t) => {
  const folder = join(t.testdir({}), 'town');
  mkdirSync(folder);
  const daemon = await startTown(folder, { driver: 'process' });
  t.teardown(() => daemon.stop());
  const { api } = await setUp(daemon);
  const invited = await api('POST', '/api/members/invitations', { name: 'Carol' });
  const joined = await apiOf(daemon)('POST', '/api/members/join', {
    code: invited.body.code,
    passphrase: PASSPHRASE,
  });
  const carol: Api = apiOf(daemon, joined.body.token);
  await api('POST', '/api/ledger/merge');
  const { body: members } = await api('GET', '/api/members');
  const idOf = (name: string): string => members.find((one: { name: string }) => one.name === name).id;
  for (let i = 1; i <= 5; i += 1) {
    await api('POST', '/api/credits/transfer', { to: idOf('Carol'), amount: 10 * i });
    await carol('POST', '/api/credits/transfer', { to: idOf('Ada'), amount: 3 });
    await api('POST', '/api/credits/grant', { to: idOf('Carol'), amount: 7, reason: 'swept the floor' });
    await api('POST', '/api/ledger/merge');
  }
  // More than there is: rejected; and one that no merge has judged.
  await carol('POST', '/api/credits/transfer', { to: idOf('Ada'), amount: 100_000 });
  await api('POST', '/api/ledger/merge');
  await api('POST', '/api/people', { name: 'Pending Person', contact: 'pending@example.org' });

  const parts: string[] = [];
  for await (const part of exportLines(folder)) parts.push(part);
  const texts = parts.join('').split('\n').slice(0, -1);
  const lines = texts.map((text) => JSON.parse(text) as Line);
  t.match(lines[0], { type: 'genesis', height: 0, merge: /^[0-9a-f]{64}$/ }, 'genesis comes first');
  const town0 = lines[0]!['town'];
  for (const line of lines.slice(1)) {
    const own = Object.fromEntries(Object.entries(line).filter(([name]) => !beside.includes(name)));
    if (sha256(canonicalize(own)) !== line['id'])
      t.fail(`the id of ${JSON.stringify(line)} does not follow from it`);
    if (line['town'] !== town0) t.fail('an entry of another town');
  }
  t.equal(new Set(lines.slice(1).map(({ id }) => id)).size, lines.length - 1, 'each entry once');
  const heights = lines.slice(1).map(({ height }) => (height as number | null) ?? Infinity);
  t.same(
    heights,
    heights.toSorted((a, b) => a - b),
    'in the order of the merges, what is pending last',
  );
  t.ok(heights.includes(Infinity), 'what is pending is there');
  const balances = balancesOf(lines);
  const { body: now } = await api('GET', '/api/members');
  for (const { id, balance } of now as { id: string; balance: { available: number } | number }[])
    t.equal(
      typeof balance === 'number' ? balance : balance.available,
      balances[id],
      `the balance of ${id} follows`,
    );

  // While the daemon goes on.
  const target = join(t.testdirName, 'out', 'ledger.git');
  const [exported] = await Promise.all([
    exportGit(folder, target),
    ...Array.from({ length: 6 }, (_, i) =>
      api('POST', '/api/people', { name: `Late ${i}`, contact: 'late@example.org' }).then(() =>
        api('POST', '/api/ledger/merge'),
      ),
    ),
  ]);
  t.match(exported, { folder: target });
  const fsck = await run('git', ['-C', target, 'fsck', '--strict', '--full']);
  t.notMatch(fsck.stdout + fsck.stderr, /error|missing|corrupt/);
  const clone = join(t.testdirName, 'clone');
  await run('git', ['-c', 'transfer.fsckObjects=true', 'clone', '-q', target, clone]);
  t.ok(existsSync(join(clone, 'charter.json')));
  const commits = (await run('git', ['-C', target, 'rev-list', '--all'])).stdout.trim().split('\n');
  await run('git', ['-C', target, 'verify-commit', ...commits]);
  t.pass(`stock git verifies all ${commits.length} commits by the keys that came along`);
  await t.rejects(exportGit(folder, target), { code: 'export-exists' });
  const secret = readFileSync(join(folder, 'keys', 'node.key'), 'utf8').slice(0, 64);
  const all = readdirSync(target, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)).toString('latin1'));
  t.notOk(
    all.some((text) => text.includes(secret)),
    'no key is in it',
  );

  // The same by command.
  const said = await run(process.execPath, [town, '--data', folder, 'export', 'jsonl'], {
    maxBuffer: 64 * 1024 * 1024,
  });
  t.ok(said.stdout.startsWith(texts.slice(0, 10).join('\n')), 'the command writes the same lines');
  const file = join(t.testdirName, 'lines.jsonl');
  const told = await run(process.execPath, [town, '--json', '--data', folder, 'export', 'jsonl', file]);
  t.equal(readFileSync(file, 'utf8').split('\n').length - 1, JSON.parse(told.stdout).lines);
  const there = join(t.testdirName, 'by-command.git');
  await run(process.execPath, [town, '--data', folder, 'export', 'git', there]);
  t.ok(existsSync(join(there, 'HEAD')));
  await t.rejects(run(process.execPath, [town, '--data', folder, 'export', 'git', join(folder, 'inside')]), {
    code: 2,
  });

  // And where nobody runs.
  await daemon.stop();
  const still = join(t.testdirName, 'still');
  cpSync(folder, still, { recursive: true });
  t.ok((await exportGit(still, join(t.testdirName, 'still.git'))).main);
});
