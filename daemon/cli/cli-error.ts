/** How a command ends: exit codes, and the errors that carry them. */
import { basename, dirname } from 'node:path';

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

/** What the system's codes mean to a person, and what to do. */
const SYSTEM: { readonly [code: string]: readonly [what: string, advice: string] } = {
  ENOENT: [
    'there is no such file or folder',
    'Name one that is there; folders are not made on the way to a file.',
  ],
  ENOTDIR: ['a part of that path is a file', 'Name a folder that is one.'],
  EISDIR: ['it is a folder', 'Name a file.'],
  EEXIST: ['it is there already', 'Name another one.'],
  EACCES: ['this account may not', 'Run it as the account that the daemon runs as, or name another place.'],
  EPERM: ['this account may not', 'Run it as the account that the daemon runs as, or name another place.'],
  ENOSPC: ['the disk is full', 'Make room, or name a place on another disk.'],
  EDQUOT: ['the disk is full for this account', 'Make room, or name a place on another disk.'],
  EROFS: ['the disk can only be read', 'Name a place on another disk.'],
};

/** What the system refused to do with a file, in words; null where the error is of another kind. */
export function fileProblem(error: unknown): CliError | null {
  const { code, path, dest, syscall } = error as NodeJS.ErrnoException & { readonly dest?: string };
  const known = code === undefined ? undefined : SYSTEM[code];
  const place = dest ?? path;
  if (!known || syscall === undefined || place === undefined) return null;
  // A half that was to become the file that was named: people know its folder.
  const isHalf = /^\..*\.(tmp|half)$/.test(basename(place));
  return refusal('file', `${isHalf ? dirname(place) : place}: ${known[0]} (${code}).`, known[1]);
}
