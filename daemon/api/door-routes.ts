/** Doors: what is there, what happened, opening, locking down, and the simulated reader. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { requireSessionOnceSetUp, tokenOf } from './caller.js';
import * as input from './inputs.js';
import { doorEventView, doorView, listOf, recordedView } from './views.js';

const tags = ['doors'];

/** Needs `requireSession` before it. */
export const doorRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  const door = () => input.pathWith('id', input.doorId());

  app.get(
    '/api/doors',
    { schema: { tags, summary: 'The doors of the town', response: input.answers(listOf(doorView)) } },
    async (request) => node.doors(tokenOf(request)),
  );

  app.post(
    '/api/doors',
    {
      schema: {
        tags,
        summary: 'Adds a door of this node',
        body: input.exactly({ id: input.doorId(), name: input.name() }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.addDoor(tokenOf(request), request.body),
  );

  app.get(
    '/api/doors/events',
    {
      schema: {
        tags,
        summary: 'What happened at the doors, newest first',
        querystring: input.exactly({
          door: Type.Optional(input.doorId()),
          limit: Type.Optional(input.limit(500)),
        }),
        response: input.answers(listOf(doorEventView)),
      },
    },
    async (request) =>
      node.doorEvents(tokenOf(request), { door: request.query.door, limit: request.query.limit ?? 50 }),
  );

  app.post(
    '/api/doors/:id/open',
    {
      schema: {
        tags,
        summary: 'Opens a door from afar',
        params: door(),
        response: input.answers(doorEventView),
      },
    },
    async (request) => node.open(tokenOf(request), request.params.id),
  );

  app.post(
    '/api/doors/:id/lockdown',
    {
      schema: {
        tags,
        summary: 'Locks a door down, or takes that back',
        params: door(),
        body: input.exactly({
          on: Type.Boolean({ description: 'true to lock down, false to take it back' }),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.lockDown(tokenOf(request), request.params.id, request.body.on),
  );
};

/** The simulated reader, which can be tried before anyone has been set up. Checks the session by itself. */
export const tapRoute: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  app.post(
    '/api/doors/:id/tap',
    {
      onRequest: requireSessionOnceSetUp(node),
      schema: {
        tags,
        summary: 'Holds a badge to a simulated reader',
        description: 'Needs a session, unless the town has not been set up yet.',
        params: input.pathWith('id', input.doorId()),
        body: input.exactly({ badgeNumber: input.badgeNumber() }),
        response: input.answers(doorEventView),
      },
    },
    async (request) => node.tap(request.caller?.token ?? '', request.params.id, request.body.badgeNumber),
  );
};
