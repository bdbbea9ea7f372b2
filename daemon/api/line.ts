/** Which line a request is about: `main`, or with the header `x-town-line` a draft fork of this node. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { FastifyInstance } from 'fastify';
import { TownError } from '../ledger/ids.js';
import type { TownNode } from '../node/use-cases.js';

export const LINE_HEADER = 'x-town-line';
const MAIN = 'main';

/** What `byLine` made, by the node that it stands for. */
const current = new AsyncLocalStorage<TownNode>();

/** Stands for the node in routes: what they call is the town on the line of the request at hand, without one on `main`. */
export function byLine(node: TownNode): TownNode {
  return new Proxy(node, {
    get(main, name) {
      const town = current.getStore() ?? main;
      const value: unknown = Reflect.get(town, name);
      return typeof value === 'function' ? value.bind(town) : value;
    },
  });
}

/**
 * Finds the line of each request just before its handler runs.
 * A hook throws TownError `bad-line`, `no-such-fork`, and what opening the draft throws.
 */
export function addLines(app: FastifyInstance, node: TownNode): void {
  app.addHook('preHandler', (request, _reply, done) => {
    const line = request.headers[LINE_HEADER];
    if (line === undefined || line === MAIN) return done();
    if (typeof line !== 'string' || !/^[a-z0-9-]{1,64}$/.test(line))
      return done(
        new TownError(
          'bad-line',
          `"${String(line).slice(0, 40)}" is no name of a draft.`,
          'See town fork list.',
        ),
      );
    node.onLine(line).then(
      (town) => current.run(town, done),
      (error: unknown) => done(error as Error),
    );
  });
}
