#!/usr/bin/env node
/** The `town` command: puts the commands together, and tells how they end. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { TownError } from '../ledger/ids.js';
import { addBackupCommands } from './backup-commands.js';
import { addBundleCommands } from './bundle-commands.js';
import { CliError, EXIT_OK, EXIT_REFUSED, EXIT_USAGE, fileProblem } from './cli-error.js';
import { addDoorCommands } from './door-commands.js';
import { addForkCommands } from './fork-commands.js';
import { addExportCommands } from './export-commands.js';
import { addGigCommands } from './gig-commands.js';
import { addJoinCommand } from './join-command.js';
import { addKeyCommands } from './key-commands.js';
import { addLedgerCommands } from './ledger-commands.js';
import { addMemberCommands } from './member-commands.js';
import { addMirrorCommands } from './mirror-commands.js';
import { addMoneyCommands } from './money-commands.js';
import { addNodeCommands } from './node-commands.js';
import { addNoticeCommands } from './notice-commands.js';
import { plain } from './output.js';
import { addPeerCommands } from './peer-commands.js';
import { addPeopleCommands } from './people-commands.js';
import { addRecordCommands } from './record-commands.js';
import { addRecoveryCommands } from './recovery-commands.js';
import { addSessionCommands } from './session-commands.js';
import { addSplitCommand } from './split-command.js';

const after = `
Ids may be shortened to a unique start; people, members, doors, nodes and gigs also go by name.
Environment: TOWN_URL, TOWN_DATA, TOWN_PASSPHRASE.
Exit codes: 0 done, 1 refused by a rule or not found, 2 wrong usage, 3 no daemon answers.`;

function makeProgram(): Command {
  const town = new Command('town')
    .description("a town's node: its ledger, people, doors and credits")
    .option('--json', 'one JSON document a line; errors too, on stderr')
    .option('--url <url>', 'the daemon, e.g. http://127.0.0.1:4870')
    .option('--data <dir>', 'its data folder (default .data)')
    .option('--as <name>', 'use the saved session of this name')
    .option('--line <draft>', 'work on this draft instead of main: people, members, credits, gigs, charter')
    .option('--wait', 'after a change: wait for the merge and its verdict')
    .version(version(), '-V, --version')
    .addHelpText('after', after)
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  addNodeCommands(town);
  addJoinCommand(town);
  addBackupCommands(town);
  addBundleCommands(town);
  addMirrorCommands(town);
  addExportCommands(town);
  addSessionCommands(town);
  addLedgerCommands(town);
  addRecordCommands(town, addPeopleCommands(town));
  addMemberCommands(town);
  addMoneyCommands(town);
  addKeyCommands(town);
  addNoticeCommands(town);
  addDoorCommands(town);
  addGigCommands(town);
  addForkCommands(town);
  addSplitCommand(town);
  addPeerCommands(town);
  addRecoveryCommands(town);
  return town;
}

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

interface Problem {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  readonly advice?: string | undefined;
}

/** What an error is to a person; null: none at all (help was asked for). */
function problemOf(error: unknown): Problem | null {
  if (error instanceof CliError) return error;
  if (error instanceof TownError)
    return { exitCode: EXIT_REFUSED, code: error.code, message: error.message, advice: error.advice };
  const ofFile = fileProblem(error);
  if (ofFile) return ofFile;
  if (!(error instanceof CommanderError)) throw error;
  if (error.exitCode === 0) return null;
  if (error.code === 'commander.help')
    return {
      exitCode: EXIT_USAGE,
      code: 'usage',
      message: 'Expected a command.',
      advice: 'See `town --help`.',
    };
  const [message = '', ...suggestion] = error.message.replace(/^error: /, '').split('\n');
  return {
    exitCode: EXIT_USAGE,
    code: 'usage',
    message: sentence(message),
    advice: suggestion.join(' ').trim() || 'See `town --help`, or --help after a command.',
  };
}

const sentence = (text: string): string => {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${trimmed.endsWith('.') ? '' : '.'}`;
};

function tellProblem(problem: Problem, json: boolean): void {
  const { code, message, advice } = problem;
  if (json) {
    const error = { code, message, ...(advice === undefined ? {} : { advice }) };
    process.stderr.write(`${JSON.stringify({ error })}\n`);
    return;
  }
  process.stderr.write(`error: ${plain(message)}\n${advice === undefined ? '' : `  ${plain(advice)}\n`}`);
}

// A reader that has seen enough (`town log | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_OK);
  throw error;
});

try {
  await makeProgram().parseAsync();
} catch (error) {
  const problem = problemOf(error);
  if (problem !== null) {
    tellProblem(problem, process.argv.includes('--json'));
    process.exitCode = problem.exitCode;
  }
}
