/** `town split`: a new town of its own, from the state of this one. */
import type { Command } from 'commander';
import { Context } from './context.js';
import { plain, short } from './output.js';

export function addSplitCommand(town: Command): void {
  town
    .command('split')
    .description('found a new town from the state of this one, in a folder of its own; reads --data only')
    .argument('<name>', 'what the new town is called')
    .requiredOption('--to <dir>', 'where its data folder goes: empty, or not there')
    .option('--from <merge>', 'from this merge (height, git id, or 8 digits of its id), not from the head')
    .action(async (name: string, options: { to: string; from?: string }, command: Command) => {
      const context = new Context(command);
      const { splitTown } = await import('../node/split-town.js');
      const { systemClock } = await import('../node/clock.js');
      const split = await splitTown(context.folder, { name, ...options, clock: systemClock });
      context.tell(
        split,
        `${plain(name)} is a town of its own now: ${short(split.town)}, from height ${split.origin.height} of ${short(split.origin.town)}.\n` +
          `  Start it with: npm start -- --data ${split.folder} --port 0 --mqtt-port 0\n` +
          '  Members sign in there with the names and passphrases that they have here.',
      );
    });
}
