/** `town member`: credit members, invitations, and moving credits. */
import { InvalidArgumentError, type Command } from 'commander';
import type { MemberView, Recorded, SessionView } from '../node/use-cases.js';
import { confirm } from './confirm.js';
import { Context } from './context.js';
import { find } from './find.js';
import { credits, plain, short, table, time } from './output.js';
import { passphrase, type PassphraseSource } from './prompt.js';
import { clientOfLink, keep, secretOfLink, withoutToken } from './session-commands.js';

export function addMemberCommands(town: Command): void {
  const member = town.command('member').description('credit members and their credits');

  member
    .command('list')
    .description('members and their balances')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const members = await context.get<MemberView[]>('/api/members');
      context.tell(members, memberTable(members));
    });

  member
    .command('invite')
    .description('make a one-time invitation')
    .argument('<name>', 'who is invited')
    .option('--role <role...>', 'roles they will have')
    .action(async (name: string, options: { role?: string[] }, command: Command) => {
      const context = new Context(command);
      const invitation = await context.post<{ code: string; link: string; expiresAt: number }>(
        '/api/members/invitations',
        { name, ...(options.role === undefined ? {} : { roles: options.role }) },
      );
      context.tell(
        invitation,
        `Give ${plain(name)} this link; it works once, until ${time(invitation.expiresAt)}:\n  ${invitation.link}\nor, at this machine: town member join ${invitation.code}`,
      );
    });

  member
    .command('join')
    .description('join the town with an invitation; needs no session')
    .argument('<code>', 'the code or link of the invitation')
    .option('--name <name>', 'a name other than the one in the invitation')
    .option(
      '--passphrase-file <file>',
      'take the passphrase from the first line of this file (-: standard input)',
    )
    .action(async (code: string, options: PassphraseSource & { name?: string }, command: Command) => {
      const context = new Context(command);
      const client = await clientOfLink(context, code);
      const joined = await client.post<SessionView & { entry: string }>('/api/members/join', undefined, {
        code: secretOfLink(code),
        passphrase: await passphrase(options, true),
        ...(options.name === undefined ? {} : { name: options.name }),
      });
      await keep(client.url, joined);
      context.tell(withoutToken(joined), `Welcome, ${plain(joined.name)}. You are a member and signed in.`);
    });

  member
    .command('transfer')
    .description('give credits of your own')
    .argument('<member>', 'to whom: id, a unique start of it, or name')
    .argument('<amount>', 'whole credits', wholeCredits)
    .option('--memo <text>', 'what for')
    .action(async (word: string, amount: number, options: { memo?: string }, command: Command) => {
      const context = new Context(command);
      const to = await findMember(context, word);
      const recorded = await context.post<Recorded>('/api/credits/transfer', {
        to: to.id,
        amount,
        ...options,
      });
      await context.tellRecorded(recorded, `${credits(amount)} credits go to ${nameOf(to)}.`);
    });

  member
    .command('grant')
    .description('give credits of the vault')
    .argument('<member>', 'to whom: id, a unique start of it, or name')
    .argument('<amount>', 'whole credits', wholeCredits)
    .requiredOption('--reason <text>', 'why')
    .option('--suspense', 'out of what would have gone to members who left, instead of the vault')
    .action(
      async (
        word: string,
        amount: number,
        options: { reason: string; suspense?: true },
        command: Command,
      ) => {
        const context = new Context(command);
        const to = await findMember(context, word);
        const { reason, suspense } = options;
        const recorded = await context.post<Recorded>('/api/credits/grant', {
          ...{ to: to.id, amount, reason },
          ...(suspense ? { from: 'suspense' } : {}),
        });
        const source = suspense ? 'suspense' : 'the vault';
        await context.tellRecorded(recorded, `${credits(amount)} credits of ${source} go to ${nameOf(to)}.`);
      },
    );

  addStandingCommands(member);
}

function addStandingCommands(member: Command): void {
  member
    .command('suspend')
    .description('take a member’s say, at once; they go on receiving credits')
    .argument('<member>', 'whom: id, a unique start of it, or name')
    .option('--reason <text>', 'why; only nodes that may read private records can show it')
    .action(async (word: string, options: { reason?: string }, command: Command) => {
      const context = new Context(command);
      const found = await findMember(context, word);
      const recorded = await context.post<Recorded>(`/api/members/${found.id}/suspension`, options);
      await context.tellRecorded(recorded, `${nameOf(found)} is suspended.`);
    });

  member
    .command('reinstate')
    .description('give a suspended member their say back')
    .argument('<member>', 'whom: id, a unique start of it, or name')
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findMember(context, word);
      const recorded = await context.delete<Recorded>(`/api/members/${found.id}/suspension`);
      await context.tellRecorded(recorded, `${nameOf(found)} is reinstated.`);
    });

  member
    .command('leave')
    .description('leave the town: what you have available goes to the vault, your keys end')
    .option('--yes', 'do not ask')
    .action(async (options: { yes?: true }, command: Command) => {
      const context = new Context(command);
      const about =
        'You leave the town for good: your available credits go to the vault, your roles and keys end.\nLocked credits and allowances that come back later go to the town as well.';
      if (!options.yes && !(await confirm(about, 'Leave the town?', 'Say --yes.')))
        return context.tell({ left: false }, 'Nothing was changed.');
      await context.tellRecorded(
        await context.post<Recorded>('/api/members/leave'),
        'You have left the town.',
      );
    });
}

/** A whole number of credits, 1 or more. */
export function wholeCredits(text: string): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || value < 1)
    throw new InvalidArgumentError('a whole number of credits, 1 or more, is expected.');
  return value;
}

/** A member by id, a unique start of it, or name. */
export async function findMember(context: Context, word: string): Promise<MemberView> {
  const members = await context.get<MemberView[]>('/api/members');
  return find(
    members,
    word,
    'member',
    (member) => member.id,
    (member) => member.name,
  );
}

/** What a member is called, safe for a terminal. */
export const nameOf = (member: MemberView): string => plain(member.name ?? short(member.id));

/** What others own is between them and those who may grant credits. */
const told = (amount: number | null): string => (amount === null ? '-' : credits(amount));

function memberTable(members: readonly MemberView[]): string {
  return table(
    members,
    [
      { head: 'member', cell: (member) => short(member.id) },
      { head: 'name', cell: (member) => member.name ?? '-' },
      { head: 'status', cell: (member) => member.status },
      { head: 'roles', cell: (member) => member.roles.join(', ') },
      { head: 'balance', cell: (member) => told(member.balance), right: true },
      { head: 'locked', cell: (member) => told(member.locked), right: true },
      { head: 'incoming', cell: (member) => told(member.incoming), right: true },
      { head: 'signs in here', cell: (member) => (member.here ? 'yes' : 'no') },
    ],
    'No members yet. Invite one: town member invite NAME',
  );
}
