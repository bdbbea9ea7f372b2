/** Joining a town from the setup page of a fresh board. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { JoiningCase } from '../node/joining-case.js';
import * as input from './inputs.js';
import { joiningView, nodeInvitationCode } from './join-town-views.js';

export interface JoinTownRoutesOptions {
  readonly joining: JoiningCase;
  /** Tries a client has, a minute. */
  readonly triesPerMinute: number;
}

export const joinTownRoutes: FastifyPluginAsyncTypebox<JoinTownRoutesOptions> = async (app, options) => {
  const { joining, triesPerMinute } = options;
  const tags = ['nodes'];
  const security: [] = [];

  app.get(
    '/api/node/join',
    {
      schema: {
        tags,
        security,
        summary: 'How far this board is on its way into a town',
        response: input.answers(joiningView),
      },
    },
    async () => joining.view(),
  );

  app.post(
    '/api/node/join',
    {
      config: { rateLimit: { max: triesPerMinute, timeWindow: 60_000 } },
      schema: {
        tags,
        security,
        summary: 'Asks a town to let this fresh board in, with the token of the setup link and an invitation',
        body: input.exactly({ token: input.linkSecret(), code: nodeInvitationCode(), name: input.name() }),
        response: input.answers(joiningView),
      },
    },
    async (request) => joining.start(request.body),
  );
};
