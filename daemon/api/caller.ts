/** Who asks: the session behind a request, from a bearer token or the panel's cookie. */
import type {} from '@fastify/cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { invariant, TownError } from '../ledger/ids.js';
import type { SessionView, TownNode } from '../node/use-cases.js';
import { checkCookieUse } from './guard.js';

const sessionCookie = 'town_session';

export interface Caller {
  readonly token: string;
  readonly through: 'bearer' | 'cookie';
  readonly session: SessionView;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Null on routes that need no session. */
    caller: Caller | null;
  }
}

const tokenShape = /^[A-Za-z0-9_-]{43}$/;

const signedOut = (): TownError =>
  new TownError(
    'signed-out',
    'This needs a session, and there is none, or it has ended.',
    'Sign in: on the panel, or with `town session` on the command line.',
  );

/** The token a request carries; a bearer token goes before a cookie. Null: neither. */
function presentedToken(request: FastifyRequest): { token: string; through: 'bearer' | 'cookie' } | null {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    return { token: token ?? '', through: 'bearer' };
  }
  const token = request.cookies[sessionCookie];
  return token === undefined ? null : { token, through: 'cookie' };
}

/**
 * Finds the session of a request; null if it carries no token at all.
 * Throws `TownError`: `signed-out` for a token that is not (or no longer) one, `not-this-origin` for a change asked
 * for by a foreign page with the cookie.
 */
function findCaller(node: TownNode, request: FastifyRequest, reply: FastifyReply): Caller | null {
  const presented = presentedToken(request);
  if (presented === null) return null;
  if (presented.through === 'cookie') checkCookieUse(request);
  const session = tokenShape.test(presented.token) ? node.session(presented.token) : null;
  if (session === null) {
    if (presented.through === 'cookie') dropSessionCookie(request, reply);
    throw signedOut();
  }
  return { ...presented, session };
}

/** An `onRequest` hook: only with a session. Runs before the input is looked at. */
export const requireSession =
  (node: TownNode) =>
  async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    request.caller = findCaller(node, request, reply);
    if (request.caller === null) throw signedOut();
  };

/** An `onRequest` hook: with a session, or with none while the town has no steward yet. */
export const requireSessionOnceSetUp =
  (node: TownNode) =>
  async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    request.caller = findCaller(node, request, reply);
    if (request.caller === null && !node.status().needsSetup) throw signedOut();
  };

/** The caller of a route behind `requireSession`. */
export function callerOf(request: FastifyRequest): Caller {
  invariant(request.caller !== null, 'a route behind requireSession has a caller');
  return request.caller;
}

/** The token of a route behind `requireSession`. */
export const tokenOf = (request: FastifyRequest): string => callerOf(request).token;

const cookieOptions = (request: FastifyRequest) =>
  ({ path: '/', httpOnly: true, sameSite: 'strict', secure: request.protocol === 'https' }) as const;

/**
 * Hands the panel its session in a cookie that scripts cannot read and other sites cannot send.
 * It has no end of its own: the node ends the session.
 */
export function setSessionCookie(request: FastifyRequest, reply: FastifyReply, session: SessionView): void {
  reply.setCookie(sessionCookie, session.token, cookieOptions(request));
}

/** Takes the cookie back from the browser. */
export function dropSessionCookie(request: FastifyRequest, reply: FastifyReply): void {
  reply.clearCookie(sessionCookie, cookieOptions(request));
}
