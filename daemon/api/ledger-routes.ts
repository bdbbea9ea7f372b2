/** The ledger, told to people: entries, merges, branches; the charter; asking for a merge. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { JsonObject } from '../ledger/ids.js';
import type { MergeView, TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import { graphView } from './graph-view.js';
import * as input from './inputs.js';
import {
  branchView,
  charterView,
  entryPageView,
  listOf,
  mergePageView,
  mergeView,
  recordedView,
  shownView,
} from './views.js';

/** Needs `requireSession` before it. */
export const ledgerRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  const tags = ['ledger'];

  app.get(
    '/api/ledger/log',
    {
      schema: {
        tags,
        summary: 'Entries, newest first',
        querystring: input.exactly({
          limit: Type.Optional(input.limit(200)),
          before: Type.Optional(input.cursor()),
        }),
        response: input.answers(entryPageView),
      },
    },
    async (request) =>
      node.log(tokenOf(request), { limit: request.query.limit ?? 50, before: request.query.before }),
  );

  app.get(
    '/api/ledger/merges',
    {
      schema: {
        tags,
        summary: 'Merges, newest first',
        querystring: input.exactly({
          limit: Type.Optional(input.limit(200)),
          before: Type.Optional(input.height()),
        }),
        response: input.answers(mergePageView),
      },
    },
    async (request) =>
      node.merges(tokenOf(request), { limit: request.query.limit ?? 50, before: request.query.before }),
  );

  app.get(
    '/api/ledger/branches',
    { schema: { tags, summary: 'The branch of each node', response: input.answers(listOf(branchView)) } },
    async (request) => node.branches(tokenOf(request)),
  );

  app.get(
    '/api/ledger/graph',
    {
      schema: {
        tags,
        summary:
          'The newest merges, the blocks they folded in and those that wait, for a picture of the history',
        querystring: input.exactly({ limit: Type.Optional(input.limit(50)) }),
        response: input.answers(graphView),
      },
    },
    async (request) => node.graph(tokenOf(request), { limit: request.query.limit ?? 20 }),
  );

  app.get(
    '/api/ledger/show/:id',
    {
      schema: {
        tags,
        summary: 'One entry or merge, by its id or a unique start of it',
        params: input.pathWith('id', input.ledgerId()),
        response: input.answers(shownView),
      },
    },
    async (request) => node.show(tokenOf(request), request.params.id),
  );

  app.post(
    '/api/ledger/merge',
    {
      schema: {
        tags,
        summary: 'Merges everything now; answers when it is main',
        response: input.answers(
          Type.Object({ merge: Type.Unsafe<MergeView | null>(Type.Union([mergeView, Type.Null()])) }),
        ),
      },
    },
    async (request) => ({ merge: await node.mergeNow(tokenOf(request)) }),
  );

  app.get(
    '/api/charter',
    { schema: { tags: ['charter'], summary: 'The charter', response: input.answers(charterView) } },
    async () => node.charter(),
  );

  app.post(
    '/api/charter/changes',
    {
      schema: {
        tags: ['charter'],
        summary: 'Proposes a change of the charter',
        body: input.exactly({
          set: Type.Unsafe<JsonObject>({
            type: 'object',
            additionalProperties: true,
            description: 'an object: JSON pointer into the charter, and the value to put there',
          }),
          remove: Type.Array(Type.String({ minLength: 1, maxLength: 256 }), {
            maxItems: 64,
            description: 'a list of at most 64 JSON pointers into the charter',
          }),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.changeCharter(tokenOf(request), request.body),
  );
};
