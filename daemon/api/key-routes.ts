/** Further keys of a member: asking for one, registering it, revoking it. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { keyRequestedView, ownKeyView } from './key-views.js';
import { listOf, recordedView } from './views.js';

const tags = ['keys'];

/** Needs no session: who asks cannot sign in here yet. */
export const keyRequestRoute: FastifyPluginAsyncTypebox<{
  readonly node: TownNode;
  readonly triesPerMinute: number;
}> = async (app, { node, triesPerMinute }) => {
  const security: [] = [];
  app.post(
    '/api/keys/requests',
    {
      config: { rateLimit: { max: triesPerMinute, timeWindow: 60_000 } },
      schema: {
        tags,
        security,
        summary: 'Makes a further key of a member, kept here, and the code that registers it elsewhere',
        body: input.exactly({
          member: input.id('a member'),
          name: input.name(),
          passphrase: input.newPassphrase(),
        }),
        response: input.answers(keyRequestedView),
      },
    },
    async (request) => node.keys.request(request.body),
  );
};

/** Needs `requireSession` before it. */
export const keyRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  app.get(
    '/api/keys',
    { schema: { tags, summary: 'One’s own keys', response: input.answers(listOf(ownKeyView)) } },
    async (request) => node.keys.list(tokenOf(request)),
  );

  app.post(
    '/api/keys',
    {
      schema: {
        tags,
        summary: 'Registers a further key of one’s own by its code',
        body: input.exactly({ code: input.keyCode() }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.keys.add(tokenOf(request), request.body),
  );

  app.delete(
    '/api/keys/:key',
    {
      schema: {
        tags,
        summary: 'Revokes a key for good',
        params: input.pathWith('key', input.memberKey()),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.keys.revoke(tokenOf(request), request.params),
  );
};
