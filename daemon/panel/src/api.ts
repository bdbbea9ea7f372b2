/**
 * The panel's one way to the daemon: JSON over HTTP with the session cookie.
 * Every refusal becomes an `ApiError` in the daemon's own words.
 */

import { lineHeader } from './line.js';

/** A refusal by the daemon, or the lack of an answer (`status` 0, code `unreachable`). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly advice?: string,
  ) {
    super(message);
  }
}

/** An answer that takes longer is given up; asking the other boards may take a minute. */
const answerWithinMs = 75_000;

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** GETs `path` (below `/api`). Throws `ApiError`. */
export const get = <T>(path: string): Promise<T> => call<T>('GET', path);

/** POSTs `body` as JSON to `path` (below `/api`). Throws `ApiError`. */
export const post = <T>(path: string, body: object = {}): Promise<T> => call<T>('POST', path, body);

/** PUTs `body` as JSON to `path` (below `/api`). Throws `ApiError`. */
export const put = <T>(path: string, body: object): Promise<T> => call<T>('PUT', path, body);

/** DELETEs `path` (below `/api`). Throws `ApiError`. */
export const remove = <T = void>(path: string): Promise<T> => call<T>('DELETE', path);

/** `/gigs/:id` from literal text and values, each value escaped for a path. */
export function path(parts: TemplateStringsArray, ...values: readonly (string | number)[]): string {
  return parts.reduce((all, part, at) => all + encodeURIComponent(String(values[at - 1])) + part);
}

async function call<T>(method: Method, at: string, body?: object): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json', ...lineHeader(at) };
  if (method !== 'GET') headers['x-town-csrf'] = '1';
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(`/api${at}`, {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(answerWithinMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new ApiError(0, 'unreachable', 'The board does not answer.', 'Check that you are on its network.');
  }
  const text = await response.text();
  if (!response.ok) throw refusal(response.status, text);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

function refusal(status: number, text: string): ApiError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; advice?: string } };
    return new ApiError(status, error.code, error.message, error.advice);
  } catch {
    return new ApiError(status, 'unreadable', `The board answered with an error (${status}).`, 'Try again.');
  }
}
