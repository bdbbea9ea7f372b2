/** `town recover` and `town recovery`: a statement made at a daemon, signed in files without one, applied at one. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { RecoveryPlace } from '../node/recovery-cases.js';
import { arm, KILL_POINT_FILE, reachedAt, type KillPoint } from '../testing/kill-points.js';
import { runTown } from './run-town.fixture.js';
import { serve } from './served-town.fixture.js';

t.setTimeout(300_000);

const attic = { id: 'a'.repeat(16), name: 'attic', height: 7 };
const place = (keys: RecoveryPlace['keys'], change: Partial<RecoveryPlace> = {}): RecoveryPlace => ({
  town: { id: 'f'.repeat(64), name: 'Testville' },
  ...{ epoch: 0, nextEpoch: 1, height: 7, parent: 'e'.repeat(64), quorum: 'two-thirds', keys },
  nodes: [
    { ...attic, validator: true, self: true, connected: true, brings: null },
    {
      ...{ id: 'b'.repeat(16), name: 'cellar', validator: true, self: false },
      ...{ connected: false, height: 6, brings: null },
    },
    {
      ...{ id: 'c'.repeat(16), name: 'shed', validator: false, self: false },
      ...{ connected: true, height: 7, brings: null },
    },
  ],
  ...change,
});

t.test('a statement is made, signed apart by those who hold keys, and applied', async (t) => {
  const folder = t.testdir();
  const keys: string[] = [];
  for (const name of ['one', 'two', 'three']) {
    const { stdout } = await runTown(['--json', 'recovery', 'key', join(folder, name)]);
    keys.push((JSON.parse(stdout) as { key: string }).key);
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, 'nobody else reads it');
  }
  t.equal(new Set(keys).size, 3);
  t.not((await runTown(['recovery', 'key', join(folder, 'one')])).code, 0, 'a key is never written over');

  const here = await serve(t, {
    'GET /api/recovery': [200, place({ k: 2, keys })],
    'POST /api/recovery': [200, { standing: 'begins', epoch: 1, height: 7, restart: true }],
    'POST /api/charter/changes': [200, { entry: 'd'.repeat(64), state: 'pending' }],
  });
  const set = await here.town('recovery', 'set', '2', ...keys);
  t.match(set.stdout, /2 of 3 keys can recover the town then/);
  const posted = here.asked.find(({ line }) => line === 'POST /api/charter/changes')?.body;
  t.same(posted, { set: { '/recovery': { k: 2, keys } }, remove: [] });

  const file = join(folder, 'statement.json');
  const made = await here.town('recover', file);
  t.match(made.stdout, /epoch 1, from merge 7/);
  t.match(made.stdout, /2 of the 3 who hold a key/);
  const { statement } = JSON.parse(readFileSync(file, 'utf8')) as { statement: { [name: string]: unknown } };
  t.match(statement, { validators: [attic.id], quorum: 'majority', epoch: 1, height: 7, nodes: {} });

  for (const key of ['one', 'three']) {
    const { stdout } = await runTown(['recovery', 'sign', file, '--key', join(folder, key), '--yes']);
    t.match(stdout, key === 'one' ? /one key has signed/ : /2 keys have signed/);
  }
  const applied = await here.town('recovery', 'apply', file);
  t.match(applied.stdout, /Epoch 1 begins here with the next merge/);
  t.match(applied.stdout, /Start this node again/);
  const sent = here.asked.find(({ line }) => line === 'POST /api/recovery')?.body;
  t.same(sent, { ...JSON.parse(readFileSync(file, 'utf8')), leaveBehind: false });
});

t.test('a command that is killed over a file leaves it whole, and is given again', async (t) => {
  const folder = t.testdir();
  const at = (name: string): string => join(folder, name);
  const killFile = at('kill');
  const here = await serve(t, { 'GET /api/recovery': [200, place({ k: 2, keys: [] })] });
  const env = {
    ...{ TOWN_URL: here.url, XDG_STATE_HOME: here.state, [KILL_POINT_FILE]: killFile },
    NODE_OPTIONS: `--import ${fileURLToPath(new URL('../testing/kill-point.js', import.meta.url))}`,
  };
  const killed = async (point: KillPoint, ...words: string[]): Promise<void> => {
    arm(killFile, point);
    await runTown(words, { env });
    t.equal(reachedAt(killFile)?.point, point, `${words.join(' ')} dies at ${point}`);
    arm(killFile, null);
  };
  const done = async (...words: string[]): Promise<string> => {
    const { stdout, stderr } = await runTown(words, { env });
    return stdout + stderr;
  };

  await killed('file-written', 'recovery', 'key', at('one'));
  t.match(await done('recovery', 'key', at('one')), /Made .*one/, 'there is no half of a key in its place');
  await killed('file-there', 'recovery', 'key', at('two'));
  t.match(await done('recovery', 'key', at('two')), /two is there already/);

  const file = at('statement.json');
  await killed('file-written', 'recover', file);
  t.match(await done('recover', file), /The statement is in .*statement.json/);
  await killed('file-there', 'recover', at('other.json'));
  t.match(await done('recover', at('other.json')), /other.json is there already/);

  const sign = (key: string): string[] => ['recovery', 'sign', file, '--key', at(key), '--yes'];
  t.match(await done(...sign('one')), /one key has signed/);
  await killed('file-written', ...sign('two'));
  t.match(await done(...sign('one')), /one key has signed/, 'the first signature is still there, alone');
  await killed('file-there', ...sign('two'));
  t.match(await done(...sign('two')), /2 keys have signed/, 'once more changes nothing');
});

t.test('who would leave a board behind with what it merged is asked', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'statement.json');
  const made = await serve(t, { 'GET /api/recovery': [200, place({ k: 1, keys: [] })] });
  await made.town('recover', file);
  // A quorum was there again meanwhile, which only the node can tell.
  const message = 'The statement goes on in epoch 1 from merge 7, and this node has merged otherwise.';
  const here = await serve(t, {
    'POST /api/recovery': [
      409,
      { error: { code: 'leaves-behind', message, advice: 'See with town status.' } },
    ],
  });
  const refused = await here.town('recovery', 'apply', file);
  t.equal(refused.code, 2);
  t.match(refused.stderr, /merged otherwise/);
  t.match(refused.stderr, /See with town status\. To leave it behind, say --yes/);
  const sure = await serve(t, {
    'POST /api/recovery': [200, { standing: 'diverged', epoch: 1, height: 7, restart: false }],
  });
  t.match((await sure.town('recovery', 'apply', file, '--yes')).stdout, /merges no more/);
  const asked = [here, sure].map(({ asked: [last] }) => (last?.body as { leaveBehind: boolean }).leaveBehind);
  t.same(asked, [false, true], 'only who says so leaves it behind');
});

t.test('what cannot be recovered is said, with what to do', async (t) => {
  const folder = t.testdir({ junk: 'no json' });
  const none = await serve(t, { 'GET /api/recovery': [200, place(null)] });
  t.match((await none.town('recover', join(folder, 'a'))).stderr, /names no keys of recovery/);
  const nodes = place(null).nodes.map((node) => (node.self ? node : { ...node, height: 9 }));
  const behind = await serve(t, { 'GET /api/recovery': [200, place({ k: 1, keys: [] }, { nodes })] });
  t.match((await behind.town('recover', join(folder, 'b'))).stderr, /shed has merge 9, and this node only 7/);
  const named = await serve(t, { 'GET /api/recovery': [200, place({ k: 1, keys: [] })] });
  t.match(
    (await named.town('recover', join(folder, 'c'), '--validators', 'roof')).stderr,
    /No node is called roof/,
  );
  const some = await named.town('--json', 'recover', join(folder, 'd'), '--validators', 'shed', attic.id);
  t.match(JSON.parse(some.stdout), { statement: { validators: ['c'.repeat(16), attic.id] } });
  const junk = await runTown(['recovery', 'sign', join(folder, 'junk'), '--key', join(folder, 'd'), '--yes']);
  t.match(junk.stderr, /holds no statement/);
  const noKey = await runTown([
    'recovery',
    'sign',
    join(folder, 'd'),
    '--key',
    join(folder, 'junk'),
    '--yes',
  ]);
  t.match(noKey.stderr, /is no key of recovery/);
});
