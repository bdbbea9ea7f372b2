/**
 * Packs libraries that come as hundreds of small files into a few: dist/node_modules/<name>, where what stands in dist finds them
 * first. To look for typebox's files and read them one by one was a tenth of the daemon's start. Where these are not built, or were
 * removed, the daemon takes the libraries themselves.
 * Use: node scripts/build-libraries.mjs
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Who imports another one that is packed has to be packed too: else that one would be there twice. */
const libraries = [
  { name: 'typebox', external: [] },
  { name: '@fastify/type-provider-typebox', external: ['typebox', 'typebox/*', 'ajv-formats'] },
];

async function pack({ name, external }) {
  const source = join(root, 'node_modules', name);
  const about = JSON.parse(await readFile(join(source, 'package.json'), 'utf8'));
  const entries = Object.entries(about.exports).map(([path, to]) => ({
    path,
    // A name for the file: '.' → 'index', './value' → 'value'.
    out: path === '.' ? 'index' : path.slice('./'.length),
    in: join(source, fileOf(to)),
  }));
  const target = join(root, 'dist', 'node_modules', name);
  const fresh = `${target}.${process.pid}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true });
  await build({
    entryPoints: entries.map(({ in: file, out }) => ({ in: file, out })),
    outdir: fresh,
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'warning',
    external,
  });
  const exports = Object.fromEntries(entries.map(({ path, out }) => [path, `./${out}.js`]));
  const packed = { name, version: about.version, license: about.license, type: 'module', exports };
  await writeFile(join(fresh, 'package.json'), `${JSON.stringify(packed, null, 2)}\n`);
  await rm(target, { recursive: true, force: true });
  await rename(fresh, target);
}

/** The ES module that a package's `exports` names; its own conditions come first. */
function fileOf(to) {
  if (typeof to === 'string') return to;
  return fileOf(to.import ?? to.default);
}

for (const library of libraries) await pack(library);
process.stdout.write(`Packed ${libraries.map(({ name }) => name).join(', ')}.\n`);
