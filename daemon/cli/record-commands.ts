/** `town record` and `town person erase`: what is kept of people, and erasing it. */
import type { Command } from 'commander';
import type { RecordCases, RecordMonthView, RecordsView } from '../node/record-cases.js';
import { confirm } from './confirm.js';
import { Context } from './context.js';
import { plain, short, table } from './output.js';
import { findPerson } from './people-commands.js';

type Erased = Awaited<ReturnType<RecordCases['erase']>>;

export function addRecordCommands(town: Command, person: Command): void {
  const record = town
    .command('record')
    .description('sealed records of people: names, contacts, who was at which door');

  record
    .command('list')
    .description('how many keys of records this node keeps, month by month')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const records = await context.get<RecordsView>('/api/records');
      context.tell(records, recordsText(records));
    });

  record
    .command('erase')
    .description('erase what is known of yourself, at every node, for good')
    .option('--yes', 'do not ask')
    .action(async (options: { yes?: true }, command: Command) => {
      const context = new Context(command);
      if (options.yes !== true && !(await sure('you'))) return context.tell({}, 'Nothing was erased.');
      const erased = await context.post<Erased>('/api/records/erase');
      await context.tellRecorded(erased, told(erased, 'Your records are'));
    });

  person
    .command('erase')
    .description('erase what is known of a person, at every node, for good; their badges are revoked')
    .argument('<person>', 'id, a unique start of it, or name')
    .option('--yes', 'do not ask')
    .action(async (word: string, options: { yes?: true }, command: Command) => {
      const context = new Context(command);
      const found = await findPerson(context, word);
      const name = plain(found.name ?? short(found.id));
      if (options.yes !== true && !(await sure(name))) return context.tell({}, 'Nothing was erased.');
      const erased = await context.post<Erased>(`/api/people/${found.id}/erase`);
      await context.tellRecorded(erased, told(erased, `The records of ${name} are`));
    });
}

const sure = (whose: string): Promise<boolean> =>
  confirm(
    `This destroys the keys of all records of ${whose}: name, contact, door records, notes on payments. It cannot be undone: ` +
      'the ledger stays as it is and nobody can read those records any more. Credits, membership and the id stay.',
    `Erase the records of ${whose}?`,
    'Say --yes where nobody can be asked.',
  );

const told = ({ badges }: Erased, what: string): string =>
  `${what} erased at every node once it has the next merge.` +
  (badges === 0 ? '' : ` ${badges === 1 ? 'One badge was' : `${badges} badges were`} revoked.`);

function recordsText({ retentionMonths, readers, mayRead, months, missing, erased }: RecordsView): string {
  const lines = [
    `Kept for ${retentionMonths} ${retentionMonths === 1 ? 'month' : 'months'}, readable at nodes with the role ${readers.join(' or ')}` +
      (mayRead ? ' (this node is one).' : '; this node is none: it has only the keys it made itself.'),
    table(
      months,
      [
        { head: 'month', cell: ({ month }: RecordMonthView) => month },
        { head: 'keys', cell: ({ keys }) => keys, right: true },
        { head: 'kept', cell: ({ over }) => (over ? 'as long as the register needs it' : 'in full') },
      ],
      'No keys of records are here.',
    ),
  ];
  if (missing > 0) lines.push(`Keys that the ledger names and that are not here: ${missing}.`);
  if (erased > 0) lines.push(`Erased on request: ${erased}.`);
  return lines.join('\n');
}
