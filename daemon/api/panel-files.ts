/** The web panel: one page and its assets, from the folder the build made. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyPluginAsync } from 'fastify';

/** The pages of the panel; each is `index.html`, which finds its way by the address. */
export const panelPages = [
  '/',
  '/setup',
  '/join',
  '/people',
  '/doors',
  '/ledger',
  '/gigs',
  '/bank',
  '/town',
] as const;

/** A name with the hash of the content in it (`main-X7Q2AB4C.js`): it never changes under its name. */
const hashedName = /[-.][0-9A-Za-z]{8,64}\.[a-z0-9]{2,5}$/;
const hasHash = (path: string): boolean => {
  const hash = hashedName.exec(path)?.[0].slice(1).split('.')[0];
  return hash !== undefined && (/^[0-9A-Z]+$/.test(hash) || /^[0-9a-f]+$/.test(hash));
};

const notBuilt = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mergetown: the panel is not built</title></head>
<body><h1>The panel is not built</h1>
<p>The daemon runs, and the <code>town</code> command and the <a href="/docs">API</a> work.</p>
<p>To get the panel: run <code>npm run build</code> in the folder of Mergetown, then load this page again.</p>
</body></html>
`;

export const panelFiles: FastifyPluginAsync<{ readonly folder: string }> = async (app, { folder }) => {
  await app.register(fastifyStatic, {
    root: folder,
    index: false,
    dotfiles: 'ignore',
    cacheControl: false,
    setHeaders: (response, path) =>
      response.setHeader('cache-control', hasHash(path) ? 'public, max-age=31536000, immutable' : 'no-cache'),
  });

  for (const page of panelPages)
    app.get(page, { schema: { hide: true } }, async (_request, reply) => {
      const built = await access(join(folder, 'index.html')).then(
        () => true,
        () => false,
      );
      if (built) return reply.sendFile('index.html');
      return reply
        .code(503)
        .header('cache-control', 'no-store')
        .type('text/html; charset=utf-8')
        .send(notBuilt);
    });
};
