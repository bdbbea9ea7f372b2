/**
 * Sessions that outlive a command, one file readable by its owner alone, keyed by the daemon's URL and the name.
 * A token ends by itself (12 idle hours) and by `town logout`; passphrases are never kept.
 */
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { refusal } from './cli-error.js';

export interface SavedSession {
  readonly url: string;
  readonly name: string;
  readonly token: string;
  readonly expiresAt: number;
  /** The one that commands use at its URL when no name is given; at most one per URL. */
  readonly current?: true;
}

const sessionsMax = 100;

/** `$XDG_STATE_HOME/mergetown/sessions.json`. */
export function sessionsFile(env: NodeJS.ProcessEnv = process.env): string {
  const state = env['XDG_STATE_HOME'];
  return join(
    state && state !== '' ? state : join(homedir(), '.local', 'state'),
    'mergetown',
    'sessions.json',
  );
}

/** Newest first. A file that is not ours is refused, never overwritten. */
export async function readSessions(path = sessionsFile()): Promise<readonly SavedSession[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const sessions = parse(text);
  if (sessions === null)
    throw refusal(
      'bad-sessions-file',
      `${path} does not hold saved sessions.`,
      'Move it away and sign in again.',
    );
  return sessions;
}

/** The current session at a URL, or the one of this name. Names are compared without case. */
export async function findSession(
  url: string,
  name?: string,
  path = sessionsFile(),
): Promise<SavedSession | null> {
  const here = (await readSessions(path)).filter((session) => session.url === url);
  const found =
    name === undefined
      ? here.find((session) => session.current)
      : here.find((session) => sameName(session.name, name));
  return found ?? null;
}

/** Keeps a session and makes it the one that commands use at its URL. */
export async function saveSession(session: SavedSession, path = sessionsFile()): Promise<void> {
  const others = (await readSessions(path))
    .filter((other) => !isSame(other, session))
    .map(({ current, ...other }) => (current && other.url !== session.url ? { ...other, current } : other));
  await write(path, [{ ...session, current: true as const }, ...others].slice(0, sessionsMax));
}

/** After this, commands at the URL need a name: nobody acts as somebody else by surprise. */
export async function forgetSession(session: SavedSession, path = sessionsFile()): Promise<void> {
  await write(
    path,
    (await readSessions(path)).filter((other) => !isSame(other, session)),
  );
}

const sameName = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
const isSame = (a: SavedSession, b: SavedSession): boolean => a.url === b.url && sameName(a.name, b.name);

async function write(path: string, sessions: readonly SavedSession[]): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify({ version: 1, sessions }, null, 1)}\n`, { mode: 0o600 });
  await rename(temporary, path);
}

function parse(text: string): SavedSession[] | null {
  try {
    const { sessions } = JSON.parse(text) as { sessions: unknown };
    if (!Array.isArray(sessions)) return null;
    return sessions.every(isSession) ? sessions : null;
  } catch {
    return null;
  }
}

function isSession(value: unknown): value is SavedSession {
  const session = value as Partial<Record<keyof SavedSession, unknown>> | null;
  return (
    typeof session?.url === 'string' &&
    typeof session.name === 'string' &&
    typeof session.token === 'string' &&
    typeof session.expiresAt === 'number'
  );
}
