/** The schema of the picture of the history, of `daemon/node/ledger-graph.ts`, made as in views.ts. */
import { Type } from 'typebox';
import type * as Shape from '../node/ledger-graph.js';
import { component, count, millis, orNull } from './views.js';

export const graphView = component<Shape.LedgerGraph>()(
  'LedgerGraph',
  Type.Object({
    merges: Type.Array(
      Type.Object({
        height: count(),
        id: Type.String(),
        oid: Type.String(),
        time: millis(),
        by: Type.String(),
        heads: Type.Array(Type.String()),
      }),
    ),
    blocks: Type.Array(
      Type.Object({
        id: Type.String(),
        node: Type.String(),
        seq: count(),
        prev: orNull(Type.String()),
        base: Type.String(),
        at: millis(),
        entries: count(),
        height: orNull(count()),
        own: Type.Boolean(),
      }),
    ),
    nodes: Type.Array(Type.Object({ id: Type.String(), name: Type.String() })),
    truncated: Type.Boolean({ description: 'some blocks are left out' }),
  }),
);
