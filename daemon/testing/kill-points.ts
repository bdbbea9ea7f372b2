/**
 * The points of a height, and of a recovery, at which a test may end a daemon or a command, and how it arms one: the name of the point
 * lies in a file that the process looks into at each of them (`kill-point.ts`, which the test has it load; the product knows nothing of this).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';

/** What has happened when the process ends, in the order of a height. */
export const KILL_POINTS = {
  'append-durable': 'an entry is durable, and who made it has no answer yet',
  'block-before': 'its entries are about to be put into a block',
  'block-durable': 'its block is durable, and nobody knows of it',
  'heads-sent': 'it has told the others of its block',
  'peer-block-durable': "another node's block is durable, and that is not told",
  'proposal-before': 'it has signed a proposal that is not durable',
  'proposal-durable': 'its proposal is durable, and not sent',
  'proposal-sent': 'its proposal is with the broker',
  'prevote-before': 'it has signed a prevote that is not durable',
  'prevote-durable': 'its prevote is durable, and not sent',
  'prevote-sent': 'its prevote is with the broker',
  'precommit-before': 'it has signed a precommit that is not durable',
  'precommit-durable': 'its precommit is durable, and not sent',
  'precommit-sent': 'its precommit is with the broker',
  decided: 'it knows the decision, and has not taken it over',
  'adopt-durable': 'the merge is main in the database, not in memory and not in git',
  'votes-kept': 'the merge is main, and what it signed for that is not forgotten',
  certified: 'it has a merge of the others with its certificate, and has not taken it over',
  'certified-durable': 'a merge of the others is main in the database, not in memory and not in git',
  'git-pack': 'a pack lies in git without its index',
  'git-half': 'pack and index lie in git, the refs are the old ones',
  'git-refs': 'git has everything, the database does not know that yet',
} as const;

/** And those of a recovery: of the board that carries it out, of those that are told, and of the first merge of the epoch. */
export const RECOVERY_POINTS = {
  'recovery-before': 'it was given what begins an epoch, and that is not durable',
  'recovery-durable': 'what begins an epoch is durable, and it does not go by it yet',
  'recovery-sent': 'it has told the others what begins the epoch, and who asked for that has no answer',
  'restored-forgotten':
    'it was restored from a backup, observes no more after this, and who asked has no answer',
  'epoch-proposed': "its proposal of the epoch's first merge is with the broker",
  'epoch-voted': "its precommit for the epoch's first merge is with the broker",
  'epoch-decided': "it knows the decision about the epoch's first merge, and has not taken it over",
  'epoch-durable': "the epoch's first merge is main in the database, not in memory and not in git",
  'epoch-certified':
    "it has the epoch's first merge of the others with its certificate, and has not taken it over",
  'epoch-certified-durable': "the others' first merge of the epoch is main in the database, not in memory",
} as const;

/** And those of the commands that make what begins it, in files. */
export const FILE_POINTS = {
  'file-written': 'the file is written and not yet in its place',
  'file-there': 'the file is in its place, and nobody was told',
} as const;

export type KillPoint = keyof typeof KILL_POINTS | keyof typeof RECOVERY_POINTS | keyof typeof FILE_POINTS;

/** The environment variable that names the file. */
export const KILL_POINT_FILE = 'KILL_POINT_FILE';

/** What a process leaves behind as its last act. */
export interface Reached {
  readonly point: KillPoint;
  /** What it was about: the signed message, the block, the merge or the entry. */
  readonly about: string;
}

const reachedFile = (file: string): string => `${file}.reached`;

const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

/** Has the process that looks into this file end at its next passing of the point; null: at none. */
export function arm(file: string, point: KillPoint | null): void {
  rmSync(reachedFile(file), { force: true });
  if (point === null) rmSync(file, { force: true });
  else writeFileSync(file, point);
}

/** The point that is armed, if any. */
export const armed = (file: string): string => textOf(file);

/** Tells where the process ends. */
export function tellReached(file: string, reached: Reached): void {
  writeFileSync(reachedFile(file), JSON.stringify(reached));
}

/** Where the process ended; null while it did not. */
export function reachedAt(file: string): Reached | null {
  const text = textOf(reachedFile(file));
  return text === '' ? null : (JSON.parse(text) as Reached);
}
