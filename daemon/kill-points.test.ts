/**
 * Three real validators, each killed (-9) at every step of a height while people go on recording on all of them: the other two go
 * on, the dead one comes back to their history, nothing that was acknowledged is lost, and nobody votes twice.
 * `KILL_POINTS=all` kills each node at each point; `KILL_POINTS=prevote-sent,decided` each node at these.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parseProposal, type Proposal } from './consensus/proposal.js';
import { parseVote, verifyVote, type Vote } from './consensus/vote.js';
import type { KeyId, NodeId, Sha256 } from './ledger/ids.js';
import { readNodeKeys } from './node/key-files.js';
import type { Recorded } from './node/use-cases.js';
import { openForReading } from './store/database.js';
import { StoreReads } from './store/reads.js';
import type { ConsensusRow } from './store/rows.js';
import { startBroker } from './sync/broker.js';
import { consensusTopic, openMessage, type Delivery } from './sync/message.js';
import { MqttTransport } from './sync/mqtt-transport.js';
import { areMerged, lostOf } from './testing/acknowledged-entries.js';
import { eventually } from './testing/eventually.js';
import {
  arm,
  KILL_POINT_FILE,
  KILL_POINTS,
  reachedAt,
  type KillPoint,
  type Reached,
} from './testing/kill-points.js';
import { gatePid, isGate } from './testing/running-town.js';
import { STEWARD_NAME as ADA, TownOfNodes, type Board } from './testing/town-of-nodes.js';

const preload = fileURLToPath(new URL('testing/kill-point.js', import.meta.url));
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
t.setTimeout(named.length > 0 ? 3_600_000 : 1_800_000);

/** Listens to the validators and looks into their logs: what each signed for each place. */
class Witness {
  readonly #signed = new Map<string, string>();
  readonly problems: string[] = [];

  private constructor(
    private readonly town: Sha256,
    private readonly townKey: Uint8Array,
    private readonly keys: ReadonlyMap<NodeId, KeyId>,
  ) {}

  static async listen(t: Test, boards: readonly Board[], brokerPort: number): Promise<Witness> {
    const all = await Promise.all(boards.map(({ folder }) => readNodeKeys(folder)));
    const { town } = await (boards[0] as Board).status();
    const { townKey } = all[0] as (typeof all)[number];
    const witness = new Witness(town.id as Sha256, townKey, new Map(all.map(({ id, key }) => [id, key])));
    await new Promise<void>((connected) => {
      const transport = new MqttTransport({
        url: `mqtt://127.0.0.1:${brokerPort}`,
        subscriptions: [consensusTopic(town.id as Sha256)],
        events: {
          connected,
          disconnected: () => undefined,
          delivered: (delivery) => witness.#hear(delivery),
          tooLarge: () => witness.problems.push('a message was too large'),
        },
      });
      transport.start();
      t.teardown(() => transport.stop());
    });
    return witness;
  }

  /** How many places somebody signed something for. */
  get places(): number {
    return this.#signed.size;
  }

  /** What lies in the log of a node. */
  look(board: Board): void {
    reading(board, (store) => {
      for (const { kind, text } of ownRecords(store))
        this.#note(kind === 'proposal' ? parseProposal(text) : parseVote(text));
    });
  }

  #hear(delivery: Delivery): void {
    const { town, townKey, keys } = this;
    const opened = openMessage(delivery, { town, townKey, keyOf: (node) => keys.get(node) }, Date.now());
    if ('refusal' in opened) return void this.problems.push(opened.refusal.reason);
    const { body } = opened.message as unknown as { body: { vote?: Vote; proposal?: Proposal } };
    const signed = body.vote ?? body.proposal;
    if (signed) this.#note(signed);
  }

  #note(signed: Vote | Proposal): void {
    const { node, epoch, height, round, value } = signed;
    const isVote = 'step' in signed;
    if (isVote && !verifyVote(signed, this.keys.get(node) as KeyId))
      this.problems.push(`a vote of ${node} at height ${height} is not signed by it`);
    const place = `${node}, epoch ${epoch}, height ${height}, round ${round}, ${isVote ? signed.step : 'proposal'}`;
    const content = `${value} on ${signed.parent}${isVote ? '' : `, valid in ${signed.validRound}`}`;
    const before = this.#signed.get(place);
    if (before !== undefined && before !== content)
      this.problems.push(`${place}: signed ${before} and ${content}`);
    this.#signed.set(place, content);
  }
}

/** What a node signed of the height that is open, and of the one before, where it had no time to forget that. */
function ownRecords(store: StoreReads): readonly ConsensusRow[] {
  const height = store.lastMerge()?.height ?? 0;
  return [height, height + 1].flatMap((each) => store.consensusLog(each));
}

/** Looks into the database of a board, also of one that is not running. */
function reading<T>({ folder }: Board, look: (store: StoreReads) => T): T {
  const db = openForReading(folder);
  try {
    return look(new StoreReads(db));
  } finally {
    db.close();
  }
}

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

const fsck = (board: Board): string => {
  try {
    const git = ['-C', join(board.folder, 'ledger.git'), 'fsck', '--strict', '--full', '--no-dangling'];
    return execFileSync('git', git, { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? String(error);
  }
};

const fileOf = (board: Board): string => `${board.folder}.kill`;

const startArmable = (board: Board): Promise<void> =>
  board.start({ preload, environment: { [KILL_POINT_FILE]: fileOf(board) } });

/** People who record on every board that runs, and keep what was acknowledged. */
class Recorders {
  readonly acknowledged: string[] = [];
  #people = 0;

  constructor(private readonly town: TownOfNodes) {}

  /** One entry; null where the board died over it. Everything else that fails is a fault. */
  async record(board: Board): Promise<string | null> {
    this.#people += 1;
    const name = `Person ${this.#people}`;
    try {
      const { entry } = await board.post<Recorded>(ADA, '/api/people', { name });
      this.acknowledged.push(entry);
      return entry;
    } catch (error) {
      if (reachedAt(fileOf(board)) !== null) return null;
      throw error;
    }
  }

  everywhere(): Promise<(string | null)[]> {
    return Promise.all(
      this.town.boards.filter(({ isRunning }) => isRunning).map((board) => this.record(board)),
    );
  }
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

t.test('a node killed at any step of a height comes back to one history', async (t) => {
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
