/** `town setup, login, logout, whoami`: who is asking. */
import type { Command } from 'commander';
import type { SessionView } from '../node/use-cases.js';
import { CliError } from './cli-error.js';
import { Context } from './context.js';
import { unreadLine } from './notice-commands.js';
import { facts, plain, time } from './output.js';
import { passphrase, type PassphraseSource } from './prompt.js';
import { forgetSession, saveSession } from './sessions.js';

export function addSessionCommands(town: Command): void {
  town
    .command('setup')
    .description("set up the town's first steward with the one-time link that the daemon printed")
    .argument('<link>', 'the setup link, or the token behind its #')
    .requiredOption('--name <name>', "the steward's name")
    .option('--door-name <name>', 'name of the first door')
    .option(
      '--passphrase-file <file>',
      'take the passphrase from the first line of this file (-: standard input)',
    )
    .action(
      async (
        link: string,
        options: PassphraseSource & { name: string; doorName?: string },
        command: Command,
      ) => {
        const context = new Context(command);
        const client = await clientOfLink(context, link);
        const session = await client.post<SessionView>('/api/setup', undefined, {
          token: secretOfLink(link),
          name: options.name,
          passphrase: await passphrase(options, true),
          ...(options.doorName === undefined ? {} : { doorName: options.doorName }),
        });
        await keep(client.url, session);
        context.tell(
          withoutToken(session),
          `You are ${plain(session.name)}, steward of this town, and signed in.\nNext step: town person add NAME`,
        );
      },
    );

  town
    .command('login')
    .description('sign in; later commands use this session')
    .argument('<name>', 'your name')
    .option(
      '--passphrase-file <file>',
      'take the passphrase from the first line of this file (-: standard input)',
    )
    .action(async (name: string, options: PassphraseSource, command: Command) => {
      const context = new Context(command);
      const client = await context.client();
      const session = await client.post<SessionView>('/api/session', undefined, {
        name,
        passphrase: await passphrase(options, false),
      });
      await keep(client.url, session);
      context.tell(
        withoutToken(session),
        `Signed in as ${plain(session.name)}, member ${session.member}, until ${time(session.expiresAt)}.` +
          (context.json ? '' : await unreadLine(client, session.token)),
      );
    });

  town
    .command('logout')
    .description('end the session')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const saved = await context.saved();
      try {
        await (await context.client()).delete('/api/session', saved.token);
      } catch (error) {
        // One that has ended already is just as good.
        if (!(error instanceof CliError) || !['signed-out', 'key-revoked'].includes(error.code)) throw error;
      }
      await forgetSession(saved);
      context.tell({ name: saved.name, signedOut: true }, `${plain(saved.name)} is signed out.`);
    });

  town
    .command('whoami')
    .description('who the session belongs to, and what the charter allows them')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const session = await context.get<SessionView>('/api/session');
      context.tell(
        withoutToken(session),
        facts([
          ['name', session.name],
          ['member', session.member],
          ['roles', session.roles.join(', ') || '-'],
          ['may', session.permissions.join(', ') || '-'],
          ['until', time(session.expiresAt)],
        ]),
      );
    });
}

/** The session goes to its file only: what is printed may end up in a log. */
export const withoutToken = ({ token: _, ...session }: SessionView): Omit<SessionView, 'token'> => session;

export const keep = (url: string, session: SessionView): Promise<void> =>
  saveSession({ url, name: session.name, token: session.token, expiresAt: session.expiresAt });

/** The part behind the `#` of a setup or join link, or the word itself. */
export const secretOfLink = (link: string): string => link.slice(link.indexOf('#') + 1);

/** The daemon a link leads to. */
export async function clientOfLink(context: Context, link: string): ReturnType<Context['client']> {
  if (/^https?:\/\//.test(link)) context.useUrl(link);
  return context.client();
}
