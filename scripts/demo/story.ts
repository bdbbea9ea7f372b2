/**
 * The story of the demo: three boards become one town, a day goes by, one board is cut off, both sides go on, and they merge.
 * Everything is done through the HTTP API of the boards, as the panel and the `town` command do it; the cut is a TCP proxy.
 */
import type { NodesView } from '../../daemon/node/node-cases.js';
import type { NoticesView } from '../../daemon/node/notice-cases.js';
import type {
  DoorEventView,
  EntryView,
  MemberView,
  MergeView,
  PersonView,
  Recorded,
  StatusView,
} from '../../daemon/node/use-cases.js';
import { eventually } from '../../daemon/testing/eventually.js';
import { asked, STEWARD_NAME, TownOfNodes, type Board } from '../../daemon/testing/town-of-nodes.js';
import type { Narrator } from './narrator.js';

const ADA = STEWARD_NAME;
/** The gate has its new table within this, also on a busy board. */
const TABLE_MS_MAX = 10_000;
/** Missing somebody, hearing them again and merging take this long at most. */
const TURN_MS_MAX = 60_000;
const SHELF_PRICE = 120;
const YARD_PRICE = 50;
const SPENT_TWICE = 300;

/** Who holds which badge, as the readers read it. */
const BADGES = { Bob: '17:10001', Carol: '17:10002', Dave: '17:10003', Erin: '17:10004' } as const;
type Holder = keyof typeof BADGES;

export interface StoryOptions {
  readonly folder: string;
  readonly driver: 'container' | 'process';
  readonly tell: Narrator;
  /** Told as soon as there is something to close. */
  readonly opened: (town: TownOfNodes) => void;
}

export interface Story {
  /** Goes on running. */
  readonly town: TownOfNodes;
  /** The last merge before the cut. */
  readonly heightBeforeCut: number;
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
  /** A gig that is open when the line is cut. */
  yard: string;
}

/** Plays all of it. */
export async function playStory(options: StoryOptions): Promise<Story> {
  const stage = await becomeOneTown(options);
  await liveADay(stage);
  const { height } = await stage.house.status();
  const conflicts = await goOnAlone(stage);
  await mergeAgain(stage, conflicts);
  return { town: stage.town, heightBeforeCut: height };
}

// 1 ------------------------------------------------------------------------------------------------------------------------

async function becomeOneTown({ folder, driver, tell, opened }: StoryOptions): Promise<Stage> {
  tell.chapter('Three boards become one town');
  await tell.why('Each board has a door, a panel and a ledger of its own. There is no server above them.');
  const town = await TownOfNodes.prepare({ folder, driver, townName: 'Demo makerspace' });
  opened(town);
  const [house, workshop, garden] = town.boards as [Board, Board, Board];
  await town.found();
  await tell.at('House', 'founds the town "Demo makerspace". Ada is its steward.');
  for (const board of [workshop, garden]) {
    const name = town.nameOf(board);
    await town.join(board, (node) =>
      tell.at(
        name,
        `asks with an invitation that is good once; Ada compares its id, ${node}, and lets it in.`,
      ),
    );
    await tell.at(
      name,
      'is in: it has fetched the history, checked every signature, and opens its own door.',
    );
  }
  for (const board of [workshop, garden]) await town.makeValidator(board);
  const { validators } = await house.status();
  await tell.all(
    `All three check every merge from now on: ${validators.quorum} of ${validators.count} have to agree, so ${validators.mayBeOff} may be off.`,
    'good',
  );
  await tell.why(
    'A board records at once, on a branch of its own. A merge folds the branches into main, the history that all share; ' +
      'it counts once a majority has recomputed it and signed that it is right.',
  );
  for (const board of [workshop, garden]) await town.giveKey(ADA, house, board);
  await tell.all('Ada has a key of her own on each board: what she signs at one needs none of the others.');
  return { town, tell, house, workshop, garden, members: new Map(), bobsBadge: '', yard: '' };
}

// 2 ------------------------------------------------------------------------------------------------------------------------

async function liveADay(stage: Stage): Promise<void> {
  const { town, tell, house, workshop, garden, members } = stage;
  tell.chapter('A day like any other');
  const homes = { Carol: house, Dave: workshop, Erin: garden } as const;
  for (const [name, board] of Object.entries(homes)) members.set(name, await town.addMember(name, board));
  await tell.all(
    'Carol joins at the House, Dave at the Workshop, Erin at the Garden. Each gets 500 credits.',
  );
  await town.converged();
  await town.giveKey('Carol', house, garden);
  await tell.at('Garden', 'Carol registers a second key here, so that she can sign at this board too.');
  for (const name of Object.keys(BADGES) as Holder[]) {
    const badge = await enrol(house, name);
    if (name === 'Bob') stage.bobsBadge = badge;
  }
  await town.converged();
  await tell.at(
    'House',
    'Ada enrols badges for Bob, Carol, Dave and Erin. One merge later every board knows them:',
  );
  await tap(stage, house, 'Carol', 'granted');
  await tap(stage, workshop, 'Dave', 'granted');
  await tap(stage, garden, 'Bob', 'granted');
  await playGig(stage);
  stage.yard = await openGig(house, 'Sweep the yard', YARD_PRICE);
  const head = await town.converged();
  await tell.at(
    'House',
    `Carol opens another one, "Sweep the yard", for ${YARD_PRICE}. Nobody has taken it yet.`,
  );
  await tell.all(`All three boards have the same main: ${head.slice(0, 12)}…`, 'good');
}

/** Enrols a badge for somebody, whom this board knows already if they are a member there. */
async function enrol(board: Board, name: Holder): Promise<string> {
  const known = (await board.get<PersonView[]>('/api/people')).find((each) => each.name === name);
  const person =
    known?.id ?? (await board.post<Recorded & { person: string }>(ADA, '/api/people', { name })).person;
  const body = { person, badgeNumber: BADGES[name] };
  return (await board.post<Recorded & { badge: string }>(ADA, '/api/badges', body)).badge;
}

/** Holds a badge to a board's reader until the board answers as expected, and tells that. */
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
      const answer = await board.post<DoorEventView>(ADA, path, { badgeNumber: BADGES[name] });
      return answer.code === expected && answer;
    },
    { withinMs: TABLE_MS_MAX },
  );
  const isIn = event.outcome === 'granted';
  const said = isIn ? 'the door opens' : 'refused, the badge is revoked';
  await tell.at(
    town.nameOf(board),
    `${name} holds a badge to the reader: ${said}${because}.`,
    isIn ? 'good' : 'bad',
  );
}

async function openGig(board: Board, title: string, price: number): Promise<string> {
  const body = { title, description: '', price };
  return (await board.post<Recorded & { gig: string }>('Carol', '/api/gigs', body)).gig;
}

/** One gig from open to completed, each step signed at the board where its author is. */
async function playGig({ town, tell, house, workshop }: Stage): Promise<void> {
  const gig = await openGig(house, 'Build a shelf', SHELF_PRICE);
  await town.converged();
  await tell.at(
    'House',
    `Carol opens a gig, "Build a shelf": ${SHELF_PRICE} of her credits are locked for it.`,
  );
  const steps = [
    [workshop, 'Dave', 'take', 'Dave takes it.'],
    [house, 'Carol', 'accept', 'Carol accepts him.'],
    [workshop, 'Dave', 'submit', 'Dave says that the shelf is up.'],
    [house, 'Carol', 'complete', `Carol gives five stars: the ${SHELF_PRICE} credits are his.`],
  ] as const;
  for (const [board, who, step, said] of steps) {
    await board.post(who, `/api/gigs/${gig}/${step}`, step === 'complete' ? { stars: 5 } : {});
    await town.converged();
    await tell.at(town.nameOf(board), said);
  }
}

// 3 ------------------------------------------------------------------------------------------------------------------------

/** What was said on both sides and cannot both hold. */
interface Conflict {
  readonly what: string;
  readonly near: string;
  readonly far: string;
  /** Who is to be told at the board that was cut off. */
  readonly losers: readonly string[];
}

async function goOnAlone(stage: Stage): Promise<readonly Conflict[]> {
  const { tell, house, workshop, garden } = stage;
  tell.chapter('The line to the Garden is cut');
  garden.way?.cut();
  await eventually(
    'the others miss the Garden',
    async () => (await house.status()).peers.connected === 1 && (await garden.status()).peers.connected === 0,
    { withinMs: TURN_MS_MAX, last: () => house.get<NodesView>('/api/nodes') },
  );
  const before = (await garden.status()).height;
  await tell.all('The House and the Workshop still hear each other; the Garden hears nobody.', 'cut');
  await tell.why('No door waits for a network: each board decides by what it knows.');
  await tap(stage, workshop, 'Dave', 'granted');
  await tap(stage, garden, 'Bob', 'granted');
  await garden.post(ADA, `/api/badges/${stage.bobsBadge}/revoke`, { reason: 'found in the grass' });
  await tell.at('Garden', "Ada revokes Bob's badge: it was found in the grass.");
  await tap(stage, garden, 'Bob', 'badge-revoked', ', at once and before any merge');
  await tap(stage, house, 'Bob', 'granted', ', for the news cannot have come here yet');
  await tell.why('That is the price of going on without a network. It ends with the cut.');
  const conflicts = [await spendTwice(stage), await takeTwice(stage)];
  await mergeWithout(stage, conflicts, before);
  return conflicts;
}

async function spendTwice({ tell, house, garden, members }: Stage): Promise<Conflict> {
  const pay = (board: Board, to: string): Promise<Recorded> =>
    board.post('Carol', '/api/credits/transfer', { to: members.get(to), amount: SPENT_TWICE });
  const own = (await house.get<MemberView[]>('/api/members', 'Carol')).find(
    ({ id }) => id === members.get('Carol'),
  );
  const { entry: near } = await pay(house, 'Dave');
  await tell.at('House', `Carol, who has ${own?.balance} credits left, pays Dave ${SPENT_TWICE}.`);
  const { entry: far } = await pay(garden, 'Erin');
  await tell.at(
    'Garden',
    `Carol pays Erin ${SPENT_TWICE} with her second key: the same credits, a second time.`,
    'cut',
  );
  await tell.why('The Garden cannot know. It records the payment as pending, and Erin cannot spend it yet.');
  return { what: 'Carol pays Erin', near, far, losers: ['Carol', 'Erin'] };
}

async function takeTwice({ tell, workshop, garden, yard }: Stage): Promise<Conflict> {
  const take = (board: Board, who: string): Promise<Recorded> => board.post(who, `/api/gigs/${yard}/take`);
  const { entry: near } = await take(workshop, 'Dave');
  const { entry: far } = await take(garden, 'Erin');
  await tell.all('Dave at the Workshop and Erin at the Garden both take the gig "Sweep the yard".');
  return { what: 'Erin takes the gig', near, far, losers: ['Erin'] };
}

/** The majority goes on; the one that is alone does not. */
async function mergeWithout(
  { tell, house, garden }: Stage,
  conflicts: readonly Conflict[],
  before: number,
): Promise<void> {
  await eventually(
    'the majority merges its side',
    async () => {
      await house.merge();
      const states = await Promise.all(conflicts.map(({ near }) => stateOf(house, near)));
      return states.every((state) => state === 'merged');
    },
    { withinMs: TURN_MS_MAX },
  );
  const { height } = await house.status();
  await tell.at(
    'House',
    `merges with the Workshop, two of three: main is at height ${height} for both of them.`,
    'good',
  );
  const alone = await garden.status();
  if (alone.height !== before) throw new Error(`The Garden merged alone: ${before} became ${alone.height}.`);
  await tell.at(
    'Garden',
    `is no majority: main stays at height ${alone.height}, and ${alone.pendingEntries} entries wait on its own branch.`,
    'cut',
  );
}

/** How an entry stands at a board; null: it has not come there. */
async function stateOf(board: Board, id: string): Promise<EntryView['state'] | null> {
  const { status, body } = await (await board.as(ADA))('GET', `/api/ledger/show/${id}`);
  return status === 404
    ? null
    : (await asked<{ entry: EntryView }>({ status, body }, 'The entry')).entry.state;
}

async function show(board: Board, id: string): Promise<EntryView> {
  return (await board.get<{ entry: EntryView }>(`/api/ledger/show/${id}`)).entry;
}

// 4 ------------------------------------------------------------------------------------------------------------------------

async function mergeAgain(stage: Stage, conflicts: readonly Conflict[]): Promise<void> {
  const { town, tell, house, workshop, garden } = stage;
  tell.chapter('The line is back');
  const { pendingEntries } = await garden.status();
  garden.way?.heal();
  await eventually('the Garden hears the others', async () => (await garden.status()).peers.connected === 2, {
    withinMs: TURN_MS_MAX,
    last: () => garden.get<NodesView>('/api/nodes'),
  });
  await tell.all(
    'The boards hear each other again. Each tells what it has and fetches what it lacks.',
    'good',
  );
  const head = await town.converged();
  const { items } = await house.get<{ items: MergeView[] }>('/api/ledger/merges?limit=1');
  const { height, attestedBy } = items[0] as MergeView;
  const nodes = new Map<string, string>();
  for (const board of town.boards) nodes.set((await board.status()).node.id, town.nameOf(board));
  const checkers = attestedBy.map((id) => `the ${nodes.get(id) ?? id}`).join(' and ');
  await tell.all(
    `The ${pendingEntries} entries of the Garden are replayed in one order that every board computes alike: merge ${height}, ` +
      `checked and signed by ${checkers}.`,
  );
  await tell.all(`All three boards have the same main again: ${head.slice(0, 12)}…`, 'good');
  await tap(stage, house, 'Bob', 'badge-revoked', ', now here too');
  await tap(stage, workshop, 'Bob', 'badge-revoked', ', and here');
  await tell.why(
    'What could not both hold was decided by rule: what main had first stands. The other stays in the history, with the reason.',
  );
  for (const conflict of conflicts) await tellConflict(stage, conflict);
  await tellCredits(stage);
  await town.converged();
}

async function tellConflict({ tell, garden }: Stage, { what, far, losers }: Conflict): Promise<void> {
  const { state, code } = await show(garden, far);
  if (state !== 'rejected') throw new Error(`"${what}" should have lost, but is ${state}.`);
  await tell.at('Garden', `"${what}" is rejected: ${code}.`, 'bad');
  let told = '';
  for (const who of losers) {
    const { items } = await garden.get<NoticesView>('/api/notices', who);
    const notice = items.find(({ entry }) => entry === far);
    if (!notice) throw new Error(`${who} was not told that "${what}" was rejected.`);
    const isSame = notice.text === told;
    await tell.at('Garden', `${who} is told${isSame ? ' the same.' : `: “${notice.text}”`}`);
    told = notice.text;
  }
}

/** Credits are conserved, whatever was said twice. */
async function tellCredits({ tell, town, house, members }: Stage): Promise<void> {
  const views = await house.get<MemberView[]>('/api/members');
  const told = [...members].map(([name, id]) => {
    const { balance, locked } = views.find((view) => view.id === id) ?? { balance: null, locked: null };
    return `${name} ${balance}${locked ? ` (and ${locked} locked for the yard)` : ''}`;
  });
  const sums = await Promise.all(
    town.boards.map(async (board) => {
      const { supply }: StatusView = await board.status();
      return supply.vault + supply.members + supply.locked === supply.total;
    }),
  );
  if (!sums.every((holds) => holds)) throw new Error('Credits were lost or made.');
  await tell.all(`Credits in the end: ${told.join(', ')}. None was lost, none was made twice.`);
}
