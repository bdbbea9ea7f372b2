/** `town notices`: what the town has to tell the one who is signed in. */
import type { Command } from 'commander';
import type { NoticesView } from '../node/notice-cases.js';
import { CliError } from './cli-error.js';
import type { Client } from './client.js';
import { Context } from './context.js';
import { count } from './ledger-commands.js';
import { plain, time } from './output.js';
import { findSession } from './sessions.js';

export function addNoticeCommands(town: Command): void {
  town
    .command('notices')
    .description('what was rejected and why, and what dapps tell you; newest first')
    .option('-n, --limit <n>', 'how many, at most 200', count, 20)
    .option('--read', 'mark them as read')
    .action(async (options: { limit: number; read?: true }, command: Command) => {
      const context = new Context(command);
      const notices = await context.get<NoticesView>(`/api/notices?limit=${options.limit}`);
      const newest = notices.items[0];
      if (options.read && newest)
        await context.post<{ unread: number }>('/api/notices/read', { upTo: newest.id });
      context.tell(notices, noticesText(notices, options.read === true));
    });
}

function noticesText({ items, unread }: NoticesView, read: boolean): string {
  if (items.length === 0) return 'No notices.';
  const lines = items.map((one) => `${one.read ? ' ' : '*'} ${time(one.at)}  ${plain(one.text)}`);
  if (unread === 0) return lines.join('\n');
  return [
    ...lines,
    read ? 'All are read now.' : `${unread} unread. Mark them as read with: town notices --read`,
  ].join('\n');
}

/** The same for who is signed in at this daemon, if anybody is. */
export async function unreadLineOfSaved(client: Client, as: string | undefined): Promise<string> {
  try {
    const session = await findSession(client.url, as);
    return session ? await unreadLine(client, session.token) : '';
  } catch (error) {
    if (error instanceof CliError) return '';
    throw error;
  }
}

/** A line where there is something unread, else none. Whatever goes wrong with it must not spoil the command that asks. */
export async function unreadLine(client: Client, token: string): Promise<string> {
  try {
    const { unread } = await client.get<NoticesView>('/api/notices?limit=1', token);
    return unread > 0 ? `\n${unread} unread ${unread === 1 ? 'notice' : 'notices'}: town notices` : '';
  } catch (error) {
    if (error instanceof CliError) return '';
    throw error;
  }
}
