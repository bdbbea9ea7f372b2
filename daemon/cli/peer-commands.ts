/** `town node` and `town sync`: the other nodes of the town, and who makes merges. */
import { Argument, type Command } from 'commander';
import type { NodesView } from '../node/node-cases.js';
import type { Recorded } from '../node/use-cases.js';
import { CliError, refusal } from './cli-error.js';
import { Context } from './context.js';
import { cosignersOf, withCosignerOptions, type CosignerOptions } from './cosigners.js';
import { findNode } from './find-node.js';
import { addBrokerCommand } from './broker-command.js';
import { addInvitationCommands } from './invitation-commands.js';
import { addJoinCommand } from './join-command.js';
import { nodesText, syncText } from './nodes-text.js';
import { plain } from './output.js';

/** The node gives up after a minute. */
const syncWithin = 90_000;

export function addPeerCommands(town: Command): void {
  const node = town.command('node').description('the nodes of the town');
  addInvitationCommands(node);
  addJoinCommand(node);
  addBrokerCommand(node);

  node
    .command('list')
    .description('who is there, how far each is, and who waits to be let in')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const view = await context.get<NodesView>('/api/nodes');
      context.tell(view, nodesText(view));
    });

  node
    .command('validator')
    .description('make a node a validator, or take that back; one at a time')
    .argument('<node>', 'id, a unique start of it, or name')
    .addArgument(new Argument('<on|off>', 'whether it is one').choices(['on', 'off']))
    .option('--anyway', 'also if it is not heard, or far behind')
    .action(async (word: string, value: 'on' | 'off', options: { anyway?: true }, command: Command) => {
      const context = new Context(command);
      const found = await findNode(context, word);
      const path = `/api/nodes/${found.id}/validator`;
      const recorded = await context
        .put<Recorded>(path, { validator: value === 'on', ...options })
        .catch(tellAnyway(`town node validator ${found.id} ${value} --anyway`));
      await context.tellRecorded(
        recorded,
        value === 'on'
          ? `${plain(found.name)} (${found.id}) signs merges once this is merged.`
          : `${plain(found.name)} (${found.id}) signs no merge once this is merged.`,
      );
    });

  node
    .command('remove')
    .description('take a node out of the town: nothing of it is taken any more')
    .argument('<node>', 'id, a unique start of it, or name')
    .action(async (word: string, _options: object, command: Command) => {
      const context = new Context(command);
      const found = await findNode(context, word);
      const recorded = await context.delete<Recorded>(`/api/nodes/${found.id}`);
      await context.tellRecorded(
        recorded,
        [
          `${plain(found.name)} (${found.id}) is out of the town once this is merged.`,
          'The others then give themselves a new key, and it reads nothing new of what they tell each other.',
          ...(found.roles.includes('door')
            ? [
                'It still knows the key that badge numbers are hashed with. That one stays: with another, every badge had to be enrolled anew.',
              ]
            : []),
        ].join('\n'),
      );
    });

  const readmit = node
    .command('readmit')
    .description('end the suspension of a node that signed two things for one place')
    .argument('<node>', 'id, a unique start of it, or name')
    .option(
      '--from <block>',
      'go on after this block of its branch that waits (default: after what is merged)',
    );
  withCosignerOptions(readmit).action(
    async (word: string, options: { from?: string } & CosignerOptions, command: Command) => {
      const context = new Context(command);
      const found = await findNode(context, word);
      const cosigners = await cosignersOf(options);
      const recorded = await context.post<Recorded>(`/api/nodes/${found.id}/readmit`, {
        ...(options.from === undefined ? {} : { from: options.from.toLowerCase() }),
        cosigners,
      });
      await context.tellRecorded(
        recorded,
        `${plain(found.name)} (${found.id}) is readmitted once this is merged; what else it had signed and was not merged is void.`,
      );
    },
  );

  town
    .command('sync')
    .description('tell and ask the other nodes now')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const view = await context.post<NodesView>('/api/nodes/sync', undefined, syncWithin);
      context.tell(view, syncText(view));
    });
}

/** What the node refuses only because it looks unwise goes on to name the command that does it all the same. */
const tellAnyway =
  (command: string) =>
  (error: unknown): never => {
    if (error instanceof CliError && ['node-not-heard', 'node-behind', 'too-few-heard'].includes(error.code))
      throw refusal(error.code, error.message, `Wait until more is connected, or insist: ${command}`);
    throw error;
  };
