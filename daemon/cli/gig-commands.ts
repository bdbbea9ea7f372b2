/** `town gig`: paid work between members, step by step. */
import { InvalidArgumentError, type Command } from 'commander';
import type { GigStep, GigView, Recorded } from '../node/use-cases.js';
import { Context } from './context.js';
import { find } from './find.js';
import { wholeCredits } from './member-commands.js';
import { credits, plain, short, table } from './output.js';

/** The steps that need nothing but the gig, and what each says once it is recorded. */
const plainSteps: readonly (readonly [GigStep, string, string])[] = [
  ['take', 'offer to do it', 'You take'],
  ['withdraw', 'take your offer back', 'You withdraw from'],
  ['accept', 'accept the one who took it', 'You accept the taker of'],
  ['decline', 'decline the one who took it: it is open again', 'You decline the taker of'],
  ['submit', 'say that the work is done', 'You submit your work on'],
  ['accept-rating', 'accept a rating below five stars, and what it pays', 'You accept the rating of'],
  ['dispute', 'dispute a rating; a steward settles it', 'You dispute the rating of'],
  ['close', 'after the waiting time: close what the other side left open', 'You close'],
  ['cancel', 'before anyone is accepted: cancel it and unlock the price', 'You cancel'],
];

export function addGigCommands(town: Command): void {
  const gig = town.command('gig').description('gigs: paid work between members');

  gig
    .command('list')
    .description('all gigs, and what you may do next')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const gigs = await context.get<GigView[]>('/api/gigs');
      context.tell(gigs, gigTable(gigs));
    });

  gig
    .command('open')
    .description('offer work; its price is locked until it is done')
    .requiredOption('--title <text>', 'at most 80 characters')
    .requiredOption('--description <text>', 'at most 2,000 characters')
    .requiredOption('--price <credits>', 'whole credits', wholeCredits)
    .action(async (options: { title: string; description: string; price: number }, command: Command) => {
      const context = new Context(command);
      const recorded = await context.post<Recorded & { gig: string }>('/api/gigs', options);
      await context.tellRecorded(
        recorded,
        `Opened the gig ${short(recorded.gig)}; ${credits(options.price)} credits are locked for it.`,
      );
    });

  for (const [step, description, words] of plainSteps)
    gig
      .command(step)
      .description(description)
      .argument('<gig>', 'id, a unique start of it, or title')
      .action((word: string, _options: object, command: Command) =>
        take(new Context(command), word, step, words, {}),
      );

  gig
    .command('complete')
    .description('rate the work: five stars pay at once, fewer wait for the other side')
    .argument('<gig>', 'id, a unique start of it, or title')
    .requiredOption('--stars <n>', '1 to 5', between(1, 5))
    .action((word: string, options: { stars: number }, command: Command) =>
      take(new Context(command), word, 'complete', 'You rate', { stars: options.stars }),
    );

  gig
    .command('settle')
    .description('settle a dispute, as a steward: the share that the taker gets')
    .argument('<gig>', 'id, a unique start of it, or title')
    .requiredOption('--share <percent>', '0 to 100', between(0, 100))
    .action((word: string, options: { share: number }, command: Command) =>
      take(new Context(command), word, 'settle', 'You settle', { sharePercent: options.share }),
    );
}

async function take(
  context: Context,
  word: string,
  step: GigStep,
  words: string,
  body: object,
): Promise<void> {
  const gig = find(
    await context.get<GigView[]>('/api/gigs'),
    word,
    'gig',
    (each) => each.id,
    (each) => each.title,
  );
  const recorded = await context.post<Recorded>(`/api/gigs/${gig.id}/${step}`, body);
  await context.tellRecorded(recorded, `${words} “${plain(gig.title)}”.`);
}

const between =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d{1,3}$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`a whole number from ${least} to ${most} is expected.`);
    return value;
  };

const gigTable = (gigs: readonly GigView[]): string =>
  table(
    gigs,
    [
      { head: 'gig', cell: (gig) => short(gig.id) },
      { head: 'title', cell: (gig) => gig.title },
      { head: 'price', cell: (gig) => credits(gig.price), right: true },
      { head: 'status', cell: (gig) => gig.status },
      { head: 'by', cell: (gig) => gig.openerName ?? short(gig.opener) },
      { head: 'taken by', cell: (gig) => (gig.taker === null ? '' : (gig.takerName ?? short(gig.taker))) },
      { head: 'stars', cell: (gig) => gig.stars, right: true },
      { head: 'state', cell: (gig) => gig.state },
      { head: 'you may', cell: (gig) => gig.can.join(', ') },
    ],
    'No gigs yet. Offer work: town gig open --title … --description … --price N',
  );
