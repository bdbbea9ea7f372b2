/**
 * Builds the web panel: daemon/panel → dist/panel (index.html, assets with the hash of their content in their
 * names, the licences of what is bundled). Everything the panel needs is in there: no CDN, no inline script or style.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** Builds into `outFolder` (default dist/panel) and returns the sizes of what was made, in bytes by file name. */
export async function buildPanel({ outFolder = join(root, 'dist', 'panel') } = {}) {
  const source = join(root, 'daemon', 'panel');
  await rm(outFolder, { recursive: true, force: true });
  const made = await build({
    absWorkingDir: root,
    entryPoints: { panel: join(source, 'src', 'main.tsx'), style: join(source, 'styles', 'panel.css') },
    outdir: outFolder,
    entryNames: 'assets/[name]-[hash]',
    bundle: true,
    minify: true,
    metafile: true,
    format: 'esm',
    target: ['chrome111', 'firefox111', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'linked',
    logLevel: 'warning',
  });

  const outputs = Object.entries(made.metafile.outputs).map(([file, { bytes }]) => [
    relative(outFolder, resolve(root, file)).replaceAll('\\', '/'),
    bytes,
  ]);
  const named = (pattern) => `/${outputs.find(([file]) => pattern.test(file))[0]}`;
  const page = await readFile(join(source, 'index.html'), 'utf8');
  await mkdir(outFolder, { recursive: true });
  await writeFile(
    join(outFolder, 'index.html'),
    page
      .replace('{{style}}', named(/^assets\/style-.*\.css$/))
      .replace('{{script}}', named(/^assets\/panel-.*\.js$/)),
  );
  await writeFile(join(outFolder, 'favicon.svg'), await readFile(join(source, 'favicon.svg')));
  await writeFile(join(outFolder, 'licences.txt'), await licencesOf(Object.keys(made.metafile.inputs)));
  return Object.fromEntries(outputs);
}

/** The licence texts of the packages whose files went into the bundle, and the town's own. */
async function licencesOf(inputs) {
  const packages = new Set(
    inputs
      .map((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1])
      .filter((name) => name !== undefined),
  );
  const parts = [`Mergetown\n\n${await readFile(join(root, 'LICENSE'), 'utf8')}`];
  for (const name of [...packages].sort()) {
    const folder = join(root, 'node_modules', name);
    const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    parts.push(`${name} ${version}\n\n${await readFile(join(folder, 'LICENSE'), 'utf8')}`);
  }
  return parts.join(`\n${'-'.repeat(78)}\n\n`);
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const sizes = await buildPanel();
  for (const [file, bytes] of Object.entries(sizes))
    console.log(`${(bytes / 1024).toFixed(1).padStart(7)} kB  ${file}`);
}
