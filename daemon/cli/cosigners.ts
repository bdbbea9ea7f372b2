/** Further stewards who sign a claim: `--with`, and where their passphrases come from. */
import type { Command } from 'commander';
import type { Cosigner } from '../node/fork-cases.js';
import { passphrasesOf, type PassphraseSource } from './prompt.js';

export interface CosignerOptions extends PassphraseSource {
  readonly with?: string[];
}

/** Adds the options that `cosignersOf` reads. */
export const withCosignerOptions = (command: Command): Command =>
  command
    .option('--with <steward...>', 'further stewards who sign; each is asked for their passphrase')
    .option(
      '--passphrase-file <file>',
      'take their passphrases from the lines of this file, in their order (-: standard input)',
    );

/** Those who sign too, each with their passphrase. @throws CliError (usage) as `passphrasesOf` */
export async function cosignersOf(options: CosignerOptions): Promise<readonly Cosigner[]> {
  const names = options.with ?? [];
  const passphrases = await passphrasesOf(names, options);
  return names.map((name, index) => ({ name, passphrase: passphrases[index] as string }));
}
