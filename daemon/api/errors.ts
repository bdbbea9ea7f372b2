/** Turns every failure into one shape, `{error: {code, message, advice?}}`, and says nothing it should not. */
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { TownError } from '../ledger/ids.js';
import { Refused } from '../node/appender.js';

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly advice?: string;
}

/** The one place where a code becomes an HTTP status: exact codes first, then families of codes,
 * then 422 for what a rule of the ledger or of a dapp refuses, and 400. */
const statusByCode: ReadonlyMap<string, number> = new Map([
  ['signed-out', 401],
  ['wrong-passphrase', 401],
  ['key-revoked', 401],
  ['key-not-registered', 403],
  ['not-allowed', 403],
  ['not-this-host', 403],
  ['not-this-origin', 403],
  ['not-found', 404],
  ['wrong-status', 409],
  ['conflict', 409],
  ['setup-done', 409],
  ['busy', 409],
  ['joining', 409],
  ['real-reader', 409],
  ['nobody-waits', 409],
  ['other-asker', 409],
  ['too-many-invitations', 409],
  ['node-not-heard', 409],
  ['node-behind', 409],
  ['leaves-behind', 409],
  ['last-validator', 409],
  ['still-validator', 409],
  ['still-unmerged', 409],
  ['own-node', 409],
  ['no-validator', 409],
  ['validators-changing', 409],
  ['too-few-heard', 409],
  ['known-node', 409],
  ['no-badge-key', 409],
  ['no-broker', 409],
  ['last-key', 409],
  ['too-many-keys', 409],
  ['gone', 410],
  ['rejected', 422],
  ['members-only', 422],
  ['invitation-too-long', 422],
  ['welcome-too-large', 422],
  ['too-many-tries', 429],
  ['too-many-unmerged', 429],
  ['too-many-requests', 429],
  ['content-differs', 500],
  ['bad-welcome', 500],
  ['contract-timeout', 504],
  ['disk-full', 507],
  ['journal-full', 507],
  ['starting', 503],
  ['stopping', 503],
  ['too-many-streams', 503],
]);

const statusByFamily: readonly (readonly [RegExp, number])[] = [
  [/^unknown-|-not-found$|^no-such-/, 404],
  [/^already-|-taken$|-exists$|-used$|^duplicate-/, 409],
  [/-expired$/, 410],
  [/^rejected[:-]|^not-enough-|^insufficient-/, 422],
  [/-starting$|-busy$|-away$|-silent$|-unavailable$|-not-running$|-not-started$|-closed$/, 503],
  [/-failed$|-crashed$|-corrupt$|^contract-/, 500],
];

/** The HTTP status for a `TownError`, by its code. */
export function statusOf(error: TownError): number {
  const { code } = error;
  const exact = statusByCode.get(code);
  if (exact !== undefined) return exact;
  return statusByFamily.find(([family]) => family.test(code))?.[1] ?? (error instanceof Refused ? 422 : 400);
}

interface Told {
  readonly status: number;
  readonly problem: Problem;
}

const told = (status: number, code: string, message: string, advice?: string): Told => ({
  status,
  problem: advice === undefined ? { code, message } : { code, message, advice },
});

/** What fastify itself refuses before a route runs, in our words. */
const frameworkProblems: ReadonlyMap<string, Told> = new Map([
  [
    'FST_ERR_CTP_BODY_TOO_LARGE',
    told(413, 'too-large', 'A request may hold 64 KiB at most.', 'Send less at once.'),
  ],
  [
    'FST_ERR_CTP_INVALID_MEDIA_TYPE',
    told(
      415,
      'not-json-type',
      'The body of a request must be JSON.',
      'Send "Content-Type: application/json".',
    ),
  ],
  [
    'FST_ERR_CTP_INVALID_CONTENT_LENGTH',
    told(400, 'not-json', 'The body is not as long as its Content-Length header says.'),
  ],
  [
    'FST_ERR_CTP_INVALID_JSON_BODY',
    told(400, 'not-json', 'The body is not valid JSON.', 'Check quotes, commas and braces.'),
  ],
  ['FST_ERR_BAD_URL', told(400, 'bad-request', 'The address in the request cannot be decoded.')],
]);

type SchemaNode = {
  readonly description?: string;
  readonly properties?: { readonly [name: string]: SchemaNode | undefined };
};

/** Names every field that is wrong and what the route's schema says it expects there. Never repeats what was sent. */
function invalidInput(error: FastifyError, request: FastifyRequest): Problem {
  const part = error.validationContext ?? 'body';
  const schema = (request.routeOptions.schema as { [part: string]: SchemaNode } | undefined)?.[part];
  const place = { body: 'the body', params: 'the path', querystring: 'the query', headers: 'the headers' }[
    part
  ];
  const wrong = new Map<string, string>();
  const expected = (field: string): string =>
    schema?.properties?.[field]?.description ?? 'another kind of value';
  for (const issue of error.validation ?? []) {
    const field = issue.instancePath.split('/')[1];
    const params = issue.params as { requiredProperties?: string[]; additionalProperties?: string[] };
    if (field !== undefined) {
      if (schema?.properties?.[field]) wrong.set(field, `${field}: expected ${expected(field)}`);
    } else if (issue.keyword === 'required') {
      for (const name of params.requiredProperties ?? [])
        wrong.set(name, `${name} is missing: expected ${expected(name)}`);
    } else if (issue.keyword === 'additionalProperties') {
      const known = Object.keys(schema?.properties ?? {}).join(', ') || 'none';
      const names = (params.additionalProperties ?? []).slice(0, 4).map((name) => name.slice(0, 40));
      wrong.set('', `${names.join(', ')} not known here (known: ${known})`);
    } else {
      wrong.set('', `expected a JSON object`);
    }
  }
  return {
    code: 'invalid-input',
    message: `In ${place}: ${[...wrong.values()].slice(0, 8).join('; ')}.`,
    advice: 'Each route and its fields are described at /docs.',
  };
}

/** What the asker is told of an error, and with which status. Anything unforeseen is told as 500 without its text. */
export function explain(error: FastifyError | Error, request: FastifyRequest): Told {
  if (error instanceof TownError) return told(statusOf(error), error.code, error.message, error.advice);
  if ('validation' in error && error.validation)
    return { status: 400, problem: invalidInput(error, request) };
  const known = frameworkProblems.get('code' in error ? error.code : '');
  if (known) return known;
  const status = ('statusCode' in error ? error.statusCode : undefined) ?? 500;
  if (status >= 400 && status < 500)
    return told(status, 'bad-request', 'The request could not be understood.');
  return told(
    500,
    'internal',
    'The daemon failed at this; what was acknowledged before is safe.',
    `The daemon's log says more: look for request ${request.id}.`,
  );
}

/** Fastify's error handler: logs what is the daemon's own fault with its stack, what is the asker's in one line. */
export function handleError(
  error: FastifyError | Error,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { status, problem } = explain(error, request);
  if (status >= 500 && problem.code !== 'too-many-streams')
    request.log.error({ err: error }, 'request failed');
  else request.log.debug({ code: problem.code, status }, 'request refused');
  return reply
    .code(status)
    .header('cache-control', 'no-store')
    .type('application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send({ error: problem });
}

export function handleNotFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return handleError(
    new TownError(
      'not-found',
      `There is nothing at ${request.method} ${request.url.split('?', 1)[0]!.slice(0, 200)}.`,
      'The routes are listed at /docs; the panel is at /.',
    ),
    request,
    reply,
  );
}

/** Answers what could not be read as an HTTP request at all, and hangs up. */
export function handleClientError(error: { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const [status, message] =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? ['408 Request Timeout', 'The request took too long to arrive.']
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? ['431 Request Header Fields Too Large', 'The headers of the request are too large.']
        : ['400 Bad Request', 'This is not a request that HTTP knows.'];
  const body = JSON.stringify({ error: { code: 'bad-request', message } satisfies Problem });
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close`;
  if (socket.writable) socket.write(`${head}\r\n\r\n${body}`);
  socket.destroySoon();
}
