/** Gigs: paid work between members. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { gigRecordedView, gigView, listOf, recordedView } from './views.js';

/** Needs `requireSession` before it. */
export const gigRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  const tags = ['gigs'];

  app.get(
    '/api/gigs',
    {
      schema: {
        tags,
        summary: 'Gigs, each with what the asker may do next',
        response: input.answers(listOf(gigView)),
      },
    },
    async (request) => node.gigs(tokenOf(request)),
  );

  app.post(
    '/api/gigs',
    {
      schema: {
        tags,
        summary: 'Opens a gig: locks its price',
        body: input.exactly({
          title: input.title(),
          description: input.description(),
          price: input.amount(),
        }),
        response: input.answers(gigRecordedView),
      },
    },
    async (request) => node.openGig(tokenOf(request), request.body),
  );

  app.post(
    '/api/gigs/:id/:step',
    {
      // Most steps say all in the path; they may come without a body.
      preValidation: async (request) => {
        request.body ??= {};
      },
      schema: {
        tags,
        summary: 'Takes a gig one step further',
        params: input.exactly({ id: input.id('a gig'), step: input.gigStep() }),
        body: input.exactly({
          stars: Type.Optional(input.stars()),
          sharePercent: Type.Optional(input.sharePercent()),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.gigStep(tokenOf(request), request.params.id, request.params.step, request.body),
  );
};
