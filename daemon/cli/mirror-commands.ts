/** `town mirror add|remove|list|push|pull`: the ledger on plain git remotes. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { broughtText } from './bundle-commands.js';
import { refusal } from './cli-error.js';
import { Context } from './context.js';
import { bringOptions } from './offer-client.js';
import { plain } from './output.js';
import { progressBar } from './progress.js';

export function addMirrorCommands(town: Command): void {
  const command = town
    .command('mirror')
    .description('the ledger on plain git remotes (a path, ssh, https), by stock git; the daemon may run');
  command
    .command('add')
    .description('name a git remote as a mirror')
    .argument('<name>', 'lower-case letters, digits and -')
    .argument('<url>', 'the path of a bare repository, ssh://…, user@host:path or https://…')
    .addHelpText(
      'after',
      '\nWho can read the mirror can read the ledger: who traded what with whom, by their ids. Names and door records are sealed, and\n' +
        'their keys do not go there.',
    )
    .action(async (name: string, url: string, _options: object, self: Command) => {
      const context = new Context(self);
      const { addMirror } = await import('../node/mirrors.js');
      const { hasTown } = await import('../node/init-town.js');
      if (!(await hasTown(context.folder)))
        throw refusal(
          'no-town',
          `There is no town in ${context.folder}.`,
          'Name its data folder with --data.',
        );
      const mirror = { name, url: existsSync(url) ? resolve(url) : url };
      await addMirror(context.folder, mirror);
      context.tell(mirror, `Mirror ${name}: ${plain(mirror.url)}\n  town mirror push ${name}`);
    });
  command
    .command('remove')
    .description('forget a mirror; what is there stays there')
    .argument('<name>')
    .action(async (name: string, _options: object, self: Command) => {
      const context = new Context(self);
      const { removeMirror } = await import('../node/mirrors.js');
      await removeMirror(context.folder, name);
      context.tell({ name }, `The mirror ${name} is forgotten; what is there stays there.`);
    });
  command
    .command('list')
    .description('the mirrors of this node')
    .action(async (_options: object, self: Command) => {
      const context = new Context(self);
      const { readMirrors } = await import('../node/mirrors.js');
      const mirrors = await readMirrors(context.folder);
      context.tell(
        mirrors,
        mirrors.map(({ name, url }) => `${name}  ${plain(url)}`).join('\n') ||
          'No mirrors. Add one with town mirror add NAME URL.',
      );
    });
  command
    .command('push')
    .description('push main, the branches and the certificates; never forced')
    .argument('<name>')
    .action(async (name: string, _options: object, self: Command) => {
      const context = new Context(self);
      const { pushMirror } = await import('../node/mirror-sync.js');
      const pushed = await pushMirror(context.folder, name);
      const ahead =
        pushed.ahead.length === 0
          ? ''
          : `\nIt has more than this node of ${pushed.ahead.join(', ')}: town mirror pull ${name}`;
      context.tell(
        pushed,
        (pushed.moved.length === 0
          ? `The mirror ${name} has all of it already, up to merge ${pushed.height}.`
          : `Pushed ${pushed.moved.length} refs to ${name}, up to merge ${pushed.height}.`) + ahead,
      );
    });
  command
    .command('pull')
    .description('take in what the mirror has and this node has not, checked as a bundle is')
    .argument('<name>')
    .addOption(
      new Option('--driver <kind>', 'where contracts run, with the daemon stopped').choices([
        'container',
        'process',
      ]),
    )
    .action(async (name: string, { driver }: { driver?: 'container' | 'process' }, self: Command) => {
      const context = new Context(self);
      const { pullMirror } = await import('../node/mirror-sync.js');
      const progress = await progressBar();
      const options = { ...bringOptions(context, driver), onProgress: progress.show };
      const brought = await pullMirror(context.folder, name, options).finally(progress.end);
      context.tell(brought, broughtText(brought, `The mirror ${name}`));
    });
}
