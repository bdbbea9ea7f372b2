/** The schemas of what the API answers about draft forks: one per shape of `daemon/node/fork-cases.ts`, made as in views.ts. */
import { Type } from 'typebox';
import type * as Shape from '../node/fork-cases.js';
import type { Json } from '../ledger/ids.js';
import { component, count, millis, oneOf, orNull } from './views.js';

export const forkView = component<Shape.ForkView>()(
  'Fork',
  Type.Object({
    name: Type.String(),
    status: oneOf('open', 'adopting', 'adopted', 'dropped'),
    base: Type.Object({ height: count(), id: Type.String(), oid: Type.String() }),
    head: Type.Object({ height: count(), oid: Type.String() }),
    created: millis(),
    by: Type.String(),
    entries: count(),
  }),
);

const judgement = () =>
  Type.Object({
    verdict: oneOf('accepted', 'rejected', 'irregular'),
    code: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String()),
    other: Type.Optional(Type.String()),
  });

const value = () => Type.Unsafe<Json>({ description: 'any JSON' });
const change = () => ({ before: value(), after: value() });

export const forkDetailsView = component<Shape.ForkDetails>()(
  'ForkDetails',
  Type.Object({
    fork: forkView,
    entries: Type.Array(
      Type.Object({
        id: Type.String(),
        type: Type.String(),
        at: millis(),
        says: Type.String(),
        onDraft: orNull(judgement()),
        onMain: orNull(judgement()),
      }),
    ),
    changes: orNull(
      Type.Object({
        balances: Type.Array(
          Type.Object({
            account: Type.String(),
            name: orNull(Type.String()),
            before: count(),
            after: count(),
          }),
        ),
        members: Type.Array(Type.Object({ member: Type.String(), name: orNull(Type.String()), ...change() })),
        charter: Type.Array(Type.Object({ at: Type.String(), ...change() })),
        others: Type.Array(Type.Object({ place: Type.String(), count: count() })),
      }),
    ),
  }),
);
