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

/**
 * The passphrases of several people: the lines of a file in their order (`-`: standard input), or each is asked at the terminal.
 * @throws CliError (usage) where there is neither, or the file has too few lines
 */
export async function passphrasesOf(
  names: readonly string[],
  { passphraseFile }: PassphraseSource,
): Promise<readonly string[]> {
  if (names.length === 0) return [];
  if (passphraseFile !== undefined) {
    const lines = await linesOf(passphraseFile, names.length);
    if (lines.length >= names.length) return lines.slice(0, names.length);
    throw usageError(`Expected ${names.length} passphrases, one a line, got ${lines.length}.`);
  }
  if (!process.stdin.isTTY)
    throw usageError(
      'Passphrases are needed and there is no terminal to ask for them.',
      'Give them with --passphrase-file FILE, one a line (- is standard input).',
    );
  const list: string[] = [];
  for (const name of names) list.push(await askHidden(`Passphrase of ${name}: `));
  return list;
}

const firstLine = async (path: string): Promise<string> => (await linesOf(path, 1))[0] ?? '';

/** The first lines of a file, as many as are wanted and there are. */
async function linesOf(path: string, wanted: number): Promise<readonly string[]> {
  const file = path === '-' ? null : await open(path, 'r').catch(unreadable(path));
  try {
    let text = '';
    const stream = file === null ? process.stdin : file.createReadStream({ autoClose: false });
    for await (const chunk of stream) {
      text += String(chunk);
      if (text.split('\n').length > wanted || text.length > fileBytesMax * wanted) break;
    }
    return text
      .replace(/\r?\n$/, '')
      .split(/\r?\n/)
      .slice(0, wanted);
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
