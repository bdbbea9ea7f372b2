/** The schemas of what the API answers about a member's keys: one per shape of `daemon/node/key-cases.ts`, made as in views.ts. */
import { Type } from 'typebox';
import type * as Shape from '../node/key-cases.js';
import { component, merged, millis, oneOf, orNull } from './views.js';

export const keyRequestedView = component<Shape.KeyRequested>()(
  'KeyRequested',
  Type.Object({
    code: Type.String({ description: 'to be carried to a node where the member can sign in; no secret' }),
    key: Type.String(),
    member: Type.String(),
  }),
);

export const ownKeyView = component<Shape.OwnKeyView>()(
  'OwnKey',
  Type.Object({
    key: Type.String(),
    status: oneOf('active', 'revoked'),
    state: merged(),
    since: millis(),
    node: orNull(Type.Object({ id: Type.String(), name: Type.String() })),
    here: Type.Boolean({ description: 'the node that is asked keeps it' }),
    current: Type.Boolean({ description: 'the one this session signs with' }),
  }),
);
