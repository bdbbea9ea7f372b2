/** `town recover` and `town recovery`: going on with other validators when too few are left. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { RecoveryApplied, RecoveryNodeView, RecoveryPlace } from '../node/recovery-cases.js';
import type { Recovered } from '../node/recovery-files.js';
import type { Recorded } from '../node/use-cases.js';
import { CliError, refusal, usageError } from './cli-error.js';
import { confirm } from './confirm.js';
import { Context } from './context.js';
import { facts, plain, short } from './output.js';

const PLENTY = 16;

export function addRecoveryCommands(town: Command): void {
  town
    .command('recover')
    .description('too few validators are left: make the statement that goes on with others')
    .argument('<file>', 'where to put it, for those who hold the keys of recovery to sign')
    .option(
      '--validators <node...>',
      'the new ones, by name or id; else this node and the validators it hears',
    )
    .option('--quorum <rule>', 'majority or two-thirds; else as it is, and majority below four')
    .action(async (file: string, options: { validators?: string[]; quorum?: string }, command: Command) => {
      const context = new Context(command);
      const place = await context.get<RecoveryPlace>('/api/recovery');
      const statement = statementOf(place, options);
      const recovery = { statement, sigs: [] };
      const path = resolve(file);
      const { makeRecoveryFile } = await import('../node/recovery-files.js');
      await makeRecoveryFile(path, recovery);
      context.tell({ file: path, ...recovery }, madeText(path, place, statement));
    });

  const recovery = town
    .command('recovery')
    .description('the offline keys that can go on with other validators, and what they sign');

  recovery
    .command('key')
    .description('make a key of recovery; it belongs on a stick in a drawer, not on a board')
    .argument('<file>', 'a new file for it')
    .action(async (file: string, _options: object, command: Command) => {
      const { makeRecoveryKey } = await import('../node/recovery-files.js');
      const key = await makeRecoveryKey(resolve(file));
      new Context(command).tell(
        { file: resolve(file), key },
        `Made ${resolve(file)}: keep it off the boards, and give nobody else the file.\nIts public half: ${key}\n` +
          'When all keys are made, a steward records them: town recovery set K KEY…',
      );
    });

  recovery
    .command('set')
    .description('put the keys into the charter: K of them together can go on with other validators')
    .argument('<k>', 'how many must sign')
    .argument('<keys...>', 'the public halves')
    .action(async (k: string, keys: string[], _options: object, command: Command) => {
      const context = new Context(command);
      const wanted = Number(k);
      if (!/^\d{1,2}$/.test(k) || wanted < 1 || wanted > keys.length || keys.length > PLENTY)
        throw usageError(
          `Expected how many must sign, from 1 to the number of keys (${PLENTY} at most), and the keys.`,
          'For example: town recovery set 2 KEY KEY KEY',
        );
      const bad = keys.find((key) => !/^[0-9a-f]{64}$/.test(key));
      if (bad !== undefined) throw usageError(`Expected the 64 hex digits of a public key, got ${bad}.`);
      const set = { '/recovery': { k: wanted, keys } };
      const recorded = await context.post<Recorded>('/api/charter/changes', { set, remove: [] });
      await context.tellRecorded(recorded, `${wanted} of ${keys.length} keys can recover the town then.`);
    });

  recovery
    .command('sign')
    .description('sign a statement with a key of recovery; needs no daemon and no network')
    .argument('<file>', 'what `town recover` made')
    .requiredOption('--key <file>', 'the key, as `town recovery key` made it')
    .option('--yes', 'do not ask')
    .action(async (file: string, options: { key: string; yes?: true }, command: Command) => {
      const context = new Context(command);
      const { readRecoveryFile, signRecoveryFile } = await import('../node/recovery-files.js');
      const { statement } = await readRecoveryFile(resolve(file));
      const isSure =
        options.yes === true ||
        (await confirm(
          statementText(statement),
          'Sign this?',
          'Read the file, and say --yes where nobody can be asked.',
        ));
      if (!isSure) return context.tell({}, 'Nothing was signed.');
      const signed = await signRecoveryFile(resolve(file), resolve(options.key));
      const count = signed.recovery.sigs.length;
      context.tell(
        { file: resolve(file), key: signed.key, signatures: count },
        `Signed with ${short(signed.key)}…; ${count === 1 ? 'one key has' : `${count} keys have`} signed by now.`,
      );
    });

  recovery
    .command('apply')
    .description('go on by a statement that enough keys have signed')
    .argument('<files...>', 'the file; or several copies of it that were signed apart')
    .option('--yes', 'do not ask')
    .action(async (files: string[], options: { yes?: true }, command: Command) => {
      const context = new Context(command);
      const { readRecoveryFiles } = await import('../node/recovery-files.js');
      const signed = await readRecoveryFiles(files.map((file) => resolve(file)));
      const apply = (leaveBehind: boolean): Promise<RecoveryApplied> =>
        context.post<RecoveryApplied>('/api/recovery', { ...signed, leaveBehind });
      const applied = await apply(options.yes === true).catch(async (error: unknown) => {
        if (!(error instanceof CliError) || error.code !== 'leaves-behind') throw error;
        const instead = `${error.message} ${error.advice ?? ''} To leave it behind, say --yes.`;
        return (await confirm(error.message, 'Leave this node behind?', instead)) ? apply(true) : null;
      });
      if (applied === null) return context.tell({}, 'Nothing was changed.');
      context.tell(applied, appliedText(applied));
    });
}

type Statement = Recovered['statement'];

function statementOf(
  place: RecoveryPlace,
  { validators, quorum }: { validators?: string[]; quorum?: string },
): Statement {
  if (place.keys === null)
    throw refusal(
      'no-recovery',
      'The charter names no keys of recovery: nobody can go on with other validators.',
      'Bring enough of the validators back. For another time: town recovery key, then town recovery set.',
    );
  const ahead = place.nodes.find(({ connected, height }) => connected && (height ?? 0) > place.height);
  if (ahead)
    throw refusal(
      'node-behind',
      `${plain(ahead.name)} has merge ${ahead.height}, and this node only ${place.height}: what was merged after that would be left behind.`,
      'Wait until this node has it (town node sync), or run this at the other node.',
    );
  const chosen = validators?.map((word) => nodeOf(place, word)) ?? place.nodes.filter(isLeft);
  if (chosen.length === 0) throw usageError('Expected validators.', 'Name them with --validators NODE…');
  const rule = quorum ?? (chosen.length < 4 ? 'majority' : place.quorum);
  if (rule !== 'majority' && rule !== 'two-thirds')
    throw usageError(`Expected majority or two-thirds, got ${rule}.`);
  return {
    v: 1,
    town: place.town.id,
    line: 'main',
    epoch: place.nextEpoch,
    height: place.height,
    parent: place.parent,
    nodes: Object.fromEntries(chosen.flatMap(({ id, brings }) => (brings ? [[id, brings]] : []))),
    validators: chosen.map(({ id }) => id),
    quorum: rule,
  } as unknown as Statement;
}

/** Those who can go on: this node, and the validators that it hears. */
const isLeft = ({ self, validator, connected }: RecoveryNodeView): boolean =>
  self || (validator && connected);

function nodeOf({ nodes }: RecoveryPlace, word: string): RecoveryNodeView {
  const found = nodes.filter(({ id, name }) => name === word || (word.length >= 4 && id.startsWith(word)));
  if (found.length === 1) return found[0] as RecoveryNodeView;
  throw refusal(
    found.length === 0 ? 'not-found' : 'ambiguous',
    `${found.length === 0 ? 'No node is' : 'Several nodes are'} called ${plain(word)}.`,
    'See them: town node list',
  );
}

const statementText = ({ town, epoch, height, parent, validators, quorum, nodes }: Statement): string =>
  facts([
    ['town', town],
    [
      'goes on',
      `in epoch ${epoch}, from merge ${height} (${short(parent)}…); what was merged after it counts no more`,
    ],
    ['validators', `${validators.join(', ')} (${quorum})`],
    [
      'new nodes',
      Object.entries(nodes)
        .map(([id, { name }]) => `${plain(name)} (${id})`)
        .join(', ') || null,
    ],
  ]);

const madeText = (file: string, { keys }: RecoveryPlace, statement: Statement): string =>
  [
    statementText(statement),
    '',
    `The statement is in ${file}. ${keys?.k ?? '?'} of the ${keys?.keys.length ?? '?'} who hold a key of recovery sign it, each with`,
    '  town recovery sign FILE --key KEYFILE',
    'and then, here and at every board that is a new validator:',
    '  town recovery apply FILE',
    'Make sure first that the validators left out are really gone: what they merge without you counts no more.',
  ].join('\n');

function appliedText({ standing, epoch, height, restart }: RecoveryApplied): string {
  const again = restart ? '\nStart this node again: it is one of the town’s from now on.' : '';
  switch (standing) {
    case 'begins':
      return `Epoch ${epoch} begins here with the next merge, after merge ${height}. The other nodes are told.${again}`;
    case 'ahead':
      return `Epoch ${epoch} begins here once merge ${height} is here.${again}`;
    case 'diverged':
      return `This node merged more or other things than merge ${height}, where the town goes on: it merges no more. See: town status`;
    case 'past':
      return `Epoch ${epoch} has begun already: nothing was changed.`;
  }
}
