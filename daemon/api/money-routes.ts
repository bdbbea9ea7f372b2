/** Offline allowances, dues, and how members stand. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { allowancesView, dueView } from './money-views.js';
import { listOf, recordedView } from './views.js';

const payee = () =>
  Type.String({ pattern: '^(vault|m[0-9a-f]{16})$', description: 'the id of a member, or "vault"' });
const nodeId = () =>
  Type.String({ pattern: '^[0-9a-f]{16}$', description: 'the id of a node: 16 hex digits' });
const dueId = () =>
  Type.String({ pattern: '^[0-9a-f]{64}(\\.[1-9][0-9]?)?$', description: 'the id of a due' });

/** Needs `requireSession` before it. */
export const moneyRoutes: FastifyPluginAsyncTypebox<{
  readonly node: TownNode;
  readonly triesPerMinute: number;
}> = async (app, { node, triesPerMinute }) => {
  const answers = input.answers(recordedView);

  app.get(
    '/api/allowances',
    {
      schema: {
        tags: ['credits'],
        summary: 'One’s own offline allowances; all of them for who may fence',
        response: input.answers(allowancesView),
      },
    },
    async (request) => node.money.allowances(tokenOf(request)),
  );

  app.post(
    '/api/allowances',
    {
      schema: {
        tags: ['credits'],
        summary: 'Puts credits of one’s own at a node, to be paid out there even while it is cut off',
        body: input.exactly({ node: nodeId(), amount: input.amount() }),
        response: answers,
      },
    },
    async (request) => node.money.openAllowance(tokenOf(request), request.body),
  );

  app.post(
    '/api/allowances/payments',
    {
      schema: {
        tags: ['credits'],
        summary: 'Pays out of one’s allowance at this node; later merges do not undo it',
        body: input.exactly({ to: payee(), amount: input.amount(), memo: Type.Optional(input.memo()) }),
        response: answers,
      },
    },
    async (request) => node.money.payAllowance(tokenOf(request), request.body),
  );

  app.post(
    '/api/allowances/returns',
    {
      schema: {
        tags: ['credits'],
        summary: 'Gives back what is left of an allowance at this node',
        body: input.exactly({ member: Type.Optional(input.id('a member')) }),
        response: answers,
      },
    },
    async (request) => node.money.returnAllowance(tokenOf(request), request.body),
  );

  app.post(
    '/api/allowances/fences',
    {
      config: { rateLimit: { max: triesPerMinute, timeWindow: 60_000 } },
      schema: {
        tags: ['credits'],
        summary: 'Closes an allowance whose node is lost, after the wait that the charter states',
        body: input.exactly({
          member: input.id('a member'),
          node: nodeId(),
          n: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: Number.MAX_SAFE_INTEGER,
              description: 'the last number of the node’s entries that is paid',
            }),
          ),
          cosigners: Type.Optional(
            Type.Array(input.exactly({ name: input.name(), passphrase: input.passphrase() }), {
              maxItems: 16,
              description: 'further stewards who sign',
            }),
          ),
        }),
        response: answers,
      },
    },
    async (request) => node.money.fenceAllowance(tokenOf(request), request.body),
  );

  app.get(
    '/api/dues',
    {
      schema: {
        tags: ['credits'],
        summary: 'Debts on record that one owes or is owed; all of them for a steward',
        response: input.answers(listOf(dueView)),
      },
    },
    async (request) => node.money.dues(tokenOf(request)),
  );

  app.post(
    '/api/dues/:due/payments',
    {
      schema: {
        tags: ['credits'],
        summary: 'Pays a due, the whole of it or a part',
        params: input.pathWith('due', dueId()),
        body: Type.Optional(input.exactly({ amount: Type.Optional(input.amount()) })),
        response: answers,
      },
    },
    async (request) =>
      node.money.payDue(tokenOf(request), { due: request.params.due, ...(request.body ?? {}) }),
  );

  app.post(
    '/api/dues/:due/waiver',
    {
      schema: {
        tags: ['credits'],
        summary: 'Crosses a due off: by whom it is owed to, or by a steward',
        params: input.pathWith('due', dueId()),
        response: answers,
      },
    },
    async (request) => node.money.waiveDue(tokenOf(request), request.params),
  );

  app.post(
    '/api/members/:id/suspension',
    {
      schema: {
        tags: ['members'],
        summary: 'Takes a member’s say, at once; they go on receiving credits',
        params: input.pathWith('id', input.id('a member')),
        body: Type.Optional(input.exactly({ reason: Type.Optional(input.reason()) })),
        response: answers,
      },
    },
    async (request) => node.standing.suspend(tokenOf(request), request.params.id, request.body ?? {}),
  );

  app.delete(
    '/api/members/:id/suspension',
    {
      schema: {
        tags: ['members'],
        summary: 'Gives a suspended member their say back',
        params: input.pathWith('id', input.id('a member')),
        response: answers,
      },
    },
    async (request) => node.standing.reinstate(tokenOf(request), request.params.id),
  );

  app.post(
    '/api/members/leave',
    {
      schema: {
        tags: ['members'],
        summary: 'Leaves the town: what one has available goes to the vault',
        response: answers,
      },
    },
    async (request) => node.standing.leave(tokenOf(request)),
  );
};
