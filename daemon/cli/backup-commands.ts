/** `town backup` and `town restore`: the whole town in one encrypted file, and back into a new folder. */
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { usageError } from './cli-error.js';
import { Context } from './context.js';
import { plain, short, time } from './output.js';
import { progressBar } from './progress.js';
import { passphrase } from './prompt.js';

const RECIPIENTS_MAX = 16;

interface BackupWords {
  readonly passphraseFile?: string;
  readonly recipient?: readonly string[];
  readonly newIdentity?: string;
}

export function addBackupCommands(town: Command): void {
  town
    .command('backup')
    .description('put the whole town into one encrypted file (age format); the daemon may run')
    .argument('<file>', 'where to put it; outside the data folder, best on another disk')
    .option('--passphrase-file <file>', 'the passphrase it opens with; - is standard input')
    .option(
      '--recipient <age1...>',
      'encrypt to these recipients instead: no secret is needed here',
      collect,
      [],
    )
    .option('--new-identity <file>', 'make an identity, keep it in this file, and encrypt to it')
    .addHelpText(
      'after',
      "\nIt holds the ledger, the keys of encrypted records, and the members' keys under their passphrases. The keys that are this\n" +
        'node itself are never in it: a restored node gets new ones.',
    )
    .action(async (file: string, words: BackupWords, command: Command) => {
      await backup(new Context(command), resolve(file), words);
    });

  town
    .command('restore')
    .description('put a backup into a new data folder (--data)')
    .argument('<file>', 'what `town backup` made')
    .option('--passphrase-file <file>', 'the passphrase; - is standard input')
    .option('--identity <file>', 'a file with the identity (AGE-SECRET-KEY-…) that it was made for')
    .action(async (file: string, words: { passphraseFile?: string; identity?: string }, command: Command) => {
      await restored(new Context(command), resolve(file), words);
    });
}

const collect = (value: string, before: readonly string[]): readonly string[] => {
  if (before.length === RECIPIENTS_MAX)
    throw usageError(`At most ${RECIPIENTS_MAX} recipients are possible.`);
  return [...before, value];
};

async function backup(context: Context, file: string, words: BackupWords): Promise<void> {
  if (`${file}/`.startsWith(`${context.folder}/`))
    throw usageError(
      `${file} lies in the data folder itself.`,
      'A backup belongs elsewhere, best on another disk: what takes the folder would take it too.',
    );
  const [{ backUp }, { systemClock }] = await Promise.all([
    import('../node/backup.js'),
    import('../node/clock.js'),
  ]);
  const recipients = [...(words.recipient ?? [])];
  if (words.newIdentity !== undefined) recipients.push(await makeIdentity(resolve(words.newIdentity)));
  const lock =
    recipients.length > 0 ? { recipients } : { passphrase: await newPassphrase(words.passphraseFile) };
  const bar = await progressBar();
  const made = await backUp(context.folder, file, {
    lock,
    clock: systemClock,
    onProgress: (done, total) => bar.show(done, total, 'bytes'),
  }).finally(bar.end);
  const unblocked =
    made.unblocked === 0
      ? ''
      : `\n${made.unblocked} entries stood in no block yet: they are in it as text only (ask for a merge before a backup).`;
  context.tell(
    made,
    `Backed up ${plain(made.name)} at height ${made.height} into ${file} (${made.size.toLocaleString('en')} bytes).${unblocked}`,
  );
}

async function newPassphrase(passphraseFile: string | undefined): Promise<string> {
  const { assertPassphrase } = await import('../node/key-files.js');
  const words = await passphrase({ passphraseFile }, true);
  assertPassphrase(words);
  return words;
}

/** Writes a new identity (mode 600, never over another file) and returns its recipient. */
async function makeIdentity(path: string): Promise<string> {
  const { generateX25519Identity, identityToRecipient } = await import('age-encryption');
  const identity = await generateX25519Identity();
  const recipient = await identityToRecipient(identity);
  try {
    await writeFile(path, `# public key: ${recipient}\n${identity}\n`, {
      flag: 'wx',
      mode: 0o600,
      flush: true,
    });
  } catch (error) {
    throw usageError(
      `The identity cannot be written to ${path} (${(error as NodeJS.ErrnoException).code}).`,
      'Name a file that is not there yet; an identity that is there is used with --recipient.',
    );
  }
  process.stderr.write(
    `The identity is in ${path}: keep it away from this board. Its recipient, for the next backups:\n  ${recipient}\n`,
  );
  return recipient;
}

async function restored(
  context: Context,
  file: string,
  words: { passphraseFile?: string; identity?: string },
): Promise<void> {
  const { restore } = await import('../node/restore.js');
  const key =
    words.identity === undefined
      ? { passphrase: await passphrase({ passphraseFile: words.passphraseFile }, false) }
      : { identities: await identitiesOf(resolve(words.identity)) };
  const bar = await progressBar();
  const town = await restore(file, context.folder, {
    key,
    onProgress: (done, total) => bar.show(done, total, 'bytes'),
  }).finally(bar.end);
  const { folder } = town;
  const unblocked =
    town.unblocked === 0
      ? ''
      : `\n${town.unblocked} entries that stood in no block are in pending.jsonl there.`;
  context.tell(
    town,
    [
      `Restored ${plain(town.name)} (${short(town.town)}) as it was on ${time(town.at)}, height ${town.height}, into ${folder}.${unblocked}`,
      `The node has a new key and a new id, ${town.newNode}. It observes: it shows what was saved, records nothing and opens no doors`,
      'until a steward at another node of the town lets it in.',
      `Next steps: town verify --data ${folder}`,
      `            town node invite          (at another node), then here: town join CODE --data ${folder}`,
      `            or, where no other node is left: town split NAME --data ${folder} --to DIR  (a new town, from this one's state)`,
    ].join('\n'),
  );
}

async function identitiesOf(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw usageError(`The identity file ${path} cannot be read (${error.code}).`);
  });
  const lines = text.split('\n').map((line) => line.trim());
  const found = lines.filter((line) => line.startsWith('AGE-SECRET-KEY-')).slice(0, RECIPIENTS_MAX);
  if (found.length > 0) return found;
  throw usageError(`${path} holds no identity: a line that begins with AGE-SECRET-KEY-.`);
}
