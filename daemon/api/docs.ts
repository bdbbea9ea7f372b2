/** The OpenAPI description of the routes, and its reader at `/docs`; all of it is served from here. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';

const logo =
  '<svg xmlns="http://www.w3.org/2000/svg" width="150" height="40" viewBox="0 0 150 40">' +
  '<text x="0" y="27" font-family="sans-serif" font-size="24" fill="#fff">Mergetown</text></svg>';

/** Must be awaited before the routes are registered. */
export async function addDocs(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Mergetown',
        version,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
        description:
          'What one board of a town does for people. Sign in for a token, send it as `Authorization: Bearer`; ' +
          'the panel uses a cookie instead and adds `X-Town-CSRF: 1` to every change. ' +
          'What is recorded is durable when it is answered, and `pending` until a merge has judged it. ' +
          'Every failure has one shape: `{error: {code, message, advice?}}`.',
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer' },
          cookie: { type: 'apiKey', in: 'cookie', name: 'town_session' },
        },
      },
      security: [{ bearer: [] }, { cookie: [] }],
    },
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, index) => {
        const { $id } = json as { $id?: unknown };
        return typeof $id === 'string' ? $id : `schema-${index}`;
      },
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { deepLinking: true },
    theme: { title: 'Mergetown API' },
    logo: { type: 'image/svg+xml', content: logo, href: '/' },
  });
}
