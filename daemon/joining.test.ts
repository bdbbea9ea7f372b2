/** Two real daemons: one invites, the other joins, from the command line and from its setup page; killed on the way. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { NodeInvited, NodesView } from './node/node-cases.js';
import type { StatusView } from './node/use-cases.js';
import { eventually } from './testing/eventually.js';
import { apiOf, gatePid, setUp, startTown, type Api, type RunningTown } from './testing/running-town.js';

const cli = fileURLToPath(new URL('cli/town.js', import.meta.url));
const JOIN_MS_MAX = 180_000;

t.setTimeout(600_000);

interface Line {
  readonly state: string;
  readonly node: string;
}

/** `town join` as a process: the JSON lines it says. */
class Joiner {
  readonly lines: Line[] = [];
  readonly child: ChildProcess;
  private said = '';
  private errors = '';
  readonly code: Promise<number | null>;

  constructor(folder: string, code: string, words: readonly string[] = []) {
    const fixed = ['join', '-', '--json', '--data', folder, '--name', 'Back room', '--driver', 'process'];
    this.child = spawn(process.execPath, [cli, ...fixed, '--port', '0', ...words], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdin?.end(code);
    this.child.stderr?.on('data', (chunk: Buffer) => (this.errors += chunk.toString()));
    this.child.stdout?.on('data', (chunk: Buffer) => {
      const parts = (this.said + chunk.toString()).split('\n');
      this.said = parts.pop() ?? '';
      this.lines.push(...parts.map((line) => JSON.parse(line) as Line));
    });
    this.code = once(this.child, 'close').then(([ended]) => ended as number | null);
  }

  async until(state: string): Promise<Line> {
    return eventually(
      `town join says ${state}: ${this.errors}`,
      () => this.lines.find((line) => line.state === state),
      { withinMs: JOIN_MS_MAX, everyMs: 5, last: () => [this.lines, this.errors] },
    );
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.code;
  }
}

async function founded(t: Test) {
  const root = await mkdtemp(join(tmpdir(), 'mergetown-joining-'));
  const town = await startTown(join(root, 'founder'));
  t.teardown(async () => {
    await town.stop();
    await rm(root, { recursive: true, force: true });
  });
  const { api } = await setUp(town);
  return { root, town, api };
}

async function invite(api: Api, role: 'door' | 'hub' = 'door'): Promise<NodeInvited> {
  const { status, body } = await api('POST', '/api/nodes/invitations', { role });
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body as NodeInvited;
}

/** Waits until a node has asked, and lets it in. */
async function approve(api: Api, invitation: string): Promise<string> {
  const asker = await eventually('a node asks', async () => {
    const { invitations } = (await api('GET', '/api/nodes')).body as NodesView;
    return invitations?.find(({ id }) => id === invitation)?.asker;
  });
  const { node } = asker;
  const { status, body } = await api('POST', `/api/nodes/invitations/${invitation}/approve`, { node });
  if (status !== 200) throw new Error(JSON.stringify(body));
  await api('POST', '/api/ledger/merge');
  return node;
}

const statusOf = async (town: RunningTown): Promise<StatusView> =>
  (await apiOf(town)('GET', '/api/status')).body as StatusView;

/** Both are at one merge. */
const converged = (a: RunningTown, b: RunningTown): Promise<unknown> =>
  eventually(
    'both are at one merge and see each other',
    async () => {
      const [left, right] = await Promise.all([statusOf(a), statusOf(b)]);
      return left.main === right.main && left.peers.connected === 1 && right.peers.connected === 1;
    },
    { withinMs: 180_000, last: () => Promise.all([statusOf(a), statusOf(b)]) },
  );

t.test('a node killed at any moment of its joining ends in the town, as the node it was', async (t) => {
  const { root, town, api } = await founded(t);
  const { id, code } = await invite(api);
  const folder = join(root, 'second');
  const node = (
    await (async () => {
      const first = new Joiner(folder, code, ['--no-start']);
      const line = await first.until('asking');
      await first.kill();
      return line;
    })()
  ).node;
  const waits = new Joiner(folder, code, ['--no-start']);
  t.equal((await waits.until('waiting')).node, node);
  await waits.kill();

  // Killed around the welcome: what is not yet on the disk is asked for again.
  const joins = new Joiner(folder, code, ['--no-start']);
  await joins.until('waiting');
  t.equal(await approve(api, id), node);
  await joins.kill();
  for (const ms of [300, 400, 500, 600]) {
    const again = new Joiner(folder, code, ['--no-start']);
    await sleep(ms);
    await again.kill();
  }
  const last = new Joiner(folder, code, ['--no-start']);
  t.equal((await last.until('joined')).node, node);
  t.equal(await last.code, 0);
  t.same(
    (await readdir(folder)).filter((name) => name.startsWith('jo')),
    [],
  );

  const second = await startTown(folder);
  t.teardown(() => second.stop());
  t.equal(second.setupLink, null, 'a node that joined has nothing to set up');
  const status = await statusOf(second);
  t.equal(status.town.id, (await statusOf(town)).town.id);
  t.equal(status.node.id, node);
  t.same(status.broker, { listening: false, port: null }, 'it runs no broker of its own');
  await converged(town, second);
  const doors = (await api('GET', '/api/doors')).body as { id: string; node: string }[];
  const own = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as {
    gate: { doors: { id: string }[] };
  };
  t.ok(
    doors.some((door) => door.node === node && door.id === own.gate.doors[0]?.id),
    'its door is known to the town',
  );
});

t.test('town join runs the node at once, a hub without doors, and tells a refusal', async (t) => {
  const { root, town, api } = await founded(t);
  const { id, code } = await invite(api, 'hub');
  const folder = join(root, 'hub');
  const joiner = new Joiner(folder, code, ['--mqtt-port', '0']);
  t.teardown(async () => {
    joiner.child.kill('SIGTERM');
    await joiner.code;
  });
  const node = await approve(api, id);
  const { url } = await eventually(
    'the hub runs',
    async () =>
      JSON.parse(await readFile(join(folder, 'daemon.json'), 'utf8').catch(() => 'null')) as { url: string },
    { withinMs: JOIN_MS_MAX },
  );
  const hub = { ...town, url };
  t.equal((await statusOf(hub)).node.id, node);
  await converged(town, hub);
  t.equal(await readFile(join(folder, 'keys', 'badge.key'), 'utf8'), 'none\n');

  const refused = await invite(api);
  const turnedAway = new Joiner(join(root, 'third'), refused.code);
  await turnedAway.until('waiting');
  await api('POST', `/api/nodes/invitations/${refused.id}/refuse`, { reason: 'Not this board.' });
  t.equal(await turnedAway.code, 1);
  const wrong = new Joiner(join(root, 'fourth'), `${code.slice(0, -1)}`);
  t.equal(await wrong.code, 1);
  const busy = new Joiner(folder, code);
  t.equal(await busy.code, 1, 'the folder of a running node is not joined into');
});

t.test('a board that is set up while it asks keeps its own town', async (t) => {
  const { root, api } = await founded(t);
  const folder = join(root, 'own');
  const own = await startTown(folder);
  t.teardown(() => own.stop());
  const token = own.setupLink?.split('#')[1] as string;
  const { code } = await invite(api);
  await apiOf(own)('POST', '/api/node/join', { token, code, name: 'Back room' });
  const state = async (): Promise<string> => (await apiOf(own)('GET', '/api/node/join')).body.state;
  await eventually('it waits', async () => (await state()) === 'waiting');
  await setUp(own);
  t.equal(await state(), 'idle');
  await eventually(
    'what it asked with is gone',
    async () => !(await readdir(folder)).includes('joining.json'),
  );
});

t.test(
  'a fresh board joins from its setup page, and starts again with the town on the same port',
  async (t) => {
    const { root, town, api } = await founded(t);
    const folder = join(root, 'fresh');
    // Nothing listens there: it must not stay with it once it is in the town.
    const elsewhere = { arguments: ['--broker', 'mqtt://127.0.0.1:9'] };
    let fresh = await startTown(folder, elsewhere);
    t.teardown(() => fresh.stop());
    const token = fresh.setupLink?.split('#')[1] as string;
    const own = await statusOf(fresh);
    const ask = (body: object) =>
      apiOf(fresh)('POST', '/api/node/join', { token, name: 'Back room', ...body });
    const view = async () => (await apiOf(fresh)('GET', '/api/node/join')).body;
    t.match(await view(), { state: 'idle', node: own.node.id, town: null });

    const { id, code, link } = await invite(api);
    t.match(await ask({ token: 'wrong', code }), { status: 410, body: { error: { code: 'setup-expired' } } });
    t.match(await ask({ code: 'AAAA' }), { status: 400, body: { error: { code: 'bad-invitation-code' } } });
    t.match(await ask({ code: link }), { status: 200, body: { state: 'asking', town: 'Our makerspace' } });
    await eventually('the host has the ask', async () => (await view()).state === 'waiting');

    // A cut of the power while it waits: the next start goes on.
    await fresh.kill();
    fresh = await startTown(folder, elsewhere);
    await eventually('it asks again by itself', async () => (await view()).state === 'waiting');
    const gate = await gatePid(folder);
    t.equal(await approve(api, id), own.node.id, 'the same node, in another town');
    await eventually(
      'it has started again with the town',
      async () => (await statusOf(fresh).catch(() => null))?.town.id === (await statusOf(town)).town.id,
      { withinMs: JOIN_MS_MAX, last: () => fresh.said() },
    );
    t.match(await view(), { state: 'joined', node: own.node.id, town: 'Our makerspace' });
    t.equal((await statusOf(fresh)).needsSetup, false);
    await eventually('the dapps answer again', async () => (await statusOf(fresh)).dapps.ready);
    await converged(town, fresh);
    t.match(fresh.said(), /note: this node meets its new town at mqtt.*--broker is not used/);
    t.not(await gatePid(folder), gate, 'with a gate that knows the new door');
    const aside = (await readdir(folder)).find((name) => name.startsWith('set-aside-'));
    t.ok(aside, 'its own town lies aside');
    t.ok((await readdir(join(folder, aside as string))).includes('town.db'));
    t.match(await ask({ code }), { status: 409, body: { error: { code: 'setup-used' } } });
    t.match(await api('POST', '/api/session', {}), { status: 400 });
    const late = await apiOf(town)('POST', '/api/node/join', { token, code, name: 'x' });
    t.match(
      late,
      { status: 409, body: { error: { code: 'setup-used' } } },
      'a town with a steward joins no other',
    );
    t.equal(await fresh.stop(), 0);
    fresh = await startTown(folder);
    t.equal((await statusOf(fresh)).town.id, (await statusOf(town)).town.id);
  },
);
