/** Speaks to the daemon's HTTP API: one request, one answer, every failure a `CliError`. */
import { CliError, EXIT_NO_DAEMON, EXIT_REFUSED } from './cli-error.js';

/** Contracts may take their time in a merge; everything else answers at once. */
const answerWithin = 60_000;
const answerBytesMax = 64 * 1024 * 1024;

export interface RequestOptions {
  readonly token?: string | undefined;
  readonly body?: unknown;
  readonly timeoutMs?: number;
}

export class Client {
  /** @param url origin of the daemon, without a path; @param line the draft that it is all about, else `main` */
  constructor(
    readonly url: string,
    private readonly line?: string,
  ) {}

  async get<T>(path: string, token?: string): Promise<T> {
    return this.request<T>('GET', path, { token });
  }

  async post<T>(path: string, token: string | undefined, body?: unknown, timeoutMs?: number): Promise<T> {
    return this.request<T>('POST', path, {
      token,
      body,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  async delete(path: string, token: string): Promise<void> {
    await this.request('DELETE', path, { token });
  }

  /**
   * @returns the parsed answer; undefined where there is none (204)
   * @throws CliError with the API's code, message and advice; `no-daemon` (exit 3) when nobody answers
   */
  async request<T>(method: string, path: string, options: RequestOptions): Promise<T> {
    const answer = await this.send(method, path, options);
    const text = await answer.text();
    if (text.length > answerBytesMax)
      throw new CliError(EXIT_REFUSED, 'too-large', `The answer to ${path} is too long.`);
    const value = parse(text);
    if (answer.ok) return value as T;
    throw problemOf(answer.status, value);
  }

  /** The raw answer, for streams. */
  async send(
    method: string,
    path: string,
    options: RequestOptions & { signal?: AbortSignal },
  ): Promise<Response> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.line !== undefined) headers['x-town-line'] = this.line;
    if (options.token !== undefined) headers['authorization'] = `Bearer ${options.token}`;
    if (options.body !== undefined) headers['content-type'] = 'application/json';
    try {
      return await fetch(new URL(path, this.url), {
        method,
        headers,
        redirect: 'error',
        signal: options.signal ?? AbortSignal.timeout(options.timeoutMs ?? answerWithin),
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      });
    } catch (error) {
      if (error instanceof Error && error.name === 'TimeoutError')
        throw new CliError(EXIT_NO_DAEMON, 'no-answer', `The daemon at ${this.url} did not answer in time.`);
      throw noDaemon(`No daemon answers at ${this.url}.`);
    }
  }
}

export const noDaemon = (message: string): CliError =>
  new CliError(
    EXIT_NO_DAEMON,
    'no-daemon',
    message,
    'Start one with `npm start` or `town start`, or say where it is with --url or --data.',
  );

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problemOf(status: number, value: unknown): CliError {
  const problem = (value as { error?: { code?: unknown; message?: unknown; advice?: unknown } } | undefined)
    ?.error;
  if (typeof problem?.code !== 'string' || typeof problem.message !== 'string')
    return new CliError(
      EXIT_REFUSED,
      `http-${status}`,
      `Expected the answer of a town's daemon, got HTTP ${status} without one.`,
      'Check --url: another program may be listening there.',
    );
  const advice = typeof problem.advice === 'string' ? problem.advice : undefined;
  const signIn = problem.code === 'signed-out' ? 'Sign in with `town login NAME`.' : undefined;
  return new CliError(EXIT_REFUSED, problem.code, problem.message, signIn ?? advice);
}
