/** How a board on its way into a town is shown, and what it takes in for that. */
import { Type } from 'typebox';
import { oneOf, orNull } from './views.js';

export const joiningView = Type.Object(
  {
    state: oneOf('idle', 'asking', 'waiting', 'joined', 'failed'),
    node: Type.String({ description: 'the id of this node, for the steward to compare' }),
    town: orNull(Type.String()),
    broker: orNull(Type.Object({ url: Type.String(), reached: oneOf('trying', 'connected', 'away') })),
    error: orNull(
      Type.Object({ code: Type.String(), message: Type.String(), advice: Type.Optional(Type.String()) }),
    ),
  },
  { additionalProperties: false },
);

export const nodeInvitationCode = () =>
  Type.String({
    minLength: 1,
    maxLength: 2048,
    description: 'the code of an invitation for a node, or its link',
  });
