/** A yes or no of the person at the terminal. */
import { createInterface } from 'node:readline/promises';
import { usageError } from './cli-error.js';

/**
 * Shows what it is about and asks, on stderr, so that stdout stays clean for pipes. Anything but y or yes is a no.
 * @param instead what to do where nobody can be asked
 * @throws CliError (usage) where there is no terminal
 */
export async function confirm(about: string, question: string, instead: string): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw usageError('This needs a yes, and there is no terminal to ask for it.', instead);
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    process.stderr.write(`${about}\n`);
    // The end of the input and Ctrl-C are a no as well.
    lines.once('SIGINT', () => lines.close());
    const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    const answer = await Promise.race([lines.question(`${question} [y/N] `), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}
