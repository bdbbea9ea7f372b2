/**
 * Five real daemons whose network is cut: in two that both go on, in one direction only, again and again at random, with the broker
 * gone and replaced by one that knows nothing; first over proxies, then over links of the kernel's that lose packets. People go on
 * recording on every board; after each outage there is one main, and everything that was acknowledged is judged on every board.
 *
 * Both ways are here because neither can do what the other does. A proxy can let one direction through alone, for as long as the
 * test wants: a node that hears everything and is not heard. TCP over a link that is cut in one direction comes to a stop in both, and
 * the sides find out by themselves, late; but only there packets are truly lost. The proxy is the main form: it needs no rights.
 *
 * `CUTS=100` cuts at random so many times, instead of once; `CUT_SEED` says by which chance.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { readConfig, writeConfig } from './node/config.js';
import type { Recorded } from './node/use-cases.js';
import { randomFrom } from './sync/testing/timeline.js';
import { areMerged, entryOn, lostOf } from './testing/acknowledged-entries.js';
import { CutLinks } from './testing/cut-links.js';
import { eventually } from './testing/eventually.js';
import { hasMosquitto, startMosquitto, startTestBroker, type TestBroker } from './testing/test-broker.js';
import type { TcpProxy } from './testing/tcp-proxy.js';
import { STEWARD_NAME as ADA, TownOfNodes, type Board } from './testing/town-of-nodes.js';

const rounds = Number(process.env['CUTS']) || 1;
const seed = Number(process.env['CUT_SEED']) || Math.floor(Math.random() * 1e9);
const isLong = rounds > 1;
t.setTimeout(isLong ? 4 * 3_600_000 : 1_800_000);

const NAMES = ['House', 'Workshop', 'Garden', 'Kitchen', 'Attic'];
/** Packets of a hundred that are lost on the links. */
const LOSS_PERCENT = 10;
const MERGE_MS_MAX = 240_000;

const wayOf = (board: Board): TcpProxy => {
  if (board.way === null) throw new Error(`${board.key} has no way.`);
  return board.way;
};

/** Five boards, and all that people record on them. */
class Scene {
  readonly acknowledged: string[] = [];
  #people = 0;

  constructor(
    readonly town: TownOfNodes,
    readonly folder: string,
    public broker: TestBroker,
  ) {}

  /** A board, by its number from 1. */
  board(number: number): Board {
    const board = this.town.boards[number - 1];
    if (!board) throw new Error(`There is no board ${number}.`);
    return board;
  }

  boardsOf(...numbers: readonly number[]): Board[] {
    return numbers.map((number) => this.board(number));
  }

  /** Somebody new on a board; resolves to the entry. */
  async record(board: Board): Promise<string> {
    const { entry } = await this.addPerson(board);
    return entry;
  }

  async addPerson(board: Board): Promise<Recorded & { person: string }> {
    this.#people += 1;
    return this.post(board, '/api/people', { name: `Person ${this.#people}` });
  }

  /** Records on each of these boards at once; the entries in the order of the boards. */
  recordOn(boards: readonly Board[] = this.town.boards): Promise<string[]> {
    return Promise.all(boards.map((board) => this.record(board)));
  }

  async post<T extends Recorded>(board: Board, path: string, body: object): Promise<T> {
    const recorded = await board.post<T>(ADA, path, body);
    this.acknowledged.push(recorded.entry);
    return recorded;
  }

  /** Leads the way of boards to another broker: what they had is reset. */
  lead(boards: readonly Board[], { port }: TestBroker): void {
    for (const board of boards) {
      const way = wayOf(board);
      way.cut();
      way.retarget(port);
      way.heal();
    }
  }

  merged(what: string, boards: readonly Board[], entries: readonly string[]): Promise<boolean> {
    return eventually(what, () => areMerged(boards, entries), {
      withinMs: MERGE_MS_MAX,
      everyMs: 200,
      last: () => this.town.mains(),
    });
  }

  /** One main, nothing lost of what was acknowledged since `from`, and no board that complains. */
  async isWhole(t: Test, from: number): Promise<void> {
    const began = performance.now();
    await this.town.converged();
    t.comment(`one main after ${((performance.now() - began) / 1000).toFixed(1)} s`);
    const { boards } = this.town;
    t.same(await lostOf(boards, this.acknowledged.slice(from)), [], 'nothing acknowledged is lost');
    for (const board of boards)
      t.equal((await board.status()).alarm, null, `${board.key} has nothing to complain of`);
  }

  /** The broker is killed; the fresh one has its address, and nothing that it kept. */
  async replaceBroker(meanwhile: () => Promise<unknown>): Promise<void> {
    const { port } = this.broker;
    await this.broker.kill();
    await meanwhile();
    this.broker = await startTestBroker(this.folder, port);
  }
}

/** The main that a board stands on. */
const mainOf = async (board: Board): Promise<string> => (await board.status()).main;

async function twoSides(t: Test, scene: Scene): Promise<void> {
  const { town } = scene;
  const other = await startTestBroker(scene.folder);
  t.teardown(() => other.kill());
  const from = scene.acknowledged.length;
  const [many, few] = [scene.boardsOf(1, 2, 3), scene.boardsOf(4, 5)];
  const before = await mainOf(scene.board(1));
  scene.lead(few, other);

  const near = await scene.recordOn(many);
  const far = await scene.recordOn(few);
  // One badge on two sides: one of them will have been first.
  const owners = await Promise.all([scene.board(2), scene.board(5)].map((board) => scene.addPerson(board)));
  const badges = await Promise.all(
    [scene.board(2), scene.board(5)].map((board, index) =>
      scene.post<Recorded>(board, '/api/badges', { person: owners[index]?.person, badgeNumber: '42:4711' }),
    ),
  );
  await scene.merged('three of five merge without the others', many, near);
  for (const board of few) {
    t.equal(await mainOf(board), before, `${board.key} merges nothing on the side of two`);
    t.ok((await board.status()).pendingEntries > 0, 'what it recorded waits');
  }

  // The sides change before they have met: those who stayed together so far are now apart.
  const [alone, four] = [scene.board(1), scene.boardsOf(2, 3, 4, 5)];
  scene.lead(scene.boardsOf(2, 3), other);
  const late = await scene.record(alone);
  const more = await scene.recordOn(four);
  await scene.merged('the four merge what each side had', four, [...near, ...far, ...more]);
  t.equal((await entryOn(alone, late))?.state, 'pending', 'the one that is alone merges nothing');

  scene.lead(four, scene.broker);
  await scene.isWhole(t, from);
  for (const board of town.boards) {
    const verdicts = await Promise.all(badges.map(({ entry }) => entryOn(board, entry)));
    t.same(verdicts.map((entry) => entry?.state).sort(), ['merged', 'rejected'], 'one of two has the badge');
    t.equal(
      verdicts.find((entry) => entry?.state === 'rejected')?.code,
      'badge-taken',
      `${board.key} says why the other has not`,
    );
  }
}

async function oneDirection(t: Test, scene: Scene): Promise<void> {
  const from = scene.acknowledged.length;
  const [unheard, deaf] = [scene.board(2), scene.board(4)];
  scene.town.boards.forEach((board, index) => wayOf(board).delay(20 * index));
  wayOf(unheard).freeze('up');
  wayOf(deaf).freeze('down');
  const rest = scene.boardsOf(1, 3, 5);
  const hidden = await scene.record(unheard);
  await scene.record(deaf);
  for (let turn = 0; turn < 2; turn += 1)
    await scene.merged('the three go on', rest, await scene.recordOn(rest));
  for (const board of rest)
    t.equal(await entryOn(board, hidden), null, `${board.key} has not heard of what was said to nobody`);
  wayOf(unheard).heal();
  wayOf(deaf).heal();
  await scene.isWhole(t, from);
  for (const board of scene.town.boards) wayOf(board).delay(0);
}

async function anotherBroker(t: Test, scene: Scene): Promise<void> {
  const { town } = scene;
  const from = scene.acknowledged.length;
  const [asleep] = scene.boardsOf(3);
  // A height is under way; one of the five does not notice that its broker is another one by now.
  await scene.recordOn();
  wayOf(asleep as Board).freeze();
  await scene.replaceBroker(() => scene.recordOn());
  wayOf(asleep as Board).heal();
  await scene.isWhole(t, from);
  // And once more, while nothing is under way that would have them talk.
  await scene.replaceBroker(() => Promise.resolve());
  await eventually(
    'everybody is heard again',
    async () =>
      (await Promise.all(town.boards.map((board) => board.status()))).every(
        ({ validators }) => validators.heard === NAMES.length,
      ),
    { withinMs: MERGE_MS_MAX },
  );
  await scene.merged('the town goes on', town.boards, await scene.recordOn());
}

/** What chance does to the way of one board. */
function disturb(way: TcpProxy, chance: () => number): string {
  const what = ['nothing', 'reset', 'cut', 'up', 'down', 'both', 'slow'][Math.floor(chance() * 7)] as string;
  way.delay(what === 'slow' ? Math.floor(chance() * 400) : 0);
  if (what === 'cut' || what === 'reset') way.cut();
  if (what === 'reset') way.heal();
  if (what === 'up' || what === 'down' || what === 'both') way.freeze(what);
  return what;
}

async function atRandom(t: Test, scene: Scene, chance: () => number): Promise<void> {
  const from = scene.acknowledged.length;
  for (let turn = 0; turn < 6; turn += 1) {
    const what = scene.town.boards.map((board) => {
      if (chance() < 0.5) wayOf(board).heal();
      return disturb(wayOf(board), chance);
    });
    t.comment(what.join(', '));
    if (chance() < 0.2) await scene.replaceBroker(() => scene.recordOn());
    await scene.recordOn();
    await sleep(chance() * 1_000);
  }
  for (const board of scene.town.boards) {
    wayOf(board).delay(0);
    // What a frozen way held back is lost, or comes late.
    if (chance() < 0.5) wayOf(board).cut();
    wayOf(board).heal();
  }
  await scene.isWhole(t, from);
}

async function overLinks(t: Test, scene: Scene, links: CutLinks): Promise<void> {
  const { town } = scene;
  const from = scene.acknowledged.length;
  const broker = await startMosquitto(scene.folder, 1883, links.place);
  t.teardown(() => broker.kill());
  await Promise.all(
    town.boards.map(async (board, index) => {
      await board.stop();
      const url = `mqtt://${links.hostOf(index)}:${broker.port}`;
      await writeConfig(board.folder, { ...(await readConfig(board.folder)), broker: { url } });
      await board.start();
    }),
  );
  await scene.recordOn();
  const by = await links.lose(LOSS_PERCENT);
  t.comment(
    by === null ? 'This kernel loses no packets.' : `${LOSS_PERCENT} % of all packets lost, by ${by}`,
  );
  await links.mute(3, 'up');
  await links.mute(4, 'down');
  const [rest, off] = [scene.boardsOf(1, 2, 3), scene.boardsOf(4, 5)];
  const far = await scene.recordOn(off);
  await scene.merged('three of five merge over the bad links', rest, await scene.recordOn(rest));
  for (const board of rest)
    t.equal(
      await entryOn(board, far[0] as string),
      null,
      `${board.key} has not heard of what was said to nobody`,
    );
  if (isLong) {
    // Each needs half a minute to find out what has become of its connection.
    await links.pull(0);
    await links.heal(3);
    await links.heal(4);
    await scene.recordOn();
    await scene.merged('the founder is cut off instead', scene.boardsOf(2, 3, 4, 5), far);
  }
  for (const index of town.boards.keys()) await links.heal(index);
  await scene.isWhole(t, from);
}

t.test('a town of five whose network is cut stays one town', async (t) => {
  const folder = t.testdir();
  const broker = await startTestBroker(folder);
  let scene: Scene | null = null;
  t.teardown(async () => {
    await scene?.town.close();
    await (scene?.broker ?? broker).kill();
  });
  const began = performance.now();
  const town = await TownOfNodes.open({
    folder,
    names: NAMES,
    townName: 'Five boards',
    brokerPort: broker.port,
  });
  const there = (scene = new Scene(town, folder, broker));
  await town.founder.post(ADA, '/api/charter/changes', { set: { '/pace/interactiveMs': 200 }, remove: [] });
  await town.converged();
  t.comment(
    `five boards at ${broker.kind} after ${((performance.now() - began) / 1000).toFixed(1)} s; CUT_SEED=${seed}`,
  );
  t.match((await town.founder.status()).validators, { count: 5, quorum: 3, mayBeOff: 2, heard: 5 });

  await t.test('cut in two that both go on, and in another two before they have met', (t) =>
    twoSides(t, there),
  );
  await t.test('cut in one direction only', (t) => oneDirection(t, there));
  await t.test('the broker is killed, and a fresh one knows nothing', (t) => anotherBroker(t, there));
  const chance = randomFrom(seed);
  for (let round = 1; round <= rounds; round += 1)
    await t.test(`cut at random, ${round} of ${rounds}`, (t) => atRandom(t, there, chance));

  const links = hasMosquitto ? await CutLinks.open(NAMES.length) : null;
  t.teardown(() => links?.close());
  await t.test(
    'over links that are cut and lose packets',
    { skip: links === null && 'needs root, iproute2, network namespaces and mosquitto' },
    (t) => overLinks(t, there, links as CutLinks),
  );

  const { acknowledged } = there;
  t.same(
    await lostOf(town.boards, acknowledged),
    [],
    `all ${acknowledged.length} entries are judged everywhere`,
  );
  t.same(await town.gitProblems(), [], 'stock git finds one main and every repository whole');
  const branches = async (board: Board): Promise<string> =>
    board.git('for-each-ref', '--format=%(refname) %(objectname)', 'refs/heads');
  const all = await Promise.all(town.boards.map(branches));
  for (const refs of all) t.equal(refs, all[0], 'every board has every branch, whole');
});
