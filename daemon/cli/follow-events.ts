/** The daemon's live events, read from its server-sent events. */
import type { TownEvent } from '../node/use-cases.js';
import { CliError, EXIT_REFUSED } from './cli-error.js';
import { noDaemon, type Client } from './client.js';

const eventBytesMax = 1024 * 1024;

/** Yields events until the daemon ends the stream, which is an error: a follower is not done by itself. */
export async function* followEvents(client: Client, token: string): AsyncGenerator<TownEvent> {
  const answer = await client.send('GET', '/api/events', { token, signal: new AbortController().signal });
  if (!answer.ok || answer.body === null)
    throw new CliError(
      EXIT_REFUSED,
      `http-${answer.status}`,
      `The live events were refused with HTTP ${answer.status}.`,
    );
  let rest = '';
  const decoder = new TextDecoder();
  try {
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      rest += decoder.decode(chunk, { stream: true });
      if (rest.length > eventBytesMax)
        throw new CliError(EXIT_REFUSED, 'too-large', 'A live event is too long.');
      const events = rest.split(/\r?\n\r?\n/);
      rest = events.pop() ?? '';
      for (const event of events) {
        const data = event
          .split(/\r?\n/)
          .filter((line) => line.startsWith('data:'))
          .map((line) => line.slice(5).trimStart())
          .join('\n');
        if (data !== '') yield JSON.parse(data) as TownEvent;
      }
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
  }
  throw noDaemon(`The daemon at ${client.url} ended the stream of events.`);
}
