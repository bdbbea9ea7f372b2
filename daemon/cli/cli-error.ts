/** How a command ends: exit codes, and the errors that carry them. */

export const EXIT_OK = 0;
/** A rule refused it, or what was named is not there. */
export const EXIT_REFUSED = 1;
/** The command line was wrong. */
export const EXIT_USAGE = 2;
/** No daemon answers. */
export const EXIT_NO_DAEMON = 3;

/** Told to the person in two lines: what was expected and what came, and what to do. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    readonly exitCode: number,
    readonly code: string,
    message: string,
    readonly advice?: string,
  ) {
    super(message);
  }
}

export const usageError = (message: string, advice?: string): CliError =>
  new CliError(EXIT_USAGE, 'usage', message, advice);

export const refusal = (code: string, message: string, advice?: string): CliError =>
  new CliError(EXIT_REFUSED, code, message, advice);
