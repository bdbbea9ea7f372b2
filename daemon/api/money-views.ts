/** The schemas of what the API answers about allowances and dues: one per shape of `daemon/node/money-cases.ts`, made as in views.ts. */
import { Type } from 'typebox';
import type * as Shape from '../node/money-cases.js';
import { component, count, credits, millis, orNull } from './views.js';

const name = () => orNull(Type.String({ description: 'null where it may not be known' }));

export const allowanceView = component<Shape.AllowanceView>()(
  'Allowance',
  Type.Object({
    member: Type.String(),
    memberName: name(),
    node: Type.String(),
    nodeName: Type.String(),
    here: Type.Boolean({ description: 'the node that is asked holds it' }),
    amount: credits(),
    coming: credits(),
    fence: orNull(Type.Object({ n: count(), until: millis() })),
  }),
);

export const allowancesView = component<Shape.AllowancesView>()(
  'Allowances',
  Type.Object({ most: credits(), fenceWaitMs: count(), items: Type.Array(allowanceView) }),
);

export const dueView = component<Shape.DueView>()(
  'Due',
  Type.Object({
    id: Type.String(),
    member: Type.String(),
    memberName: name(),
    to: Type.String({ description: 'a member’s id, or "vault"' }),
    toName: name(),
    amount: credits(),
    entry: Type.String(),
    since: millis(),
    can: Type.Array(Type.Unsafe<'pay' | 'waive'>({ type: 'string', enum: ['pay', 'waive'] })),
  }),
);
