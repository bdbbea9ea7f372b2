/** `town bundle create|apply`: the ledger on a stick, and back. */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import type { Brought } from '../node/bring-history.js';
import { usageError } from './cli-error.js';
import { Context } from './context.js';
import { bringOptions } from './offer-client.js';
import { plain } from './output.js';
import { progressBar } from './progress.js';

export function addBundleCommands(town: Command): void {
  const command = town
    .command('bundle')
    .description('the ledger in one file, for a node that no network reaches; the daemon may run');
  command
    .command('create')
    .description('write a git bundle: main, the branches of all nodes, the certificates')
    .argument(
      '<file>',
      'where to put it, such as /media/stick/town.bundle; a bundle that is there is replaced',
    )
    .option('--since <merge>', 'leave out what whoever gets it has up to this merge: its height, or its id')
    .addHelpText(
      'after',
      '\nStock git reads it too: git bundle verify FILE, git clone FILE, git fetch FILE. The keys of sealed records do not travel in\n' +
        'it, nor any other secret: names stay unreadable at a node until another one gives it the keys over the network.',
    )
    .action(async (file: string, { since }: { since?: string }, self: Command) => {
      const context = new Context(self);
      const path = outside(context, file);
      const { createBundle } = await import('../node/bundle-create.js');
      const progress = await progressBar();
      const made = await createBundle(context.folder, path, { since, onProgress: progress.show }).finally(
        progress.end,
      );
      const upTo = `merge ${made.height}${made.since === null ? '' : `, from merge ${made.since} on`}`;
      const unblocked =
        made.unblocked === 0
          ? ''
          : `\n${made.unblocked} entries of this node stand in no block yet and are not in it: ask for a merge (town merge), then make it again.`;
      context.tell(
        made,
        `Wrote ${plain(made.file)}: ${made.bytes.toLocaleString('en')} bytes, up to ${upTo}.${unblocked}\n` +
          `  at the other node: town bundle apply FILE`,
      );
    });
  command
    .command('apply')
    .description(
      'take a bundle in: every block and merge passes the checks that messages of other nodes pass',
    )
    .argument('<file>', 'what `town bundle create` made at another node of this town')
    .addOption(
      new Option('--driver <kind>', 'where contracts run, with the daemon stopped').choices([
        'container',
        'process',
      ]),
    )
    .action(async (file: string, { driver }: { driver?: 'container' | 'process' }, self: Command) => {
      const context = new Context(self);
      const { applyBundle } = await import('../node/bring-history.js');
      const progress = await progressBar();
      const options = { ...bringOptions(context, driver), onProgress: progress.show };
      const brought = await applyBundle(context.folder, resolve(file), options).finally(progress.end);
      context.tell(brought, broughtText(brought, 'The bundle'));
    });
}

/** What came of it, in words. */
export function broughtText({ merges, blocks, height, waiting, daemon }: Brought, what: string): string {
  const nothing = merges === 0 && blocks === 0;
  return [
    nothing
      ? `${what} has nothing that is not here; main is at merge ${height}.`
      : `Took in ${merges} merges and ${blocks} blocks; main is at merge ${height}.`,
    ...(waiting.length === 0
      ? []
      : [
          `Blocks of ${waiting.join(', ')} build on merges that are neither here nor in it: they come with a later one.`,
        ]),
    ...(daemon || nothing ? [] : ['What waits to be merged is merged when the daemon runs: town start']),
  ].join('\n');
}

function outside(context: Context, file: string): string {
  const path = resolve(file);
  if (`${path}/`.startsWith(`${context.folder}/`))
    throw usageError('Expected a file outside the data folder.', 'Put it on the stick.');
  return path;
}
