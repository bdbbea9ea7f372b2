/**
 * A quiet town is quiet: three daemons at rest for ten minutes say nothing but that they are there, and write no byte. The ten minutes
 * pass in half a minute: clocks and timers of the daemons run 20 times as fast (testing/fast-time.ts), so that all that is due within
 * them is. QUIET_MINUTES=10 waits so long by the real clock instead, with the daemons as they are.
 */
import { readFile, readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import t from 'tap';
import type { Charter } from './ledger/charter.js';
import type { KeyId, NodeId, Sha256 } from './ledger/ids.js';
import { readNodeKeys } from './node/key-files.js';
import { openMessage } from './sync/message.js';
import { HEADS_EVERY_MS } from './sync/sync-state.js';
import { eventually } from './testing/eventually.js';
import { FAST, fastTime } from './testing/fast-time.js';
import { gatePid } from './testing/running-town.js';
import { TownOfNodes, type Board } from './testing/town-of-nodes.js';

t.setTimeout(3_600_000);

const MINUTES = Number(process.env['QUIET_MINUTES'] ?? 0);
const IDLE_MS = 10 * 60_000;
/** By the real clock. */
const WINDOW_MS = MINUTES > 0 ? MINUTES * 60_000 : IDLE_MS / FAST;
const TOWN_MS = MINUTES > 0 ? WINDOW_MS : IDLE_MS;

/** Bytes that a process has made the disks write so far. */
async function written(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/io`, 'utf8');
  return Number(/^write_bytes: (\d+)$/m.exec(text)?.[1]);
}

/** The daemons and gates of the boards, by name. */
async function processes(boards: readonly Board[]): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const { key, folder, town } of boards) {
    found.set(`${key} daemon`, town.pid);
    const gate = await gatePid(folder);
    if (gate !== null) found.set(`${key} gate`, gate);
  }
  return found;
}

/** Every file of a folder: its size, when it was written and which one it is. */
async function filesOf(folder: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    const { size, mtimeMs, ino } = await stat(path);
    files.set(
      relative(folder, path),
      `${entry.isDirectory() ? 0 : size} bytes, written ${mtimeMs}, inode ${ino}`,
    );
  }
  return files;
}

async function look(boards: readonly Board[]) {
  const bytes = new Map<string, number>();
  for (const [name, pid] of await processes(boards)) bytes.set(name, await written(pid));
  const files = new Map<string, string>();
  for (const { key, folder } of boards)
    for (const [path, what] of await filesOf(folder)) files.set(`${key}/${path}`, what);
  return { bytes, files };
}

t.test(`three daemons at rest for ${TOWN_MS / 60_000} minutes`, async (t) => {
  const town = await TownOfNodes.open({ folder: t.testdir() });
  t.teardown(() => town.close());
  await town.founder.post('Ada', '/api/people', { name: 'Bea' });
  await town.converged();
  if (MINUTES === 0) {
    const fast = fastTime();
    for (const board of [...town.boards].reverse()) await board.stop();
    for (const board of town.boards) await town.start(board, fast);
  }
  const { town: about, broker } = await town.founder.status();
  await town.converged();
  await eventually(
    'all hear each other',
    async () => {
      const all = await Promise.all(town.boards.map((board) => board.status()));
      return all.every(({ peers, gate, dapps }) => peers.connected === 2 && gate.connected && dapps.ready);
    },
    { withinMs: 240_000, last: () => Promise.all(town.boards.map((board) => board.status())) },
  );
  await town.gitMains();

  const { nodes } = await town.founder.get<Pick<Charter, 'nodes'>>('/api/charter');
  const { townKey } = await readNodeKeys(town.founder.folder);
  const keyOf = (node: NodeId): KeyId | undefined => nodes[node]?.key as KeyId | undefined;
  const heard: string[] = [];
  const ear = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { protocolVersion: 4, keepalive: 0 });
  t.teardown(() => ear.endAsync(true));
  ear.on('message', (topic, payload, { retain }) => {
    if (retain) return;
    // Whatever its age by this clock.
    const opened = openMessage(
      { topic, payload, retained: retain },
      { town: about.id as Sha256, townKey, keyOf },
      0,
    );
    heard.push(
      'message' in opened
        ? `${opened.message.kind} of ${nodes[opened.message.from]?.name}`
        : `${opened.refusal.code} on ${topic}`,
    );
  });
  await ear.subscribeAsync('#', { qos: 1 });

  // What is put off for a moment after the last thing that happened.
  const settleMs = MINUTES > 0 ? 30_000 : 6_000;
  await sleep(settleMs);
  heard.length = 0;
  const before = await look(town.boards);
  await sleep(WINDOW_MS);
  const after = await look(town.boards);

  const counts = new Map<string, number>();
  for (const what of heard) counts.set(what, (counts.get(what) ?? 0) + 1);
  t.comment(`heard: ${[...counts].map(([what, count]) => `${what} ${count}`).join(', ')}`);
  t.same(
    [...counts.keys()].filter((what) => !what.startsWith('heads of ')),
    [],
    'nothing but presence is told',
  );
  const most = TOWN_MS / HEADS_EVERY_MS + 1;
  t.equal(counts.size, 3, 'by each');
  for (const [what, count] of counts)
    t.ok(count <= most && count >= most - 3, `${what}: ${count}, one a minute`);

  const wrote = [...after.bytes].map(
    ([name, bytes]) => [name, bytes - (before.bytes.get(name) ?? 0)] as const,
  );
  t.same(
    wrote.filter(([, bytes]) => bytes !== 0),
    [],
    'no process has written a byte',
  );
  t.ok(wrote.length >= 6, 'three daemons and their gates');
  const changed = [...after.files].filter(([path, what]) => before.files.get(path) !== what);
  t.same(
    changed.map(([path, what]) => [path, before.files.get(path), what]),
    [],
    'no file was touched',
  );
  t.same(
    [...before.files.keys()].filter((path) => !after.files.has(path)),
    [],
    'and none is gone',
  );
  t.ok(before.files.size > 50, `${before.files.size} files were looked at`);

  // That it would have been seen.
  await town.founder.as('Ada');
  await town.founder.post('Ada', '/api/people', { name: 'Cyd' });
  await town.converged();
  const woken = await look(town.boards);
  const files = [...woken.files]
    .filter(([path, what]) => after.files.get(path) !== what)
    .map(([path]) => path);
  for (const { key } of town.boards)
    t.ok(files.includes(`${key}/town.db-wal`), `${key} writes what is recorded`);
  const sum = [...woken.bytes].reduce((all, [name, bytes]) => all + bytes - (after.bytes.get(name) ?? 0), 0);
  t.comment(`for one entry and its merge ${sum} bytes are written`);
  t.ok(heard.some((what) => what.startsWith('vote of ')));
});
