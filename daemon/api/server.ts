/** Puts a node on HTTP: the API, its description, live events and the panel. */
import cookie from '@fastify/cookie';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import { fastify, LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { TownError } from '../ledger/ids.js';
import type { JoiningCase } from '../node/joining-case.js';
import type { OfferCase } from '../node/offers.js';
import type { TownNode } from '../node/use-cases.js';
import { requireSession } from './caller.js';
import { addDocs } from './docs.js';
import { doorRoutes, tapRoute } from './door-routes.js';
import { handleClientError, handleError, handleNotFound } from './errors.js';
import { eventRoutes } from './event-routes.js';
import { eventStreamLimits, EventStreams, type EventStreamLimits } from './event-streams.js';
import { forkRoutes } from './fork-routes.js';
import { gigRoutes } from './gig-routes.js';
import { checkOrigin, hostCheck } from './guard.js';
import { joinTownRoutes } from './join-town-routes.js';
import { addLines, byLine } from './line.js';
import { useLazyCompilers } from './lazy-compilers.js';
import { keyRequestRoute, keyRoutes } from './key-routes.js';
import { ledgerRoutes } from './ledger-routes.js';
import { memberRoutes } from './member-routes.js';
import { moneyRoutes } from './money-routes.js';
import { nodeRoutes } from './node-routes.js';
import { noticeRoutes } from './notice-routes.js';
import { offerRoutes } from './offer-routes.js';
import { panelFiles } from './panel-files.js';
import { peopleRoutes } from './people-routes.js';
import { recordRoutes } from './record-routes.js';
import { recoveryRoutes } from './recovery-routes.js';
import { sessionRoutes } from './session-routes.js';
import { sharedSchemas } from './views.js';

export interface ApiOptions {
  readonly node: TownNode;
  /** Lets a fresh board join another town from its setup page; without it there is no such route. */
  readonly joining?: JoiningCase;
  /** Takes in what other nodes hold and a person brings; without it there is no such route. */
  readonly offers?: OfferCase;
  /** Pino or alike; `child` loggers are made of it. */
  readonly logger: FastifyBaseLogger;
  /** Holds the built panel: `index.html` and its assets. */
  readonly panelFolder: string;
  /** Names besides the loopback ones and the connection's own address that requests may be addressed to. */
  readonly hostNames?: readonly string[];
  /** Tries a client has for each of sign-in, setup and join, a minute. Default 10. */
  readonly triesPerMinute?: number;
  readonly streamLimits?: Partial<EventStreamLimits>;
}

const bodyBytesMax = 64 * 1024;
const connectionsMax = 512;

/** Scripts and styles only from files of our own, nothing from elsewhere, never inside another page. */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", 'data:'],
    fontSrc: ["'self'"],
    connectSrc: ["'self'"],
    manifestSrc: ["'self'"],
    workerSrc: ["'self'"],
    formAction: ["'self'"],
    baseUri: ["'none'"],
    frameAncestors: ["'none'"],
  },
};

/** An empty body with a JSON content type is no body: many routes need none. Text is not taken at all. */
function readOnlyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, body as string, done);
  });
}

/**
 * Makes the HTTP server of a node; the caller listens (`app.listen({host, port})`) and closes it.
 * Closing ends the live streams. Throws what fastify throws when it cannot be put together: a fault of the program.
 */
export async function buildApi(options: ApiOptions): Promise<FastifyInstance> {
  const node = byLine(options.node);
  const app = fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyBytesMax,
    requestTimeout: 30_000,
    keepAliveTimeout: 30_000,
    routerOptions: { maxParamLength: 256 },
    clientErrorHandler: handleClientError,
    frameworkErrors: (error, request, reply) => {
      handleError(error, request, reply);
    },
  });
  app.server.maxConnections = connectionsMax;
  useLazyCompilers(app);
  app.setErrorHandler(handleError);
  app.setNotFoundHandler(handleNotFound);
  readOnlyJson(app);

  await app.register(helmet, {
    contentSecurityPolicy,
    // A page's own posts keep their Origin header only with a referrer policy that lets it be known to itself.
    referrerPolicy: { policy: 'same-origin' },
    xFrameOptions: { action: 'deny' },
    // Plain HTTP on a LAN or loopback: promising HTTPS would lock people out of other things on that name.
    strictTransportSecurity: false,
  });
  const checkHost = hostCheck(options.hostNames ?? []);
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request, reply) => {
    checkHost(request);
    checkOrigin(request);
    if (request.url.startsWith('/api/')) reply.header('cache-control', 'no-store');
  });
  app.addHook('onResponse', async (request, reply) => {
    request.log.debug(
      {
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: reply.elapsedTime,
      },
      'request done',
    );
  });
  await app.register(cookie);
  await app.register(rateLimit, {
    global: false,
    cache: 2_000,
    errorResponseBuilder: (_request, context) =>
      new TownError(
        'too-many-tries',
        `That was tried more than ${context.max} times in a minute.`,
        `Try again in ${Math.ceil(context.ttl / 1000)} seconds.`,
      ),
  });

  for (const schema of sharedSchemas()) app.addSchema(schema);
  await addDocs(app, node.status().version);

  const streams = new EventStreams(node, app.log, {
    ...eventStreamLimits,
    ...options.streamLimits,
  });
  app.addHook('preClose', async () => streams.close());

  addLines(app, options.node);
  const triesPerMinute = options.triesPerMinute ?? 10;
  await app.register(sessionRoutes, { node, streams, triesPerMinute });
  await app.register(tapRoute, { node });
  await app.register(keyRequestRoute, { node, triesPerMinute });
  if (options.joining) await app.register(joinTownRoutes, { joining: options.joining, triesPerMinute });
  if (options.offers) await app.register(offerRoutes, { offers: options.offers });
  await app.register(async (signedIn) => {
    signedIn.addHook('onRequest', requireSession(node));
    await signedIn.register(peopleRoutes, { node });
    await signedIn.register(recordRoutes, { node });
    await signedIn.register(recoveryRoutes, { node });
    await signedIn.register(doorRoutes, { node });
    await signedIn.register(memberRoutes, { node });
    await signedIn.register(moneyRoutes, { node, triesPerMinute });
    await signedIn.register(gigRoutes, { node });
    await signedIn.register(ledgerRoutes, { node });
    await signedIn.register(keyRoutes, { node });
    await signedIn.register(noticeRoutes, { node });
    await signedIn.register(nodeRoutes, { node, triesPerMinute });
    await signedIn.register(forkRoutes, { node, triesPerMinute });
    await signedIn.register(eventRoutes, { streams });
  });
  await app.register(panelFiles, { folder: options.panelFolder });
  return app;
}
