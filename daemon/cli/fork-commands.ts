/** `town fork`: drafts of the town on this node: made, looked at, given up, brought home. */
import { InvalidArgumentError, type Command } from 'commander';
import type { Json } from '../ledger/ids.js';
import type { ForkChanges, ForkDetails, ForkJudgement, ForkView } from '../node/fork-cases.js';
import type { Recorded } from '../node/use-cases.js';
import { usageError } from './cli-error.js';
import { confirm } from './confirm.js';
import { Context } from './context.js';
import { cosignersOf, withCosignerOptions, type CosignerOptions } from './cosigners.js';
import { credits, facts, plain, short, table, time } from './output.js';

const adoptWithin = 600_000;

/** The name of a draft, as the daemon takes it. */
export function forkName(text: string): string {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(text))
    throw new InvalidArgumentError('1 to 32 of a-z, 0-9 and - are expected, a letter first.');
  return text;
}

export function addForkCommands(town: Command): void {
  const fork = town
    .command('fork')
    .description('drafts: try something on a line of its own, then bring it home or give it up')
    .argument('[name]', 'make a draft of this name, to be worked on with: town --line NAME …', forkName)
    .option('--from <merge>', 'go off at this merge (height, git id, or 8 digits of its id), not at the head')
    .action(async (name: string | undefined, options: { from?: string }, command: Command) => {
      const context = new Context(command);
      if (name === undefined)
        throw usageError(
          'Expected the name of a draft, or one of list, show, drop, adopt.',
          'See `town fork --help`.',
        );
      const made = await context.post<ForkView>('/api/forks', { name, ...options });
      context.tell(
        made,
        `The draft ${made.name} goes off main at height ${made.base.height}.\n  Work on it with: town --line ${made.name} …`,
      );
    });

  fork
    .command('list')
    .description('the drafts of this node')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const forks = await context.get<ForkView[]>('/api/forks');
      context.tell(forks, forkTable(forks));
    });

  fork
    .command('show')
    .description('what a draft holds, and what main would be with it')
    .argument('<name>', 'the draft', forkName)
    .action(async (name: string, _options: object, command: Command) => {
      const context = new Context(command);
      const details = await context.get<ForkDetails>(`/api/forks/${name}`);
      context.tell(details, detailsText(details));
    });

  fork
    .command('drop')
    .description('give a draft up: it is closed for good; what was recorded on it stays in git')
    .argument('<name>', 'the draft', forkName)
    .option('--yes', 'do not ask')
    .action(async (name: string, options: { yes?: true }, command: Command) => {
      const context = new Context(command);
      const { fork: shown } = await context.get<ForkDetails>(`/api/forks/${name}`);
      const about = `The draft ${name} has ${shown.entries} entries that never come to main then. They stay in ledger.git, on refs/heads/${name}.`;
      if (!options.yes && !(await confirm(about, 'Give it up?', 'Say --yes.')))
        return context.tell({ fork: shown }, 'Nothing was changed.');
      const dropped = await context.post<ForkView>(`/api/forks/${name}/drop`);
      context.tell(dropped, `The draft ${name} is given up.`);
    });

  const adopt = fork
    .command('adopt')
    .description('ask the town to take the draft in; signed by as many stewards as the charter wants')
    .argument('<name>', 'the draft', forkName);
  withCosignerOptions(adopt).action(async (name: string, options: CosignerOptions, command: Command) => {
    const context = new Context(command);
    const cosigners = await cosignersOf(options);
    const recorded = await context.post<Recorded>(`/api/forks/${name}/adopt`, { cosigners }, adoptWithin);
    await context.tellRecorded(
      recorded,
      `The town is asked to take the draft ${name} in. It is closed now; see town fork show ${name}.`,
    );
  });
}

const statusWords: { readonly [status in ForkView['status']]: string } = {
  open: 'open',
  adopting: 'asked for; waits for its merge',
  adopted: 'came home',
  dropped: 'given up',
};

const forkTable = (forks: readonly ForkView[]): string =>
  table(
    forks,
    [
      { head: 'draft', cell: (fork) => fork.name },
      { head: 'status', cell: (fork) => statusWords[fork.status] },
      { head: 'off main at', cell: (fork) => fork.base.height, right: true },
      { head: 'height', cell: (fork) => fork.head.height, right: true },
      { head: 'entries', cell: (fork) => fork.entries, right: true },
      { head: 'made', cell: (fork) => time(fork.created) },
    ],
    'No drafts. Make one: town fork NAME',
  );

const judged = (judgement: ForkJudgement | null, none: string): string => {
  if (judgement === null) return none;
  const { verdict, code, reason, other } = judgement;
  const why = reason ?? code;
  const against = other === undefined ? '' : ` (by ${short(other)})`;
  return why === undefined ? verdict : `${verdict}: ${why}${against}`;
};

function detailsText({ fork, entries, changes }: ForkDetails): string {
  const isOut = fork.status === 'open' || fork.status === 'adopting';
  const lines = entries.map(
    ({ id, says, onDraft, onMain }) =>
      `  ${short(id)}  ${plain(says)}\n` +
      `                on the draft: ${plain(judged(onDraft, 'not merged yet'))}\n` +
      `                on main${isOut ? ' now' : ''}: ${plain(judged(onMain, isOut ? 'not tried' : 'not merged yet'))}`,
  );
  return [
    facts([
      ['draft', fork.name],
      ['status', statusWords[fork.status]],
      ['off main at', `height ${fork.base.height}, ${short(fork.base.oid)}`],
      ['its head', `height ${fork.head.height}, ${short(fork.head.oid)}`],
      ['made', time(fork.created)],
    ]),
    '',
    ...(lines.length === 0 ? ['Nothing was recorded on it.'] : [`${fork.entries} entries:`, ...lines]),
    ...(changes === null ? [] : ['', ...changesText(changes)]),
  ].join('\n');
}

const value = (json: Json): string => (json === null ? 'nothing' : JSON.stringify(json));

function changesText({ balances, members, charter, others }: ForkChanges): readonly string[] {
  const lines = [
    ...balances.map(
      ({ account, name, before, after }) =>
        `  ${plain(name ?? account)}: ${credits(before)} → ${credits(after)} credits`,
    ),
    ...members.map(
      ({ member, name, before, after }) =>
        `  member ${plain(name ?? short(member))}: ${plain(rolesOf(before))} → ${plain(rolesOf(after))}`,
    ),
    ...charter.map(
      ({ at, before, after }) => `  charter ${plain(at)}: ${plain(value(before))} → ${plain(value(after))}`,
    ),
    ...others.map(({ place, count }) => `  ${place}: ${count} changed`),
  ];
  return lines.length === 0
    ? ['It would change nothing on main.']
    : ['What it would change on main:', ...lines];
}

/** A member as the state has it, in a word or two. */
function rolesOf(member: Json): string {
  const { roles = [], status } = (member ?? {}) as { roles?: string[]; status?: string };
  if (member === null) return 'no member';
  return `${roles.join(', ') || 'no role'}${status === undefined || status === 'active' ? '' : ` (${status})`}`;
}
