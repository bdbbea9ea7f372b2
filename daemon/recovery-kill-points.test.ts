/**
 * A real town loses its quorum again and again, and whoever carries a recovery out, or is told of it, is killed (-9) at every step:
 * the same command given again goes on or says that it is done, the town ends in the new epoch with one history, and nothing that was
 * acknowledged is lost.
 * `KILL_POINTS=all` kills everybody who comes to a point; `KILL_POINTS=recovery-durable,epoch-voted` everybody at these.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import t, { type Test } from 'tap';
import type { JsonObject } from './ledger/ids.js';
import type { Recovery } from './ledger/recovery.js';
import { backUp } from './node/backup.js';
import { writeBrokerFiles } from './node/broker-config.js';
import { systemClock } from './node/clock.js';
import { AWAITED_RECOVERY_META, RECOVERY_META } from './node/main-line.js';
import { restore } from './node/restore.js';
import { startBroker } from './sync/broker.js';
import { areMerged, lostOf } from './testing/acknowledged-entries.js';
import { eventually } from './testing/eventually.js';
import { arm, reachedAt, RECOVERY_POINTS, type Reached } from './testing/kill-points.js';
import { gitProblems } from './testing/left-on-disk.js';
import { fileOf, fsck, Recorders, startArmable } from './testing/mortal-boards.js';
import { applyAt, historyAfter, placeOf, RECOVERY_KEYS, recoveryAfter } from './testing/recovering-town.js';
import { STEWARD_NAME as ADA, TownOfNodes, type Board } from './testing/town-of-nodes.js';
import { reading, Witness } from './testing/witness.js';

type Point = keyof typeof RECOVERY_POINTS;
/** Who carries it out; the new validator that is told; the old one that comes back when all is over. */
type Part = 'carrier' | 'told' | 'late';

const MS_MAX = 180_000;
/** Who waits for a step may be overtaken by the others: it learns of the merge then, and the next epoch is another chance. */
const CHANCES = 4;

/** Who comes to which point; the default run kills those that stand first, and both who are there at a recovery's beginning. */
const PLAN: readonly (readonly [Point, Part])[] = [
  ['recovery-before', 'carrier'],
  ['recovery-before', 'told'],
  ['recovery-durable', 'carrier'],
  ['recovery-durable', 'told'],
  ['recovery-sent', 'carrier'],
  ['epoch-proposed', 'told'],
  ['epoch-voted', 'carrier'],
  ['epoch-decided', 'told'],
  ['epoch-durable', 'carrier'],
  ['epoch-certified', 'late'],
  ['epoch-certified-durable', 'late'],
];
const MORE: readonly (readonly [Point, Part])[] = [
  ['recovery-before', 'late'],
  ['recovery-durable', 'late'],
  ['recovery-sent', 'told'],
  ['epoch-proposed', 'carrier'],
  ['epoch-voted', 'told'],
  ['epoch-decided', 'carrier'],
  ['epoch-durable', 'told'],
];

const wanted = process.env['KILL_POINTS'] ?? '';
const isNamed = (point: string): boolean => wanted === 'all' || wanted.split(',').includes(point);
const plan = wanted === '' ? PLAN : [...PLAN, ...MORE].filter(([point]) => isNamed(point));
const withRestored = wanted === '' || isNamed('restored-forgotten');
const skip = plan.length === 0 && !withRestored && 'KILL_POINTS names none of these';
t.setTimeout(1_800_000);

interface Scene {
  readonly town: TownOfNodes;
  readonly witness: Witness;
  readonly recorders: Recorders;
  readonly ids: Map<Board, string>;
  /** Two validators, both needed; the second one will be lost, and the third takes its place. */
  roles: readonly [carrier: Board, lost: Board, told: Board];
}

const idOf = ({ ids }: Scene, board: Board): string => ids.get(board) as string;

/** Resolves when it has died at its point; null where it never came to it, as `isOver` tells. */
const death = (board: Board, isOver: () => Promise<boolean> = () => Promise.resolve(false)) =>
  eventually<Reached | 'missed'>(
    `${board.key} dies`,
    async () => reachedAt(fileOf(board)) ?? ((await isOver().catch(() => false)) && 'missed'),
    { withinMs: MS_MAX },
  ).then((found) => (found === 'missed' ? null : found));

/** Looks at what lies on the disk of who has died, and starts it again. */
async function again(t: Test, { witness }: Scene, board: Board, { point, about }: Reached): Promise<void> {
  if (board.isRunning) await board.kill();
  arm(fileOf(board), null);
  witness.look(board);
  t.equal(fsck(board), '', 'git finds its repository whole as it lies');
  reading(board, (store) => {
    const kept = [RECOVERY_META, AWAITED_RECOVERY_META].map((key) => store.meta(key));
    if (/^recovery-/.test(point))
      t.equal(kept.includes(about), point !== 'recovery-before', 'as durable as said');
    if (/^epoch-.*(decided|certified|durable)$/.test(point))
      t.equal(store.mergeById(about) !== null, /durable$/.test(point), 'as durable as said');
  });
  await startArmable(board);
}

const merged = (boards: readonly Board[], entries: readonly (string | null)[], scene: Scene) =>
  eventually('they merge in the new epoch', () => areMerged(boards, entries as readonly string[]), {
    withinMs: MS_MAX,
    last: () => scene.town.mains(),
  });

/** All boards that run are in the epoch, with one history since it began, and have what was acknowledged. */
async function isOne(t: Test, scene: Scene, { statement }: Recovery, from: number): Promise<void> {
  const { town, witness, recorders } = scene;
  await town.converged();
  const boards = town.boards.filter(({ isRunning }) => isRunning);
  const histories = boards.map((board) => historyAfter(board, statement));
  const { epoch } = statement;
  t.ok(histories[0]?.[0]?.endsWith(' begins'), 'the statement began it');
  t.ok(
    histories[0]?.every(
      (line, at) => line.startsWith(`${epoch} `) && (at === 0 || !/ (by|begins)/.test(line)),
    ),
    'all that follows is of the epoch',
  );
  for (const history of histories) t.same(history, histories[0], 'one history');
  t.same(await lostOf(boards, recorders.acknowledged.slice(from)), [], 'nothing acknowledged is lost');
  for (const board of boards) {
    t.equal((await placeOf(board)).epoch, epoch);
    t.equal((await board.status()).alarm, null, `${board.key} has nothing to complain of`);
    witness.look(board);
  }
  t.same(witness.problems, [], 'nobody signed two things for one place');
}

/** A validator is lost for good, and comes back after all. @returns whether somebody was killed at the point */
async function lose(t: Test, scene: Scene, point: Point, part: Part): Promise<boolean> {
  const { recorders } = scene;
  const [carrier, lost, told] = scene.roles;
  const mortal = { carrier, told, late: lost }[part];
  const from = recorders.acknowledged.length;
  const times = [performance.now()];
  // It knows of something that nobody else has, when its power goes.
  lost.way?.cut();
  await recorders.record(lost);
  await lost.kill();
  lost.way?.heal();
  const waits = [await recorders.record(carrier), await recorders.record(told)];
  const { height } = await placeOf(carrier);
  const pair = [carrier, told];
  // Where it shall propose the first merge, it stands at that place.
  const isProposer = point === 'epoch-proposed' && pair[(height + 1) % 2] !== mortal;
  const validators = (isProposer ? [...pair].reverse() : pair).map((board) => idOf(scene, board));
  const recovery = await recoveryAfter(carrier, validators);
  const isOver = async (): Promise<boolean> => (await placeOf(mortal)).height > height;

  if (part !== 'late') arm(fileOf(mortal), point);
  const first = applyAt(carrier, recovery);
  if (part !== 'carrier') t.equal((await first).standing, 'begins');
  // Where it dies over it there is no answer.
  else await first.catch(() => undefined);
  let reached: Reached | null;
  if (part === 'late') {
    await merged(pair, waits, scene);
    arm(fileOf(lost), point);
    await startArmable(lost).catch(() => undefined);
    reached = await death(lost, isOver);
  } else reached = await death(mortal, isOver);
  times.push(performance.now());
  if (reached) {
    t.equal(reached.point, point, 'it died there');
    await again(t, scene, mortal, reached);
  } else arm(fileOf(mortal), null);
  times.push(performance.now());
  for (const board of pair) {
    const { standing, epoch } = await applyAt(board, recovery);
    t.equal(epoch, recovery.statement.epoch);
    t.ok(standing === 'begins' || standing === 'past', `given again at ${board.key}: ${standing}`);
  }
  await merged(pair, waits, scene);
  times.push(performance.now());
  if (!lost.isRunning) await startArmable(lost);
  await isOne(t, scene, recovery, from);
  times.push(performance.now());
  const steps = times.slice(1).map((at, index) => `${((at - (times[index] ?? at)) / 1000).toFixed(1)} s`);
  t.comment(
    `died after ${steps[0]}, back after ${steps[1]}, merged after ${steps[2]}, one town after ${steps[3]}`,
  );
  scene.roles = [told, carrier, lost];
  return reached !== null;
}

/** A board that was lost is restored as a new node, and is killed on its way into the town. */
async function restored(t: Test, scene: Scene, folder: string): Promise<void> {
  const { town, recorders, witness, ids } = scene;
  const [carrier, lost, told] = scene.roles;
  const attic = town.boards[3] as Board;
  const from = recorders.acknowledged.length;
  const identity = await generateX25519Identity();
  const file = join(folder, 'lost.age');
  await backUp(lost.folder, file, {
    lock: { recipients: [await identityToRecipient(identity)] },
    clock: systemClock,
  });
  const waits = [await recorders.record(carrier), await recorders.record(told)];
  await town.converged();
  await lost.kill();
  await restore(file, attic.folder, { key: { identities: [identity] } });
  await witness.know(attic);
  // It meets the others where the lost one did.
  await startArmable(attic);
  const { node } = await attic.status();
  ids.set(attic, node.id);
  const brings = (await placeOf(attic)).nodes.find(({ self }) => self)?.brings as JsonObject;
  const recovery = await recoveryAfter(
    carrier,
    [carrier, attic].map((board) => idOf(scene, board)),
    { [node.id]: brings },
  );
  const alarm = async (): Promise<string | undefined> => (await attic.status()).alarm?.code;
  for (const point of ['recovery-durable', 'restored-forgotten'] as const) {
    arm(fileOf(attic), point);
    await applyAt(attic, recovery).catch(() => undefined);
    const reached = (await death(attic)) as Reached;
    t.equal(reached.point, point);
    t.equal(
      existsSync(join(attic.folder, 'restored.json')),
      point === 'recovery-durable',
      'the mark is there as long as the answer was not on its way',
    );
    await again(t, scene, attic, reached);
    t.equal(await alarm(), point === 'recovery-durable' ? 'observing' : undefined);
  }
  t.match(await applyAt(attic, recovery), { standing: 'ahead', restart: false }, 'it is done there');
  await attic.kill();

  // Who keeps the broker has to let it in before anything can be merged with it.
  const broker = await writeBrokerFiles(carrier.folder, {
    ...{ out: join(folder, 'broker'), hosts: ['127.0.0.1'], now: Date.now() },
  });
  const users = (): string => readFileSync(join(broker.folder, 'acl'), 'utf8');
  t.notMatch(users(), node.id);
  t.match(await applyAt(carrier, recovery), { standing: 'begins' });
  await eventually('the broker has a user for the new node', () => users().includes(node.id));
  await startArmable(attic);
  waits.push(await recorders.record(attic));
  await merged([carrier, attic], waits, scene);
  await isOne(t, scene, recovery, from);
  scene.roles = [carrier, attic, told];
}

/** Two validators merge what the third has not, and are lost: what they recorded comes in again, and they merge no more. */
async function leftBehind(t: Test, scene: Scene): Promise<void> {
  const { town, recorders } = scene;
  const [carrier, other, third] = scene.roles;
  await carrier.put(ADA, `/api/nodes/${idOf(scene, third)}/validator`, { validator: true });
  await town.converged();
  const from = recorders.acknowledged.length;
  carrier.way?.cut();
  const pair = [other, third];
  const more = await Promise.all(pair.map((board) => recorders.record(board)));
  await merged(pair, more, scene);
  for (const board of pair) await board.kill();
  carrier.way?.heal();
  const alone = await recorders.record(carrier);
  const recovery = await recoveryAfter(carrier, [idOf(scene, carrier)]);
  t.equal((await applyAt(carrier, recovery)).standing, 'begins');
  await merged([carrier], [alone], scene);

  arm(fileOf(third), 'recovery-durable');
  await startArmable(third).catch(() => undefined);
  await again(t, scene, third, (await death(third)) as Reached);
  await startArmable(other);
  for (const board of pair) {
    await eventually(
      `${board.key} says that it was left behind`,
      async () => (await board.status()).next.state === 'diverged',
      { withinMs: MS_MAX, last: () => board.status() },
    );
    t.equal((await applyAt(board, recovery)).standing, 'diverged', 'given again');
    t.match(
      await (
        await board.as(ADA)
      )('POST', '/api/people', { name: 'Late' }),
      { body: { error: { code: 'diverged' } } },
      'it records nothing that would be lost',
    );
  }
  await eventually(
    'what they recorded is in the town again',
    () => areMerged([carrier], recorders.acknowledged.slice(from)),
    { withinMs: MS_MAX },
  );
  t.ok(
    historyAfter(carrier, recovery.statement).every((line) =>
      line.startsWith(`${recovery.statement.epoch} `),
    ),
  );
  t.same(scene.witness.problems, [], 'nobody signed two things for one place');
}

t.test('a recovery goes on wherever the power is cut', { skip }, async (t) => {
  const folder = t.testdir();
  const broker = await startBroker(0);
  t.teardown(() => broker.close());
  const names = ['House', 'Workshop', 'Garden', 'Attic'];
  const town = await TownOfNodes.prepare({ folder, names, brokerPort: broker.port });
  t.teardown(() => town.close());
  const [house, workshop, garden] = town.boards as [Board, Board, Board];
  const began = performance.now();
  const spent = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  await town.found();
  for (const board of [workshop, garden]) await town.join(board);
  await town.makeValidator(workshop);
  for (const board of [workshop, garden]) await town.giveKey(ADA, house, board);
  await house.post(ADA, '/api/charter/changes', {
    set: { '/pace/interactiveMs': 200, '/recovery': RECOVERY_KEYS },
    remove: [],
  });
  await town.converged();
  const three = [house, workshop, garden];
  const ids = new Map<Board, string>();
  for (const board of three) {
    ids.set(board, (await board.status()).node.id);
    await board.stop();
    await startArmable(board);
  }
  await town.converged();
  const scene: Scene = {
    ...{ town, ids, recorders: new Recorders(town), roles: [house, workshop, garden] },
    witness: await Witness.listen(t, three, broker.port),
  };
  t.comment(`three boards after ${spent()}`);

  for (const [point, part] of plan)
    await t.test(`the ${part} dies when ${RECOVERY_POINTS[point]} (${point})`, async (t) => {
      for (let chance = 1; ; chance += 1) {
        if (await lose(t, scene, point, part)) break;
        if (chance === CHANCES) return t.fail('it never came to that point');
      }
      t.comment(spent());
    });
  const { acknowledged } = scene.recorders;
  t.same(await lostOf(three, acknowledged), [], `all ${acknowledged.length} entries are judged everywhere`);
  t.same(await gitProblems(three), [], 'stock git finds one main and every repository whole');
  if (withRestored)
    await t.test('a restored board dies on its way into the town', async (t) => {
      await restored(t, scene, folder);
      t.comment(spent());
    });
  if (withRestored)
    await t.test('who merged more in the old epoch is left behind, and dies over that', async (t) => {
      await leftBehind(t, scene);
      t.comment(spent());
    });
});
