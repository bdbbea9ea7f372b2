/** `town node invite, approve, refuse, withdraw`: who comes into the town. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { NodeInvitationState, NodeInvitationView, NodeInvited, NodesView } from '../node/node-cases.js';
import type { Recorded } from '../node/use-cases.js';
import { refusal } from './cli-error.js';
import { confirm } from './confirm.js';
import { Context } from './context.js';
import { find } from './find.js';
import { invitedText, isOnlyHere, qrFor } from './nodes-text.js';
import { plain, time } from './output.js';

const hoursMax = 168;

type Role = 'door' | 'hub';

export function addInvitationCommands(node: Command): void {
  addInvite(node);
  addApprove(node);

  node
    .command('refuse')
    .description('turn away the node that waits with an invitation')
    .argument('<invitation>', "id of the invitation, or the node's id or name")
    .argument('<reason>', 'what the node is told')
    .action(async (word: string, reason: string, _options: object, command: Command) => {
      const context = new Context(command);
      const { id, asker } = findInvitation(await invitationsOf(context), word);
      await context.post(`/api/nodes/invitations/${id}/refuse`, { reason });
      const who = asker === null ? 'The node' : plain(asker.name);
      context.tell({ invitation: id, state: 'refused' }, `${who} is turned away.`);
    });

  node
    .command('withdraw')
    .description('take back an invitation that nobody was let in with')
    .argument('<invitation>', "id of the invitation, or the waiting node's id or name")
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const { id } = findInvitation(await invitationsOf(context), word);
      await context.delete(`/api/nodes/invitations/${id}`);
      context.tell({ invitation: id, state: 'withdrawn' }, `The invitation ${id} lets nobody in any more.`);
    });
}

function addInvite(node: Command): void {
  node
    .command('invite')
    .description('make an invitation for one node: link, code and QR code')
    .addOption(
      new Option('--role <role>', 'door: it tells badges apart; hub: it does not')
        .choices(['door', 'hub'])
        .default('door'),
    )
    .option('--broker <url...>', 'addresses of the MQTT broker as the new node reaches it, the best first')
    .option('--hours <n>', `how long it counts, 1 to ${hoursMax} (default 24)`, hours)
    .option('--no-qr', 'no QR code')
    .action(
      async (options: { role: Role; broker?: string[]; hours?: number; qr: boolean }, command: Command) => {
        const context = new Context(command);
        const invited = await context.post<NodeInvited>('/api/nodes/invitations', {
          role: options.role,
          ...(options.broker === undefined ? {} : { brokers: options.broker }),
          ...(options.hours === undefined ? {} : { hours: options.hours }),
        });
        const { isTTY, columns } = process.stdout;
        const colour = isTTY && !process.env['NO_COLOR'];
        const qr = options.qr ? qrFor(invited.qr.lines, isTTY ? columns : undefined, colour) : null;
        const broker = context.json ? null : await firstBroker(context, options.broker);
        const onlyHere = broker !== null && isOnlyHere(broker) ? broker : null;
        context.tell(invited, invitedText(invited, options.role, qr, onlyHere));
      },
    );
}

/** The broker that the invitation names first: as asked for, or else the one this node is at. */
async function firstBroker(context: Context, asked: readonly string[] | undefined): Promise<string | null> {
  return asked?.[0] ?? (await context.get<NodesView>('/api/nodes')).broker.url;
}

function addApprove(node: Command): void {
  node
    .command('approve')
    .description('let in the node that waits, after comparing its id with its own screen')
    .argument(
      '[invitation|node]',
      "id of the invitation, or the node's id or name; the only one that waits if left out",
    )
    .option('--yes', 'the ids have been compared: do not ask')
    .action(async (word: string | undefined, options: { yes?: true }, command: Command) => {
      const context = new Context(command);
      const invitations = await invitationsOf(context);
      const waiting = word === undefined ? onlyWaiting(invitations) : findWaiting(invitations, word);
      const { asker } = waiting;
      if (!options.yes && !(await isSure(waiting)))
        throw refusal('not-confirmed', 'Nothing was changed: the node still waits.');
      const recorded = await context.post<Recorded>(`/api/nodes/invitations/${waiting.id}/approve`, {
        node: asker.node,
      });
      await context.tellRecorded(
        recorded,
        `${plain(asker.name)} (${asker.node}) is let in; once that is merged it gets the keys of the town.`,
      );
    });
}

interface Waiting extends NodeInvitationView {
  readonly asker: NonNullable<NodeInvitationView['asker']>;
}

function isSure({ id, role, asker }: Waiting): Promise<boolean> {
  const about = [
    `${plain(asker.name)} asks to join as a ${role} node, since ${time(asker.askedAt)}.`,
    `Its id, which must be the one on its own screen:\n\n  ${asker.node}\n`,
  ].join('\n');
  const instead = `Compare the id ${asker.node} with the one on its screen, then: town node approve ${id} --yes`;
  return confirm(about, 'Are they the same, and is it to come in?', instead);
}

const isWaiting = (invitation: NodeInvitationView): invitation is Waiting =>
  invitation.state === 'asked' && invitation.asker !== null;

function onlyWaiting(invitations: readonly NodeInvitationView[]): Waiting {
  const waiting = invitations.filter(isWaiting);
  if (waiting.length === 1) return waiting[0]!;
  if (waiting.length > 1)
    throw refusal(
      'ambiguous',
      `${waiting.length} nodes wait: ${waiting.map(({ asker }) => `${plain(asker.name)} ${asker.node}`).join(', ')}.`,
      'Say which: town node approve NODE',
    );
  throw nobodyWaits(
    'No node waits to be let in.',
    invitations.some(({ state }) => state === 'open'),
  );
}

const nobodyWaits = (message: string, isOpen: boolean) =>
  refusal(
    'nobody-waits',
    message,
    isOpen
      ? 'On the other board: town join CODE --data DIR'
      : 'Invite one with `town node invite`, then on the other board: town join CODE --data DIR',
  );

const mayApprove: ReadonlySet<NodeInvitationState> = new Set(['asked', 'approved', 'welcomed']);

/** Those that wait go before those that are over: a node that was refused once may come again. */
function findWaiting(invitations: readonly NodeInvitationView[], word: string): Waiting {
  const waiting = invitations.filter(isWaiting);
  const found = findInvitation(waiting.some((each) => isMeant(each, word)) ? waiting : invitations, word);
  const { asker } = found;
  // Approved once more: where the first time was interrupted, the node finishes it, else it says how it stands.
  if (asker !== null && mayApprove.has(found.state)) return { ...found, asker };
  if (found.state === 'open') throw nobodyWaits(`No node has shown the invitation ${found.id} yet.`, true);
  throw refusal(
    'already-answered',
    `The invitation ${found.id} is answered already: ${found.state}.`,
    'See `town node list`.',
  );
}

interface Handle {
  readonly id: string;
  readonly name: string | null;
  readonly invitation: NodeInvitationView;
}

/** An invitation goes by its own id, and by the id and the name of the node that has shown it. */
const handlesOf = (invitation: NodeInvitationView): readonly Handle[] => [
  { id: invitation.id, name: invitation.asker?.name ?? null, invitation },
  ...(invitation.asker === null ? [] : [{ id: invitation.asker.node, name: null, invitation }]),
];

const isMeant = (invitation: NodeInvitationView, word: string): boolean =>
  handlesOf(invitation).some(
    ({ id, name }) => id.startsWith(word.toLowerCase()) || name?.toLowerCase() === word.toLowerCase(),
  );

function findInvitation(invitations: readonly NodeInvitationView[], word: string): NodeInvitationView {
  const handles = invitations.flatMap(handlesOf);
  return find(
    handles,
    word,
    'invitation',
    ({ id }) => id,
    ({ name }) => name,
    'town node list',
  ).invitation;
}

async function invitationsOf(context: Context): Promise<readonly NodeInvitationView[]> {
  const { invitations } = await context.get<NodesView>('/api/nodes');
  if (invitations !== null) return invitations;
  throw refusal(
    'not-allowed',
    'Only who may change the charter sees the invitations.',
    'Ask a steward, or sign in as one: town login NAME',
  );
}

function hours(text: string): number {
  const value = Number(text);
  if (!/^\d{1,3}$/.test(text) || value < 1 || value > hoursMax)
    throw new InvalidArgumentError(`a whole number from 1 to ${hoursMax} is expected.`);
  return value;
}
