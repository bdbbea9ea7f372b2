/** Recovery: what a statement is made of, and applying a signed one. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { JsonObject } from '../ledger/ids.js';
import type { RecoveryApplied, RecoveryPlace } from '../node/recovery-cases.js';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { component, count, oneOf, orNull } from './views.js';

const placeView = component<RecoveryPlace>()(
  'RecoveryPlace',
  Type.Object({
    town: Type.Object({ id: Type.String(), name: Type.String() }),
    epoch: count(),
    nextEpoch: count(),
    height: count(),
    parent: Type.String(),
    quorum: oneOf('majority', 'two-thirds'),
    keys: orNull(Type.Object({ k: count(), keys: Type.Array(Type.String()) })),
    nodes: Type.Array(
      Type.Object({
        id: Type.String(),
        name: Type.String(),
        validator: Type.Boolean(),
        self: Type.Boolean(),
        connected: Type.Boolean(),
        height: orNull(count()),
        brings: orNull(Type.Unsafe<JsonObject>({ type: 'object', additionalProperties: true })),
      }),
    ),
  }),
);

const appliedView = component<RecoveryApplied>()(
  'RecoveryApplied',
  Type.Object({
    standing: oneOf('begins', 'diverged', 'ahead', 'past'),
    epoch: count(),
    height: count(),
    restart: Type.Boolean(),
  }),
);

/** Needs `requireSession` before it. */
export const recoveryRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (
  app,
  { node },
) => {
  const tags = ['nodes'];

  app.get(
    '/api/recovery',
    {
      schema: {
        tags,
        summary: 'What a statement of recovery is made of: the last merge here, the nodes, the offline keys',
        response: input.answers(placeView),
      },
    },
    async (request) => node.recovery.place(tokenOf(request)),
  );

  app.post(
    '/api/recovery',
    {
      schema: {
        tags,
        summary: 'Applies a statement of recovery that enough of the offline keys have signed',
        body: input.exactly({
          statement: Type.Unsafe<JsonObject>({
            type: 'object',
            additionalProperties: true,
            description: 'the statement that `town recover` made',
          }),
          sigs: Type.Array(Type.Unsafe<JsonObject>({ type: 'object', additionalProperties: true }), {
            maxItems: 16,
            description: 'at most 16 signatures, as `town recovery sign` puts them there',
          }),
          leaveBehind: Type.Optional(
            Type.Boolean({
              description:
                'also where this node has merged otherwise: it merges no more then, and has to join anew',
            }),
          ),
        }),
        response: input.answers(appliedView),
      },
    },
    async (request) => {
      const { leaveBehind = false, ...recovery } = request.body;
      return node.recovery.apply(tokenOf(request), recovery, leaveBehind);
    },
  );
};
