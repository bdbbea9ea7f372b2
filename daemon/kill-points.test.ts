/**
 * Three real validators, each killed (-9) at every step of a height while people go on recording on all of them: the other two go
 * on, the dead one comes back to their history, nothing that was acknowledged is lost, and nobody votes twice.
 * `KILL_POINTS=all` kills each node at each point; `KILL_POINTS=prevote-sent,decided` each node at these.
 */
import t, { type Test } from 'tap';
import { startBroker } from './sync/broker.js';
import { areMerged, lostOf } from './testing/acknowledged-entries.js';
import { eventually } from './testing/eventually.js';
import { arm, KILL_POINTS, reachedAt, type KillPoint, type Reached } from './testing/kill-points.js';
import { fileOf, fsck, Recorders, startArmable } from './testing/mortal-boards.js';
import { gatePid, isGate } from './testing/running-town.js';
import { STEWARD_NAME as ADA, TownOfNodes, type Board } from './testing/town-of-nodes.js';
import { ownRecords, reading, Witness } from './testing/witness.js';

/** Each node proposes every third height at the latest. */
const DEATH_MS_MAX = 240_000;
const RECORD_EVERY_MS = 150;
/** Then who has not died by itself is killed where it stands. */
const ALL_DIE_MS_MAX = 20_000;
/** Where the power of all is cut at once, of those that are named: all locked and nobody heard of; all decided; all but done. */
const ALL_AT: readonly KillPoint[] = ['precommit-durable', 'decided', 'adopt-durable'];
const POINTS = Object.keys(KILL_POINTS) as KillPoint[];

const wanted = process.env['KILL_POINTS'] ?? '';
const named = wanted === 'all' ? POINTS : POINTS.filter((point) => wanted.split(',').includes(point));
const skip = wanted !== '' && named.length === 0 && 'KILL_POINTS names none of these';
t.setTimeout(named.length > 0 ? 3_600_000 : 1_800_000);

/** Whether what a node was at when it died lies in its database. */
function isDurable(board: Board, { point, about }: Reached): boolean {
  return reading(board, (store) => {
    if (point === 'append-durable') return store.entry(about) !== null;
    if (/^(peer-)?block-|^heads-/.test(point)) return store.block(about) !== null;
    if (/^(decided|adopt-durable|votes-kept|certified.*)$/.test(point))
      return store.mergeById(about) !== null;
    return ownRecords(store).some(({ text }) => text === about);
  });
}

/** The gate's process, once the board has it. */
const gateOf = (board: Board): Promise<number> =>
  eventually(
    `${board.key} has its gate`,
    async () => (await board.status()).gate.connected && (await gatePid(board.folder)),
  );

const spent = (from: number | undefined, to: number): string =>
  `${((to - (from ?? to)) / 1000).toFixed(1)} s`;

interface Scene {
  readonly town: TownOfNodes;
  readonly witness: Witness;
  readonly recorders: Recorders;
}

/** The boards merge these entries while another is away. */
const mergedOn = (town: TownOfNodes, boards: readonly Board[], entries: readonly (string | null)[]) =>
  eventually('the other two merge without it', () => areMerged(boards, entries as readonly string[]), {
    withinMs: 180_000,
    last: () => town.mains(),
  });

async function killedAt(t: Test, { town, witness, recorders }: Scene, board: Board, point: KillPoint) {
  const others = town.boards.filter((other) => other !== board);
  const from = recorders.acknowledged.length;
  const gate = await gateOf(board);
  const times = [performance.now()];
  const needsOthers = point.startsWith('certified');
  if (needsOthers) {
    // They decide without it: it learns of that when it hears them again.
    board.way?.cut();
    const missed = await Promise.all(others.map((other) => recorders.record(other)));
    await mergedOn(town, others, missed);
  }
  arm(fileOf(board), point);
  if (needsOthers) board.way?.heal();
  const reached = await eventually(
    `${board.key} dies at ${point}`,
    async () => {
      await recorders.everywhere();
      return reachedAt(fileOf(board));
    },
    { withinMs: DEATH_MS_MAX, everyMs: RECORD_EVERY_MS, last: () => town.mains() },
  );
  await board.kill();
  times.push(performance.now());
  t.equal(reached.point, point, 'it died there');
  if (!point.startsWith('git-'))
    t.equal(
      isDurable(board, reached),
      !/-before$|^decided$|^certified$/.test(point),
      'what it was at is as durable as said',
    );
  witness.look(board);
  t.equal(fsck(board), '', 'git finds its repository whole as it lies');
  t.ok(await isGate(gate, board.folder), 'its gate goes on');

  const meanwhile = await recorders.everywhere();
  await mergedOn(town, others, meanwhile);

  times.push(performance.now());
  arm(fileOf(board), null);
  await startArmable(board);
  times.push(performance.now());
  await town.converged();
  times.push(performance.now());
  const [died, merged, started, converged] = times.slice(1).map((at, index) => spent(times[index], at));
  t.comment(
    `died after ${died}, merged without it after ${merged}, back after ${started}, one main after ${converged}`,
  );
  t.same(await lostOf(town.boards, recorders.acknowledged.slice(from)), [], 'nothing acknowledged is lost');
  t.equal(await gateOf(board), gate, 'with the gate that it had');
  for (const each of town.boards) {
    t.equal((await each.status()).alarm, null, `${each.key} has nothing to complain of`);
    witness.look(each);
  }
  t.same(witness.problems, [], 'nobody signed two things for one place');
}

/** The power of the whole house is cut: each is at the point when it dies, or on its way there. */
async function allKilledAt(t: Test, { town, witness, recorders }: Scene, point: KillPoint) {
  const { boards } = town;
  const from = recorders.acknowledged.length;
  for (const board of boards) arm(fileOf(board), point);
  const diedAt = (): Board[] => boards.filter((board) => reachedAt(fileOf(board)) !== null);
  await eventually(
    `somebody dies at ${point}`,
    async () => {
      await recorders.everywhere();
      return diedAt().length > 0;
    },
    { withinMs: DEATH_MS_MAX, everyMs: RECORD_EVERY_MS, last: () => town.mains() },
  );
  // Who is dead may be the one that the others cannot get there without.
  await eventually('all die there', () => diedAt().length === boards.length, {
    withinMs: ALL_DIE_MS_MAX,
  }).catch(() => undefined);
  const died = diedAt();
  t.comment(`${died.length} of ${boards.length} died there`);
  for (const board of boards) await board.kill();
  for (const board of boards) {
    arm(fileOf(board), null);
    witness.look(board);
    t.equal(fsck(board), '', `git finds the repository of ${board.key} whole as it lies`);
  }
  await Promise.all(boards.map(startArmable));
  await town.converged();
  t.same(await lostOf(boards, recorders.acknowledged.slice(from)), [], 'nothing acknowledged is lost');
  for (const each of boards) {
    t.equal((await each.status()).alarm, null, `${each.key} has nothing to complain of`);
    witness.look(each);
  }
  t.same(witness.problems, [], 'nobody signed two things for one place');
}

t.test('a node killed at any step of a height comes back to one history', { skip }, async (t) => {
  const broker = await startBroker(0);
  const town = await TownOfNodes.open({ folder: t.testdir(), brokerPort: broker.port }).catch(
    async (error: unknown) => {
      await broker.close();
      throw error;
    },
  );
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    await town.close();
    await broker.close();
  };
  t.teardown(close);
  const { boards, founder } = town;
  await founder.post(ADA, '/api/charter/changes', { set: { '/pace/interactiveMs': 200 }, remove: [] });
  await town.converged();
  for (const board of boards) {
    await board.stop();
    await startArmable(board);
  }
  await town.converged();
  const scene = {
    town,
    witness: await Witness.listen(t, boards, broker.port),
    recorders: new Recorders(town),
  };

  const plan =
    named.length > 0
      ? named.flatMap((point) => boards.map((board) => ({ board, point })))
      : POINTS.map((point, index) => ({ board: boards[index % boards.length] as Board, point }));
  for (const { board, point } of plan) {
    // What failed once leaves a town that says nothing about the next.
    if (boards.some(({ isRunning }) => !isRunning)) break;
    await t.test(`${board.key} dies when ${KILL_POINTS[point as keyof typeof KILL_POINTS]} (${point})`, (t) =>
      killedAt(t, scene, board, point),
    );
  }

  for (const point of ALL_AT.filter((each) => named.length === 0 || named.includes(each))) {
    if (boards.some(({ isRunning }) => !isRunning)) break;
    await t.test(
      `all die at once, each when ${KILL_POINTS[point as keyof typeof KILL_POINTS]} (${point})`,
      (t) => allKilledAt(t, scene, point),
    );
  }

  const { acknowledged } = scene.recorders;
  t.same(await lostOf(boards, acknowledged), [], `all ${acknowledged.length} entries are where they belong`);
  t.ok(scene.witness.places > plan.length, `${scene.witness.places} signatures were looked at`);
  t.same(await town.gitProblems(), [], 'stock git finds one main and every repository whole');
  const gates = await Promise.all(boards.map(async (board) => [await gateOf(board), board] as const));
  await founder.kill();
  await close();
  for (const [pid, board] of gates)
    t.notOk(await isGate(pid, board.folder), `no gate of ${board.key} is left behind`);
});
