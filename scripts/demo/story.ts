/**
 * The story of the demo: three boards become one town, a day goes by, one board is cut off, both sides go on, and they merge.
 * Everything is done through the HTTP API of the boards, as the panel and the `town` command do it; the cut is a TCP proxy.
 */
import type { NoticesView } from '../../daemon/node/notice-cases.js';
import type { NodesView } from '../../daemon/node/node-cases.js';
import type {
  DoorEventView,
  EntryView,
  MemberView,
  MergeView,
  Recorded,
} from '../../daemon/node/use-cases.js';
import { eventually } from '../../daemon/testing/eventually.js';
import { STEWARD_NAME, TownOfNodes, type Board } from '../../daemon/testing/town-of-nodes.js';
import type { Narrator } from './narrator.js';

const ADA = STEWARD_NAME;
/** The gate has its new table within this, also on a busy board. */
const TABLE_MS_MAX = 10_000;
const GIG_PRICE = 120;
const SPENT_TWICE = 300;

/** Who holds which badge, as their readers read it. */
const BADGES = { Bob: '17:10001', Carol: '17:10002', Dave: '17:10003', Erin: '17:10004' } as const;
type Holder = keyof typeof BADGES;

/** The members, and where they sign. */
export const MEMBERS = ['Carol', 'Dave', 'Erin'] as const;

export interface StoryOptions {
  readonly folder: string;
  readonly driver: 'container' | 'process';
  readonly tell: Narrator;
  /** Told as soon as there is something to close. */
  readonly opened: (town: TownOfNodes) => void;
}

/** Everything the chapters hand on. */
interface Stage {
  readonly town: TownOfNodes;
  readonly tell: Narrator;
  readonly house: Board;
  readonly workshop: Board;
  readonly garden: Board;
  /** Member ids, by name. */
  readonly members: Map<string, string>;
  /** The keyed hash of Bob's badge. */
  bobsBadge: string;
}

/** Plays all of it; resolves to the town, which goes on running. */
export async function playStory(options: StoryOptions): Promise<TownOfNodes> {
  const stage = await becomeOneTown(options);
  await liveADay(stage);
  const entries = await goOnAlone(stage);
  await mergeAgain(stage, entries);
  return stage.town;
}

async function becomeOneTown({ folder, driver, tell, opened }: StoryOptions): Promise<Stage> {
  tell.chapter('Three boards become one town');
  tell.why('Each board has a door, a panel and a ledger of its own. There is no server above them.');
  const town = await TownOfNodes.prepare({ folder, driver, townName: 'Demo makerspace' });
  opened(town);
  await town.found();
  const [house, workshop, garden] = town.boards as [Board, Board, Board];
  tell.at('House', 'founds the town "Demo makerspace". Ada is its steward.');
  for (const board of [workshop, garden]) {
    const name = town.nameOf(board);
    await town.join(board, (node) =>
      tell.at(name, `shows an invitation that is good once; Ada compares its id ${node} and lets it in.`),
    );
    tell.at(name, 'has the town: its history, checked from the first merge on, and the keys it needs.');
  }
  for (const board of [workshop, garden]) await town.makeValidator(board);
  const { validators } = await house.status();
  tell.all(
    `All three check every merge now: ${validators.quorum} of ${validators.count} have to agree, so ${validators.mayBeOff} may be off.`,
    'good',
  );
  for (const board of [workshop, garden]) await town.giveKey(ADA, house, board);
  tell.all('Ada has a key of her own on each board: what she signs there needs no other board.');
  return { town, tell, house, workshop, garden, members: new Map(), bobsBadge: '' };
}

async function liveADay(stage: Stage): Promise<void> {
  const { town, tell, house, workshop, garden, members } = stage;
  tell.chapter('A day like any other');
  const homes = { Carol: house, Dave: workshop, Erin: garden } as const;
  for (const [name, board] of Object.entries(homes)) members.set(name, await town.addMember(name, board));
  tell.all('Carol joins at the House, Dave at the Workshop, Erin at the Garden, each with 500 credits.');
  await town.converged();
  await town.giveKey('Carol', house, garden);
  tell.at('Garden', 'Carol registers a second key here, so that she can sign at this board too.');
  for (const name of Object.keys(BADGES) as Holder[]) {
    const badge = await enrol(house, name);
    if (name === 'Bob') stage.bobsBadge = badge;
  }
  await town.converged();
  tell.at(
    'House',
    'Ada enrols badges for Bob, Carol, Dave and Erin. One merge later every board knows them:',
  );
  await tap(stage, house, 'Carol', 'granted');
  await tap(stage, workshop, 'Dave', 'granted');
  await tap(stage, garden, 'Bob', 'granted');
  await playGig(stage);
  const head = await town.converged();
  tell.all(`All three boards have the same main: ${head.slice(0, 12)}…`, 'good');
}

/** Enrols a badge for somebody, whom the town knows already if they are a member. */
async function enrol(board: Board, name: Holder): Promise<string> {
  const known = await board.get<{ id: string; name: string | null }[]>('/api/people');
  const person =
    known.find((each) => each.name === name)?.id ??
    (await board.post<Recorded & { person: string }>(ADA, '/api/people', { name })).person;
  const body = { person, badgeNumber: BADGES[name] };
  return (await board.post<Recorded & { badge: string }>(ADA, '/api/badges', body)).badge;
}

/** Holds a badge to a board's reader; the board's own answer is told. */
async function tap(
  { town, tell }: Stage,
  board: Board,
  name: Holder,
  expected: DoorEventView['code'],
  because = '',
): Promise<void> {
  const door = await board.door();
  const event = await eventually(
    `${name} at ${door.name}: ${expected}`,
    async () => {
      const path = `/api/doors/${door.id}/tap`;
      const event = await board.post<DoorEventView>(ADA, path, { badgeNumber: BADGES[name] });
      return event.code === expected && event;
    },
    { withinMs: TABLE_MS_MAX },
  );
  const said =
    event.outcome === 'granted'
      ? 'let in'
      : `refused (${event.code}${event.reason === undefined ? '' : `: ${event.reason}`})`;
  const mood = event.outcome === 'granted' ? 'good' : 'bad';
  tell.at(town.nameOf(board), `${name} holds a badge to the door: ${said}${because}.`, mood);
}

/** One gig from open to completed, each step signed at the board where its author is. */
async function playGig({ town, tell, house, workshop }: Stage): Promise<void> {
  const { gig } = await house.post<Recorded & { gig: string }>('Carol', '/api/gigs', {
    title: 'Build a shelf',
    description: 'For the laser cutter',
    price: GIG_PRICE,
  });
  await town.converged();
  tell.at('House', `Carol opens a gig, "Build a shelf": ${GIG_PRICE} of her credits are locked for it.`);
  const steps = [
    [workshop, 'Dave', 'take', 'Dave takes it.'],
    [house, 'Carol', 'accept', 'Carol accepts him.'],
    [workshop, 'Dave', 'submit', 'Dave says that the shelf is up.'],
    [house, 'Carol', 'complete', `Carol gives five stars: the ${GIG_PRICE} credits are his.`],
  ] as const;
  for (const [board, who, step, said] of steps) {
    await board.post(who, `/api/gigs/${gig}/${step}`, step === 'complete' ? { stars: 5 } : {});
    await town.converged();
    tell.at(town.nameOf(board), said);
  }
}

/** The entries of the double spend. */
interface Spends {
  /** The gig that two took. */
  readonly near: string;
  readonly far: string;
}

async function goOnAlone(stage: Stage): Promise<Spends> {
  const { tell, house, workshop, garden, members } = stage;
  tell.chapter('The line to the Garden is cut');
  garden.way?.cut();
  await eventually(
    'the others miss the Garden',
    async () => (await house.status()).peers.connected === 1 && (await garden.status()).peers.connected === 0,
    { withinMs: 60_000, last: () => house.get<NodesView>('/api/nodes') },
  );
  const before = (await garden.status()).height;
  tell.all('The House and the Workshop hear each other; the Garden hears nobody.', 'cut');
  tell.why('No door waits for a network: each board decides by what it knows.');
  await tap(stage, workshop, 'Dave', 'granted');
  await tap(stage, garden, 'Bob', 'granted');
  await garden.post(ADA, `/api/badges/${stage.bobsBadge}/revoke`, { reason: 'found in the grass' });
  tell.at('Garden', "Ada revokes Bob's badge: it was found in the grass.");
  await tap(stage, garden, 'Bob', 'badge-revoked', ', at once and before any merge');
  await tap(stage, house, 'Bob', 'granted', ': the news cannot have come here yet');
  tell.why('That is the price of going on without a network, and it ends with the cut.');

  const pay = (board: Board, to: string): Promise<Recorded> =>
    board.post('Carol', '/api/credits/transfer', { to: members.get(to), amount: SPENT_TWICE });
  const near = await pay(house, 'Dave');
  tell.at('House', `Carol, who has ${500 - GIG_PRICE} credits, pays Dave ${SPENT_TWICE}.`);
  const far = await pay(garden, 'Erin');
  tell.at('Garden', `Carol pays Erin ${SPENT_TWICE} with her second key: the same credits, spent twice.`);
  tell.why('The Garden cannot know. It records the payment as pending, and Erin cannot spend it yet.');

  const merge = await eventually(
    'the majority merges',
    async () => {
      await house.merge();
      const shown = await show(house, near.entry);
      return shown.state === 'merged' && shown;
    },
    { withinMs: 60_000 },
  );
  tell.at(
    'House',
    `merges with the Workshop (two of three): main is at ${merge.height}, Dave has his ${SPENT_TWICE}.`,
    'good',
  );
  const { height, pendingEntries } = await garden.status();
  tell.at(
    'Garden',
    `alone is no majority: its main stays at ${height}, and ${pendingEntries} entries wait on its own branch.`,
    'cut',
  );
  if (height !== before) throw new Error(`The Garden merged alone: ${before} became ${height}.`);
  return { near: near.entry, far: far.entry };
}

async function show(board: Board, id: string): Promise<EntryView> {
  const shown = await board.get<{ entry: EntryView }>(`/api/ledger/show/${id}`);
  return shown.entry;
}

async function mergeAgain(stage: Stage, { near, far }: Spends): Promise<void> {
  const { town, tell, house, workshop, garden } = stage;
  tell.chapter('The line is back');
  const pending = (await garden.status()).pendingEntries;
  garden.way?.heal();
  await eventually('the Garden hears the others', async () => (await garden.status()).peers.connected === 2, {
    withinMs: 60_000,
    last: () => garden.get<NodesView>('/api/nodes'),
  });
  tell.all('The boards hear each other again: each tells what it has and fetches what it lacks.', 'good');
  const head = await town.converged();
  const { items } = await house.get<{ items: MergeView[] }>('/api/ledger/merges?limit=1');
  const last = items[0] as MergeView;
  const attested = await Promise.all(last.attestedBy.map((id) => nameOfNode(stage, id)));
  tell.all(
    `The ${pending} entries of the Garden are merged in one order that all three compute alike. ` +
      `Merge ${last.height} was checked and signed by ${attested.join(' and ')}.`,
  );
  tell.all(`All three boards have the same main again: ${head.slice(0, 12)}…`, 'good');
  await tap(stage, house, 'Bob', 'badge-revoked', ', now here too');
  await tap(stage, workshop, 'Bob', 'badge-revoked');
  await tellVerdicts(stage, near, far);
  await town.converged();
}

async function tellVerdicts({ tell, house, garden }: Stage, near: string, far: string): Promise<void> {
  const [won, lost] = [await show(house, near), await show(house, far)];
  tell.at('House', `Carol's payment to Dave: ${won.verdict}.`, 'good');
  tell.at('Garden', `Carol's payment to Erin: ${lost.verdict}, ${lost.code}: ${lost.reason ?? ''}`, 'bad');
  tell.why(
    'It stays in the history, with the rule that decided. Nobody can erase it, and nobody lost a credit:',
  );
  const balances = (await house.get<MemberView[]>('/api/members')).filter(({ name }) => name !== ADA);
  tell.why(balances.map(({ name, balance }) => `${name ?? '?'} has ${balance}`).join(', '));
  for (const [who, board] of [
    ['Carol', house],
    ['Carol', garden],
    ['Erin', garden],
  ] as const) {
    const { items } = await board.get<NoticesView>('/api/notices', who);
    const notice = items.find(({ entry }) => entry === far);
    if (notice) tell.at(board === house ? 'House' : 'Garden', `${who} is told: "${notice.text}"`, 'bad');
  }
}

async function nameOfNode({ town, house, workshop, garden }: Stage, id: string): Promise<string> {
  for (const board of [house, workshop, garden])
    if ((await board.status()).node.id === id) return town.nameOf(board);
  return id;
}
