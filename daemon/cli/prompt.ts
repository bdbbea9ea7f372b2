/** Where a passphrase comes from: a file, the environment, or a prompt that shows nothing of it. */
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { usageError } from './cli-error.js';

const fileBytesMax = 4096;

export interface PassphraseSource {
  /** First line of this file; `-` is standard input. */
  readonly passphraseFile?: string | undefined;
}

/**
 * @param isNew asked twice at the terminal, since a typing mistake would lock the person out
 * @throws CliError (usage) when there is neither a file, nor TOWN_PASSPHRASE, nor a terminal
 */
export async function passphrase(source: PassphraseSource, isNew: boolean): Promise<string> {
  if (source.passphraseFile !== undefined) return firstLine(source.passphraseFile);
  const fromEnvironment = process.env['TOWN_PASSPHRASE'];
  if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment;
  if (!process.stdin.isTTY)
    throw usageError(
      'A passphrase is needed and there is no terminal to ask for it.',
      'Give it with --passphrase-file FILE (- is standard input) or in TOWN_PASSPHRASE.',
    );
  const first = await askHidden(isNew ? 'New passphrase: ' : 'Passphrase: ');
  if (isNew && (await askHidden('Once more: ')) !== first)
    throw usageError('The two passphrases differ.', 'Run the command again.');
  return first;
}

async function firstLine(path: string): Promise<string> {
  const file = path === '-' ? null : await open(path, 'r').catch(unreadable(path));
  try {
    let text = '';
    const stream = file === null ? process.stdin : file.createReadStream({ autoClose: false });
    for await (const chunk of stream) {
      text += String(chunk);
      if (text.includes('\n') || text.length > fileBytesMax) break;
    }
    return text.split(/\r?\n/, 1)[0] ?? '';
  } finally {
    await file?.close();
  }
}

const unreadable =
  (path: string) =>
  (error: NodeJS.ErrnoException): never => {
    throw usageError(`The passphrase file ${path} cannot be read (${error.code}).`);
  };

/** Asks on stderr, so that stdout stays clean for pipes. */
async function askHidden(question: string): Promise<string> {
  process.stderr.write(question);
  const nothing = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nothing, terminal: true });
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve);
      lines.once('SIGINT', () => reject(usageError('Given up.')));
      lines.once('close', () => reject(usageError('Given up.')));
    });
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}
