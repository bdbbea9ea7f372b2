/** Sealed records of persons: what is kept of them, and erasing them. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { RecordCases, RecordsView } from '../node/record-cases.js';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { component, count } from './views.js';

const recordsView = component<RecordsView>()(
  'Records',
  Type.Object({
    retentionMonths: count(),
    readers: Type.Array(Type.String(), { description: 'roles of the nodes that are given the keys' }),
    mayRead: Type.Boolean({ description: 'whether this node is one of them' }),
    months: Type.Array(
      Type.Object({
        month: Type.String(),
        keys: count(),
        over: Type.Boolean({ description: 'kept only because the register still needs it' }),
      }),
    ),
    missing: Type.Integer({ minimum: 0, description: 'keys that the ledger names and that are not here' }),
    erased: count(),
  }),
);

const erasedView = component<Awaited<ReturnType<RecordCases['erase']>>>()(
  'RecordsErased',
  Type.Object({
    entry: Type.String({ description: 'id of the entry; durable now' }),
    state: Type.Literal('pending'),
    person: Type.String(),
    badges: Type.Integer({ minimum: 0, description: 'how many badges were revoked with it' }),
  }),
);

/** Needs `requireSession` before it. */
export const recordRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  const tags = ['people and badges'];

  app.get(
    '/api/records',
    {
      schema: {
        tags,
        summary: 'What this node keeps of the records of persons, month by month',
        response: input.answers(recordsView),
      },
    },
    async (request) => node.recordCases.overview(tokenOf(request)),
  );

  app.post(
    '/api/records/erase',
    {
      schema: {
        tags,
        summary: 'Erases one’s own records at every node, for good',
        response: input.answers(erasedView),
      },
    },
    async (request) => node.recordCases.erase(tokenOf(request)),
  );

  app.post(
    '/api/people/:id/erase',
    {
      schema: {
        tags,
        summary: 'Erases the records of a person at every node, for good; their badges are revoked first',
        params: input.pathWith('id', input.id('a person')),
        response: input.answers(erasedView),
      },
    },
    async (request) => node.recordCases.erase(tokenOf(request), request.params.id),
  );
};
