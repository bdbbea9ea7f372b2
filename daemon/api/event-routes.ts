/** Live events for the panel and for `town door watch`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { callerOf } from './caller.js';
import type { EventStreams } from './event-streams.js';
import { problemView, townEventView } from './views.js';

/** Needs `requireSession` before it. */
export const eventRoutes: FastifyPluginAsyncTypebox<{ readonly streams: EventStreams }> = async (
  app,
  { streams },
) => {
  app.get(
    '/api/events',
    {
      exposeHeadRoute: false,
      schema: {
        tags: ['events'],
        summary: 'Events as they happen (server-sent events)',
        description:
          'Each event has the name of its `kind` and a TownEvent as data; the first is the present `status`. ' +
          'A merge comes without its entries. The last, `error`, says why the daemon ended the stream.',
        response: {
          200: {
            description: 'a stream of TownEvent',
            content: { 'text/event-stream': { schema: townEventView } },
          },
          '4xx': problemView,
          '5xx': problemView,
        },
      },
    },
    async (request, reply) => {
      const { token, session } = callerOf(request);
      streams.assertRoomFor(token);
      const headers: Record<string, string> = {};
      for (const [name, value] of Object.entries(reply.getHeaders()))
        if (value !== undefined) headers[name] = String(value);
      reply.hijack();
      streams.open(reply.raw, headers, token, session);
      return reply;
    },
  );
};
