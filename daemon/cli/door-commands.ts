/** `town door`: doors, taps at simulated readers, and what happened there. */
import type { Command } from 'commander';
import type { DoorEventView, DoorView, Recorded } from '../node/use-cases.js';
import { EXIT_REFUSED } from './cli-error.js';
import { Context } from './context.js';
import { followEvents } from './follow-events.js';
import { find } from './find.js';
import { count } from './ledger-commands.js';
import { plain, table, time } from './output.js';

export function addDoorCommands(town: Command): void {
  const door = town.command('door').description('doors');

  door
    .command('list')
    .description('doors and how they stand')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const doors = await context.get<DoorView[]>('/api/doors');
      context.tell(doors, doorTable(doors));
    });

  door
    .command('add')
    .description('put a door into the ledger')
    .argument('<id>', '1 to 32 lower-case letters, digits and -')
    .requiredOption('--name <name>')
    .action(async (id: string, options: { name: string }, command: Command) => {
      const context = new Context(command);
      const recorded = await context.post<Recorded>('/api/doors', { id, name: options.name });
      await context.tellRecorded(recorded, `Added the door ${plain(options.name)}.`);
    });

  door
    .command('tap')
    .description('hold a badge to a simulated reader; refused ends with exit code 1')
    .argument('<door>', 'id or name')
    .argument('<number>', "the badge's number")
    .action(async (word: string, badgeNumber: string, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findDoor(context, word);
      const event = await context.post<DoorEventView>(`/api/doors/${found.id}/tap`, { badgeNumber });
      context.tell(event, eventLine(event));
      if (event.outcome === 'refused') process.exitCode = EXIT_REFUSED;
    });

  door
    .command('open')
    .description('open a door from here')
    .argument('<door>', 'id or name')
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findDoor(context, word);
      const event = await context.post<DoorEventView>(`/api/doors/${found.id}/open`);
      context.tell(event, eventLine(event));
    });

  door
    .command('lockdown')
    .description('refuse every badge at a door; --off ends it')
    .argument('<door>', 'id or name')
    .option('--off', 'end it')
    .action(async (word: string, options: { off?: true }, command: Command) => {
      const context = new Context(command);
      const found = await findDoor(context, word);
      const recorded = await context.post<Recorded>(`/api/doors/${found.id}/lockdown`, { on: !options.off });
      await context.tellRecorded(
        recorded,
        `${plain(found.name)} is ${options.off ? 'back to normal' : 'locked down'}.`,
      );
    });

  door
    .command('log')
    .description('what happened at the doors, newest last')
    .argument('[door]', 'id or name; all doors if left out')
    .option('-n, --limit <n>', 'how many', count, 20)
    .option('-f, --follow', 'go on showing what happens, until Ctrl-C')
    .action(async (word: string | undefined, options: { limit: number; follow?: true }, command: Command) => {
      const context = new Context(command);
      const found = word === undefined ? null : await findDoor(context, word);
      const query = found === null ? '' : `&door=${found.id}`;
      const events = await context.get<DoorEventView[]>(`/api/doors/events?limit=${options.limit}${query}`);
      const oldestFirst = [...events].reverse();
      if (!options.follow) {
        context.tell(oldestFirst, oldestFirst.map(eventLine).join('\n') || 'Nothing happened yet.');
        return;
      }
      for (const event of oldestFirst) context.tell(event, eventLine(event));
      const { token } = await context.saved();
      for await (const event of followEvents(await context.client(), token))
        if (event.kind === 'door' && (found === null || event.event.door === found.id))
          context.tell(event.event, eventLine(event.event));
    });
}

async function findDoor(context: Context, word: string): Promise<DoorView> {
  const doors = await context.get<DoorView[]>('/api/doors');
  return find(
    doors,
    word,
    'door',
    (door) => door.id,
    (door) => door.name,
  );
}

function eventLine(event: DoorEventView): string {
  const who =
    event.personName ?? event.by ?? (event.badge === undefined ? '' : `badge ${event.badge.slice(0, 12)}`);
  const why = event.reason === undefined ? '' : `, ${event.reason}`;
  return plain(
    `${time(event.at)}  ${event.door}  ${event.kind} ${event.outcome}: ${event.code}${why}  ${who}`.trimEnd(),
  );
}

const doorTable = (doors: readonly DoorView[]): string =>
  table(
    doors,
    [
      { head: 'door', cell: (door) => door.id },
      { head: 'name', cell: (door) => door.name },
      { head: 'mode', cell: (door) => door.mode },
      { head: 'reader', cell: (door) => (door.here ? (door.reader ?? 'none') : `at node ${door.node}`) },
      { head: 'strike', cell: (door) => (door.strikeOn ? 'on' : 'off') },
      {
        head: 'last',
        cell: (door) =>
          door.last === null ? '' : `${time(door.last.at)} ${door.last.outcome} (${door.last.code})`,
      },
    ],
    'No doors yet.',
  );
