/** Credit members: who they are, inviting them, and moving credits. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { invitationView, listOf, memberView, recordedView } from './views.js';

/** Needs `requireSession` before it. */
export const memberRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  app.get(
    '/api/members',
    {
      schema: {
        tags: ['members'],
        summary: 'Credit members and their balances',
        response: input.answers(listOf(memberView)),
      },
    },
    async (request) => node.members(tokenOf(request)),
  );

  app.post(
    '/api/members/invitations',
    {
      schema: {
        tags: ['members'],
        summary: 'Invites a credit member; the code works once',
        body: input.exactly({ name: input.name(), roles: Type.Optional(input.roles()) }),
        response: input.answers(invitationView),
      },
    },
    async (request) => node.inviteMember(tokenOf(request), request.body),
  );

  app.post(
    '/api/credits/transfer',
    {
      schema: {
        tags: ['credits'],
        summary: 'Gives credits of one’s own to another member',
        body: input.exactly({
          to: input.id('a member'),
          amount: input.amount(),
          memo: Type.Optional(input.memo()),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.transfer(tokenOf(request), request.body),
  );

  app.post(
    '/api/credits/grant',
    {
      schema: {
        tags: ['credits'],
        summary: 'Gives credits of the vault, or of suspense, to a member',
        body: input.exactly({
          to: input.id('a member'),
          amount: input.amount(),
          reason: input.reason(),
          from: Type.Optional(
            Type.Literal('suspense', {
              description: 'leave it out for the vault; "suspense": what would have gone to members who left',
            }),
          ),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.grant(tokenOf(request), request.body),
  );
};
