/** The nodes of the town: who is there, letting one in, who makes merges, taking one out. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import { nodeInvitedView, nodesView } from './node-views.js';
import { recordedView } from './views.js';

const nodeId = () =>
  Type.String({ pattern: '^[0-9a-f]{16}$', description: 'the id of a node: 16 lower-case hex digits' });

const invitationId = () =>
  Type.String({
    pattern: '^[0-9a-f]{16}$',
    description: 'the id of an invitation: 16 lower-case hex digits',
  });

const role = () =>
  Type.Unsafe<'door' | 'hub'>({
    type: 'string',
    enum: ['door', 'hub'],
    description: '"door" for a node that tells badges apart, "hub" for one that does not',
  });

/** The longest address that an invitation carries, and how many: as in daemon/sync/invitation.ts. */
const brokers = () =>
  Type.Array(Type.String({ pattern: '^(mqtts?|wss?)://[\\x21-\\x7e]+$', maxLength: 200 }), {
    minItems: 1,
    maxItems: 4,
    description: 'a list of 1 to 4 addresses of MQTT brokers, such as mqtt://192.168.1.10:1883',
  });

const hours = () => Type.Integer({ minimum: 1, maximum: 168, description: 'a whole number from 1 to 168' });

/** Needs `requireSession` before it. */
export const nodeRoutes: FastifyPluginAsyncTypebox<{
  readonly node: TownNode;
  readonly triesPerMinute: number;
}> = async (app, { node, triesPerMinute }) => {
  const tags = ['nodes'];
  const invitation = () => input.pathWith('id', invitationId());
  const oneNode = () => input.pathWith('id', nodeId());

  app.get(
    '/api/nodes',
    {
      schema: {
        tags,
        summary: 'The nodes of the town, as this one knows them, and who waits to be let in',
        description: 'The invitations are null for who may not change the charter.',
        response: input.answers(nodesView),
      },
    },
    async (request) => node.nodes.list(tokenOf(request)),
  );

  app.post(
    '/api/nodes/invitations',
    {
      schema: {
        tags,
        summary: 'Invites a node; the code lets in whoever shows it first, once a steward approves',
        body: input.exactly({
          role: role(),
          brokers: Type.Optional(brokers()),
          hours: Type.Optional(hours()),
        }),
        response: input.answers(nodeInvitedView),
      },
    },
    async (request) => node.nodes.invite(tokenOf(request), request.body),
  );

  app.delete(
    '/api/nodes/invitations/:id',
    {
      schema: {
        tags,
        summary: 'Takes back an invitation that nobody was let in with',
        params: invitation(),
        response: input.answersNothing(),
      },
    },
    async (request, reply) => {
      await node.nodes.withdraw(tokenOf(request), request.params.id);
      reply.code(204);
      return null;
    },
  );

  app.post(
    '/api/nodes/invitations/:id/approve',
    {
      schema: {
        tags,
        summary: 'Lets in the node that waits with an invitation',
        description: 'Once the change of the charter is merged, the node gets the keys of the town.',
        params: invitation(),
        body: input.exactly({ node: nodeId() }),
        response: input.answers(recordedView),
      },
    },
    async (request) =>
      node.nodes.approve(tokenOf(request), { invitation: request.params.id, node: request.body.node }),
  );

  app.post(
    '/api/nodes/invitations/:id/refuse',
    {
      schema: {
        tags,
        summary: 'Turns away the node that waits with an invitation',
        params: invitation(),
        body: input.exactly({ reason: input.reason() }),
        response: input.answersNothing(),
      },
    },
    async (request, reply) => {
      await node.nodes.refuse(tokenOf(request), request.params.id, request.body.reason);
      reply.code(204);
      return null;
    },
  );

  app.put(
    '/api/nodes/:id/validator',
    {
      schema: {
        tags,
        summary: 'Makes a node a validator, or takes that back; one at a time',
        params: oneNode(),
        body: input.exactly({
          validator: Type.Boolean({ description: 'true to make it one, false to take that back' }),
          anyway: Type.Optional(
            Type.Boolean({ description: 'true to do so even if it is not heard or far behind' }),
          ),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) =>
      node.nodes.setValidator(tokenOf(request), { node: request.params.id, ...request.body }),
  );

  app.delete(
    '/api/nodes/:id',
    {
      schema: {
        tags,
        summary: 'Takes a node out of the charter; nothing of it is taken any more',
        params: oneNode(),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.nodes.remove(tokenOf(request), request.params.id),
  );

  app.post(
    '/api/nodes/:id/readmit',
    {
      config: { rateLimit: { max: triesPerMinute, timeWindow: 60_000 } },
      schema: {
        tags,
        summary: 'Readmits a node that signed two things for one place',
        description:
          'Its branch goes on after the named block, else after what is merged of it; its other blocks that wait are void.',
        params: oneNode(),
        body: input.exactly({
          from: Type.Optional(input.ledgerId()),
          cosigners: Type.Optional(
            Type.Array(input.exactly({ name: input.name(), passphrase: input.passphrase() }), {
              maxItems: 16,
              description: 'further stewards who sign',
            }),
          ),
        }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.nodes.readmit(tokenOf(request), request.params.id, request.body),
  );

  app.post(
    '/api/nodes/sync',
    {
      schema: {
        tags,
        summary: 'Tells and asks the other nodes now',
        description:
          'Answers when this node has all that those connected have, at the latest after a minute.',
        response: input.answers(nodesView),
      },
    },
    async (request) => node.nodes.sync(tokenOf(request)),
  );
};
