/** Draft forks: making them, looking at them, giving them up, bringing them home. Work on one names it in `x-town-line`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import { forkDetailsView, forkView } from './fork-views.js';
import * as input from './inputs.js';
import { listOf, recordedView } from './views.js';

const tags = ['drafts'];

const forkName = () =>
  Type.String({
    pattern: '^[a-z][a-z0-9-]{0,31}$',
    description: 'the name of a draft: 1 to 32 of a-z, 0-9 and -, a letter first',
  });

const mergeWord = () =>
  Type.String({
    pattern: '^([0-9]{1,7}|[0-9a-f]{8,64})$',
    description: 'a merge: its height, its git id, or 8 to 64 hex digits of its id',
  });

/** Needs `requireSession` before it. */
export const forkRoutes: FastifyPluginAsyncTypebox<{
  readonly node: TownNode;
  readonly triesPerMinute: number;
}> = async (app, { node, triesPerMinute }) => {
  const params = () => input.pathWith('name', forkName());

  app.get(
    '/api/forks',
    { schema: { tags, summary: 'The draft forks of this node', response: input.answers(listOf(forkView)) } },
    async (request) => node.forks.list(tokenOf(request)),
  );

  app.post(
    '/api/forks',
    {
      schema: {
        tags,
        summary: 'Makes a draft fork, from the head of main or any merge',
        body: input.exactly({ name: forkName(), from: Type.Optional(mergeWord()) }),
        response: input.answers(forkView),
      },
    },
    async (request) => node.forks.create(tokenOf(request), request.body),
  );

  app.get(
    '/api/forks/:name',
    {
      schema: {
        tags,
        summary: 'A draft: its entries, what main says or would say of them, and what it would change',
        params: params(),
        response: input.answers(forkDetailsView),
      },
    },
    async (request) => node.forks.show(tokenOf(request), request.params.name),
  );

  app.post(
    '/api/forks/:name/drop',
    {
      schema: {
        tags,
        summary: 'Gives a draft up; what was recorded on it stays in git',
        params: params(),
        response: input.answers(forkView),
      },
    },
    async (request) => node.forks.drop(tokenOf(request), request.params.name),
  );

  app.post(
    '/api/forks/:name/adopt',
    {
      config: { rateLimit: { max: triesPerMinute, timeWindow: 60_000 } },
      schema: {
        tags,
        summary:
          'Asks the town to take a draft’s entries in, signed by as many stewards as the charter wants',
        params: params(),
        body: input.exactly({
          cosigners: Type.Array(input.exactly({ name: input.name(), passphrase: input.passphrase() }), {
            maxItems: 15,
            description: 'at most 15 further stewards, by name and passphrase',
          }),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.forks.adopt(tokenOf(request), request.params.name, request.body),
  );
};
