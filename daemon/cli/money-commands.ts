/** `town allowance` and `town due`: credits put at a node to be paid out there, and debts on record. */
import { InvalidArgumentError, type Command } from 'commander';
import type { AllowancesView, AllowanceView, DueView } from '../node/money-cases.js';
import type { Recorded } from '../node/use-cases.js';
import { Context } from './context.js';
import { cosignersOf, withCosignerOptions, type CosignerOptions } from './cosigners.js';
import { find } from './find.js';
import { findNode } from './find-node.js';
import { findMember, nameOf, wholeCredits } from './member-commands.js';
import { credits, plain, short, table, time } from './output.js';

/** Unlocking the keys of further stewards takes a while. */
const FENCE_MS_MAX = 60_000;
const DAY = 86_400_000;

export function addMoneyCommands(town: Command): void {
  addAllowanceCommands(town);
  addDueCommands(town);
}

function addAllowanceCommands(town: Command): void {
  const allowance = town
    .command('allowance')
    .description('credits put at a node, to be paid out there even while it is cut off');

  allowance
    .command('list')
    .description('your allowances; as a steward, all of them')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const view = await context.get<AllowancesView>('/api/allowances');
      context.tell(view, allowanceText(view));
    });

  allowance
    .command('open')
    .description('put credits of yours at a node; they can be paid there once this is merged')
    .argument('<node>', 'where: id, a unique start of it, or name')
    .argument('<amount>', 'whole credits', wholeCredits)
    .action(async (word: string, amount: number, _options: object, command: Command) => {
      const context = new Context(command);
      const node = await findNode(context, word);
      const recorded = await context.post<Recorded>('/api/allowances', { node: node.id, amount });
      await context.tellRecorded(recorded, `${credits(amount)} credits of yours go to ${plain(node.name)}.`);
    });

  allowance
    .command('pay')
    .description('pay out of your allowance at this node; no later merge undoes it')
    .argument('<to>', 'to whom: a member by id or name, or "vault"')
    .argument('<amount>', 'whole credits', wholeCredits)
    .option('--memo <text>', 'what for')
    .action(async (word: string, amount: number, options: { memo?: string }, command: Command) => {
      const context = new Context(command);
      const to = word === 'vault' ? null : await findMember(context, word);
      const recorded = await context.post<Recorded>('/api/allowances/payments', {
        to: to?.id ?? 'vault',
        amount,
        ...options,
      });
      const name = to ? nameOf(to) : 'the town';
      await context.tellRecorded(recorded, `${credits(amount)} credits are paid to ${name}.`);
    });

  allowance
    .command('return')
    .description('give back what is left of your allowance at this node; as a steward, of a member’s')
    .argument('[member]', 'whose: id or name')
    .action(async (word: string | undefined, _options: object, command: Command) => {
      const context = new Context(command);
      const member = word === undefined ? {} : { member: (await findMember(context, word)).id };
      const recorded = await context.post<Recorded>('/api/allowances/returns', member);
      await context.tellRecorded(recorded, 'What is left of the allowance goes back.');
    });

  const fence = allowance
    .command('fence')
    .description('close an allowance whose node is lost; what is left goes back after the charter’s wait')
    .argument('<member>', 'whose: id or name')
    .argument('<node>', 'where: id or name')
    .option(
      '--number <n>',
      'the last number of the node’s entries that is paid (default: the last merged)',
      whole,
    );
  withCosignerOptions(fence).action(
    async (who: string, where: string, options: FenceOptions, command: Command) => {
      const context = new Context(command);
      const member = await findMember(context, who);
      const { items, fenceWaitMs } = await context.get<AllowancesView>('/api/allowances');
      const held = find(
        items.filter((item) => item.member === member.id),
        where,
        'allowance',
        ({ node }) => node,
        ({ nodeName }) => nodeName,
      );
      const body = {
        member: member.id,
        node: held.node,
        ...(options.number === undefined ? {} : { n: options.number }),
        cosigners: await cosignersOf(options),
      };
      const recorded = await context.post<Recorded>('/api/allowances/fences', body, FENCE_MS_MAX);
      await context.tellRecorded(
        recorded,
        `What is left of the allowance of ${nameOf(member)} at ${plain(held.nodeName)} goes back ${waitText(fenceWaitMs)} after this is merged.`,
      );
    },
  );
}

interface FenceOptions extends CosignerOptions {
  readonly number?: number;
}

function addDueCommands(town: Command): void {
  const due = town.command('due').description('debts on record: what an allowance did not cover');

  due
    .command('list')
    .description('what you owe and are owed; as a steward, all of it')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const dues = await context.get<DueView[]>('/api/dues');
      context.tell(dues, dueTable(dues));
    });

  due
    .command('pay')
    .description('pay what you owe')
    .argument('<due>', 'its id, or a unique start of it')
    .argument('[amount]', 'a part of it, in whole credits', wholeCredits)
    .action(async (word: string, amount: number | undefined, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findDue(context, word);
      const recorded = await context.post<Recorded>(
        `/api/dues/${found.id}/payments`,
        amount === undefined ? {} : { amount },
      );
      const paid = credits(amount ?? found.amount);
      await context.tellRecorded(
        recorded,
        `${paid} credits of what is due are paid to ${creditorOf(found)}.`,
      );
    });

  due
    .command('waive')
    .description('cross off what is owed to you; as a steward, to anybody')
    .argument('<due>', 'its id, or a unique start of it')
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findDue(context, word);
      const recorded = await context.post<Recorded>(`/api/dues/${found.id}/waiver`);
      await context.tellRecorded(
        recorded,
        `${debtorOf(found)} does not owe the ${credits(found.amount)} credits any more.`,
      );
    });
}

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('a whole number, 0 or more, is expected.');
  return Number(text);
}

async function findDue(context: Context, word: string): Promise<DueView> {
  return find(
    await context.get<DueView[]>('/api/dues'),
    word,
    'due',
    ({ id }) => id,
    () => null,
  );
}

const waitText = (ms: number): string =>
  ms >= DAY ? `${Math.round(ms / DAY)} days` : `${Math.ceil(ms / 60_000)} minutes`;
const debtorOf = ({ member, memberName }: DueView): string => plain(memberName ?? short(member));
const creditorOf = ({ to, toName }: DueView): string =>
  to === 'vault' ? 'the town' : plain(toName ?? short(to));

const stateOf = ({ coming, fence }: AllowanceView): string =>
  [
    ...(coming > 0 ? [`${credits(coming)} more once merged`] : []),
    ...(fence === null ? [] : [`closes ${time(fence.until)}`]),
  ].join(', ');

const allowanceText = ({ items, most }: AllowancesView): string =>
  table(
    items,
    [
      { head: 'member', cell: ({ member, memberName }) => memberName ?? short(member) },
      { head: 'at node', cell: ({ nodeName, here }) => (here ? `${nodeName} (here)` : nodeName) },
      { head: 'can be paid', cell: ({ amount }) => credits(amount), right: true },
      { head: '', cell: stateOf },
    ],
    `No allowance. Put up to ${credits(most)} credits at a node: town allowance open NODE AMOUNT`,
  );

const dueTable = (dues: readonly DueView[]): string =>
  table(
    dues,
    [
      { head: 'due', cell: ({ id }) => short(id) },
      { head: 'who owes', cell: debtorOf },
      { head: 'whom', cell: creditorOf },
      { head: 'credits', cell: ({ amount }) => credits(amount), right: true },
      { head: 'since', cell: ({ since }) => time(since) },
      { head: 'you can', cell: ({ can }) => can.join(', ') },
    ],
    'Nothing is due.',
  );
