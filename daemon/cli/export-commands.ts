/** `town export git|jsonl`: the ledger in forms that other programs take. */
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { usageError } from './cli-error.js';
import { Context } from './context.js';
import { short } from './output.js';
import { progressBar } from './progress.js';

export function addExportCommands(town: Command): void {
  const command = town
    .command('export')
    .description('the ledger for other programs, without any secret; the daemon may run');
  command
    .command('git')
    .description('a bare git repository: every block, merge and certificate')
    .argument('<folder>', 'a new folder')
    .action(async (folder: string, _options: object, self: Command) => {
      const context = new Context(self);
      if (`${resolve(folder)}/`.startsWith(`${context.folder}/`))
        throw usageError('Expected a folder outside the data folder.');
      const { exportGit } = await import('../node/export-git.js');
      const progress = await progressBar();
      const done = await exportGit(context.folder, resolve(folder), progress.show).finally(progress.end);
      context.tell(
        done,
        `Exported ${done.refs} refs to ${done.folder}${done.main === null ? '' : `; main is ${short(done.main)}`}.\n` +
          `  git clone ${done.folder}; git -C ${done.folder} log --graph --notes=proof-of-merge`,
      );
    });
  command
    .command('jsonl')
    .description('every entry as a line of JSON, in the order of the merges; genesis first')
    .argument('[file]', 'where to put it; - is standard output', '-')
    .addHelpText(
      'after',
      '\nEach line has the fields that were signed (v, town, line, base, node, n, type, by, at, body), sig, and maybe cosigned;\n' +
        'and besides: id (SHA-256 of the canonical JSON of those), verdict (accepted, irregular, rejected; null: pending), code,\n' +
        'reason, other (the entry that brought a rejection about), height and merge. The first line is the genesis: town, charter.',
    )
    .action(async (file: string, _options: object, self: Command) => {
      const context = new Context(self);
      const { exportLines, linesToFile } = await import('../node/export-jsonl.js');
      if (file === '-') return toOutput(exportLines(context.folder));
      const progress = await progressBar();
      const lines = await linesToFile(resolve(file), exportLines(context.folder, progress.show)).finally(
        progress.end,
      );
      context.tell({ file: resolve(file), lines }, `Exported ${lines - 1} entries to ${resolve(file)}.`);
    });
}

async function toOutput(parts: AsyncIterable<string>): Promise<void> {
  for await (const part of parts) if (!process.stdout.write(part)) await once(process.stdout, 'drain');
}
