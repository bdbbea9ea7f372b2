/** What every command shares: the options for all, the daemon, the session, and how results are told. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { EntryView, MergeView, Recorded } from '../node/use-cases.js';
import { refusal, usageError } from './cli-error.js';
import { Client, noDaemon } from './client.js';
import { short } from './output.js';
import { findSession, type SavedSession } from './sessions.js';

export const DEFAULT_DATA = '.data';
const mergedWithin = 60_000;
const askAgainEvery = 200;

interface GlobalOptions {
  readonly json?: boolean;
  readonly url?: string;
  readonly data?: string;
  readonly as?: string;
  readonly line?: string;
  readonly wait?: boolean;
}

export class Context {
  private readonly options: GlobalOptions;
  private known: Client | null = null;

  constructor(command: Command) {
    this.options = command.optsWithGlobals<GlobalOptions>();
  }

  get json(): boolean {
    return this.options.json === true;
  }

  /** The data folder, absolute. */
  get folder(): string {
    return resolve(this.options.data ?? process.env['TOWN_DATA'] ?? DEFAULT_DATA);
  }

  get as(): string | undefined {
    return this.options.as;
  }

  /** The daemon: by --url, TOWN_URL, or what it wrote into its data folder. */
  async client(): Promise<Client> {
    this.known ??= new Client(await this.url(), this.options.line);
    return this.known;
  }

  /** Takes the URL of a link, unless one was given. */
  useUrl(url: string): void {
    if (this.options.url === undefined) this.known = new Client(checkedUrl(url), this.options.line);
  }

  private async url(): Promise<string> {
    const given = this.options.url ?? (this.options.data === undefined ? process.env['TOWN_URL'] : undefined);
    if (given !== undefined && given !== '') return checkedUrl(given);
    const path = join(this.folder, 'daemon.json');
    try {
      const { url } = JSON.parse(await readFile(path, 'utf8')) as { url: string };
      return checkedUrl(url);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw noDaemon(`No daemon runs on the data folder ${this.folder}.`);
      throw error;
    }
  }

  /** The saved session of `--as`, or the last one at this daemon. */
  async saved(): Promise<SavedSession> {
    const { url } = await this.client();
    const session = await findSession(url, this.as);
    if (session) return session;
    throw refusal(
      'signed-out',
      this.as === undefined ? `You are not signed in at ${url}.` : `"${this.as}" is not signed in at ${url}.`,
      `Sign in with \`town login ${this.as ?? 'NAME'}\`, or name a session that is open with --as.`,
    );
  }

  async get<T>(path: string): Promise<T> {
    const { token } = await this.saved();
    return (await this.client()).get<T>(path, token);
  }

  async post<T>(path: string, body?: unknown, timeoutMs?: number): Promise<T> {
    const { token } = await this.saved();
    return (await this.client()).post<T>(path, token, body, timeoutMs);
  }

  async put<T>(path: string, body: unknown): Promise<T> {
    const { token } = await this.saved();
    return (await this.client()).request<T>('PUT', path, { token, body });
  }

  async delete<T>(path: string): Promise<T> {
    const { token } = await this.saved();
    return (await this.client()).request<T>('DELETE', path, { token });
  }

  /** Prints a result: as JSON, or in the words given. */
  tell(value: unknown, words: string): void {
    process.stdout.write(`${this.json ? JSON.stringify(value) : words}\n`);
  }

  /** Prints what was recorded; with --wait first waits for its verdict, and a rejection is an error. */
  async tellRecorded(recorded: Recorded, words: string): Promise<void> {
    if (this.options.wait !== true) {
      this.tell(recorded, `${words}\n  entry ${short(recorded.entry)}, pending until the next merge`);
      return;
    }
    const entry = await this.verdict(recorded.entry);
    if (entry.state === 'rejected')
      throw refusal(
        entry.code ?? 'rejected',
        `The merge at height ${entry.height ?? '?'} rejected it: ${entry.reason ?? entry.code ?? 'no reason given'}.`,
        `Look at it with \`town show ${short(entry.id)}\`.`,
      );
    this.tell(
      { ...recorded, state: entry.state, height: entry.height },
      `${words}\n  entry ${short(recorded.entry)}, merged at height ${entry.height ?? '?'}`,
    );
  }

  private async verdict(id: string): Promise<EntryView> {
    const until = Date.now() + mergedWithin;
    while (Date.now() < until) {
      const shown = await this.get<{ kind: string; entry?: EntryView; merge?: MergeView }>(
        `/api/ledger/show/${id}`,
      );
      if (shown.entry && shown.entry.state !== 'pending') return shown.entry;
      await sleep(askAgainEvery);
    }
    throw refusal(
      'not-merged-yet',
      'The entry is recorded, but no merge took it in within a minute.',
      'See `town status`.',
    );
  }
}

/** Passphrases and tokens go over plain HTTP only within this machine. */
function checkedUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw usageError(`Expected the URL of a daemon, such as http://127.0.0.1:4870, got ${text}.`);
  }
  const local =
    url.hostname === 'localhost' ||
    url.hostname === '[::1]' ||
    (isIP(url.hostname) === 4 && url.hostname.startsWith('127.'));
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && local))
    throw usageError(
      `Expected https, or http on this machine, got ${text}.`,
      'Reach another machine through a tunnel: ssh -L 4870:127.0.0.1:4870 HOST',
    );
  return url.origin;
}
