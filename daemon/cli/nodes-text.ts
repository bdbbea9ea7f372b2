/** The nodes of a town in words: who is there, who waits, what an invitation is for, how many validators may be off. */
import type {
  BrokerView,
  Distance,
  NodeInvitationState,
  NodeInvitationView,
  NodeInvited,
  NodesView,
  NodeView,
} from '../node/node-cases.js';
import type { StatusView } from '../node/use-cases.js';
import { facts, plain, table, time } from './output.js';

const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;
/** Names in one line; of more nodes, how many. */
const NAMES_MAX = 8;
const isOrAre = (count: number): string => (count === 1 ? 'is' : 'are');

/** How many merge, how many of them may be off, and whether enough are heard. No full stop. */
export function validatorsText({ count, quorum, mayBeOff, heard }: StatusView['validators']): string {
  const who =
    count === 1
      ? '1 validator, which must sign each merge'
      : `${count} validators, ${quorum} must sign a merge`;
  const off = mayBeOff === 0 ? 'none may be off' : `${mayBeOff} may be off`;
  const now = heard < count || count === 1 ? `${heard} ${isOrAre(heard)} heard` : `all ${count} are heard`;
  const missing = quorum - heard;
  const tooFew =
    missing > 0
      ? `: too few to merge until ${missing} more ${isOrAre(missing)} back (doors go on, and nothing is lost)`
      : '';
  return `${who}; ${off}; ${now}${tooFew}`;
}

/** How many other nodes there are and which of them are heard. */
export const peersText = ({ count, connected }: StatusView['peers'], names: readonly string[]): string => {
  if (count === 0) return 'no other node yet';
  const shown = names.slice(0, NAMES_MAX).map(plain);
  const more = connected - shown.length;
  const who = shown.length === 0 ? '' : `: ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return `${counted(count, 'other')}, ${connected === 0 ? 'none' : connected} connected${who}`;
};

/** What waits for a merge, and what the merge waits for. No full stop. */
export function nextMergeText({ pendingEntries, next, validators }: StatusView): string {
  const waiting = counted(pendingEntries, 'entry', 'entries');
  const away = next.away.slice(0, NAMES_MAX).map(plain).join(' or ');
  switch (next.state) {
    case 'nothing':
      return waiting;
    case 'due':
      return `${waiting}, to be merged soon`;
    case 'open':
      return validators.heard < validators.quorum
        ? `${waiting}, waiting for ${away || 'validators'}`
        : `${waiting}, merging now${(next.round ?? 0) > 0 ? ` (round ${next.round})` : ''}`;
    case 'parked':
      return (
        `${waiting}; the merge is parked since ${time(next.parkedSince ?? 0)}, as ${validators.heard} of ${validators.count} ` +
        `validators ${isOrAre(validators.heard)} heard and ${validators.quorum} must sign; it goes on when ${away || 'another'} is back`
      );
    case 'diverged':
      return `${waiting}; nothing is merged here any more, the town went on in a later epoch than ${next.epoch}, without this node`;
  }
}

const distanceText = ({ blocks, merges }: Distance): string =>
  [...(blocks > 0 ? [counted(blocks, 'block')] : []), ...(merges > 0 ? [counted(merges, 'merge')] : [])].join(
    ', ',
  ) || '-';

function heardText(node: NodeView): string {
  const heard = node.self ? 'this node' : node.connected ? 'connected' : lastHeardText(node);
  // Let in, taken out, or (no more) a validator: its place in the town is about to be another.
  return node.state === 'pending' ? `${heard}; its change waits for a merge` : heard;
}

const lastHeardText = ({ heardAt }: NodeView): string =>
  heardAt === null ? 'not heard yet' : `last heard ${time(heardAt)}`;

/** A node that was never heard is not known to be level. */
const distanceTo = (node: NodeView, distance: Distance): string =>
  node.self ? '' : node.heardAt === null ? '?' : distanceText(distance);

const nodeTable = (nodes: readonly NodeView[]): string =>
  table(
    nodes,
    [
      { head: 'name', cell: (node) => node.name },
      { head: 'id', cell: (node) => node.id },
      { head: 'role', cell: (node) => node.roles.join(', ') },
      {
        head: 'validator',
        cell: (node) => `${node.validator ? 'yes' : 'no'}${node.suspended ? ', SUSPENDED' : ''}`,
      },
      { head: 'heard', cell: heardText },
      { head: 'height', cell: (node) => node.height ?? '?', right: true },
      { head: 'ahead', cell: (node) => distanceTo(node, node.ahead) },
      { head: 'behind', cell: (node) => distanceTo(node, node.behind) },
    ],
    'No nodes yet.',
  );

const stateText: Readonly<Record<NodeInvitationState, string>> = {
  open: 'nobody has shown it yet',
  asked: 'WAITS FOR A STEWARD',
  approved: 'approved, not merged yet',
  welcomed: 'let in',
  refused: 'refused',
  withdrawn: 'taken back',
  expired: 'expired',
};

const unsettled: readonly NodeInvitationState[] = ['open', 'asked', 'approved'];

function invitationsText(invitations: readonly NodeInvitationView[]): readonly string[] {
  const shown = invitations.filter(({ state }) => unsettled.includes(state));
  if (shown.length === 0) return [];
  const asked = shown.find(({ state }) => state === 'asked');
  return [
    '',
    table(
      shown,
      [
        { head: 'invitation', cell: (invitation) => invitation.id },
        { head: 'role', cell: (invitation) => invitation.role },
        { head: 'state', cell: (invitation) => stateText[invitation.state] },
        { head: 'node', cell: ({ asker }) => asker?.name ?? '-' },
        { head: "the node's id", cell: ({ asker }) => asker?.node ?? '-' },
        { head: 'ends', cell: (invitation) => time(invitation.expiresAt) },
      ],
      '',
    ),
    ...(asked?.asker
      ? [`Compare the id with the one on the node's own screen, then: town node approve ${asked.asker.node}`]
      : []),
  ];
}

/** No full stop, like all that stands in a line of facts. */
function brokerText({
  url,
  embedded = false,
  connected,
  error,
}: BrokerView & { readonly embedded?: boolean }): string {
  if (url === null) return 'none: this node meets no others';
  const why = error === null ? '' : `: ${error.replace(/\.$/, '')}`;
  return `${url}${embedded ? ', run by this node' : ''}, ${connected ? 'connected' : `NOT CONNECTED${why}`}`;
}

const pendingText = ({ entries, blocks }: NodesView['pending']): string =>
  entries === 0
    ? 'nothing waits for a merge'
    : `${counted(entries, 'entry', 'entries')}${blocks === 0 ? '' : ` in ${counted(blocks, 'block')}`}`;

const refusedText = ({ code, reason, count, at }: NodesView['refused'][number]): string =>
  `${counted(count, 'message')} not taken (${code}): ${reason}, last at ${time(at)}`;

export const nodesText = (view: NodesView): string =>
  [
    nodeTable(view.nodes),
    ...invitationsText(view.invitations ?? []),
    '',
    `${validatorsText(view.validators)}.`,
    facts([
      ['broker', brokerText(view.broker)],
      ...(view.broker.others ?? []).map((other) => ['also at', brokerText(other)] as const),
      ['pending', pendingText(view.pending)],
      ...view.refused.map((refused) => ['refused', refusedText(refused)] as const),
    ]),
  ].join('\n');

/** What a sync came to: with whom this node is level, from whom something is missing, and who is away. */
export function syncText({ nodes, broker }: NodesView): string {
  const others = nodes.filter(({ self }) => !self);
  if (others.length === 0) return 'There is no other node yet. Invite one: town node invite';
  const isOnline = broker.connected || broker.others?.some(({ connected }) => connected);
  if (!isOnline) return `No other node can be reached. The broker: ${brokerText(broker)}.`;
  const hasMore = ({ ahead, fetching }: NodeView): boolean => ahead.blocks + ahead.merges + fetching > 0;
  const here = others.filter(({ connected }) => connected);
  const names = (some: readonly NodeView[]): string => some.map(({ name }) => plain(name)).join(', ');
  const level = here.filter((node) => !hasMore(node));
  const away = others.filter(({ connected }) => !connected);
  return [
    ...(level.length > 0 ? [`This node has all that these have: ${names(level)}.`] : []),
    ...here
      .filter(hasMore)
      .map(({ name, ahead }) => `Not all of ${plain(name)} is here yet: ${distanceText(ahead)} to come.`),
    ...(away.length > 0 ? [`Not connected: ${names(away)}.`] : []),
  ].join('\n');
}

const roleText = {
  door: 'a node with doors: it gets the key that tells badges apart',
  hub: 'a node without doors: it does not get the key of the badges',
} as const;

/** Whether no other machine can dial this address. */
export function isOnlyHere(broker: string): boolean {
  const { hostname } = new URL(broker);
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.[0-9.]+$/.test(hostname);
}

/**
 * What a person needs to bring the other board in.
 * @param qr the lines to show, null for none
 * @param onlyHere the address of the broker in the invitation, where no other machine can dial it
 */
export const invitedText = (
  invited: NodeInvited,
  role: 'door' | 'hub',
  qr: readonly string[] | null,
  onlyHere: string | null,
): string =>
  [
    `Invitation ${invited.id} for ${roleText[role]}.`,
    `It lets in one node, once you approve that one, until ${time(invited.expiresAt)}.`,
    '',
    `link  ${invited.link}`,
    `code  ${invited.code}`,
    '',
    ...(qr === null ? [] : [...qr, '']),
    'On the other board:',
    `  town join ${invited.code} --data DIR`,
    'Then here, when its id stands on its screen and on yours:',
    '  town node approve',
    ...(onlyHere === null
      ? []
      : [
          '',
          `Only this machine reaches the broker of the invitation, ${plain(onlyHere)}. For another board, start this`,
          'node at a broker that both reach (town start --broker mqtt://HOST:PORT), and invite again.',
        ]),
  ].join('\n');

/** White on black whatever the terminal's colours, so that every phone reads it. */
const QR_COLOURS = { start: '\u001b[40;97m', end: '\u001b[0m' } as const;

/**
 * The lines of a QR code as this output can show them: lines that are too long would be broken and not be read.
 * @param columns of the terminal; undefined where the output is none
 */
export function qrFor(
  lines: readonly string[],
  columns: number | undefined,
  colour: boolean,
): readonly string[] {
  const width = Math.max(0, ...lines.map((line) => line.length));
  if (columns !== undefined && columns < width)
    return [`(The QR code needs a terminal of ${width} columns; this one has ${columns}.)`];
  return lines.map(plain).map((line) => (colour ? `${QR_COLOURS.start}${line}${QR_COLOURS.end}` : line));
}
