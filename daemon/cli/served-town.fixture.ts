/** For tests: a small server that says what a test needs, and a `town` command that is signed in there. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { runTown, type Ended } from './run-town.fixture.js';
import { saveSession, sessionsFile } from './sessions.js';

/** Why tests at a terminal are skipped; false: they are not. In CI the lack of it is a failure. */
export const skipTerminal =
  existsSync('/usr/bin/script') || process.env['CI'] === 'true' ? false : 'script (bsdutils) is absent';

export interface Asked {
  readonly line: string;
  readonly token: string | undefined;
  readonly body: unknown;
}

export type Answer = readonly [status: number, value: unknown];

/** A server that keeps what it was asked and answers by `METHOD path`, else 404 as the API does. */
export async function serve(t: Test, answers: Record<string, Answer | ((response: ServerResponse) => void)>) {
  const asked: Asked[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    request.on('end', () => {
      const line = `${request.method} ${request.url}`;
      asked.push({
        line,
        token: request.headers.authorization,
        body: text === '' ? undefined : (JSON.parse(text) as unknown),
      });
      const answer = answers[line];
      if (typeof answer === 'function') return answer(response);
      const [status, value] = answer ?? [404, { error: { code: 'not-found', message: `No ${line}.` } }];
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(typeof value === 'string' ? value : JSON.stringify(value));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const state = await mkdtemp(join(tmpdir(), 'town-cli-'));
  t.teardown(() => rm(state, { recursive: true, force: true }));
  const file = sessionsFile({ XDG_STATE_HOME: state });
  await saveSession({ url, name: 'Ada', token: 'ada-token', expiresAt: 1 }, file);
  const town = (...words: string[]): Promise<Ended> =>
    runTown(words, {
      env: { TOWN_URL: url, XDG_STATE_HOME: state, TOWN_PASSPHRASE: 'from the environment' },
    });
  return { url, asked, file, state, town };
}
