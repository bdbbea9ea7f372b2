/** `town person` and `town badge`: whom the town knows, and what opens doors for them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import type { BadgeView, PersonView, Recorded, TownEvent } from '../node/use-cases.js';
import { refusal, usageError } from './cli-error.js';
import { Context } from './context.js';
import { find } from './find.js';
import { plain, short, table, time } from './output.js';

const enrolWithin = 90_000;
const askAgainEvery = 300;

/** @returns the command `person`, for others to add to */
export function addPeopleCommands(town: Command): Command {
  const person = town.command('person').description('people the town knows, members or not');

  person
    .command('list')
    .description('everyone')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const people = await context.get<PersonView[]>('/api/people');
      context.tell(people, personTable(people));
    });

  person
    .command('add')
    .description('add a person')
    .argument('<name>')
    .option('--contact <text>', 'how to reach them')
    .action(async (name: string, options: { contact?: string }, command: Command) => {
      const context = new Context(command);
      const recorded = await context.post<Recorded & { person: string }>('/api/people', { name, ...options });
      await context.tellRecorded(
        recorded,
        `Added ${plain(name)}, ${recorded.person}.\nNext step: town badge enrol ${short(recorded.person)} --tap DOOR`,
      );
    });

  person
    .command('suspend')
    .description('refuse all their badges at once')
    .argument('<person>', 'id, a unique start of it, or name')
    .requiredOption('--reason <text>', 'why')
    .action(async (word: string, options: { reason: string }, command: Command) => {
      const context = new Context(command);
      const found = await findPerson(context, word);
      const recorded = await context.post<Recorded>(`/api/people/${found.id}/suspend`, options);
      await context.tellRecorded(recorded, `${nameOf(found)} is suspended.`);
    });

  person
    .command('reinstate')
    .description('take a suspension back')
    .argument('<person>', 'id, a unique start of it, or name')
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findPerson(context, word);
      const recorded = await context.post<Recorded>(`/api/people/${found.id}/reinstate`);
      await context.tellRecorded(recorded, `${nameOf(found)} is reinstated.`);
    });

  addBadgeCommands(town.command('badge').description('badges: enrol, list, revoke'));
  return person;
}

function addBadgeCommands(badge: Command): void {
  badge
    .command('list')
    .description('all badges')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const badges = badgesOf(await context.get<PersonView[]>('/api/people'));
      context.tell(badges, badgeTable(badges));
    });

  badge
    .command('enrol')
    .description('give a person a badge, by its number or by holding it to a reader')
    .argument('<person>', 'id, a unique start of it, or name')
    .option('--number <number>', 'the number as the reader gives it')
    .option('--tap <door>', 'take the next unknown badge held to this door within a minute')
    .option('--door <door...>', 'doors it opens (default: all)')
    .option('--until <date>', 'valid until, e.g. 2030-01-31 or 2030-01-31T18:00', moment)
    .action(
      async (
        word: string,
        options: { number?: string; tap?: string; door?: string[]; until?: number },
        command: Command,
      ) => {
        const context = new Context(command);
        if ((options.number === undefined) === (options.tap === undefined))
          throw usageError('Expected either --number N or --tap DOOR.');
        const found = await findPerson(context, word);
        const doors = options.door === undefined ? {} : { doors: options.door };
        if (options.tap !== undefined) {
          if (options.until !== undefined) throw usageError('--until goes with --number.');
          await enrolByTap(context, found, options.tap, doors);
          return;
        }
        const recorded = await context.post<Recorded & { badge: string }>('/api/badges', {
          person: found.id,
          badgeNumber: options.number,
          ...doors,
          ...(options.until === undefined ? {} : { until: options.until }),
        });
        await context.tellRecorded(recorded, `Badge ${short(recorded.badge)} is ${nameOf(found)}'s.`);
      },
    );

  badge
    .command('revoke')
    .description('refuse a badge at every door at once')
    .argument('<badge>', 'id or a unique start of it')
    .requiredOption('--reason <text>', 'why')
    .action(async (word: string, options: { reason: string }, command: Command) => {
      const context = new Context(command);
      const badges = badgesOf(await context.get<PersonView[]>('/api/people'));
      const found = find(
        badges,
        word,
        'badge',
        (each) => each.badge,
        () => null,
      );
      const recorded = await context.post<Recorded>(`/api/badges/${found.badge}/revoke`, options);
      await context.tellRecorded(recorded, `Badge ${short(found.badge)} is revoked.`);
    });
}

async function enrolByTap(
  context: Context,
  person: PersonView,
  door: string,
  doors: { doors?: readonly string[] },
): Promise<void> {
  const { enrolment } = await context.post<{ enrolment: string }>('/api/enrolments', {
    person: person.id,
    door,
    ...doors,
  });
  process.stderr.write(`Hold the new badge to the reader of ${door} within a minute …\n`);
  const until = Date.now() + enrolWithin;
  while (Date.now() < until) {
    const now = await context.get<TownEvent & { kind: 'enrol' }>(`/api/enrolments/${enrolment}`);
    if (now.status === 'done') {
      context.tell(now, `Badge ${short(now.badge ?? '')} is ${nameOf(person)}'s.`);
      return;
    }
    if (now.status === 'expired' || now.status === 'failed')
      throw refusal(
        `enrolment-${now.status}`,
        now.message ??
          (now.status === 'expired' ? 'No new badge came within a minute.' : 'The badge was not enrolled.'),
        'Run the command again.',
      );
    await sleep(askAgainEvery);
  }
  throw refusal('enrolment-expired', 'No new badge came within a minute.', 'Run the command again.');
}

function moment(text: string): number {
  const value = Date.parse(text);
  if (Number.isNaN(value)) throw new InvalidArgumentError('a date such as 2030-01-31 is expected.');
  return value;
}

export async function findPerson(context: Context, word: string): Promise<PersonView> {
  const people = await context.get<PersonView[]>('/api/people');
  return find(
    people,
    word,
    'person',
    (person) => person.id,
    (person) => person.name,
  );
}

const nameOf = (person: PersonView): string => plain(person.name ?? short(person.id));

interface BadgeOfPerson extends BadgeView {
  readonly personName: string | null;
}

const badgesOf = (people: readonly PersonView[]): BadgeOfPerson[] =>
  people.flatMap((person) => person.badges.map((badge) => ({ ...badge, personName: person.name })));

const NAMELESS: { readonly [record in PersonView['record']]: string } = {
  readable: '-',
  erased: '(erased)',
  'not-here': '(not readable here)',
};

const personTable = (people: readonly PersonView[]): string =>
  table(
    people,
    [
      { head: 'person', cell: (person) => short(person.id) },
      { head: 'name', cell: (person) => person.name ?? NAMELESS[person.record] },
      { head: 'contact', cell: (person) => person.contact },
      { head: 'status', cell: (person) => person.status },
      {
        head: 'badges',
        cell: (person) => person.badges.filter((badge) => badge.status === 'active').length,
        right: true,
      },
      { head: 'member', cell: (person) => (person.member === null ? '' : short(person.member)) },
      { head: 'state', cell: (person) => person.state },
    ],
    'Nobody yet. Add someone: town person add NAME',
  );

const badgeTable = (badges: readonly BadgeOfPerson[]): string =>
  table(
    badges,
    [
      { head: 'badge', cell: (badge) => short(badge.badge) },
      { head: 'person', cell: (badge) => badge.personName ?? short(badge.person) },
      { head: 'doors', cell: (badge) => (badge.doors === '*' ? 'all' : badge.doors.join(', ')) },
      { head: 'status', cell: (badge) => badge.status },
      { head: 'until', cell: (badge) => (badge.until === undefined ? '' : time(badge.until)) },
      { head: 'reason', cell: (badge) => badge.reason },
      { head: 'state', cell: (badge) => badge.state },
    ],
    'No badges yet. Enrol one: town badge enrol PERSON --tap DOOR',
  );
