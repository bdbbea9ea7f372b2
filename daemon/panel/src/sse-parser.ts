/**
 * Reads `text/event-stream` (WHATWG HTML, section 9.2.6) chunk by chunk.
 * Comments are reported too: they are the daemon's heartbeats, which `EventSource` would hide.
 */
export interface SseMessage {
  readonly event: string;
  readonly data: string;
}

/** A message longer than this is the sign of a broken stream. */
const bufferCharsMax = 4 * 1024 * 1024;

/** Gives a function that takes text as it comes and returns the messages it completes. Throws RangeError past 4 MiB. */
export function sseParser(): (chunk: string) => readonly SseMessage[] {
  let rest = '';
  let event = '';
  let data: string[] = [];

  return (chunk) => {
    rest += chunk;
    if (rest.length > bufferCharsMax) throw new RangeError('The event stream sent a message without an end');
    const messages: SseMessage[] = [];
    // A lone \r at the end may be the first half of \r\n: it waits for the next chunk.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) messages.push({ event: event || 'message', data: data.join('\n') });
        event = '';
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event = value;
      else if (field === 'data') data.push(value);
    }
    return messages;
  };
}
