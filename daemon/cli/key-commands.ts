/** `town key`: further keys of one's own, one for each place to sign from. */
import type { Command } from 'commander';
import type { KeyRequested, OwnKeyView } from '../node/key-cases.js';
import type { Recorded } from '../node/use-cases.js';
import { Context } from './context.js';
import { find } from './find.js';
import { plain, short, table, time } from './output.js';
import { passphrase, type PassphraseSource } from './prompt.js';

export function addKeyCommands(town: Command): void {
  const key = town.command('key').description('further keys of your own, to sign in at other nodes');

  key
    .command('request')
    .description('at a node where you cannot sign in yet: make a key there; needs no session')
    .requiredOption('--member <id>', 'your id (town whoami, where you can sign in)')
    .requiredOption('--name <name>', 'the name that you will sign in with')
    .option(
      '--passphrase-file <file>',
      'take the passphrase from the first line of this file (-: standard input)',
    )
    .action(async (options: PassphraseSource & { member: string; name: string }, command: Command) => {
      const context = new Context(command);
      const client = await context.client();
      const requested = await client.post<KeyRequested>('/api/keys/requests', undefined, {
        member: options.member,
        name: options.name,
        passphrase: await passphrase(options, true),
      });
      context.tell(requested, requestText(requested, options.name));
    });

  key
    .command('add')
    .description('where you can sign in: register the key that another node made for you')
    .argument('<code...>', 'what town key request printed there')
    .action(async (code: string[], _options: object, command: Command) => {
      const context = new Context(command);
      const recorded = await context.post<Recorded>('/api/keys', { code: code.join('') });
      await context.tellRecorded(
        recorded,
        'The key is registered. Sign in with it at its node once this is merged and has come there.',
      );
    });

  key
    .command('list')
    .description('your keys, and where they lie')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const keys = await context.get<OwnKeyView[]>('/api/keys');
      context.tell(keys, keyTable(keys));
    });

  key
    .command('revoke')
    .description('end a key for good; what it signed and is not merged is rejected')
    .argument('<key>', 'a key of yours, or a unique start of it; as a steward, any whole key')
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const named = await wholeKey(context, word);
      const recorded = await context.delete<Recorded>(`/api/keys/${named}`);
      await context.tellRecorded(recorded, `The key ${short(named)} is revoked.`);
    });
}

async function wholeKey(context: Context, word: string): Promise<string> {
  if (/^[0-9a-f]{64}$/.test(word)) return word;
  const keys = await context.get<OwnKeyView[]>('/api/keys');
  return find(
    keys,
    word,
    'key',
    ({ key }) => key,
    () => null,
  ).key;
}

const requestText = ({ code, member }: KeyRequested, name: string): string =>
  [
    `A further key of ${plain(member)} is made. It is kept at this node under the name "${plain(name)}".`,
    'Carry this line to a node where you can sign in; no secret is in it:',
    '',
    code,
    '',
    'and there: town key add CODE',
    `Then, when that is merged and has come here: town login "${plain(name)}"`,
  ].join('\n');

const whereOf = ({ node, here }: OwnKeyView): string => {
  if (here) return 'here';
  return node === null ? 'another node' : node.name;
};

const keyTable = (keys: readonly OwnKeyView[]): string =>
  table(
    keys,
    [
      { head: 'key', cell: ({ key }) => short(key) },
      { head: 'status', cell: ({ status, state }) => (state === 'pending' ? `${status}, pending` : status) },
      { head: 'where', cell: whereOf },
      { head: 'since', cell: ({ since }) => time(since) },
      { head: '', cell: ({ current }) => (current ? 'this session' : '') },
    ],
    'No key: you are not a member yet.',
  );
