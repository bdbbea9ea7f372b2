/** Setting up the town's first steward, signing in and out. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { callerOf, dropSessionCookie, requireSession, setSessionCookie } from './caller.js';
import type { EventStreams } from './event-streams.js';
import * as input from './inputs.js';
import { joinedView, sessionView, statusView } from './views.js';

export interface SessionRoutesOptions {
  readonly node: TownNode;
  readonly streams: EventStreams;
  /** Tries a client has for each of sign-in, setup and join, a minute. */
  readonly triesPerMinute: number;
}

export const sessionRoutes: FastifyPluginAsyncTypebox<SessionRoutesOptions> = async (app, options) => {
  const { node, streams } = options;
  const tags = ['sessions'];
  const security: [] = [];
  const fewTries = { rateLimit: { max: options.triesPerMinute, timeWindow: 60_000 } };

  app.get(
    '/api/status',
    {
      schema: {
        tags,
        security,
        summary: 'How the town and this node are',
        response: input.answers(statusView),
      },
    },
    async () => node.status(),
  );

  app.post(
    '/api/setup',
    {
      config: fewTries,
      schema: {
        tags,
        security,
        summary: 'Sets up the first steward, once, with the token of the setup link',
        body: input.exactly({
          token: input.linkSecret(),
          name: input.name(),
          passphrase: input.newPassphrase(),
          doorName: Type.Optional(input.name()),
        }),
        response: input.answers(sessionView),
      },
    },
    async (request, reply) => {
      const session = await node.setup(request.body);
      setSessionCookie(request, reply, session);
      return session;
    },
  );

  app.post(
    '/api/members/join',
    {
      config: fewTries,
      schema: {
        tags: ['members'],
        security,
        summary: 'Joins the town as a credit member, once, with the code of an invitation',
        body: input.exactly({
          code: input.linkSecret(),
          name: Type.Optional(input.name()),
          passphrase: input.newPassphrase(),
        }),
        response: input.answers(joinedView),
      },
    },
    async (request, reply) => {
      const joined = await node.join(request.body);
      setSessionCookie(request, reply, joined);
      return joined;
    },
  );

  app.post(
    '/api/session',
    {
      config: fewTries,
      schema: {
        tags,
        security,
        summary: 'Signs in; also sets the cookie of the panel',
        body: input.exactly({ name: input.name(), passphrase: input.passphrase() }),
        response: input.answers(sessionView),
      },
    },
    async (request, reply) => {
      const session = await node.signIn(request.body);
      setSessionCookie(request, reply, session);
      return session;
    },
  );

  app.get(
    '/api/session',
    {
      onRequest: requireSession(node),
      schema: { tags, summary: 'The session the request comes with', response: input.answers(sessionView) },
    },
    async (request) => {
      const { session, through } = callerOf(request);
      // What the browser keeps from the panel's scripts is not read out to them here.
      return through === 'cookie' ? { ...session, token: '' } : session;
    },
  );

  app.delete(
    '/api/session',
    {
      onRequest: requireSession(node),
      schema: { tags, summary: 'Signs out', response: input.answersNothing() },
    },
    async (request, reply) => {
      const { token } = callerOf(request);
      node.signOut(token);
      streams.endSession(token);
      dropSessionCookie(request, reply);
      reply.code(204);
      return null;
    },
  );
};
