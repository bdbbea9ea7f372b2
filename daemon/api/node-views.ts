/** The schemas of what the API answers about nodes: one per shape of `daemon/node/node-cases.ts`, made as in views.ts. */
import { Type } from 'typebox';
import type * as Shape from '../node/node-cases.js';
import { component, count, merged, millis, oneOf, orNull } from './views.js';

const distance = () =>
  Type.Object(
    { blocks: count(), merges: count() },
    { description: 'what one side has and the other has not' },
  );

export const nodeView = component<Shape.NodeView>()(
  'Node',
  Type.Object({
    id: Type.String(),
    name: Type.String(),
    roles: Type.Array(Type.String()),
    self: Type.Boolean({ description: 'the node that is asked' }),
    validator: Type.Boolean(),
    suspended: Type.Optional(
      Type.Literal(true, { description: 'it signed two things for one place; its entries are not merged' }),
    ),
    connected: Type.Boolean({ description: 'heard lately by this node' }),
    heardAt: orNull(millis()),
    height: orNull(count()),
    ahead: distance(),
    behind: distance(),
    fetching: count(),
    state: merged(),
  }),
);

export const nodeInvitationView = component<Shape.NodeInvitationView>()(
  'NodeInvitation',
  Type.Object({
    id: Type.String(),
    role: oneOf('door', 'hub'),
    expiresAt: millis(),
    state: oneOf('open', 'asked', 'approved', 'welcomed', 'refused', 'withdrawn', 'expired'),
    asker: orNull(Type.Object({ node: Type.String(), name: Type.String(), askedAt: millis() })),
  }),
);

const brokerFields = {
  url: orNull(Type.String()),
  connected: Type.Boolean(),
  error: orNull(Type.String({ description: 'why it is not connected, where that is known' })),
};

export const nodesView = component<Shape.NodesView>()(
  'Nodes',
  Type.Object({
    nodes: Type.Array(nodeView),
    validators: Type.Object({ count: count(), quorum: count(), mayBeOff: count(), heard: count() }),
    broker: Type.Object({
      ...brokerFields,
      embedded: Type.Boolean({ description: 'whether this node runs it' }),
      others: Type.Optional(
        Type.Array(Type.Object(brokerFields), { description: 'further brokers that it is at' }),
      ),
    }),
    pending: Type.Object({ entries: count(), blocks: count() }),
    refused: Type.Array(
      Type.Object({ code: Type.String(), reason: Type.String(), count: count(), at: millis() }),
    ),
    invitations: orNull(Type.Array(nodeInvitationView)),
  }),
);

export const nodeInvitedView = component<Shape.NodeInvited>()(
  'NodeInvited',
  Type.Object({
    id: Type.String(),
    code: Type.String(),
    link: Type.String(),
    qr: Type.Object({
      svg: Type.String({ description: 'an SVG document' }),
      lines: Type.Array(Type.String(), { description: 'half blocks, for a terminal' }),
    }),
    expiresAt: millis(),
  }),
);
