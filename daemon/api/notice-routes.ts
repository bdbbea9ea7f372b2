/** What the signed-in member is told. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { noticesView } from './views.js';

/** Needs `requireSession` before it. */
export const noticeRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  const tags = ['notices'];

  app.get(
    '/api/notices',
    {
      schema: {
        tags,
        summary: 'Notices to the member, newest first',
        querystring: input.exactly({ limit: Type.Optional(input.limit(200)) }),
        response: input.answers(noticesView),
      },
    },
    async (request) => node.notices(tokenOf(request), { limit: request.query.limit ?? 50 }),
  );

  app.post(
    '/api/notices/read',
    {
      schema: {
        tags,
        summary: 'Marks notices as read',
        body: input.exactly({ upTo: input.noticeId() }),
        response: input.answers(
          Type.Object({ unread: Type.Integer({ minimum: 0, description: 'how many are left' }) }),
        ),
      },
    },
    async (request) => node.readNotices(tokenOf(request), request.body),
  );
};
