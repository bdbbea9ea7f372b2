/**
 * A `TownNode` in memory, for the tests of the API alone: it knows one steward, one person and one door, notes how it
 * was called, and answers with every optional field filled. The real node is tested through the API elsewhere.
 */
import { TownError } from '../ledger/ids.js';
import { forksInMemory } from './forks-in-memory.js';
import { moneyInMemory, standingInMemory } from './money-in-memory.js';
import { recordsInMemory } from './records-in-memory.js';
import { recoveryInMemory } from './recovery-in-memory.js';
import type { KeyCases, OwnKeyView } from '../node/key-cases.js';
import type { LedgerGraph } from '../node/ledger-graph.js';
import type { NodeCases, NodeInvited, NodesView, NodeView } from '../node/node-cases.js';
import type { NoticesView, NoticeView } from '../node/notice-cases.js';
import type * as Shape from '../node/use-cases.js';

export const tokenOfTest = 'T'.repeat(43);
export const memberOfTest = 'm0123456789abcdef';
const hash = (letter: string): string => letter.repeat(64);

export const session: Shape.SessionView = {
  token: tokenOfTest,
  member: memberOfTest,
  name: 'Ada',
  roles: ['steward'],
  permissions: ['door.open', 'door-access.*', 'membership.*'],
  expiresAt: 4_000_000_000_000,
};

export const entry: Shape.EntryView = {
  id: hash('e'),
  type: 'gigs.open',
  at: 1_700_000_000_000,
  node: '0123456789abcdef',
  n: 7,
  by: 'Ada',
  member: memberOfTest,
  state: 'rejected',
  verdict: 'rejected',
  code: 'not-enough',
  reason: 'The price is more than there is.',
  other: hash('f'),
  merge: hash('a'),
  height: 3,
  says: 'Ada opened a gig.',
  body: { title: 'Fix the lathe', price: 50, nested: { list: [1, 'two', null, true] } },
};

export const merge: Shape.MergeView = {
  height: 3,
  id: hash('a'),
  oid: 'b'.repeat(40),
  content: hash('c'),
  time: 1_700_000_000_500,
  by: '0123456789abcdef',
  heads: [{ node: '0123456789abcdef', id: hash('d'), entries: 1 }],
  counts: { accepted: 0, rejected: 1, irregular: 0 },
  testedBy: ['gigs@1.0.0'],
  attestedBy: ['0123456789abcdef'],
  entries: [entry],
};

export const doorEvent: Shape.DoorEventView = {
  id: 'g1-1',
  at: 1_700_000_000_000,
  door: 'front',
  kind: 'late',
  outcome: 'refused',
  code: 'badge-revoked',
  reason: 'lost',
  badge: hash('9'),
  person: 'p0123456789abcdef',
  by: memberOfTest,
  table: 4,
  of: 'g1-0',
  waitedMs: 151,
  personName: 'Grace',
  entry: null,
};

export const status: Shape.StatusView = {
  town: { id: hash('1'), name: 'Testville', preset: 'makerspace' },
  node: { id: '0123456789abcdef', name: 'board' },
  version: '0.1.0',
  needsSetup: false,
  height: 3,
  main: hash('a'),
  pendingEntries: 0,
  merging: false,
  alarm: { code: 'replay-differs', message: 'A replay differs.' },
  gate: { connected: true, board: 'simulated', simulated: true },
  dapps: {
    driver: 'process',
    isolated: false,
    ready: true,
    list: [{ name: 'gigs', version: '1.0.0', digest: hash('2'), suspended: null }],
    warning: 'No isolation.',
  },
  broker: { listening: true, port: 1883 },
  supply: { total: 1_000_000, vault: 999_000, members: 900, locked: 50, allowances: 40, suspense: 10 },
  validators: { count: 1, quorum: 1, mayBeOff: 0, heard: 1 },
  peers: { count: 0, connected: 0 },
  next: {
    state: 'parked',
    epoch: 1,
    round: 2,
    parkedSince: 1_700_000_000_000,
    connected: ['attic'],
    away: ['cellar'],
  },
  startedAt: 1_700_000_000_000,
};

const badge: Shape.BadgeView = {
  badge: hash('9'),
  person: 'p0123456789abcdef',
  doors: ['front'],
  status: 'revoked',
  until: 1_800_000_000_000,
  reason: 'lost',
  state: 'merged',
};

export const person: Shape.PersonView = {
  id: 'p0123456789abcdef',
  name: 'Grace',
  contact: null,
  record: 'readable',
  status: 'active',
  member: null,
  badges: [
    badge,
    { badge: hash('8'), person: 'p0123456789abcdef', doors: '*', status: 'active', state: 'pending' },
  ],
  state: 'merged',
};

const door: Shape.DoorView = {
  id: 'front',
  name: 'Front door',
  node: '0123456789abcdef',
  mode: 'normal',
  here: true,
  reader: 'simulated',
  strikeOn: false,
  last: doorEvent,
};

const member: Shape.MemberView = {
  id: memberOfTest,
  name: 'Ada',
  roles: ['steward'],
  keys: [{ key: hash('7'), status: 'active' }],
  balance: 450,
  locked: 50,
  incoming: 0,
  status: 'active',
  here: true,
};

/** Another member, whose balance the asker is not told. */
const other: Shape.MemberView = {
  id: 'mfedcba9876543210',
  name: null,
  roles: ['member'],
  keys: [],
  balance: null,
  locked: null,
  incoming: null,
  status: 'left',
  here: false,
};

const gig: Shape.GigView = {
  id: hash('e'),
  opener: memberOfTest,
  openerName: 'Ada',
  taker: null,
  takerName: null,
  title: 'Fix the lathe',
  description: 'It squeaks.',
  price: 50,
  status: 'open',
  stars: null,
  payout: null,
  details: hash('6'),
  state: 'pending',
  can: ['cancel'],
};

const branch: Shape.BranchView = { node: '0123456789abcdef', name: 'board', seq: 9, head: null, unmerged: 2 };
const recorded: Shape.Recorded = { entry: hash('e'), state: 'pending' };
const enrolment = {
  kind: 'enrol',
  enrolment: 'en1',
  status: 'done',
  person: person.id,
  badge: hash('9'),
  message: 'The badge is enrolled.',
} as const;

const self: NodeView = {
  id: '0123456789abcdef',
  name: 'board',
  roles: ['door'],
  self: true,
  validator: true,
  connected: true,
  heardAt: null,
  height: 3,
  ahead: { blocks: 0, merges: 0 },
  behind: { blocks: 0, merges: 0 },
  fetching: 0,
  state: 'merged',
};

export const nodes: NodesView = {
  nodes: [
    self,
    {
      ...self,
      id: 'fedcba9876543210',
      name: 'workshop',
      roles: ['hub'],
      self: false,
      validator: false,
      heardAt: 1_700_000_000_000,
      height: 2,
      ahead: { blocks: 4, merges: 0 },
      behind: { blocks: 2, merges: 1 },
      fetching: 1,
      state: 'pending',
    },
    { ...self, id: '00000000000000aa', name: 'attic', self: false, connected: false, height: null },
  ],
  validators: { count: 1, quorum: 1, mayBeOff: 0, heard: 1 },
  broker: { url: 'mqtt://192.0.2.10:1883', embedded: true, connected: true, error: null },
  pending: { entries: 3, blocks: 2 },
  refused: [{ code: 'bad-signature', reason: 'The signature is wrong.', count: 2, at: 1_700_000_000_000 }],
  invitations: [
    { id: 'abcdef0123456789', role: 'hub', expiresAt: 1_700_000_060_000, state: 'open', asker: null },
    {
      id: 'abcdef0123456780',
      role: 'door',
      expiresAt: 1_700_000_060_000,
      state: 'asked',
      asker: { node: 'fedcba9876543210', name: 'workshop', askedAt: 1_700_000_000_000 },
    },
  ],
};

const invitedNode: NodeInvited = {
  id: 'abcdef0123456789',
  code: 'c0de',
  link: 'mergetown:join#c0de',
  qr: { svg: '<svg/>', lines: ['▀▄', '▄▀'] },
  expiresAt: 1_700_000_060_000,
};

const ownKey: OwnKeyView = {
  key: hash('7'),
  status: 'active',
  state: 'merged',
  since: 1_700_000_000_000,
  node: { id: '0123456789abcdef', name: 'board' },
  here: true,
  current: true,
};

export const notice: NoticeView = {
  id: 3,
  at: 1_700_000_000_500,
  text: 'Ada opened a gig. This was rejected (not-enough): The price is more than there is.',
  entry: hash('e'),
  code: 'not-enough',
  other: hash('f'),
  read: false,
};

const notices: NoticesView = {
  items: [notice, { ...notice, id: 2, entry: null, code: null, other: null, read: true }],
  unread: 1,
};

const graph: LedgerGraph = {
  merges: [
    {
      height: 1,
      id: hash('a'),
      oid: 'b'.repeat(40),
      time: 1_700_000_000_500,
      by: self.id,
      heads: [hash('d')],
    },
    { height: 0, id: hash('1'), oid: 'c'.repeat(40), time: 1_700_000_000_000, by: self.id, heads: [] },
  ],
  blocks: [
    {
      id: hash('d'),
      node: self.id,
      seq: 1,
      prev: null,
      base: hash('1'),
      at: 1_700_000_000_000,
      entries: 2,
      height: 1,
      own: true,
    },
    {
      id: hash('f'),
      node: 'fedcba9876543210',
      seq: 4,
      prev: hash('e'),
      base: hash('a'),
      at: 1_700_000_001_000,
      entries: 1,
      height: null,
      own: false,
    },
  ],
  nodes: [
    { id: self.id, name: 'board' },
    { id: 'fedcba9876543210', name: 'workshop' },
  ],
  truncated: true,
};

export class TownInMemory implements Shape.TownNode {
  /** Every call: method, then arguments. */
  readonly calls: unknown[][] = [];
  readonly sessions = new Map<string, Shape.SessionView>([[tokenOfTest, session]]);
  readonly listeners = new Set<(event: Shape.TownEvent) => void>();
  /** What the last call was answered with. */
  lastAnswer: unknown;
  needsSetup = false;
  /** Thrown by the next call that is noted. */
  nextError: Error | null = null;

  #noteNow<T>(method: string, args: unknown[], answer: T): T {
    this.calls.push([method, ...args]);
    const error = this.nextError;
    this.nextError = null;
    this.lastAnswer = answer;
    if (error) throw error;
    return answer;
  }

  async #note<T>(method: string, args: unknown[], answer: T): Promise<T> {
    return this.#noteNow(method, args, answer);
  }

  tell(event: Shape.TownEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  status = (): Shape.StatusView => ({ ...status, needsSetup: this.needsSetup });
  subscribe = (listener: (event: Shape.TownEvent) => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  setup = (input: object) => this.#note('setup', [input], session);
  signIn = (input: { name: string; passphrase: string }) =>
    input.passphrase === 'correct horse'
      ? this.#note('signIn', [input], session)
      : Promise.reject(new TownError('wrong-passphrase', 'The name or the passphrase is wrong.'));
  session = (token: string) => this.sessions.get(token) ?? null;
  signOut = (token: string): void => void this.sessions.delete(token);

  people = (s: string) => this.#note('people', [s], [person]);
  addPerson = (s: string, input: object) =>
    this.#note('addPerson', [s, input], { ...recorded, person: person.id });
  suspendPerson = (...args: [string, string, string]) => this.#note('suspendPerson', args, recorded);
  reinstatePerson = (...args: [string, string]) => this.#note('reinstatePerson', args, recorded);
  enrolBadge = (s: string, input: object) =>
    this.#note('enrolBadge', [s, input], { ...recorded, badge: hash('9') });
  startEnrolment = (s: string, input: object) =>
    this.#note('startEnrolment', [s, input], { enrolment: 'en1', expiresAt: 1_700_000_060_000 });
  enrolment = (...args: [string, string]) => this.#note('enrolment', args, enrolment);
  cancelEnrolment = (...args: [string, string]): void => void this.#note('cancelEnrolment', args, null);
  revokeBadge = (...args: [string, string, string]) => this.#note('revokeBadge', args, recorded);

  doors = (s: string) => this.#note('doors', [s], [door, { ...door, reader: null, last: null }]);
  addDoor = (s: string, input: object) => this.#note('addDoor', [s, input], recorded);
  lockDown = (...args: [string, string, boolean]) => this.#note('lockDown', args, recorded);
  tap = (...args: [string, string, string]) => this.#note('tap', args, doorEvent);
  open = (...args: [string, string]) => this.#note('open', args, doorEvent);
  doorEvents = (s: string, input: object) => this.#note('doorEvents', [s, input], [doorEvent]);

  members = (s: string) => this.#note('members', [s], [member, other]);
  inviteMember = (s: string, input: object) =>
    this.#note('inviteMember', [s, input], {
      code: 'c0de',
      link: 'http://127.0.0.1/join#c0de',
      expiresAt: 1_700_000_060_000,
    });
  join = (input: object) => this.#note('join', [input], { ...session, entry: hash('e') });
  transfer = (s: string, input: object) => this.#note('transfer', [s, input], recorded);
  grant = (s: string, input: object) => this.#note('grant', [s, input], recorded);

  gigs = (s: string) => this.#note('gigs', [s], [gig]);
  openGig = (s: string, input: object) => this.#note('openGig', [s, input], { ...recorded, gig: gig.id });
  gigStep = (...args: [string, string, Shape.GigStep, object]) => this.#note('gigStep', args, recorded);

  keys: KeyCases = {
    request: (asked) =>
      this.#note('keys.request', [asked], { code: 'c0de.12345678', key: hash('7'), member: memberOfTest }),
    add: (...args) => this.#note('keys.add', args, recorded),
    revoke: (...args) => this.#note('keys.revoke', args, recorded),
    list: (s) =>
      this.#note('keys.list', [s], [ownKey, { ...ownKey, status: 'revoked', node: null, current: false }]),
  };
  notices = (s: string, input: object) => this.#note('notices', [s, input], notices);
  readNotices = (s: string, input: object) => this.#note('readNotices', [s, input], { unread: 0 });

  charter = () => this.#note('charter', [], { name: 'Testville', quorum: 1, roles: { steward: ['*'] } });
  changeCharter = (s: string, input: object) => this.#note('changeCharter', [s, input], recorded);

  log = (s: string, input: object) => this.#note('log', [s, input], { items: [entry], next: '41' });
  merges = (s: string, input: object) => this.#note('merges', [s, input], { items: [merge], next: null });
  branches = (s: string) => this.#note('branches', [s], [branch, { ...branch, head: hash('d') }]);
  graph = (s: string, input: object) => this.#note('graph', [s, input], graph);
  show = (s: string, id: string): ReturnType<Shape.TownNode['show']> =>
    id.startsWith('a')
      ? this.#note('show', [s, id], { kind: 'merge' as const, merge })
      : this.#note('show', [s, id], { kind: 'entry' as const, entry });
  mergeNow = (s: string): Promise<Shape.MergeView | null> => this.#note('mergeNow', [s], merge);

  forks = forksInMemory((method, args, answer) => this.#note(method, args, answer), recorded);
  money = moneyInMemory((method, args, answer) => this.#note(method, args, answer), recorded);
  standing = standingInMemory((method, args, answer) => this.#note(method, args, answer), recorded);
  recovery = recoveryInMemory((method, args, answer) => this.#note(method, args, answer));
  recordCases = recordsInMemory((method, args, answer) => this.#note(method, args, answer), recorded);
  onLine = (name: string): Promise<Shape.TownNode> => this.#note('onLine', [name], this);

  nodes: NodeCases = {
    list: (s) => this.#noteNow('nodes.list', [s], nodes),
    invite: (...args) => this.#note('nodes.invite', args, invitedNode),
    withdraw: (...args) => this.#note('nodes.withdraw', args, undefined),
    refuse: (...args) => this.#note('nodes.refuse', args, undefined),
    approve: (...args) => this.#note('nodes.approve', args, recorded),
    setValidator: (...args) => this.#note('nodes.setValidator', args, recorded),
    remove: (...args) => this.#note('nodes.remove', args, recorded),
    readmit: (...args) => this.#note('nodes.readmit', args, recorded),
    sync: (s) => this.#note('nodes.sync', [s], nodes),
  };
}
